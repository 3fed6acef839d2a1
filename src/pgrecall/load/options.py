"""How sources are read: the options that the caller chooses."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pgrecall.errors import InvalidArgument

#: Python and the libraries that read the formats take some of it.
LEAST_MEMORY = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What to take from the sources, and what to add to every document.

    Raises InvalidArgument for an encoding that Python does not know and for a limit below one byte.
    """

    #: Rows of CSV and JSON: the field with the text. None: text, content or body, else all fields.
    text_field: str | None = None
    #: The field that holds the title. None: title.
    title_field: str | None = None
    #: The field that names the row in its uri. None: uri, url, _id or id, else the row's number.
    id_field: str | None = None
    #: The fields that become metadata. None: all that are not text, title or id.
    metadata_fields: tuple[str, ...] | None = None
    tenant_id: str = ""
    #: Added to every document; wins over what the document says about itself.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: Encoding of text files. None: found out for each file.
    encoding: str | None = None
    #: The text search configuration of the documents, such as "german". None: what a document says
    #: (HTML's ``lang``, ``lang`` in front matter), else the collection's. "detect": what it says, else what
    #: its text is found to be (the extra ``languages``), else the collection's.
    language: str | None = None
    #: Longest file that is read, in bytes; for files of rows, which are streamed, the longest row.
    max_bytes: int = 256 * 2**20
    #: Recognise the text of scanned pages and of images, in these languages of tesseract, such as "eng" or
    #: "eng+deu" (the extra ``ocr``).
    ocr: str | None = None
    #: Seconds that recognising the pages of one file may take.
    ocr_seconds: float = 1_800
    #: Take images. None: if the embedder of the collection does.
    images: bool | None = None
    #: Processor time in seconds that reading one PDF, Office document, page, e-mail, book or archive
    #: may take. These are read in processes of their own.
    parse_seconds: float = 120
    #: Memory in bytes that such a process may use (on Linux).
    parse_memory: int = 2 * 2**30
    #: How many such processes work at the same time; 0: as many as there are processors.
    parsers: int = 0
    #: Follow symbolic links found inside folders; a link that was named is always followed.
    follow_symlinks: bool = True
    #: Take hidden files and folders too (their names begin with a dot); .git is never taken.
    hidden: bool = False
    #: Leave out what .gitignore files name.
    gitignore: bool = True
    #: Fetch pages from addresses of private networks too, such as localhost.
    allow_private: bool = False
    #: The uri of standard input; its suffix, if it has one, says what the format is.
    stdin_name: str = "stdin"

    @property
    def detects(self) -> bool:
        """Whether languages are to be found out."""
        return self.language == "detect"

    @property
    def said_language(self) -> str | None:
        """The language that the caller says all documents are in."""
        return None if self.detects else self.language

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise InvalidArgument(f"max_bytes must be at least 1, not {self.max_bytes}.")
        if not self.parse_seconds > 0:
            raise InvalidArgument(f"parse_seconds must be positive, not {self.parse_seconds}.")
        if not self.ocr_seconds > 0:
            raise InvalidArgument(f"ocr_seconds must be positive, not {self.ocr_seconds}.")
        if self.parse_memory < LEAST_MEMORY:
            raise InvalidArgument(
                f"parse_memory must be at least {LEAST_MEMORY:,} bytes, not {self.parse_memory:,}."
            )
        if self.parsers < 0:
            raise InvalidArgument(f"parsers must not be negative, but is {self.parsers}.")
        if self.encoding is not None:
            _check_encoding(self.encoding)


def _check_encoding(name: str) -> None:
    try:
        "".encode(codecs.lookup(name).name)
    except LookupError as exc:
        raise InvalidArgument(f"There is no text encoding named {name!r}; try utf-8.") from exc
