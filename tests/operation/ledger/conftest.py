"""An empty ledger on each of the two databases."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.schema import METADATA
from pipeline.sqlite import sqlite_path, sqlite_uri

from .postgresql import postgresql_server

_NUMBERS = itertools.count()
DATABASES = ["sqlite", "postgresql"]


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


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return sqlite_uri(tmp_path / "a % b" / "ledger.db")
    return new_database(request.getfixturevalue("postgresql"))


@pytest.fixture(scope="session")
def sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file whose tables are empty."""
    address = sqlite_uri(tmp_path_factory.mktemp("empty") / "ledger.db")
    open_ledger(address)
    return sqlite_path(address)


@pytest.fixture(scope="session")
def postgresql_tables(postgresql: str) -> Ledger:
    """A PostgreSQL database with the tables; a test empties it before."""
    return open_ledger(new_database(postgresql))


@pytest.fixture(params=DATABASES)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    if request.param == "sqlite":
        return open_ledger(sqlite_uri(shutil.copy(request.getfixturevalue("sqlite_tables"), tmp_path / "ledger.db")))
    found: Ledger = request.getfixturevalue("postgresql_tables")
    with found.engine.begin() as connection:
        connection.execute(sa.text("SET session_replication_role = replica"))  # no trigger refuses it
        for name, table in METADATA.tables.items():
            connection.execute(sa.delete(table))
            connection.execute(sa.text(f"ALTER TABLE {name} ENABLE TRIGGER ALL"))
    return found
