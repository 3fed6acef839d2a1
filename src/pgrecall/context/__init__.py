"""Pack what was found into a token budget, each passage with a citation that can be checked.

    hits --spans--> Span --(the caller fetches its text)--> Passage --pack--> Context
    answer --Context.verify--> Verification

Laws, whatever the input: the text has at most ``max_tokens`` tokens; every quote is an exact slice
of its document and stands verbatim in the text; no stretch of a document stands twice.
"""

from __future__ import annotations

from pgrecall.context.pack import MIN_TOKENS, pack
from pgrecall.context.passages import MAX_GAP, Passage, Span, spans
from pgrecall.context.render import SYSTEM_PROMPT, Context
from pgrecall.context.verification import Marker, Place, Quote, Verification

__all__ = [
    "MAX_GAP",
    "MIN_TOKENS",
    "SYSTEM_PROMPT",
    "Context",
    "Marker",
    "Passage",
    "Place",
    "Quote",
    "Span",
    "Verification",
    "pack",
    "spans",
]
