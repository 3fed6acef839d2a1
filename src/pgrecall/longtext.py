"""Texts, and sequences, that are too long to be held in memory: they wait in files without a name.

The files are temporary (``TMPDIR`` says where), and the system removes them with the process, however it ends.
"""

from __future__ import annotations

import codecs
import pickle
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, fields
from itertools import chain
from threading import Lock
from typing import IO, Generic, TypeVar, overload

from pgrecall.errors import UnreadableSource
from pgrecall.types import Document, Failure

T = TypeVar("T")

#: Bytes of a text that are read at once, and items of a sequence that are kept together.
_BLOCK, _ITEMS = 1 << 18, 512


class _File:
    """Bytes that are written once and read at any place, by any thread. Raises UnreadableSource."""

    def __init__(self) -> None:
        with _told():
            self._file = tempfile.TemporaryFile(prefix="pgrecall-")  # noqa: SIM115
        weakref.finalize(self, _close, self._file)
        self._lock = Lock()
        self.size = 0

    def append(self, data: bytes) -> None:
        with self._lock, _told():
            self._file.seek(self.size)
            self._file.write(data)
            self._file.flush()  # that the disk is full is told here, and not when it is read or closed
            self.size += len(data)

    def read(self, start: int, size: int) -> bytes:
        with self._lock, _told():
            self._file.seek(start)
            return self._file.read(size)


def _close(file: IO[bytes]) -> None:
    # What a full disk did not take is tried once more, and was told already.
    with suppress(OSError):
        file.close()


@contextmanager
def _told() -> Iterator[None]:
    """What the system says of temporary files, as what it means for the source."""
    try:
        yield
    except OSError as exc:
        raise UnreadableSource(
            f"A text this long waits in a temporary file, which cannot be written ({exc.strerror or exc});"
            f" make room in {tempfile.gettempdir()}, or name another folder in TMPDIR."
        ) from exc


class LongText:
    """A text of valid Unicode in a file. Raises UnreadableSource where there is no room for it."""

    def __init__(self, parts: Iterable[str]) -> None:
        self._file = _File()
        self._start = 0
        #: Number of characters.
        self.length = 0
        for part in parts:
            self._file.append(part.encode())
            self.length += len(part)

    @property
    def blank(self) -> bool:
        """Whether there is nothing but white space."""
        return all(not part or part.isspace() for part in self.parts())

    def after(self, beginning: str) -> LongText:
        """The same text without its beginning, in the same file."""
        rest = copy(self)
        rest._start += len(beginning.encode())
        rest.length -= len(beginning)
        return rest

    def parts(self) -> Iterator[str]:
        """The text, piece by piece."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        for start in range(self._start, self._file.size, _BLOCK):
            yield decoder.decode(self._file.read(start, _BLOCK))


@dataclass(frozen=True, slots=True, kw_only=True)
class LongDocument(Document):
    """A document whose text is not in memory: ``text`` is empty, and ``long`` has it."""

    long: LongText


def parts_of(document: Document) -> Iterable[str]:
    """The text of a document, in one piece or many."""
    return document.long.parts() if isinstance(document, LongDocument) else [document.text]


def length_of(document: Document) -> int:
    """Number of characters of a document's text."""
    return document.long.length if isinstance(document, LongDocument) else len(document.text)


def in_memory(item: Document | Failure) -> Document | Failure:
    """The document with all of its text in memory."""
    if not isinstance(item, LongDocument):
        return item
    values = {field.name: getattr(item, field.name) for field in fields(Document)}
    return Document(**(values | {"text": "".join(parts_of(item))}))


class Spooled(Sequence[T], Generic[T]):
    """A sequence in a file, written from the beginning and read by slices."""

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._file = _File()
        #: Where each block of _ITEMS begins, and the last one ends.
        self._bounds = [0]
        self._tail: list[T] = []
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Add an item at the end."""
        self._tail.append(item)
        if len(self._tail) == _ITEMS:
            self._file.append(pickle.dumps(self._tail))
            self._bounds.append(self._file.size)
            self._tail = []

    def __len__(self) -> int:
        return (len(self._bounds) - 1) * _ITEMS + len(self._tail)

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(map(self._block, range(len(self._bounds))))

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, int):
            place = range(len(self))[index]
            return self._block(place // _ITEMS)[place % _ITEMS]
        places = range(len(self))[index]
        if not places:
            return []
        low, high = sorted((places[0], places[-1]))
        blocks = map(self._block, range(low // _ITEMS, high // _ITEMS + 1))
        found = list(chain.from_iterable(blocks))
        first = low // _ITEMS * _ITEMS
        return [found[place - first] for place in places]

    def _block(self, number: int) -> list[T]:
        if number == len(self._bounds) - 1:
            return self._tail
        start, end = self._bounds[number : number + 2]
        # Our own bytes, from a file that nobody else can name.
        block: list[T] = pickle.loads(self._file.read(start, end - start))
        return block
