"""A process that cuts texts for another one: what it does, and what passes between the two.

Cutting holds the interpreter's lock, and so do embedding by the static model and writing rows; side by side in
threads they have one core between them. What passes is pickled: it comes from our own code, on both ends.
"""

from __future__ import annotations

import os
import queue
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from threading import Thread

import numpy as np

from pgrecall.chunking import ChunkConfig, split
from pgrecall.store.identity import chunk_hash
from pgrecall.tokens import open_tokenizer
from pgrecall.types import Chunk, Markup

#: Seconds without work after which the process ends.
IDLE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A text, and how ``chunking.split`` is to cut it."""

    text: str
    tokenizer: str
    config: ChunkConfig = field(default_factory=ChunkConfig)
    markup: Markup = "plain"
    title: str | None = None
    token_ids: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """Chunks without their contents, which the other process has; None where cutting raised."""

    #: (start, end, headings, header, tokens, token ids as int32)
    pieces: list[tuple[int, int, tuple[str, ...], str, int, bytes | None]]
    hashes: list[bytes]

    def chunks(self, text: str) -> list[Chunk]:
        """The chunks of this text."""
        return [
            Chunk(
                ordinal=ordinal,
                start=start,
                end=end,
                content=text[start:end],
                headings=headings,
                header=header,
                tokens=tokens,
                token_ids=None if ids is None else np.frombuffer(ids, np.int32),
            )
            for ordinal, (start, end, headings, header, tokens, ids) in enumerate(self.pieces)
        ]


def cut(task: Task) -> Cut:
    """Cut one text."""
    chunks = split(
        task.text,
        task.config,
        tokenizer=open_tokenizer(task.tokenizer),
        markup=task.markup,
        title=task.title,
        token_ids=task.token_ids,
    )
    pieces = [
        (
            chunk.start,
            chunk.end,
            chunk.headings,
            chunk.header,
            chunk.tokens,
            None if chunk.token_ids is None else chunk.token_ids.tobytes(),
        )
        for chunk in chunks
    ]
    return Cut(pieces, [chunk_hash(chunk) for chunk in chunks])


def main(descriptor: int) -> None:
    """Cut the texts that come in, until none comes or the other process has gone."""
    link: Connection[Cut | None, Task] = Connection(descriptor)
    tasks: queue.Queue[Task] = queue.Queue()
    Thread(target=_receive, args=(link, tasks), daemon=True).start()
    while True:
        try:
            task = tasks.get(timeout=IDLE)
        except queue.Empty:
            os._exit(0)
        try:
            done = cut(task)
        except Exception:
            # The other process tries it, and has the error where it can be told.
            done = None
        link.send(done)


def _receive(link: Connection[Cut | None, Task], tasks: queue.Queue[Task]) -> None:
    """Take what comes at once: who sends must never wait for who sends an answer."""
    try:
        while True:
            tasks.put(link.recv())
    except EOFError:
        os._exit(0)
    finally:
        os._exit(1)
