"""A place that documents come from, and the open file behind it."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, cast

from pgrecall.errors import UnreadableSource
from pgrecall.load.languages import configuration
from pgrecall.load.options import LoadOptions
from pgrecall.types import Document, Markup

#: As much of a file as decides what it is.
HEAD_BYTES = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file, or standard input, that is to be loaded."""

    #: The absolute POSIX path of the file; the name that options give to standard input.
    uri: str
    #: None: standard input.
    path: str | None
    #: True if the caller named it, False if it was found in a folder.
    named: bool = True
    #: The content, where it is at hand: an attachment, a file of an archive.
    data: bytes | None = field(default=None, repr=False)

    #: Name of the file, where the uri does not end with it.
    name: str = ""

    def with_data(self, stream: BinaryIO) -> Source:
        """The same source with its content, which can be read only once, in memory."""
        stream.seek(0)
        return replace(self, data=stream.read())


@dataclass(slots=True, kw_only=True)
class OpenFile:
    """An open source: what the format modules read from."""

    uri: str
    #: Last part of the uri, e.g. ``guide.md``.
    name: str
    stream: BinaryIO
    size: int
    options: LoadOptions
    head: bytes = b""
    mime_type: str = "text/plain"
    notes: list[str] = field(default_factory=list)
    #: (name, content) of files that were found inside, and are to be read too.
    attached: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def suffix(self) -> str:
        """Lower case, with its dot; "" for none."""
        return suffix_of(self.name)

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return os.path.splitext(self.name)[0]

    def check_size(self) -> None:
        """Raise UnreadableSource if the file is longer than the options allow."""
        if self.size > self.options.max_bytes:
            raise UnreadableSource(
                f"The file has {self.size:,} bytes, and max_bytes is {self.options.max_bytes:,}; "
                "split it, or raise the limit."
            )

    def read(self) -> bytes:
        """The whole content. Raises UnreadableSource if it is longer than the options allow."""
        self.check_size()
        if self.size == len(self.head):
            return self.head
        self.stream.seek(0)
        return self.stream.read(self.options.max_bytes)

    def document(
        self,
        text: str,
        *,
        title: str | None,
        markup: Markup,
        metadata: Mapping[str, Any] | None = None,
        pages: tuple[int, ...] = (),
    ) -> Document:
        """A document made of the whole file."""
        said = (metadata or {}).get("lang")
        return Document(
            uri=self.uri,
            text=text,
            title=title,
            metadata={**(metadata or {}), **self.options.metadata},
            tenant_id=self.options.tenant_id,
            mime_type=self.mime_type,
            markup=markup,
            language=self.options.said_language or configuration(said),
            pages=pages,
            notes=tuple(self.notes),
            source=self.uri,
        )


def suffix_of(name: str) -> str:
    """Suffix of a file name: lower case, with its dot; "" for none."""
    return os.path.splitext(name)[1].lower()


def path_uri(path: str) -> str:
    """The uri of a file: its absolute POSIX path, the same from every working folder.

    Symbolic links keep the name they have, unless the path has a ``..`` that may lead through one.
    Bytes of a name that are not UTF-8 are written as ``\\xNN``, so that two names never become one.
    """
    absolute = os.path.realpath(path) if ".." in path.split(os.sep) else os.path.abspath(path)
    name = os.fsencode(absolute).decode("utf-8", "backslashreplace")
    return name if os.sep == "/" else name.replace(os.sep, "/")


def open_source(source: Source, options: LoadOptions) -> OpenFile:
    """Open a source for reading; the caller closes ``stream``.

    Raises OSError, and UnreadableSource if the path is no regular file; never waits for a pipe.
    """
    if source.data is not None:
        stream, size = cast(BinaryIO, io.BytesIO(source.data)), len(source.data)
    else:
        stream, size = _open_stdin(options) if source.path is None else _open_path(source.path)
    head = stream.read(HEAD_BYTES)
    name = source.name or source.uri.rpartition("/")[2]
    return OpenFile(uri=source.uri, name=name, stream=stream, size=size, options=options, head=head)


def _open_path(path: str) -> tuple[BinaryIO, int]:
    # O_NONBLOCK: opening a named pipe would otherwise wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    try:
        status = os.fstat(handle)
        refuse_special(status.st_mode)
        return os.fdopen(handle, "rb"), status.st_size
    except BaseException:
        os.close(handle)
        raise


def refuse_special(mode: int) -> None:
    """Raise UnreadableSource unless the mode (``st_mode``) is that of a regular file."""
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise UnreadableSource("The path is a folder; its files are loaded one by one.")
    if stat.S_ISFIFO(mode):
        raise UnreadableSource("The path is a pipe, not a file; pass - and pipe the content in.")
    kind = "socket" if stat.S_ISSOCK(mode) else "device"
    raise UnreadableSource(f"The path is a {kind}, not a file; name a file.")


def _open_stdin(options: LoadOptions) -> tuple[BinaryIO, int]:
    data = sys.stdin.buffer.read(options.max_bytes + 1)
    if len(data) > options.max_bytes:
        raise UnreadableSource(
            f"Standard input has more than max_bytes ({options.max_bytes:,}); raise the limit."
        )
    return io.BytesIO(data), len(data)
