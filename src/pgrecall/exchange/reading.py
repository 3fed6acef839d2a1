"""Files of vectors as records, one after the other: NumPy beside JSON lines, JSON lines, JSON, Parquet, CSV.

Also the responses that Qdrant (scroll) and Pinecone (fetch) give, saved as JSON or one a line.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pgrecall.errors import InvalidArgument, UnreadableSource
from pgrecall.exchange.records import Record
from pgrecall.exchange.writing import arrow
from pgrecall.types import Failure, FloatArray

#: Rows of a Parquet file that are in memory at a time.
ROWS = 512
#: Names of a field that holds a vector.
VECTORS = ("embedding", "vector", "values", "embeddings")
#: Fields of a response that hold its points, records or documents.
LISTS = ("points", "vectors", "matches", "documents")
#: The folder of Pinecone's default namespace.
DEFAULT = "__default__"


def dense(vector: Any) -> dict[str, Any]:
    """Those of a point's vectors that are one row of numbers, by name; "" is the name of one without.

    Sparse vectors of Qdrant are objects, multivectors rows of rows.
    """
    named = vector if isinstance(vector, dict) else {"": vector}
    return {name: one for name, one in named.items() if not _special(one)}


def _special(vector: Any) -> bool:
    if isinstance(vector, list):
        # Pinecone's records without a dense vector have an empty one.
        return not vector or isinstance(vector[0], list)
    return isinstance(vector, dict)


def read_records(path: Path) -> Iterator[Record | Failure]:
    """The rows of a file; a row that is none is a Failure that names it.

    Raises InvalidArgument for an unknown suffix, UnreadableSource for a file that is not what its suffix
    says, MissingExtra for Parquet.
    """
    readers = {
        ".npy": _numpy,
        ".jsonl": _lines,
        ".ndjson": _lines,
        ".json": _json,
        ".parquet": _parquet,
        ".csv": _csv,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidArgument(
            f"{path.name!r} is of no known kind: .npy (with a .jsonl beside it), .jsonl, .json, .parquet "
            "and .csv are."
        )
    if not path.is_file():
        raise UnreadableSource(f"There is no file {str(path)!r}.")
    return reader(path)


def _numpy(path: Path) -> Iterator[Record | Failure]:
    beside = path.with_suffix(".jsonl")
    if not beside.is_file():
        raise UnreadableSource(
            f"{path.name} needs {beside.name} beside it: a line for each vector."
        )
    try:
        vectors: FloatArray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as exc:
        raise UnreadableSource(f"{path.name} is no array of NumPy's: {exc}") from exc
    if vectors.ndim != 2:
        raise UnreadableSource(f"{path.name} has shape {vectors.shape}, not (rows, dimensions).")
    number = 0
    for number, row in enumerate(_lines(beside), 1):
        if number > len(vectors):
            raise UnreadableSource(
                f"{beside.name} has more lines than the {len(vectors):,} rows of {path.name}."
            )
        if isinstance(row, Record):
            row.fields["embedding"] = np.array(vectors[number - 1])
        yield row
    if number < len(vectors):
        raise UnreadableSource(
            f"{beside.name} has {number:,} lines, {path.name} has {len(vectors):,} rows."
        )


def _lines(path: Path) -> Iterator[Record | Failure]:
    # Not text mode: there, what is not UTF-8 would end the file instead of one row.
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield from _parsed(line, f"Row {number}", path.name)


def _json(path: Path) -> Iterator[Record | Failure]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as exc:
        raise UnreadableSource(f"{path.name} is not JSON: {exc}") from exc
    if isinstance(value, list):
        for number, item in enumerate(value, 1):
            yield from _unwrapped(item, f"Row {number}", path.name)
    else:
        yield from _unwrapped(value, "Row 1", path.name)


def _parsed(line: bytes, place: str, name: str) -> Iterator[Record | Failure]:
    try:
        value = json.loads(line)
    except ValueError as exc:
        yield Failure(uri=name, reason=f"{place} is not JSON: {exc}.")
        return
    yield from _unwrapped(value, place, name)


def _unwrapped(value: object, place: str, name: str) -> Iterator[Record | Failure]:
    """One record, or those of a response."""
    if not isinstance(value, dict):
        yield Failure(uri=name, reason=f"{place} is not a JSON object.")
        return
    result = value.get("result")
    inside: Any = result.get("points") if isinstance(result, dict) else result
    if inside is None and not any(isinstance(value.get(field), list) for field in VECTORS):
        inside = next((value[name] for name in LISTS if name in value), None)
    if isinstance(inside, dict):
        inside = [
            item if "_id" in item else {"id": key, **item}
            for key, item in inside.items()
            if isinstance(item, dict)
        ]
    if not isinstance(inside, list):
        yield Record(place, value)
        return
    namespace = _namespace(value.get("namespace"))
    for number, item in enumerate(inside, 1):
        within = f"{place}, point {number}"
        if isinstance(item, dict):
            yield Record(within, item | namespace)
        else:
            yield Failure(uri=name, reason=f"{within} is not a JSON object.")


def _namespace(name: object) -> dict[str, object]:
    """That of Pinecone's records, as a field of theirs; the default one has no name."""
    return {} if name in (None, "", DEFAULT) else {"namespace": name}


def read_folder(folder: Path) -> Iterator[Record | Failure]:
    """The rows of the Parquet files in it and in its folders, which are namespaces: as Pinecone's bulk import
    wants them.

    Raises UnreadableSource if there is none, MissingExtra.
    """
    paths = sorted([*folder.glob("*.parquet"), *folder.glob("*/*.parquet")])
    if not paths:
        raise UnreadableSource(
            f"{str(folder)!r} is no folder of Chroma and has no Parquet files; name the file to read."
        )
    for path in paths:
        namespace = {} if path.parent == folder else _namespace(path.parent.name)
        for row in _parquet(path):
            yield Record(f"{path.relative_to(folder)}, {row.place}", row.fields | namespace)


def _csv(path: Path) -> Iterator[Record | Failure]:
    # A document's text is one field.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            for number, row in enumerate(rows, 1):
                yield _csv_row(row, f"Row {number}", path.name)
        except (csv.Error, UnicodeDecodeError) as exc:
            raise UnreadableSource(f"{path.name} is no CSV in UTF-8: {exc}") from exc


def _csv_row(row: dict[Any, Any], place: str, name: str) -> Record | Failure:
    if None in row or None in row.values():
        return Failure(uri=name, reason=f"{place} has not as many fields as the file has columns.")
    fields: dict[str, Any] = {key: value if value != "" else None for key, value in row.items()}
    for key in VECTORS:
        if isinstance(fields.get(key), str):
            try:
                fields[key] = json.loads(fields[key])
            except ValueError:
                reason = f"{place}: the field {key} is not of the form [0.1,0.2]."
                return Failure(uri=name, reason=reason)
    return Record(place, fields)


def _parquet(path: Path) -> Iterator[Record]:
    pa, parquet = arrow()
    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=ROWS):
                lists = [f.name for f in batch.schema if _is_vector(pa, f.type)]
                rows = batch.drop_columns(lists).to_pylist() if lists else batch.to_pylist()
                for place, row in enumerate(rows):
                    for name in lists:
                        scalar = batch.column(name)[place]
                        row[name] = (
                            scalar.values.to_numpy(zero_copy_only=False)
                            if scalar.is_valid
                            else None
                        )
                    number += 1
                    yield Record(f"Row {number}", row)
    except pa.ArrowInvalid as exc:
        raise UnreadableSource(f"{path.name} is no Parquet file: {exc}") from exc


def _is_vector(pa: Any, kind: Any) -> bool:
    """Lists of floats are taken as arrays, without a Python object for each number."""
    types = pa.types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and types.is_floating(kind.value_type))
