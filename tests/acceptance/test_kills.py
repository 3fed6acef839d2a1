"""Kills at random moments. PGRECALL_KILLS=100 for the long run, PGRECALL_SEED for another one."""

from __future__ import annotations

import os
from pathlib import Path

from tests.acceptance.kills import Arena

KILLS = int(os.environ.get("PGRECALL_KILLS", "6"))
SEED = int(os.environ.get("PGRECALL_SEED", "4"))


def test_whatever_is_killed_documents_are_whole(fast_tmp_path: Path, tmp_path: Path) -> None:
    arena = Arena(fast_tmp_path / "home", tmp_path / "tree", seed=SEED)
    try:
        arena.finish()
        with arena.readers():
            for number in range(KILLS):
                way = arena.round()
                print(
                    number + 1, way, arena.answers, "answers", arena.refused, "refused", flush=True
                )
        arena.finish()
        arena.check()
    finally:
        arena.close()
    print(dict(arena.kills), "answers:", arena.answers, "refused:", arena.refused)
    assert sum(arena.kills.values()) == KILLS
    assert arena.answers > KILLS
