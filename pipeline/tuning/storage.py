"""Where the study of a search is stored: in MLflow's database where that can hold both, else in a file next to it.

MLflow and Optuna both store the version of their tables in a table `alembic_version` and refuse a database with the
other's version: whichever comes second cannot start. PostgreSQL has schemas, so there the study is stored in the same
database, in its own schema `optuna`. A SQLite file has none, so there it is stored in a second file next to MLflow's. A
server (http) has no database to share, and MySQL and SQL Server have no search path for a connection: then it is stored
in a file under TAPECAST_HOME.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pipeline.errors import TrackingError, UsageError
from pipeline.sqlite import is_sqlite, sqlite_path, sqlite_uri

SCHEMA = "optuna"
WAIT_SECONDS = 60  # for another process that writes to the same file


@dataclass(frozen=True)
class Storage:
    """The address of a study's database, as SQLAlchemy knows it; in PostgreSQL with the schema."""

    uri: str
    schema: str | None = None

    @property
    def display_uri(self) -> str:
        """The address without user name and password, for printing."""
        parts = urlsplit(self.uri)
        host = parts.netloc.rpartition("@")[2]
        address = self.uri if self.schema is None else urlunsplit(parts._replace(netloc=host))
        return address if self.schema is None else f"{address} (schema {self.schema})"

    @property
    def engine_options(self) -> dict[str, Any]:
        """The options of the SQLAlchemy engine."""
        if self.schema is None:
            return {"connect_args": {"timeout": WAIT_SECONDS}}
        return {"connect_args": {"options": f"-csearch_path={self.schema}"}, "pool_pre_ping": True}

    def make_ready(self) -> None:
        """Create the file's folder, or the schema; raises UsageError or TrackingError where that cannot be done."""
        if self.schema is None:
            folder = sqlite_path(self.uri).parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"cannot create {folder}: {error}; expected a folder that you may write in") from error
            return
        import sqlalchemy  # noqa: PLC0415

        with translate_errors(self, "create the schema"):
            engine = sqlalchemy.create_engine(self.uri)
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text(f"CREATE SCHEMA IF NOT EXISTS {self.schema}"))
            engine.dispose()


def storage_for(tracking_uri: str, home: Path) -> Storage:
    """Return where studies are stored for an MLflow tracking URI; under `home` where they cannot be stored with it."""
    if is_sqlite(tracking_uri):
        path = sqlite_path(tracking_uri).absolute()
        return Storage(sqlite_uri(path.with_name(f"{path.stem}-optuna.db")))
    if urlsplit(tracking_uri).scheme.partition("+")[0] == "postgresql":
        return Storage(tracking_uri, SCHEMA)
    return Storage(sqlite_uri(home / "mlflow" / "optuna.db"))


@contextmanager
def translate_errors(storage: Storage, doing: str) -> Iterator[None]:
    """Return a context in which every error of a library becomes a TrackingError."""
    try:
        yield
    except Exception as error:
        if not _foreign(error):
            raise
        raise TrackingError(
            f"could not {doing} in the study's database {storage.display_uri}: found {type(error).__name__}: {error}; "
            "expected a database that can be reached and written. Check TAPECAST_TRACKING_URI and disk space"
        ) from error


def _foreign(error: Exception) -> bool:
    """Return whether the error is a library's or the system's, not a bug of ours, by the module of its class.

    A module that is not found is a database's driver.
    """
    return isinstance(error, OSError | ModuleNotFoundError) or type(error).__module__.partition(".")[0] not in (
        "builtins",
        "pipeline",
    )
