"""A Chroma collection in a folder, read through Chroma itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pgrecall.errors import InvalidArgument, MissingExtra
from pgrecall.exchange.records import Record

#: What Chroma keeps in the folder of a PersistentClient.
SIGN = "chroma.sqlite3"
#: Rows that are fetched at a time.
ROWS = 512


def read_chroma(folder: Path, collection: str | None) -> Iterator[Record]:
    """The rows of a collection; None: of the only one.

    Raises MissingExtra, and InvalidArgument that lists the collections.
    """
    try:
        import chromadb
        from chromadb.config import Settings
    except ModuleNotFoundError as exc:
        raise MissingExtra("A Chroma collection", "chroma") from exc
    client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
    names = sorted(item.name for item in client.list_collections())
    if collection is None and len(names) == 1:
        collection = names[0]
    if collection not in names:
        raise InvalidArgument(
            "Say which collection of Chroma to read (--source-collection); there are: "
            f"{', '.join(names) or 'none'}."
        )
    # Without an embedding function: nothing is embedded, and its package need not be here.
    return _rows(client.get_collection(collection, embedding_function=None))


def _rows(collection: Any) -> Iterator[Record]:
    wanted = ["documents", "metadatas", "embeddings", "uris"]
    offset = 0
    while (page := collection.get(limit=ROWS, offset=offset, include=wanted))["ids"]:
        for number, identity in enumerate(page["ids"]):
            fields = {
                "id": identity,
                "document": _of(page["documents"], number),
                "metadata": _of(page["metadatas"], number),
                "embedding": _of(page["embeddings"], number),
                "chroma_uri": _of(page["uris"], number),
            }
            yield Record(f"Row {offset + number + 1}", fields)
        offset += len(page["ids"])


def _of(values: Any, number: int) -> Any:
    return None if values is None else values[number]
