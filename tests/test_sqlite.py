"""SQLite files: the file that SQLAlchemy opens is the one that was meant, and free pages are given back."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from pipeline.sqlite import compact, free_bytes, is_sqlite, sqlite_path, sqlite_uri

NAMES = st.text("%?#&+{} 4Faé", min_size=1).map(lambda name: Path("/x", name))


@given(NAMES)
def test_a_file_of_any_name_is_found_again(path: Path) -> None:
    uri = sqlite_uri(path)
    assert is_sqlite(uri)
    assert sqlite_path(uri) == path
    assert make_url(uri).database == str(path)


@pytest.mark.parametrize(
    "uri", ["sqlite:////x/a%20b/c.db", "sqlite:////x/a b/c.db?timeout=5", "sqlite:////x/a%2541/c.db"]
)
def test_an_address_is_read_as_sqlalchemy_reads_it(uri: str) -> None:
    assert str(sqlite_path(uri)) == make_url(uri).database


def test_an_address_without_a_file_names_none() -> None:
    assert sqlite_path("sqlite:///") == Path()


@pytest.fixture(params=["delete", "wal"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database with three megabytes of free pages, by its journal mode."""
    with closing(sqlite3.connect(tmp_path / "some.db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {request.param}")
        connection.execute("CREATE TABLE rows (x)")
        connection.executemany("INSERT INTO rows VALUES (?)", [("x" * 1000,)] * 3000)
        connection.execute("DELETE FROM rows WHERE rowid > 10")
        yield connection


def test_free_pages_are_given_back_where_nobody_uses_the_file(database: sqlite3.Connection, tmp_path: Path) -> None:
    database.close()
    path = tmp_path / "some.db"
    free = free_bytes(path)
    assert free > 3_000_000
    assert compact(path) == free
    assert free_bytes(path) == 0
    with closing(sqlite3.connect(path)) as again:
        assert again.execute("SELECT count(*) FROM rows").fetchone() == (10,)


def test_a_file_in_use_stays_as_it_is(database: sqlite3.Connection, tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    database.execute("BEGIN IMMEDIATE")
    size = path.stat().st_size
    assert compact(path) is None
    assert path.stat().st_size == size
    database.execute("INSERT INTO rows VALUES ('more')")
    database.execute("COMMIT")


@pytest.mark.parametrize("database", ["wal"], indirect=True)
def test_an_idle_connection_to_a_write_ahead_log_is_use(database: sqlite3.Connection, tmp_path: Path) -> None:
    """A server whose database it is may begin to write at any time."""
    assert database.execute("SELECT count(*) FROM rows").fetchone() == (10,)
    assert compact(tmp_path / "some.db") is None
