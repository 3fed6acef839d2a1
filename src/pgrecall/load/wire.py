"""What passes between this process and a parser: frames of JSON, each behind its length.

JSON and not pickle: what a parser says has passed through a file that may be hostile.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any

from pgrecall.load.options import LoadOptions
from pgrecall.load.source import Source
from pgrecall.types import Document, Failure

#: Bytes of the length in front of each frame.
LENGTH = 8
#: Ends the documents of a source; RETIRE: and the parser ends too.
END, RETIRE, TOO_MUCH = b"end", b"retire", b"memory"


def framed(body: bytes) -> bytes:
    """A frame."""
    return len(body).to_bytes(LENGTH, "big") + body


def read_frame(read: Callable[[int], bytes]) -> bytes:
    """The next frame; ``read(n)`` returns n bytes, fewer at the end. b"" at the end."""
    return read(int.from_bytes(read(LENGTH), "big"))


def job_to_frames(source: Source, options: LoadOptions) -> bytes:
    """A source and how to read it. The caller's metadata stay behind: they may be of any type."""
    # Surrogates, which stand for bytes of a path that are not UTF-8, pass as escapes of ASCII.
    values = asdict(replace(options, metadata={}))
    job: dict[str, Any] = {
        "uri": source.uri,
        "path": source.path,
        "named": source.named,
        "name": source.name,
    }
    job |= {"options": values, "given": source.data is not None}
    return framed(json.dumps(job).encode("ascii")) + framed(source.data or b"")


def job_from_frames(job: bytes, data: bytes) -> tuple[Source, LoadOptions]:
    """The inverse of ``job_to_frames``."""
    values = json.loads(job)
    options = values.pop("options")
    if options["metadata_fields"] is not None:
        options["metadata_fields"] = tuple(options["metadata_fields"])
    given = values.pop("given")
    return Source(**values, data=data if given else None), LoadOptions(**options)


def item_to_bytes(item: Document | Failure) -> bytes:
    """A clean document, or a failure."""
    values = {field.name: getattr(item, field.name) for field in fields(item)}
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace")


def item_from_bytes(body: bytes) -> Document | Failure:
    """The inverse of ``item_to_bytes``."""
    values: dict[str, Any] = json.loads(body)
    if "reason" in values:
        return Failure(**values)
    values["pages"], values["notes"] = tuple(values["pages"]), tuple(values["notes"])
    return Document(**values)
