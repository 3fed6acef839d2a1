"""CSV, TSV and JSON of objects: every row is a document of its own, read one at a time."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from pgrecall.errors import UnreadableSource
from pgrecall.load import code, rows
from pgrecall.load.rows import Row
from pgrecall.load.sniff import decode, detect_stream
from pgrecall.load.source import OpenFile
from pgrecall.types import Document, Failure

SUFFIXES = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    ".json": "application/json",
}
_DELIMITERS = ",;\t|"
#: Longest line and field of CSV, in characters: of fields, the reader takes four bytes for each, and twice that
#: to grow; a line may be as many empty fields.
_MAX_FIELD = 2**26
_MAX_COLUMNS = 10_000
#: Longer rows of JSON are looked at before they are parsed: brackets and numbers may become objects of twenty
#: times their size, strings do not.
_LONG_ROW = 2**20
_MAX_STRUCTURE = 2**22
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.S)
_QUOTED = re.compile(r'"[^"]*"')
#: Numbers that are written the one usual way, so that nothing is lost: 12 and 1.5, not 007 or 1e5.
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?")


def load(file: OpenFile) -> Iterator[Document | Failure]:
    """A document for each row, a failure for each broken one. Raises UnreadableSource."""
    if file.suffix == ".json":
        yield from _load_json(file)
    elif file.suffix in (".jsonl", ".ndjson"):
        yield from rows.documents(file, _json_lines(file))
    else:
        yield from rows.documents(file, _csv_rows(file))


def _load_json(file: OpenFile) -> Iterator[Document | Failure]:
    """An array of objects is a table; any other JSON is text."""
    objects = _objects(file) if file.head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") else None
    if objects is None:
        yield from code.load(file)
    else:
        yield from rows.documents(file, enumerate(objects, start=1))


def _objects(file: OpenFile) -> list[dict[str, Any]] | None:
    text, _ = decode(file.read(), file.options.encoding)
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if parsed and isinstance(parsed, list) and all(isinstance(item, dict) for item in parsed):
        return parsed
    return None


def _json_lines(file: OpenFile) -> Iterator[Row]:
    encoding = detect_stream(file.stream, file.options.encoding)
    if not encoding.startswith(("utf-16", "utf-32")):
        yield from _lines(file.stream, encoding, file.options.max_bytes)
        return
    text = io.TextIOWrapper(file.stream, encoding, "replace")
    try:
        yield from _lines(io.BufferedReader(_Utf8Reader(text)), "utf-8", file.options.max_bytes)
    finally:
        text.detach()  # the stream is not the wrapper's to close


def _lines(stream: BinaryIO, encoding: str, limit: int) -> Iterator[Row]:
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        if len(line) > limit:
            _skip_line(stream)
            yield number, f"the line is longer than max_bytes ({limit:,})."
        elif line.strip(b"\xef\xbb\xbf \t\r\n"):
            yield number, _json_object(line, encoding)


class _Utf8Reader(io.RawIOBase):
    """Text as UTF-8 bytes: lines can then be cut at newline bytes."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._rest or self._text.read(16_384).encode("utf-8", "replace")
        count = min(len(block), len(buffer))
        buffer[:count], self._rest = block[:count], block[count:]
        return count


def _skip_line(stream: BinaryIO) -> None:
    while (block := stream.readline(2**20)) and not block.endswith(b"\n"):
        continue


def _json_object(line: bytes, encoding: str) -> dict[str, Any] | str:
    if len(line) > _LONG_ROW and len(_STRING.sub(b"", line)) > _MAX_STRUCTURE:
        return f"it has over {_MAX_STRUCTURE:,} characters of JSON outside of strings; split it."
    try:
        value = json.loads(line.decode(encoding, "replace").strip("\ufeff \t\r\n"))
    except json.JSONDecodeError as exc:
        return f"it is not valid JSON: {exc.msg} at column {exc.colno}."
    except (ValueError, RecursionError):
        return "it is not JSON that can be read: a number too long, or nested too deeply."
    return value if isinstance(value, dict) else "it is not a JSON object."


def _csv_rows(file: OpenFile) -> Iterator[Row]:
    encoding = detect_stream(file.stream, file.options.encoding)
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    limit = min(file.options.max_bytes, _MAX_FIELD)
    # A global of the csv module; raising it is harmless to others, and never undone under them.
    csv.field_size_limit(max(csv.field_size_limit(), limit))
    text = io.TextIOWrapper(file.stream, encoding, "replace", newline="")
    reader = csv.reader(_csv_lines(text, limit), delimiter=_delimiter(file, encoding))
    header: list[str] = []
    rows = False
    try:
        for line, fields in _records(reader):
            if isinstance(fields, str):
                yield line, fields
            elif header:
                yield line, _csv_row(header, fields)
            else:
                header = _header(fields)
                continue
            rows = True
    finally:
        text.detach()  # the stream is not the wrapper's to close
    if header and not rows:
        raise UnreadableSource("The file has a header and no rows.")


def _records(reader: Any) -> Iterator[tuple[int, list[str] | str]]:
    """The records that are not blank, each with its first line; or what is wrong with one."""
    line = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            yield line, f"it is not valid CSV: {exc}."
        else:
            if any(field.strip() for field in fields):
                yield line, fields
        line = reader.line_num + 1


def _csv_lines(text: io.TextIOWrapper, limit: int) -> Iterator[str]:
    """The lines. Raises UnreadableSource for one that is too long to be held."""
    while line := text.readline(limit + 1):
        if len(line) > limit:
            raise UnreadableSource(
                f"A line is longer than {limit:,} characters; the rest was not read."
            )
        # Python 3.11 before its later patches refuses NUL in CSV.
        yield line.replace("\0", "")


def _delimiter(file: OpenFile, encoding: str) -> str:
    """The usual delimiter that is most frequent in the header line, outside of quotes."""
    if file.suffix == ".tsv":
        return "\t"
    head = file.head.decode(encoding, "replace").lstrip("\ufeff\r\n")
    line = _QUOTED.sub("", head).splitlines()[:1]
    return max(_DELIMITERS, key=line[0].count) if line else ","


def _header(fields: list[str]) -> list[str]:
    """Column names; those without a name of their own are called column_N. Raises UnreadableSource."""
    if len(fields) > _MAX_COLUMNS:
        raise UnreadableSource(
            f"The header has {len(fields):,} columns, more than {_MAX_COLUMNS:,}; is it CSV?"
        )
    names: dict[str, None] = {}
    for number, field in enumerate(fields, start=1):
        name = " ".join(field.split())
        names[name if name and name not in names else f"column_{number}"] = None
    return list(names)


def _csv_row(header: list[str], fields: list[str]) -> dict[str, Any] | str:
    if len(fields) > len(header) and any(fields[len(header) :]):
        return f"the row has {len(fields)} fields, and the header has {len(header)}."
    return {name: _typed(field) for name, field in zip(header, fields, strict=False)}


def _typed(field: str) -> str | int | float | bool:
    if _NUMBER.fullmatch(field):
        return float(field) if "." in field else int(field)
    return {"true": True, "false": False}.get(field.lower(), field) if len(field) < 6 else field
