"""The embedded server when processes are killed, and where it cannot run."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from pgrecall.errors import EmbeddedServerError
from pgrecall.store.embedded import EmbeddedServer, programs, psql_command, status, stop
from tests.embedded_users import answer, becomes, guardian, processes, users_of

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can arrange this")


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """The error says what is wrong and what to do, and nothing is left running."""
    with pytest.raises(EmbeddedServerError) as caught:
        yield
    for word in words:
        assert word in str(caught.value)


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own, if this machine lets us mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        unmount = ["umount", str(folder)]
        # The guardian holds the log until a moment after Postgres has gone.
        assert becomes(
            lambda: not subprocess.run(unmount, capture_output=True, check=False).returncode
        )


def may_run(program: str, user: int) -> bool:
    try:
        return not subprocess.run(
            [program, "-c", "import psycopg"], user=user, check=False
        ).returncode
    except PermissionError:
        return False


# Killed processes


def test_a_killed_user_takes_nobody_else_down(home: Path) -> None:
    with users_of(home, 2) as (starter, other), EmbeddedServer.start(home) as server:
        with psycopg.connect(server.url) as connection:
            for user in (starter, other):
                user.kill()
                user.wait()
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert becomes(lambda: status(home).users == 1)


def test_the_server_stops_when_its_only_user_is_killed(home: Path) -> None:
    with users_of(home, 1) as (user,):
        user.kill()
    assert becomes(lambda: processes(home) == [])


def test_the_last_user_stops_the_server_when_the_guardian_was_killed(home: Path) -> None:
    with EmbeddedServer.start(home):
        guardian(home).kill()
    assert processes(home) == []


def test_the_guardian_ends_with_its_server(home: Path) -> None:
    with EmbeddedServer.start(home):
        watching = guardian(home)
        stop(home)
        assert watching.wait(10) in (0, None)


def test_a_server_whose_home_is_deleted_stops(home: Path) -> None:
    with users_of(home, 1):
        shutil.rmtree(home)
    assert becomes(lambda: processes(home) == [])


def test_committed_rows_survive_a_kill_of_the_postmaster_during_writes(home: Path) -> None:
    server = EmbeddedServer.start(home)
    committed = 0
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE written (number int)")
        killer = threading.Timer(0.3, psutil.Process(status(home).pid).kill)
        killer.start()
        with suppress(psycopg.OperationalError):
            while True:
                connection.execute("INSERT INTO written VALUES (%s)", [committed + 1])
                committed += 1
        killer.join()

    with EmbeddedServer.start(home) as again, psycopg.connect(again.url) as connection:
        row = connection.execute("SELECT count(*), max(number) FROM written").fetchone()
    assert committed > 0
    # The last row may have been committed before its writer could be told so.
    assert row in {(committed, committed), (committed + 1, committed + 1)}
    server.release()
    assert processes(home) == []


def test_backends_that_outlive_their_postmaster_do_not_prevent_a_start(home: Path) -> None:
    server = EmbeddedServer.start(home)
    postmaster = psutil.Process(status(home).pid)
    with psycopg.connect(server.url) as connection:
        busy = psutil.Process(connection.info.backend_pid)
        busy.suspend()  # like a long computation: it does not notice that its parent has gone
        postmaster.kill()
        postmaster.wait(10)
        with EmbeddedServer.start(home) as again:
            assert answer(again.url)
            assert busy.pid not in processes(home)
    server.release()


def test_a_pid_file_that_names_another_process_is_not_believed(home: Path) -> None:
    with EmbeddedServer.start(home):
        file = home / "postgres-18" / "postmaster.pid"
        lines = file.read_text().splitlines()
    file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

    assert not status(home).running
    assert not stop(home).running  # and this process, which it names, is left alone
    with EmbeddedServer.start(home) as server:
        assert answer(server.url)


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
def test_a_start_that_is_killed_during_initdb_is_begun_anew(new_home: Path, delay: float) -> None:
    program = "import sys, pathlib; from pgrecall.store.embedded import EmbeddedServer;"
    program += "EmbeddedServer.start(pathlib.Path(sys.argv[1]))"
    starter = subprocess.Popen([sys.executable, "-c", program, str(new_home)])
    assert becomes((new_home / "initdb.tmp").exists)
    time.sleep(delay)
    starter.kill()
    starter.wait()

    with EmbeddedServer.start(new_home) as server:
        assert answer(server.url)
    assert not (new_home / "initdb.tmp").exists()


# Places


def test_a_path_too_long_for_a_socket(new_home: Path) -> None:
    home = new_home / ("deep" * 20) / ("deeper" * 20)
    with EmbeddedServer.start(home) as server, EmbeddedServer.start(home) as again:
        assert server.url == again.url
        assert answer(server.url)
        socket = status(home).socket
        assert socket is not None
        assert socket.stat().st_mode & 0o777 == 0o700


@as_root
def test_other_users_of_the_machine_cannot_connect(home: Path) -> None:
    with EmbeddedServer.start(home) as server:
        command = psql_command(server.url, ["-c", "SELECT 1"])
        done = subprocess.run(command, user="nobody", capture_output=True, text=True, check=False)
    assert "Permission denied" in done.stderr


@as_root
def test_two_processes_may_make_roots_deputy_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = programs.account()
    found = pwd.getpwnam
    looked: list[str] = []

    def not_at_first(name: str) -> pwd.struct_passwd:
        looked.append(name)
        if len(looked) == 1:
            raise KeyError(name)
        return found(name)

    monkeypatch.setattr(pwd, "getpwnam", not_at_first)
    assert programs.account() == made
    assert len(looked) == 2


@as_root
def test_an_ordinary_user_runs_it_without_help(tmp_path_factory: pytest.TempPathFactory) -> None:
    nobody = pwd.getpwnam("nobody")
    if not may_run(sys.executable, nobody.pw_uid):
        pytest.skip("an ordinary user may not run this interpreter")
    home = Path("/tmp", f"pgrecall-test-{os.getpid()}")
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    program = """
import sys, pathlib, psycopg, os
from pgrecall.store.embedded import EmbeddedServer, status
with EmbeddedServer.start(pathlib.Path(sys.argv[1])) as server:
    print(psycopg.connect(server.url).execute("SELECT 1").fetchone()[0])
    print(os.stat(status(pathlib.Path(sys.argv[1])).data).st_uid == os.getuid())
"""
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(home)],
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(home)
    assert (done.stdout, done.stderr) == ("1\nTrue\n", "")


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with refused("cannot write", "PGRECALL_HOME"):
        EmbeddedServer.start(tmp_path / "file" / "home")


def test_a_read_only_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=1m,ro") as disk:
        with refused("Read-only file system", "PGRECALL_HOME"):
            EmbeddedServer.start(disk)
        assert not status(disk).running


@pytest.mark.parametrize("size", ["64k", "10m"])
def test_a_full_disk(tmp_path: Path, size: str) -> None:
    """Full at the first file, and during initdb."""
    with small_disk(tmp_path / "disk", f"size={size}") as disk:
        with refused("is full", "free some space"):
            EmbeddedServer.start(disk)
        assert becomes(lambda: processes(disk) == [])


def test_a_disk_that_is_full_at_a_later_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=100m") as disk:
        with EmbeddedServer.start(disk):
            pass
        with (disk / "ballast").open("wb") as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(65536))
                ballast.flush()
        with refused("is full", "free some space"):
            EmbeddedServer.start(disk)
        (disk / "ballast").unlink()
        with EmbeddedServer.start(disk) as server:
            assert answer(server.url)


@as_root
def test_a_data_folder_of_another_user(home: Path) -> None:
    with EmbeddedServer.start(home):
        pass
    os.chown(home / "postgres-18", 12345, 12345)
    with refused("belongs to user id 12345", "PGRECALL_HOME"):
        EmbeddedServer.start(home)


def test_a_data_folder_of_another_major_version(home: Path) -> None:
    with EmbeddedServer.start(home):
        pass
    (home / "postgres-18" / "PG_VERSION").write_text("16\n")
    with refused("made by PostgreSQL 16", "dump"):
        EmbeddedServer.start(home)


def test_data_of_an_older_release_are_not_passed_over(new_home: Path) -> None:
    (new_home / "postgres-17").mkdir(parents=True)
    (new_home / "postgres-17" / "PG_VERSION").write_text("17\n")
    with refused("postgres-17 was made by PostgreSQL 17", "dump"):
        EmbeddedServer.start(new_home)


def test_a_setting_that_postgres_refuses(home: Path) -> None:
    with refused("contains errors", "server.log"):
        EmbeddedServer.start(home, settings={"no_such_setting": "1"})
    assert processes(home) == []
    with EmbeddedServer.start(home) as server:
        assert answer(server.url)
