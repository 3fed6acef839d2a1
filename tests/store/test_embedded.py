"""The embedded server in normal use: by one process, by many, kept, stopped, looked at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import sqlalchemy

from pgrecall.store.embedded import (
    EmbeddedServer,
    default_home,
    keep,
    psql_command,
    status,
    stop,
)
from tests.embedded_users import answer, becomes, processes, users_of


def test_starts_joins_and_stops_when_the_last_hold_ends(new_home: Path) -> None:
    first = EmbeddedServer.start(new_home)
    second = EmbeddedServer.start(new_home)

    assert first.url == second.url
    first.release()
    assert answer(second.url)
    second.release()
    second.release()  # once more changes nothing

    assert processes(new_home) == []


def test_what_was_committed_is_there_at_the_next_start(home: Path) -> None:
    with EmbeddedServer.start(home) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with EmbeddedServer.start(home) as server:
        assert answer(server.url, "SELECT answer FROM kept") == 42


def test_the_url_serves_psycopg_and_sqlalchemy_whatever_libpq_variables_say(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "1", "PGHOST": "nowhere.invalid", "PGDATA": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    with EmbeddedServer.start(home) as server:
        assert answer(server.url, "SELECT current_database()::text") == "pgrecall"
        engine = sqlalchemy.create_engine(server.url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as connection:
            assert connection.scalar(sqlalchemy.text("SELECT '[1,2]'::vector <-> '[1,4]'")) == 2
        engine.dispose()


def test_a_home_with_odd_letters_in_its_path(new_home: Path) -> None:
    home = new_home / 'it\'s, 100% «ünï» + "x"'
    with EmbeddedServer.start(home) as server:
        assert answer(server.url)


def test_letters_of_all_scripts_are_letters(home: Path) -> None:
    with EmbeddedServer.start(home) as server:
        assert answer(server.url, "SELECT lower('ÀÉΣЖ')") == "àéσж"
        lexemes = answer(server.url, "SELECT to_tsvector('english', 'ÉCOLE МИР Żółw')::text")
        assert lexemes == "'école':1 'żółw':3 'мир':2"
        order = "SELECT string_agg(w, ' ' ORDER BY w) FROM unnest('{b,a,B,é}'::text[]) AS w"
        assert answer(server.url, order) == "B a b é"


def test_settings_of_the_caller_win_over_those_of_the_machine(home: Path) -> None:
    with EmbeddedServer.start(home, settings={"work_mem": "11MB"}) as server:
        assert answer(server.url, "SHOW work_mem") == "11MB"
        assert answer(server.url, "SHOW wal_level") == "minimal"
        assert answer(server.url, "SHOW fsync") == "on"


def test_four_processes_that_start_at_once_share_one_server(new_home: Path) -> None:
    with users_of(new_home, 4) as users:
        assert status(new_home).users == 4
        parents = {psutil.Process(pid).ppid() for pid in processes(new_home)}
        assert len(parents) == 2  # one postmaster, and the guardian above it
        for user in users:
            output, errors = user.communicate("")
            assert (output, errors, user.returncode) == ("", "", 0)

    assert processes(new_home) == []


def test_two_homes_side_by_side(home: Path) -> None:
    with EmbeddedServer.start(home) as one, EmbeddedServer.start(home / "two") as two:
        answer(one.url, "SELECT 1")
        with psycopg.connect(one.url) as connection:
            connection.execute("CREATE TABLE only_here ()")
        assert answer(two.url, "SELECT to_regclass('only_here')") is None


def test_a_forked_child_keeps_the_server_up(home: Path) -> None:
    server = EmbeddedServer.start(home)
    going, gone = os.pipe()
    child = os.fork()
    if not child:
        os.read(going, 1)
        os._exit(0)

    server.release()
    assert answer(server.url)
    os.write(gone, b"x")
    os.waitpid(child, 0)
    os.close(going)
    os.close(gone)

    assert becomes(lambda: processes(home) == [])


def test_interrupt_in_the_terminal_reaches_the_user_but_not_the_server(home: Path) -> None:
    with users_of(home, 1) as (starter,), EmbeddedServer.start(home) as server:
        os.killpg(starter.pid, signal.SIGINT)
        assert starter.wait(20) != 0
        assert answer(server.url)


def test_a_kept_server_outlives_its_users_until_it_is_stopped(home: Path) -> None:
    kept = keep(home)
    with EmbeddedServer.start(home) as server:
        assert server.url == kept.url
    assert (status(home).kept, status(home).pid) == (True, kept.pid)

    assert stop(home).running
    assert (status(home).running, status(home).kept) == (False, False)
    with EmbeddedServer.start(home):
        assert not status(home).kept


def test_stop_tells_how_many_users_lost_their_server(home: Path) -> None:
    server = EmbeddedServer.start(home)
    with psycopg.connect(server.url) as connection:
        assert stop(home).users == 1
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert processes(home) == []
    server.release()


def test_status_before_during_and_after(new_home: Path) -> None:
    before = status(new_home)
    assert (before.running, before.users, before.size, before.url) == (False, 0, 0, None)
    assert not new_home.exists()

    with EmbeddedServer.start(new_home) as server:
        during = status(new_home)
        assert during.pid in processes(new_home)
        assert (during.running, during.users, during.url) == (True, 1, server.url)
        assert during.version.startswith("18.")
        assert during.started_at is not None
        assert abs(time.time() - during.started_at.timestamp()) < 60

    after = status(new_home)
    assert (after.running, after.users, after.pid) == (False, 0, None)
    assert after.size > 10_000_000


def test_psql_opens_the_database(home: Path) -> None:
    with EmbeddedServer.start(home) as server:
        command = psql_command(server.url, ["--no-psqlrc", "-Atc", "SELECT 6 * 7"])
        assert subprocess.check_output(command, text=True) == "42\n"


def test_nothing_is_printed_and_nothing_is_logged(new_home: Path) -> None:
    program = f"""
import logging, sys
from pathlib import Path
logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
from pgrecall.store.embedded import EmbeddedServer, status
EmbeddedServer.start(Path({str(new_home)!r}))  # never released: leaving the interpreter does that
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True)
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 0)
    assert processes(new_home) == []


def test_the_default_home_is_the_variable_else_a_folder_of_this_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PGRECALL_HOME", "~/somewhere")
    assert default_home() == tmp_path / "somewhere"
    monkeypatch.delenv("PGRECALL_HOME")
    assert default_home().is_relative_to(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_home() == tmp_path / "data" / "pgrecall"
