"""Documents cut into chunks, each of them named by the hash of what will be embedded."""

from __future__ import annotations

from pgrecall import errors
from pgrecall.chunking import split, split_parts
from pgrecall.embed.base import TakesTokenIds
from pgrecall.ingest.job import Ingestion, Lane
from pgrecall.longtext import LongDocument, Spooled
from pgrecall.store import identity
from pgrecall.store.prepared import Prepared
from pgrecall.types import Chunk

#: Characters of the longest document whose token ids are kept from chunking to embedding.
TRACED = 1_000_000


def chunk(job: Ingestion, prepared: Prepared) -> None:
    """Cut a document into chunks and name each by the hash of what will be embedded."""
    cut(job.lane, prepared)
    job.report.cut += len(prepared.chunks)


def cut(lane: Lane, prepared: Prepared) -> None:
    """As ``chunk``, for a lane, and not counted."""
    document = prepared.document
    prepared.refused = None
    # It may have been cut, and embedded, for another generation.
    prepared.generation, prepared.vectors = lane.generation, []
    if document.media is not None:
        # Embedded as a picture: its text is for those who search by words.
        end = len(document.text)
        prepared.chunks = [Chunk(ordinal=0, start=0, end=end, content=document.text)]
        prepared.hashes = [identity.media_hash(document.media)]
        return
    if isinstance(document, LongDocument):
        try:
            prepared.chunks, prepared.hashes = _cut_long(lane, prepared, document)
        except errors.UnreadableSource as exc:
            prepared.chunks, prepared.hashes, prepared.refused = [], [], str(exc)
        return
    prepared.chunks = split(
        document.text,
        lane.chunking,
        tokenizer=lane.embedder.tokenizer,
        markup=prepared.markup,
        title=prepared.embedded_title,
        # Those of a very long document would take as much memory as its text.
        token_ids=isinstance(lane.embedder, TakesTokenIds) and len(document.text) <= TRACED,
    )
    prepared.hashes = [identity.chunk_hash(piece) for piece in prepared.chunks]


def _cut_long(
    lane: Lane, prepared: Prepared, document: LongDocument
) -> tuple[Spooled[Chunk], Spooled[bytes]]:
    """As the others are, a window of the text in memory at a time. Raises UnreadableSource."""
    chunks, hashes = Spooled[Chunk](), Spooled[bytes]()
    for piece in split_parts(
        document.long.parts(),
        lane.chunking,
        tokenizer=lane.embedder.tokenizer,
        markup=prepared.markup,
        title=prepared.embedded_title,
    ):
        chunks.append(piece)
        hashes.append(identity.chunk_hash(piece))
    return chunks, hashes
