"""One database for all pages, so that a block finds what the blocks before it made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import CreateDatabase
from tests.openai_server import OpenAIServer


@pytest.fixture(scope="module")
def documented_url(create_database: CreateDatabase, template_database: str) -> Iterator[str]:
    with create_database(template_database) as url:
        yield url


@pytest.fixture(scope="module")
def answering_url() -> Iterator[str]:
    """A language model for the blocks that ask one."""
    with OpenAIServer() as server:
        server.answer = "The passages do not say [1]."
        yield server.url
