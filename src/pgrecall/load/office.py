"""Office documents (docx, pptx, xlsx) as Markdown. Needs the extra "office"."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator

from pgrecall.errors import MissingExtra, UnreadableSource
from pgrecall.load.clean import one_line
from pgrecall.load.source import OpenFile
from pgrecall.types import Document

_MIME = "application/vnd.openxmlformats-officedocument."
SUFFIXES = {
    ".docx": _MIME + "wordprocessingml.document",
    ".pptx": _MIME + "presentationml.presentation",
    ".xlsx": _MIME + "spreadsheetml.sheet",
}
_MAIN_PARTS = {
    "word/document.xml": ".docx",
    "ppt/presentation.xml": ".pptx",
    "xl/workbook.xml": ".xlsx",
}
_OLD_OR_ENCRYPTED = b"\xd0\xcf\x11\xe0"
#: The XML may unpack to max_bytes divided by this: a parsed tree is some ten times larger.
_XML_SHARE = 4


def load(file: OpenFile) -> Iterator[Document]:
    """One document; slides are its pages. Raises UnreadableSource, MissingExtra."""
    if file.head.startswith(_OLD_OR_ENCRYPTED):
        if "EncryptedPackage".encode("utf-16-le") in file.read():
            raise UnreadableSource("The document is protected by a password; remove it.")
        raise UnreadableSource(
            f"The document is of an old Office format; save it as {file.suffix} of today."
        )
    suffix = kind(file)
    if suffix is None:
        raise UnreadableSource("The file is not an Office document, though its name says so.")
    _check_unpacked_size(file)
    yield _read(file, suffix)


def _read(file: OpenFile, suffix: str) -> Document:
    try:
        from pgrecall.load import officetext

        return officetext.READERS[suffix](file)
    except ModuleNotFoundError as exc:
        raise MissingExtra(f"Reading {suffix} files", "office") from exc
    except (UnreadableSource, OSError, MemoryError):
        raise
    except Exception as exc:  # the three libraries meet broken files with errors of many kinds
        detail = one_line(str(exc), 120) or type(exc).__name__
        raise UnreadableSource(f"The document is broken ({detail}); save it again.") from exc


def kind(file: OpenFile) -> str | None:
    """The suffix that the content of a zip archive calls for; None if it is no Office document."""
    try:
        with zipfile.ZipFile(file.stream) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return None
    return next((suffix for part, suffix in _MAIN_PARTS.items() if part in names), None)


def _check_unpacked_size(file: OpenFile) -> None:
    """Refuse a small archive that unpacks to more than memory holds (a zip bomb)."""
    file.check_size()
    with zipfile.ZipFile(file.stream) as archive:
        infos = archive.infolist()
    size = sum(info.file_size for info in infos if info.filename.endswith((".xml", ".rels")))
    limit = file.options.max_bytes // _XML_SHARE
    if size > limit:
        raise UnreadableSource(
            f"The document unpacks to {size:,} bytes of XML, more than {limit:,}; "
            "split it, or raise max_bytes."
        )
    if sum(info.file_size for info in infos) > 4 * file.options.max_bytes:
        raise UnreadableSource("The document unpacks to more than 4 x max_bytes; split it.")
    file.stream.seek(0)
