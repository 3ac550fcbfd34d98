"""Addresses of SQLite files: the file that SQLAlchemy opens is the one that was meant."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from pipeline.sqlite import is_sqlite, sqlite_path, sqlite_uri

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
