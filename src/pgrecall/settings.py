"""Settings from the environment and from a file, read at the edges only: the CLI and ``connect``."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What PGRECALL_* variables, or a .env file in the working folder, say. Arguments win over both."""

    model_config = SettingsConfigDict(env_prefix="PGRECALL_", env_file=".env", extra="ignore")

    #: PGRECALL_DATABASE_URL: a Postgres of the user's own. None: the embedded one.
    database_url: str | None = None
    #: PGRECALL_HOME: where the embedded Postgres keeps its data. None: the user's data folder.
    home: Path | None = None
    #: PGRECALL_COLLECTION: the collection that commands use when none is named.
    collection: str = "default"
    #: PGRECALL_EMBEDDER: the embedder of collections that are created without one.
    embedder: str = "static"
    #: PGRECALL_POOL_SIZE: connections that one process opens at most.
    pool_size: int = Field(default=8, ge=2)
    #: PGRECALL_PREPARE: keep prepared statements. False behind a pooler that cannot (PgBouncer before 1.21
    #: in transaction mode).
    prepare: bool = True
    #: PGRECALL_LLM_MODEL: the language model that answers questions.
    llm_model: str | None = None
    #: PGRECALL_LLM_BASE_URL, else OPENAI_BASE_URL: where it is served. None: by OpenAI.
    llm_base_url: str | None = Field(
        default=None, validation_alias=AliasChoices("PGRECALL_LLM_BASE_URL", "OPENAI_BASE_URL")
    )
    #: PGRECALL_LLM_API_KEY, else OPENAI_API_KEY.
    llm_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("PGRECALL_LLM_API_KEY", "OPENAI_API_KEY")
    )
