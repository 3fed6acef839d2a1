"""One database for all pages, so that a block finds what the blocks before it made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import CreateDatabase


@pytest.fixture(scope="module")
def documented_url(create_database: CreateDatabase, template_database: str) -> Iterator[str]:
    with create_database(template_database) as url:
        yield url
