"""Zip archives that are one document (docx, epub, odt): opened with bounds, since they may be bombs."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from lxml import etree

from pgrecall.errors import UnreadableSource
from pgrecall.load.clean import one_line
from pgrecall.load.source import OpenFile

#: More entries than any document has.
_MAX_ENTRIES = 100_000


class Package:
    """The parts of a document; all that is read of them together has at most ``max_bytes``."""

    def __init__(self, archive: zipfile.ZipFile, limit: int) -> None:
        self._archive = archive
        self._left = limit
        self.names = frozenset(archive.namelist())

    def read(self, name: str) -> bytes:
        """A part. Raises UnreadableSource if it is missing, protected, broken, or too long."""
        try:
            with self._archive.open(name) as part:
                data = part.read(self._left + 1)
        except KeyError as exc:
            raise UnreadableSource(f"The document is broken ({name} is missing).") from exc
        except RuntimeError as exc:  # zipfile's word for a password
            raise UnreadableSource("The document is protected by a password; remove it.") from exc
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as exc:
            raise UnreadableSource(f"The document is broken ({one_line(str(exc), 120)}).") from exc
        self._left -= len(data)
        if self._left < 0:
            raise UnreadableSource("The document unpacks to more than max_bytes; split it.")
        return data

    def xml(self, name: str) -> etree._Element:
        """A part that is XML; entities are not expanded. Raises UnreadableSource."""
        parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
        try:
            root = etree.fromstring(self.read(name), parser)
        except (etree.XMLSyntaxError, ValueError) as exc:
            raise UnreadableSource(f"The document is broken ({name} is no XML).") from exc
        if root is None:
            raise UnreadableSource(f"The document is broken ({name} is no XML).")
        return root


@contextmanager
def open_package(file: OpenFile) -> Iterator[Package]:
    """The parts of a file. Raises UnreadableSource if it is no zip archive."""
    file.check_size()
    try:
        file.stream.seek(0)
        with zipfile.ZipFile(file.stream) as archive:
            if len(archive.filelist) > _MAX_ENTRIES:
                raise UnreadableSource(f"The document has more than {_MAX_ENTRIES:,} parts.")
            yield Package(archive, file.options.max_bytes)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as exc:
        detail = one_line(str(exc), 120)
        raise UnreadableSource(f"The document is broken ({detail}); save it again.") from exc
