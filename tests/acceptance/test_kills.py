"""Kills at random moments, a few; ``python -m tests.acceptance.kills 100`` is the long run."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.kills import storm

KILLS = 8


def test_whatever_is_killed_documents_are_whole(fast_tmp_path: Path, tmp_path: Path) -> None:
    arena = storm(fast_tmp_path / "home", tmp_path / "tree", kills=KILLS, seed=4)
    assert sum(arena.kills.values()) == KILLS
    assert len(arena.kills) > 2
    assert arena.answers > KILLS
