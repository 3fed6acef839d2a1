"""Words repeat: the tokens of those that were met, in bounded room."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

#: Bytes of words and their tokens that are kept, twice: the latest, and those before them.
ROOM = 10_000_000
#: Bytes that a word takes beside its characters: two objects and a place in a dictionary.
_WORD = 160


class WordCache:
    """Tokens by word, as the bytes of int32 arrays: joining those is the fastest way. Threads may share it."""

    def __init__(self, encode: Callable[[str], Sequence[int]]) -> None:
        """``encode`` gives the tokens of a word; at least one."""
        self._encode = encode
        self._latest: dict[str, bytes] = {}
        self._former: dict[str, bytes] = {}
        self._room = ROOM

    def tokens(self, words: Sequence[str]) -> bytes:
        """The tokens of a sequence of words."""
        latest = self._latest
        try:
            return b"".join(map(latest.__getitem__, words))
        except KeyError:
            # Not a difference of sets: that would walk through the whole cache.
            self._learn(latest, [word for word in set(words) if word not in latest])
        return b"".join(map(latest.__getitem__, words))

    def _learn(self, latest: dict[str, bytes], words: Sequence[str]) -> None:
        # Another thread may learn the same words, or begin anew: each works on the dictionary that it took.
        former = self._former
        for word in words:
            tokens = former.get(word) or np.array(self._encode(word), np.int32).tobytes()
            latest[word] = tokens
            self._room -= len(word) + len(tokens) + _WORD
        if self._room < 0:
            self._former, self._latest, self._room = latest, {}, ROOM
