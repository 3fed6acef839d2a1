"""Vectors for chunks: those that are paid for already, else new ones, and none is ever paid for twice."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pgrecall.embed.base import Embedder
from pgrecall.embed.outcome import answered_before
from pgrecall.embed.steps import embed_documents, embed_images
from pgrecall.errors import EmbeddingError, InvalidArgument
from pgrecall.flow import Flow
from pgrecall.ingest.flights import Flight, Subject, brought, landed, near, shared
from pgrecall.store import reuse
from pgrecall.store.prepared import LONG, Prepared
from pgrecall.store.vectors import encode_all, storable
from pgrecall.store.whereabouts import whereabouts
from pgrecall.types import Chunk, FloatArray


@dataclass(slots=True)
class Known:
    """Which texts of some documents need not be paid for, by chunk hash."""

    #: In pgvector's wire format; those of long documents stay in the database.
    vectors: dict[bytes, bytes] = field(default_factory=dict)
    #: Those of them that wait in ``paid_vectors``.
    kept: set[bytes] = field(default_factory=set)
    #: What is known besides.
    elsewhere: list[Container[bytes]] = field(default_factory=list)
    #: What brings some of the rest, or has brought some of them. Held, so that nothing is missed that
    #: somebody stores after it was looked for.
    flights: list[Flight] = field(default_factory=list)

    def __contains__(self, key: object) -> bool:
        return key in self.vectors or any(key in others for others in self.elsewhere)


class Vectors:
    """What one run asks an embedder for, or finds that it need not.

    ``paid(chunks, tokens)`` counts what was embedded; ``asked(keys)`` is told of the texts that were sent: not
    of those that the embedder refused before, nor of those that another run or job of this process asked for.
    """

    def __init__(
        self,
        embedder: Embedder,
        model: reuse.Model,
        paid: Callable[[int, int], None],
        asked: Callable[[Iterable[bytes]], None],
    ) -> None:
        self._embedder = embedder
        self._model = model
        self._paid = paid
        self._asked = asked
        self._found: Subject | None = None

    def known(self, group: Sequence[Prepared], *, long: bool) -> Flow[Known]:
        """What is stored of the documents' texts, or was embedded in this process a moment ago.

        Long documents are looked through only if ``long``: for who has to know the price beforehand.
        """
        keys = {key for item in group if len(item.chunks) <= LONG for key in item.hashes}
        # In this order: what is not under way any more is stored.
        flights = near((yield from self._subject()), keys)
        found = yield from reuse.stored(self._model, keys)
        known = Known(brought(flights, keys) | found.vectors, found.kept, flights=flights)
        for item in group if long else ():
            if len(item.chunks) > LONG:
                known.elsewhere.append((yield from self._known_long(item)))
        return known

    def _known_long(self, item: Prepared) -> Flow[set[bytes]]:
        keys: set[bytes] = set()
        for part in reuse.slices(len(item.chunks), LONG):
            keys |= (yield from reuse.stored(self._model, set(item.hashes[part]))).vectors.keys()
        return keys

    def complete(self, group: Sequence[Prepared], known: Known) -> Flow[None]:
        """Give each chunk of these documents its vector; those of a long document wait in the database.

        Raises EmbeddingError and InvalidArgument; what was answered before that is kept.
        """
        for item in group:
            if len(item.chunks) > LONG:
                yield from self._complete_long(item)
        short = [item for item in group if len(item.chunks) <= LONG]
        texts = {
            key: piece
            for item in short
            for key, piece in zip(item.hashes, item.chunks, strict=True)
            if item.document.media is None
        }
        flights = yield from self._embed(texts, known.vectors)
        flights += yield from self._see(short, known.vectors)
        keys = {key for item in short for key in item.hashes}
        fresh = brought([*known.flights, *flights], keys)
        vectors = known.vectors | fresh
        held = landed((yield from self._subject()), fresh)
        for item in short:
            item.vectors = [vectors[key] for key in item.hashes]
            item.waiting = known.kept & set(item.hashes)
            item.held = held

    def keep(self, item: Prepared) -> Flow[None]:
        """The document could not be written: its vectors wait for the next attempt."""
        vectors = dict(zip(item.hashes, item.vectors, strict=False))
        lacking = vectors.keys() - item.waiting
        yield from reuse.keep(self._model, {key: vectors[key] for key in lacking})

    def _complete_long(self, item: Prepared) -> Flow[None]:
        """A part at a time, each kept as soon as it is there: a run that is killed pays for one part again."""
        for part in reuse.slices(len(item.chunks), LONG):
            texts = dict(zip(item.hashes[part], item.chunks[part], strict=True))
            # Held until they are kept: what is not under way any more is stored.
            flights = near((yield from self._subject()), texts)
            found = yield from reuse.stored(self._model, texts)
            flights += yield from self._embed(texts, found.vectors)
            fresh = brought(flights, texts.keys() - found.vectors.keys())
            # Those of the old version are kept too: it goes before the new one is written.
            waiting = {k: v for k, v in found.vectors.items() if k not in found.kept}
            yield from reuse.keep(self._model, waiting | fresh)

    def _subject(self) -> Flow[Subject]:
        if self._found is None:
            self._found = (yield from whereabouts()), self._model
        return self._found

    def _embed(self, texts: Mapping[bytes, Chunk], known: Container[bytes]) -> Flow[list[Flight]]:
        """What brings new vectors for the texts that are not known."""
        missing = {key: piece for key, piece in texts.items() if key not in known}
        own, others = yield from shared((yield from self._subject()), missing, self._ask)
        return own + others

    def _ask(self, flight: Flight, texts: Mapping[bytes, Chunk]) -> Flow[None]:
        tokens = sum(piece.tokens for piece in texts.values())
        asked = [piece.embedded_text for piece in texts.values()]
        sent = True
        try:
            ids = [piece.token_ids for piece in texts.values()]
            vectors = yield from embed_documents(self._embedder, asked, tokens=tokens, ids=ids)
        except (EmbeddingError, CancelledError) as exc:
            yield from self._rescue(flight, texts, answered_before(exc))
            raise
        except InvalidArgument:
            sent = False
            raise
        finally:
            if sent:
                self._asked(texts)
        try:
            fresh = dict(zip(texts, encode_all(vectors, self._model.element), strict=True))
        except InvalidArgument:
            yield from self._rescue(flight, texts, dict(enumerate(vectors)))
            raise
        flight.land(fresh)
        self._count(texts, fresh)

    def _see(self, group: Sequence[Prepared], known: Container[bytes]) -> Flow[list[Flight]]:
        """The same for those of the documents that are pictures; they have no tokens."""
        missing = {
            item.hashes[0]: item.document.media
            for item in group
            if item.document.media is not None and item.hashes[0] not in known
        }
        own, others = yield from shared((yield from self._subject()), missing, self._show)
        return own + others

    def _show(self, flight: Flight, pictures: Mapping[bytes, bytes]) -> Flow[None]:
        vectors = yield from embed_images(self._embedder, [*pictures.values()])
        flight.land(dict(zip(pictures, encode_all(vectors, self._model.element), strict=True)))
        self._paid(len(pictures), 0)

    def _rescue(
        self, flight: Flight, texts: Mapping[bytes, Chunk], answered: Mapping[int, FloatArray]
    ) -> Flow[None]:
        """Keep what was answered before a request failed, or beside a vector that cannot be stored."""
        keys = list(texts)
        good = {place: row for place, row in answered.items() if storable(row, self._model.element)}
        rescued = {
            keys[place]: encode_all(row[None], self._model.element)[0]
            for place, row in good.items()
        }
        flight.land(rescued)
        yield from reuse.keep(self._model, rescued)
        self._count(texts, rescued)

    def _count(self, texts: Mapping[bytes, Chunk], fresh: Mapping[bytes, bytes]) -> None:
        if fresh:
            self._paid(len(fresh), sum(texts[key].tokens for key in fresh))
