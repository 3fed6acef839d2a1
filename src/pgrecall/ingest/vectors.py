"""Vectors for chunks: those that are paid for already, else new ones, and none is ever paid for twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from pgrecall.embed.base import Embedder
from pgrecall.embed.steps import embed_documents
from pgrecall.errors import EmbeddingError, InvalidArgument
from pgrecall.flow import Flow
from pgrecall.store import reuse
from pgrecall.store.documents import LONG, Prepared
from pgrecall.store.vectors import encode_all, storable
from pgrecall.types import Chunk, FloatArray, IngestReport

#: Groups that are embedded and not yet in the database: one that waits to be handed on, one between the
#: stages, two that are being written.
UNDER_WAY = 4


class Vectors:
    """What one run asks an embedder for."""

    def __init__(self, embedder: Embedder, report: IngestReport) -> None:
        self._embedder = embedder
        self._report = report
        self._recent: deque[dict[bytes, bytes]] = deque(maxlen=UNDER_WAY)

    def complete(self, prepared: Sequence[Prepared]) -> Flow[None]:
        """Give each chunk of these documents its vector; those of a long document wait in the database.

        Raises EmbeddingError and InvalidArgument; what was answered before that is kept.
        """
        for item in prepared:
            if len(item.chunks) > LONG:
                yield from self._complete_long(item)
        short = [item for item in prepared if len(item.chunks) <= LONG]
        texts = {
            key: piece
            for item in short
            for key, piece in zip(item.hashes, item.chunks, strict=True)
        }
        vectors = self._under_way(texts)
        unknown = {key: piece for key, piece in texts.items() if key not in vectors}
        found = yield from reuse.stored(self._model, unknown)
        vectors |= found.vectors
        fresh = yield from self._embed(texts, vectors)
        self._recent.append(fresh)
        vectors |= fresh
        for item in short:
            item.vectors = [vectors[key] for key in item.hashes]
            item.waiting = found.kept & set(item.hashes)

    def keep(self, item: Prepared) -> Flow[None]:
        """The document could not be written: its vectors wait for the next attempt."""
        yield from reuse.keep(self._model, dict(zip(item.hashes, item.vectors, strict=False)))

    @property
    def _model(self) -> reuse.Model:
        return reuse.Model(self._embedder.name, self._embedder.dimensions)

    def _complete_long(self, item: Prepared) -> Flow[None]:
        """A part at a time, each kept as soon as it is there: a run that is killed pays for one part again."""
        for part in reuse.slices(len(item.chunks), LONG):
            texts = dict(zip(item.hashes[part], item.chunks[part], strict=True))
            found = yield from reuse.stored(self._model, texts)
            fresh = yield from self._embed(texts, found.vectors)
            # Those of the old version are kept too: it goes before the new one is written.
            waiting = {k: v for k, v in found.vectors.items() if k not in found.kept}
            yield from reuse.keep(self._model, waiting | fresh)

    def _under_way(self, texts: Mapping[bytes, Chunk]) -> dict[bytes, bytes]:
        return {key: known[key] for known in self._recent for key in texts.keys() & known.keys()}

    def _embed(
        self, texts: Mapping[bytes, Chunk], known: Mapping[bytes, bytes]
    ) -> Flow[dict[bytes, bytes]]:
        """New vectors for what is not known, in wire format."""
        missing = [key for key in texts if key not in known]
        asked = [texts[key].embedded_text for key in missing]
        try:
            vectors = yield from embed_documents(self._embedder, asked)
        except EmbeddingError as exc:
            yield from self._rescue(missing, texts, exc.answered)
            raise
        try:
            fresh = dict(zip(missing, encode_all(vectors), strict=True))
        except InvalidArgument:
            yield from self._rescue(missing, texts, dict(enumerate(vectors)))
            raise
        self._count(texts, fresh)
        return fresh

    def _rescue(
        self, missing: list[bytes], texts: Mapping[bytes, Chunk], answered: Mapping[int, FloatArray]
    ) -> Flow[None]:
        """Keep what was answered before a request failed, or beside a vector that cannot be stored."""
        good = {place: row for place, row in answered.items() if storable(row)}
        rescued = {missing[place]: encode_all(row[None])[0] for place, row in good.items()}
        yield from reuse.keep(self._model, rescued)
        self._count(texts, rescued)

    def _count(self, texts: Mapping[bytes, Chunk], fresh: Mapping[bytes, bytes]) -> None:
        self._report.embedded += len(fresh)
        self._report.tokens += sum(texts[key].tokens for key in fresh)
