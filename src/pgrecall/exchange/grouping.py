"""Pieces that belong to one document, found together again: they may stand anywhere in a source of any size.

They are put aside in a temporary SQLite file, so that memory holds one document at a time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pgrecall.exchange.columns import Piece, Taken, together
from pgrecall.exchange.documents import EmbeddedDocument
from pgrecall.types import Failure


def grouped(
    found: Iterable[Piece | Failure], key: str, order: str | None, taken: Taken
) -> Iterator[EmbeddedDocument | Failure]:
    """The documents that the metadata ``key`` names, their chunks by the number in ``order`` or as they came.

    A piece whose vector is no row of numbers, or that has no such key, is a Failure.
    """
    with TemporaryDirectory(prefix="pgrecall-") as folder:
        aside = sqlite3.connect(f"{folder}/pieces.sqlite", check_same_thread=False)
        try:
            aside.execute("PRAGMA journal_mode = OFF")
            aside.execute("PRAGMA synchronous = OFF")
            aside.execute(
                "CREATE TABLE pieces (uri TEXT, rank REAL, place TEXT, id TEXT, content TEXT,"
                " vector BLOB, metadata TEXT, tenant TEXT, UNIQUE (tenant, id))"
            )
            yield from _put_aside(aside, found, key, order)
            aside.execute("CREATE INDEX by_uri ON pieces (tenant, uri, rank)")
            rows = aside.execute(
                "SELECT tenant, uri, place, id, content, vector, metadata FROM pieces"
                " ORDER BY tenant, uri, rank, rowid"
            )
            for (_, uri), members in groupby(rows, key=lambda row: (row[0], str(row[1]))):
                yield _document(uri, [_piece(row) for row in members], taken)
        finally:
            aside.close()


def _put_aside(
    aside: sqlite3.Connection, found: Iterable[Piece | Failure], key: str, order: str | None
) -> Iterator[Failure]:
    for piece in found:
        if isinstance(piece, Failure):
            yield piece
            continue
        reason = _store(aside, piece, key, order)
        if reason is not None:
            yield Failure(uri=piece.id, reason=f"{piece.place} {reason}.")


def _store(aside: sqlite3.Connection, piece: Piece, key: str, order: str | None) -> str | None:
    uri = piece.metadata.get(key)
    if uri is None:
        return f"has no {key!r}, which was to name its document"
    try:
        vector = np.asarray(piece.vector, dtype=np.float32)
    except (TypeError, ValueError):
        return "has a vector that is not a row of numbers"
    if vector.ndim != 1:
        return "has a vector that is not a row of numbers"
    rank = piece.metadata.get(order) if order else None
    values: list[Any] = [
        str(uri),
        rank if isinstance(rank, int | float) else None,
        piece.place,
        piece.id,
        piece.content,
        vector.tobytes(),
        json.dumps(piece.metadata),
        piece.tenant,
    ]
    try:
        aside.execute("INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    except sqlite3.IntegrityError:
        return "has an id that an earlier one has; give each its own"
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no valid Unicode"
    return None


def _piece(row: tuple[Any, ...]) -> Piece:
    tenant, _, place, identity, content, blob, metadata = row
    vector = np.frombuffer(blob, dtype=np.float32)
    return Piece(place, identity, content, vector, json.loads(metadata), tenant)


def _document(uri: str, members: list[Piece], taken: Taken) -> EmbeddedDocument:
    """With the metadata that all its chunks have; ours are those of documents."""
    first = members[0].metadata
    shared = {
        name: value
        for name, value in first.items()
        if all(name in piece.metadata and piece.metadata[name] == value for piece in members)
    }
    for piece in members:
        for name in piece.metadata.keys() - shared.keys():
            taken.leave(name, "differs within a document")
    return together(uri, members, shared)
