"""Files of documents with their vectors: NumPy beside JSON lines, Parquet, CSV. One page is in memory."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO

import numpy as np

from pgrecall.errors import InvalidArgument, MissingExtra
from pgrecall.exchange.documents import EmbeddedDocument
from pgrecall.exchange.records import FIELDS, records

#: What a file is called until it is whole.
PART = ".part"


class Writer(Protocol):
    """Takes documents, page by page. Nothing has the final name before ``finish``."""

    def write(self, documents: Sequence[EmbeddedDocument]) -> None:
        """Append them."""

    def finish(self) -> list[Path]:
        """Close the files and give them their names."""

    def abandon(self) -> None:
        """Close and remove what was written."""


def open_writer(path: Path, dimensions: int) -> Writer:
    """A writer by the suffix: .npy (with a .jsonl beside it), .parquet, .csv.

    Raises InvalidArgument for another suffix or a folder that is not there, MissingExtra for Parquet.
    """
    writers: dict[str, Callable[[Path, int], Writer]] = {
        ".npy": NumpyWriter,
        ".parquet": ParquetWriter,
        ".csv": CsvWriter,
    }
    if path.suffix.lower() not in writers:
        raise InvalidArgument(
            f"{path.name!r} says no format: name a file .npy (vectors, with the rest in a .jsonl beside it), "
            ".parquet or .csv."
        )
    if not path.parent.is_dir():
        raise InvalidArgument(
            f"There is no folder {str(path.parent)!r} to write into; make it first."
        )
    return writers[path.suffix.lower()](path, dimensions)


class _Files:
    """Files that get their names when they are whole."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths

    def part(self, number: int = 0) -> Path:
        path = self.paths[number]
        return path.with_name(path.name + PART)

    def publish(self) -> list[Path]:
        for number, path in enumerate(self.paths):
            os.replace(self.part(number), path)
        return list(self.paths)

    def remove(self) -> None:
        for number in range(len(self.paths)):
            self.part(number).unlink(missing_ok=True)


class NumpyWriter:
    """``NAME.npy``: float32, shape (chunks, dimensions); ``NAME.jsonl``: a line for each of its rows."""

    def __init__(self, path: Path, dimensions: int) -> None:
        self._files = _Files(path, path.with_suffix(".jsonl"))
        self._dimensions = dimensions
        self._rows = 0
        self._vectors: BinaryIO = self._files.part().open("wb")
        self._lines: TextIO = self._files.part(1).open("w", encoding="utf-8", newline="\n")
        self._header()

    def _header(self) -> None:
        # NumPy leaves room for the first length to grow, so the header can be written anew at the end.
        np.lib.format.write_array_header_1_0(
            self._vectors,
            {"descr": "<f4", "fortran_order": False, "shape": (self._rows, self._dimensions)},
        )

    def write(self, documents: Sequence[EmbeddedDocument]) -> None:
        """Append them."""
        for document in documents:
            for record in records(document):
                vector = np.asarray(record.pop("embedding"), dtype="<f4")
                self._vectors.write(vector.tobytes())
                self._lines.write(json.dumps(record, ensure_ascii=False) + "\n")
                self._rows += 1

    def finish(self) -> list[Path]:
        """Close the files and give them their names."""
        self._vectors.seek(0)
        self._header()
        self._vectors.close()
        self._lines.close()
        return self._files.publish()

    def abandon(self) -> None:
        """Close and remove what was written."""
        self._vectors.close()
        self._lines.close()
        self._files.remove()


class CsvWriter:
    """A row for each chunk; the vector as pgvector writes it: ``[0.1,0.2]``."""

    def __init__(self, path: Path, dimensions: int) -> None:
        self._files = _Files(path)
        self._file = self._files.part().open("w", encoding="utf-8", newline="")
        self._csv = csv.DictWriter(self._file, [*FIELDS, "embedding"])
        self._csv.writeheader()

    def write(self, documents: Sequence[EmbeddedDocument]) -> None:
        """Append them."""
        for document in documents:
            for record in records(document):
                vector = np.asarray(record["embedding"], dtype=np.float32)
                # As text, a float32 has the fewest digits that tell it from all others.
                record["embedding"] = f"[{','.join(map(str, vector))}]"
                self._csv.writerow(record)

    def finish(self) -> list[Path]:
        """Close the file and give it its name."""
        self._file.close()
        return self._files.publish()

    def abandon(self) -> None:
        """Close and remove what was written."""
        self._file.close()
        self._files.remove()


class ParquetWriter:
    """A row for each chunk; the vector as a list of float32."""

    def __init__(self, path: Path, dimensions: int) -> None:
        self._arrow, parquet = arrow()
        pa = self._arrow
        whole = {"ordinal", "start", "end", "tokens"}
        self._schema = pa.schema(
            [
                *((name, pa.int32() if name in whole else pa.string()) for name in FIELDS),
                ("embedding", pa.list_(pa.float32())),
            ]
        )
        self._files = _Files(path)
        self._file = self._files.part().open("wb")
        self._parquet = parquet.ParquetWriter(self._file, self._schema, compression="zstd")

    def write(self, documents: Sequence[EmbeddedDocument]) -> None:
        """Append them, as one row group."""
        rows = [record for document in documents for record in records(document)]
        if rows:
            self._parquet.write_table(self._arrow.Table.from_pylist(rows, self._schema))

    def finish(self) -> list[Path]:
        """Close the file and give it its name."""
        self._parquet.close()
        self._file.close()
        return self._files.publish()

    def abandon(self) -> None:
        """Close and remove what was written."""
        self._parquet.close()
        self._file.close()
        self._files.remove()


def arrow() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet; raises MissingExtra."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as exc:
        raise MissingExtra("Parquet", "parquet") from exc
    return pyarrow, pyarrow.parquet
