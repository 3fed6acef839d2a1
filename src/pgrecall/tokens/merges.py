"""The merges of a SentencePiece-like encoding, run by tiktoken on ASCII texts.

tiktoken joins the two neighbours that make the token of the lowest rank. That is what such an encoding does, if
any two tokens that make a third one are among its merges, in the order of what they make, and if each token is
what its own text becomes, which tiktoken takes for granted. ``ascii_encoding`` makes sure of all three.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tiktoken
    from tokenizers import Tokenizer as Backend

    from pgrecall.tokens.base import Ids

#: SentencePiece's mark of a space.
MARK = "\u2581"


class AsciiEncoding:
    """Encodes ASCII texts, in which spaces are spaces."""

    def __init__(self, encoding: tiktoken.Encoding, ids: Ids) -> None:
        self._encoding = encoding
        self._ids = ids

    def encode(self, text: str) -> bytes:
        """The ids as the bytes of an int32 array."""
        ranks = self._encoding.encode_to_numpy(text, disallowed_special=())
        return self._ids[ranks].tobytes()


def ascii_encoding(backend: Backend, letters: Iterable[Iterable[str]]) -> AsciiEncoding | None:
    """The same encoding for ASCII texts; None if its merges are of another kind.

    ``letters``: sets of characters of which words are made, perhaps with spaces in front.
    """
    model = json.loads(backend.to_str())["model"]
    vocabulary: dict[str, int] = model["vocab"]
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    merges = {
        (left, right): None for left, right in pairs if (left + right).replace(MARK, "").isascii()
    }
    made = list(dict.fromkeys(left + right for left, right in merges))
    if model.get("dropout") or not _by_rank(list(merges), made, vocabulary):
        return None
    encoded = backend.encode_batch(made, add_special_tokens=False)
    if any(found.ids != [vocabulary[token]] for token, found in zip(made, encoded, strict=True)):
        return None
    characters = [_character(byte, vocabulary) for byte in range(256)]
    texts = [bytes([byte]) for byte in range(256)] + [
        token.replace(MARK, " ").encode() for token in made
    ]
    ids = np.array([*characters, *(vocabulary[token] for token in made)], np.int32)
    return AsciiEncoding(_encoding(texts, _words(letters)), ids)


def _by_rank(
    merges: Sequence[tuple[str, str]], made: Sequence[str], vocabulary: Mapping[str, int]
) -> bool:
    """Whether all merges that make the same token are there, and side by side."""
    ranks = {token: rank for rank, token in enumerate(made)}
    order = [ranks[left + right] for left, right in merges]
    possible = (
        token[:i] in vocabulary and token[i:] in vocabulary
        for token in made
        for i in range(1, len(token))
    )
    return order == sorted(order) and sum(possible) == len(merges)


def _character(byte: int, vocabulary: Mapping[str, int]) -> int:
    character = MARK if byte == ord(" ") else chr(byte)
    known = vocabulary.get(character) if byte < 128 else None
    return vocabulary[f"<0x{byte:02X}>"] if known is None else known


def _words(letters: Iterable[Iterable[str]]) -> str:
    sets = ["".join(f"\\x{ord(c):02x}" for c in each if c.isascii()) for each in letters]
    return rf" *(?:{'|'.join(f'[{each}]+' for each in sets if each)})| +|(?s:.)"


def _encoding(texts: Sequence[bytes], words: str) -> tiktoken.Encoding:
    import tiktoken

    return tiktoken.Encoding(
        "ascii",
        pat_str=words,
        mergeable_ranks={text: rank for rank, text in enumerate(texts)},
        # With none at all, looking for them takes as long as the words.
        special_tokens={"<|endoftext|>": len(texts)},
    )
