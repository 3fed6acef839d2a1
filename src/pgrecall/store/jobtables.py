"""The tables of procrastinate, which runs the queue: where their SQL comes from, and how far it is applied.

Our migrations run procrastinate's own migration files, in its order, up to a file that each of them names.
So two databases that are at the same revision of ours are equal, whichever procrastinate made them, and a
later revision goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from pgrecall import errors

#: The newest of procrastinate's files that our migrations run; a test keeps it equal to the installed one.
LAST = "03.04.00_50_post_add_retry_failed_job_procedure.sql"
#: Every Postgres has it, and some managed ones refuse even to be asked.
_LANGUAGE = "CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;"

#: procrastinate writes names without a schema, so they are resolved in ours while its files run.
ENTER = """
    SELECT set_config('pgrecall.search_path', current_setting('search_path'), true),
           set_config('search_path', 'pgrecall', true)
"""
LEAVE = "SELECT set_config('search_path', current_setting('pgrecall.search_path'), true)"
#: Its triggers fire in transactions of anybody, whose search path is their own. And the next job is found by
#: index whatever the statistics of a table say that is empty one moment and has 20,000 rows the next (0.5 ms
#: instead of 500, together with the index on locks).
PIN = r"""
DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT oid FROM pg_proc
              WHERE pronamespace = 'pgrecall'::regnamespace AND proname LIKE 'procrastinate\_%' LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pgrecall, pg_temp', f);
        IF f::text LIKE '%fetch\_job%' THEN
            EXECUTE format('ALTER FUNCTION %s SET enable_sort = off SET enable_bitmapscan = off '
                           'SET enable_hashjoin = off SET enable_mergejoin = off', f);
        END IF;
    END LOOP;
END
$$
"""


def script(upto: str, after: str = "") -> Iterator[str]:
    """What brings procrastinate's tables from one of its files (excluded) to another (included)."""
    yield ENTER
    for name in installed():
        if after < name <= upto:
            yield (_folder() / name).read_text("utf-8").replace(_LANGUAGE, "")
    yield PIN
    yield LEAVE


def installed() -> list[str]:
    """The names of the installed procrastinate's migration files, in their order."""
    return sorted(entry.name for entry in _folder().iterdir() if entry.name.endswith(".sql"))


def check() -> None:
    """Raise DatabaseError if the installed procrastinate expects tables that our migrations do not make."""
    if installed()[-1] > LAST:
        raise errors.DatabaseError(
            "The installed procrastinate is newer than this pgrecall knows: install the newest pgrecall, "
            "or an older procrastinate (pip install 'procrastinate==3.10.*')."
        )


def _folder() -> Traversable:
    return files("procrastinate.sql") / "migrations"
