"""Ask a language model, and hold its answer against the passages that it was given.

    context, question --messages--> model --pieces--> Answer --verify--> Verification

The model is whatever an endpoint of OpenAI's chat protocol serves, which most vendors and local servers have.
"""

from __future__ import annotations

from pgrecall.answer.model import LanguageModel, language_model
from pgrecall.answer.stream import Answer, AsyncAnswer

__all__ = ["Answer", "AsyncAnswer", "LanguageModel", "language_model"]
