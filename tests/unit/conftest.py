"""Fixtures of the tests that need no database."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def one_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Reading all of them, which plain HTTP does not need, would be most of the time of a client's tests."""
    import certifi

    first, end, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----\n")
    (tmp_path / "one.pem").write_text(first + end)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "one.pem"))
