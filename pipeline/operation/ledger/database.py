"""The database of the ledger: its connections and transactions, its schema, and its errors as one of ours."""

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from pipeline.errors import LedgerError
from pipeline.operation.ledger.schema import HEAD, VERSION_TABLE
from pipeline.sqlite import is_sqlite, sqlite_path

WAIT_SECONDS = 30
"""How long a writer waits for another that writes."""
CONNECT_SECONDS = 10
POSTGRESQL = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")
"""The drivers that read libpq's options."""
MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Ledger:
    """An open ledger; `address` is without a password. It holds no connection, so that a process may be forked."""

    engine: Engine
    address: str

    @contextmanager
    def held_open(self) -> Iterator[None]:
        """Return a context in which one connection stays open, and with it SQLite's own files next to the database.

        On a disk that is full meanwhile what was written can still be read; new files could not be made. Raises
        LedgerError where the ledger cannot be opened.
        """
        with _translated(self.address, "open"):
            connection = self.engine.connect()
        with closing(connection):
            yield

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection within a transaction that reads one state, whatever is written meanwhile.

        Raises LedgerError for errors of the database.
        """
        with _translated(self.address, "read"), _reading(self.engine).begin() as connection:
            yield connection

    @contextmanager
    def writing(self, model: str) -> Iterator[Connection]:
        """Yield a connection within a transaction that alone writes under a model name, kept whole or not at all.

        Raises LedgerError for errors of the database; any error undoes the transaction.
        """
        with _translated(self.address, "write"), self.engine.execution_options(begin="BEGIN IMMEDIATE").begin() as held:
            lock_name(held, model)
            yield held


def open_ledger(url: str) -> Ledger:
    """Return the ledger at the address of a database, its tables made or brought up to date.

    `url` is a SQLite file's (its folder is made) or a PostgreSQL database's. Raises LedgerError where it cannot be
    opened, or was written by a newer version.
    """
    address = _address(url)
    with _translated(address, "open"):
        if is_sqlite(url):
            sqlite_path(url).parent.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(_engine(url), address)
        _bring_up_to_date(ledger)
    return ledger


def _address(url: str) -> str:
    """Return the address without its password; raises LedgerError for a database that cannot hold a ledger."""
    expected = "expected sqlite:////folder/ledger.db or postgresql+psycopg2://user:password@host/database"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise LedgerError(f"found TAPECAST_LEDGER = {url!r}, {expected}") from error
    address = parsed.render_as_string(hide_password=True)
    if not is_sqlite(url) and parsed.drivername not in POSTGRESQL:
        raise LedgerError(f"found TAPECAST_LEDGER = {address}, {expected}")
    return address


def _engine(url: str) -> Engine:
    if not is_sqlite(url):
        settings = {"connect_timeout": CONNECT_SECONDS, "options": f"-clock_timeout={WAIT_SECONDS}s"}
        return create_engine(url, poolclass=NullPool, connect_args=settings)
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": WAIT_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _reading(engine: Engine) -> Engine:
    """Return the engine for transactions that see one state throughout, as SQLite's do."""
    return (
        engine.execution_options(isolation_level="REPEATABLE READ") if engine.dialect.name == "postgresql" else engine
    )


def _prepare_sqlite(connection: Any, _: object) -> None:
    """Leave the transactions to us, write ahead of the database, keep what was committed through a loss of power."""
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    end = time.monotonic() + WAIT_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:  # the switch does not wait for another connection, as all else does
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(str(connection.get_execution_options().get("begin", "BEGIN")))


def lock_name(connection: Connection, name: str) -> None:
    """Wait until no other transaction writes under a name; SQLite's BEGIN IMMEDIATE has locked all names."""
    if connection.dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(f"tapecast ledger {name}".encode()).digest()[:8], signed=True)
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


def _bring_up_to_date(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        if _revision(connection) == HEAD:
            return
    with ledger.writing("its own tables") as connection:
        found = _revision(connection)
        if found is not None and found > HEAD:
            raise LedgerError(
                f"found the ledger {ledger.address} with tables of revision {found}, expected {HEAD} or earlier: a "
                "newer Tapecast wrote it; upgrade this one"
            )
        _migrate(connection)


def _revision(connection: Connection) -> str | None:
    """Return the revision of the tables, None before the first."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608  a constant


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  only where there is something to migrate
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection, "version_table": VERSION_TABLE})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")


@contextmanager
def _translated(address: str, doing: str) -> Iterator[None]:
    """Return a context in which the errors of the libraries and of the system become a LedgerError."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError, ModuleNotFoundError) as error:
        found = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
        raise LedgerError(
            f"could not {doing} the ledger {address}: found {type(error).__name__}: {found}; expected a database that "
            "can be reached and written: check TAPECAST_LEDGER, the disk's space, and that no other program locks it"
        ) from error
