"""An empty ledger on each of the two databases."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.sqlite import sqlite_uri

from .postgresql import postgresql_server

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    with postgresql_server() as address:
        yield address


def new_database(server: str) -> str:
    """Return the address of a new, empty database of a server."""
    name = f"ledger_{next(_NUMBERS)}"
    engine = sa.create_engine(f"{server}postgres", isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    return f"{server}{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return sqlite_uri(tmp_path / "a % b" / "ledger.db")
    return new_database(request.getfixturevalue("postgresql"))


@pytest.fixture
def ledger(url: str) -> Ledger:
    return open_ledger(url)
