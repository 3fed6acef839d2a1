"""What models are compared on, and the documents that this is done with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pgrecall.chunking import ChunkConfig
from pgrecall.embed import Embedder
from pgrecall.errors import InvalidArgument
from pgrecall.evaluate.questions import JudgedQuestion
from pgrecall.flow import Flow
from pgrecall.load import read
from pgrecall.store import filling, throwaway
from pgrecall.store.collections import Generation
from pgrecall.types import Document, Failure

logger = logging.getLogger(__name__)

#: Called with the model, how many documents it has done, and how many there are.
Progress: TypeAlias = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What models are compared on."""

    embedders: Sequence[str | Embedder]
    #: With ``relevant`` where that is known. Empty: pieces of the texts.
    questions: Sequence[JudgedQuestion] = ()
    #: Documents at most; all that have judgements are among them.
    sample: int = 1000
    #: Hits of each question.
    k: int = 10
    #: "vector" compares the models; "hybrid" what users get.
    mode: str = "vector"
    #: None: each model's usual.
    chunking: ChunkConfig | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if not self.embedders:
            raise InvalidArgument("Name at least one embedder to evaluate.")
        if self.sample < 1 or not 1 <= self.k <= 1000:
            raise InvalidArgument("The sample is at least 1 document, and k is 1 to 1,000.")
        if self.mode not in ("vector", "hybrid"):
            raise InvalidArgument(f'mode is "vector" or "hybrid", not {self.mode!r}.')

    @property
    def relevant(self) -> set[str]:
        """The documents that answer a question."""
        return {uri for q in self.questions for uri, grade in q.relevant.items() if grade > 0}


def stored_sample(generation: Generation, evaluation: Evaluation) -> Flow[list[Document]]:
    """Documents of a collection to compare models on."""
    keys = yield from throwaway.sample(generation, evaluation.relevant, evaluation.sample)
    found = yield from filling.stored(generation, keys)
    by_key = {item.key: item.document for item in found}
    return [by_key[key] for key in keys if key in by_key]


def read_sample(sources: Iterable[Any], evaluation: Evaluation) -> list[Document]:
    """Documents of files, folders or given ones: those with judgements, and the first of the others."""
    relevant = evaluation.relevant
    judged: list[Document] = []
    others: list[Document] = []
    for item in read(sources):
        if isinstance(item, Failure):
            logger.warning("%s is not in the sample: %s", item.uri, item.reason)
        elif item.uri in relevant:
            judged.append(item)
        elif len(others) < evaluation.sample:
            others.append(item)
        if not relevant and len(others) == evaluation.sample:
            break
    return judged + others[: max(0, evaluation.sample - len(judged))]
