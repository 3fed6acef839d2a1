"""Everything that pgrecall raises on purpose.

    PgrecallError
     ├── InvalidArgument (ValueError)      a value that was given cannot be used
     │    └── FilterError                  a ``where`` that cannot be understood
     ├── MissingExtra (ImportError)        an optional package is needed
     ├── DatabaseError
     │    ├── DatabaseUnavailable          no server answers
     │    ├── ExtensionMissing             the database has no pgvector, or not the extension asked for
     │    ├── ExtensionTooOld              its pgvector is older than 0.8
     │    ├── SchemaMissing                the tables are not there yet
     │    └── SchemaOutdated               the tables are older than this package
     ├── EmbeddedServerError               the embedded Postgres cannot run
     ├── CollectionNotFound (LookupError)
     ├── CollectionExists
     ├── DocumentNotFound (LookupError)
     ├── GenerationNotFound (LookupError)
     ├── GenerationIncomplete             it lacks documents, and is not activated
     ├── GenerationChanged                 another process switched the generation
     ├── EmbeddingError                    a provider failed, or answered nonsense
     │    └── CredentialsMissing           no API key
     ├── RerankingError                    a reranker failed; a search goes on without it
     ├── LanguageModelError                a model failed, refused, or broke off
     │    └── LanguageModelUnset           no model is named, or there is no key for it
     └── UnreadableSource                  a file or stream that cannot be loaded

One class per remedy. A class's docstring is its default message: one sentence that says what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: float32 embeddings by position, each of shape (dimensions,).
Vectors: TypeAlias = "Mapping[int, npt.NDArray[np.float32]]"


class PgrecallError(Exception):
    """pgrecall could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((self.__doc__ or type(self).__name__).split()))


class InvalidArgument(PgrecallError, ValueError):
    """A value that was given cannot be used."""


class FilterError(InvalidArgument):
    """The filter cannot be understood; see the operators listed in the documentation of search."""


class MissingExtra(PgrecallError, ImportError):
    """An optional package is missing."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional package: pip install 'pgrecall[{extra}]'")
        self.extra = extra


class DatabaseError(PgrecallError):
    """The database refused; its own message is the cause of this error."""


class DatabaseUnavailable(DatabaseError):
    """No Postgres answers at that address; check the URL and that the server runs."""


class ExtensionMissing(DatabaseError):
    """This database has no pgvector yet: `pgrecall db upgrade` runs CREATE EXTENSION vector in it."""


class ExtensionTooOld(DatabaseError):
    """pgvector 0.8 or newer is needed: install it on the server, then ALTER EXTENSION vector UPDATE."""


class SchemaMissing(DatabaseError):
    """This database has no pgrecall tables yet: run `pgrecall db upgrade`."""


class SchemaOutdated(DatabaseError):
    """The tables of this database are older than this pgrecall: run `pgrecall db upgrade`."""


class EmbeddedServerError(PgrecallError):
    """The embedded Postgres cannot run."""


class CollectionNotFound(PgrecallError, LookupError):
    """There is no collection of that name; `pgrecall collections` lists them."""


class CollectionExists(PgrecallError):
    """A collection of that name exists; pass exist_ok=True to use it as it is."""


class DocumentNotFound(PgrecallError, LookupError):
    """The collection has no document of that uri."""


class GenerationNotFound(PgrecallError, LookupError):
    """The collection has no such generation; `pgrecall reindex NAME --status` lists them."""


class GenerationIncomplete(PgrecallError):
    """The generation lacks documents; reindex again, or activate it without them (force)."""


class GenerationChanged(PgrecallError):
    """The collection switched to another generation while a query was on its way; ask again."""


class EmbeddingError(PgrecallError):
    """The embedder failed."""

    def __init__(self, message: str | None = None, *, answered: Vectors | None = None) -> None:
        super().__init__(message)
        #: What was answered all the same, by position in the texts: it is paid for, and kept.
        self.answered: Vectors = answered or {}
        #: Texts that are refused for a reason of their own, by position; empty where that is not known.
        self.refused: Mapping[int, PgrecallError] = {}


class CredentialsMissing(EmbeddingError):
    """The embedder needs an API key."""


class RerankingError(PgrecallError):
    """The reranker failed."""


class LanguageModelError(PgrecallError):
    """The language model failed."""


class LanguageModelUnset(LanguageModelError):
    """No language model is set: set PGRECALL_LLM_MODEL (e.g. gpt-4o-mini) and OPENAI_API_KEY, or for a server
    of your own PGRECALL_LLM_MODEL and PGRECALL_LLM_BASE_URL (e.g. http://localhost:11434/v1)."""


class UnreadableSource(PgrecallError):
    """The source cannot be read."""
