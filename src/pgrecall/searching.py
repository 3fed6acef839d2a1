"""What a collection can do to find: answer a question with passages, and tell what is like what."""

from __future__ import annotations

from typing import Unpack

from pgrecall import retrieve
from pgrecall.answer import Answer, AsyncAnswer, LanguageModel, language_model
from pgrecall.context import Context
from pgrecall.flow import Flow, run, run_async
from pgrecall.retrieve import Questions, SearchOptions, SimilarOptions
from pgrecall.store.session import AsyncSession, Session
from pgrecall.target import Target
from pgrecall.types import Document, Hit, Hits, Order


class _Search:
    """What both flavours prepare without asking the database."""

    _target: Target

    def _context(
        self,
        question: Questions,
        max_tokens: int,
        tokenizer: str,
        order: Order,
        options: SearchOptions,
    ) -> Flow[Context]:
        return retrieve.context(
            self._target,
            question,
            max_tokens=max_tokens,
            tokenizer=tokenizer,
            order=order,
            options=options,
        )


class Searching(_Search):
    """The part of ``Collection`` that finds."""

    _session: Session

    def search(self, question: Questions, **options: Unpack[SearchOptions]) -> Hits:
        """The chunks that answer best, best first; keywords as in ``SearchOptions``.

        A list of questions is searched at once, and their hits become one list.

        Raises FilterError, InvalidArgument, EmbeddingError.
        """
        return run(retrieve.search(self._target, question, options), self._session)

    def context(
        self,
        question: Questions,
        *,
        max_tokens: int = 3000,
        tokenizer: str = "cl100k_base",
        order: Order = "best_first",
        **options: Unpack[SearchOptions],
    ) -> Context:
        """The best passages in at most ``max_tokens`` tokens of ``tokenizer``, with citations.

        ``tokenizer`` is the name of the model that will read them ("gpt-4o") or of an encoding. With
        ``order="best_last"`` the best document stands last, for models that read the end best.
        """
        flow = self._context(question, max_tokens, tokenizer, order, options)
        return run(flow, self._session)

    def ask(
        self,
        question: str,
        *,
        model: str | LanguageModel | None = None,
        max_tokens: int = 3000,
        order: Order = "best_first",
        **options: Unpack[SearchOptions],
    ) -> Answer:
        """Let a language model answer from a context of ``max_tokens``; iterate over what it says.

        ``model`` is a name or a LanguageModel; without it PGRECALL_LLM_MODEL names one. Afterwards
        ``answer.verify()`` holds its markers and quotes against the passages. Raises LanguageModelUnset,
        which says what to set, MissingExtra, and what ``search`` raises.
        """
        chosen = _model(model)
        flow = self._context(question, max_tokens, chosen.tokenizer, order, options)
        return Answer(run(flow, self._session), question, chosen)

    def similar(self, to: Hit | Document | str, **options: Unpack[SimilarOptions]) -> Hits:
        """The chunks of other documents most like a hit, or like a document (or its uri) as a whole.

        Raises DocumentNotFound if there is no such document.
        """
        return run(retrieve.similar(self._target, to, options), self._session)


class AsyncSearching(_Search):
    """As ``Searching``, awaited."""

    _session: AsyncSession

    async def search(self, question: Questions, **options: Unpack[SearchOptions]) -> Hits:
        """As ``Collection.search``."""
        return await run_async(retrieve.search(self._target, question, options), self._session)

    async def context(
        self,
        question: Questions,
        *,
        max_tokens: int = 3000,
        tokenizer: str = "cl100k_base",
        order: Order = "best_first",
        **options: Unpack[SearchOptions],
    ) -> Context:
        """As ``Collection.context``."""
        flow = self._context(question, max_tokens, tokenizer, order, options)
        return await run_async(flow, self._session)

    async def ask(
        self,
        question: str,
        *,
        model: str | LanguageModel | None = None,
        max_tokens: int = 3000,
        order: Order = "best_first",
        **options: Unpack[SearchOptions],
    ) -> AsyncAnswer:
        """As ``Collection.ask``."""
        chosen = _model(model)
        flow = self._context(question, max_tokens, chosen.tokenizer, order, options)
        return AsyncAnswer(await run_async(flow, self._session), question, chosen)

    async def similar(self, to: Hit | Document | str, **options: Unpack[SimilarOptions]) -> Hits:
        """As ``Collection.similar``."""
        return await run_async(retrieve.similar(self._target, to, options), self._session)


def _model(given: str | LanguageModel | None) -> LanguageModel:
    return given if isinstance(given, LanguageModel) else language_model(given)
