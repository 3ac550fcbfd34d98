"""An MLflow store: checked, prepared once, and errors of libraries translated into ours."""

import shutil
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from mlflow.entities import Experiment, LifecycleStage, Run
from mlflow.tracking import MlflowClient

from pipeline.errors import TrackingError, UsageError
from pipeline.sqlite import is_sqlite, sqlite_path, sqlite_uri

SERVERS = ("http", "https")


DATABASES = ("postgresql", "mysql", "mssql")


EXPECTED = "sqlite:////absolute/path.db, http(s)://host:port, or a postgresql+psycopg2, mysql or mssql address"


PROBE_SECONDS = 10


LOCAL_UI = "http://127.0.0.1:5000"


EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # else the UI shows its pages for chat models
    "mlflow.note.content": "Tapecast: quantile forecasts of stock prices. One run per job, a child run per fold. "
    "`tapecast.verdict`: whether the network beat its baselines; the description of a run has the full sentence.",
}


@dataclass(frozen=True)
class Store:
    """Where runs are written: a tracking URI, an experiment in it, and the address of its pages where it differs."""

    uri: str
    experiment_id: str
    pages: str | None = None


def prepare_store(uri: str, artifacts: str | None, experiment: str, pages: str | None = None) -> Store:
    """Return the store with its experiment, created where absent; safe when two processes do it at once.

    The first use of a SQLite file creates its tables, in a second or more; later uses take the import of mlflow only.
    `artifacts` is where a new experiment keeps its files; None: next to a SQLite file, else where the server decides.
    `pages` is the address for browsers of a server that has another name there, as from inside a container.
    Raises UsageError on what cannot be a store, TrackingError on one that does not answer.
    """
    with translated(uri, f"prepare experiment {experiment!r}"):
        make_ready(uri)
        location = artifacts or _folder_next_to_database(uri)
        _make_artifact_folder(location)
        client = open_client(uri)
        existing = client.get_experiment_by_name(experiment) or _create(client, experiment, location)
    if existing.lifecycle_stage != LifecycleStage.ACTIVE:
        raise UsageError(
            f"MLflow experiment {experiment!r} at {without_password(uri)} was deleted; expected one in use. Restore "
            f"it with `mlflow experiments restore --experiment-id {existing.experiment_id}` or give another name"
        )
    return Store(uri, str(existing.experiment_id), pages)


def open_client(uri: str) -> MlflowClient:
    """Return a client of this URI alone; the second one in a process shares the first one's connections."""
    return MlflowClient(tracking_uri=uri)


@contextmanager
def translated(uri: str, doing: str) -> Iterator[None]:
    """Return a context in which every error of a library below becomes a TrackingError."""
    try:
        yield
    except Exception as error:
        if not _foreign(error):
            raise
        raise TrackingError(
            f"could not {doing} in the MLflow store {without_password(uri)}: found {type(error).__name__}: {error}; "
            "expected a store that can be reached and written. Check TAPECAST_TRACKING_URI, disk space and the "
            "server's log"
        ) from error


def found_runs(client: MlflowClient, experiment_id: str, query: str, view: int) -> Iterator[Run]:
    """Yield the runs of an experiment that a query finds, page by page; `view` is one of MLflow's ViewType."""
    token = None
    while True:
        page = client.search_runs([experiment_id], query, view, RUNS_PER_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def run_url(store: Store, run_id: str) -> str:
    """Return the address of a run for browsers: on the store's pages, the server's own, or those of `tapecast ui`."""
    base = store.pages or (without_password(store.uri) if urlsplit(store.uri).scheme in SERVERS else LOCAL_UI)
    return f"{base.rstrip('/')}/#/experiments/{store.experiment_id}/runs/{run_id}"


def without_password(uri: str) -> str:
    """Return the URI without user name and password, safe to print."""
    parts = urlsplit(uri)
    return uri if "@" not in parts.netloc else urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def make_ready(uri: str) -> None:
    """Make a SQLite file ready; raise UsageError on what cannot be a store, TrackingError on a server without answer.

    MLflow itself would retry a file that is no database for 100 s, and a server without answer for four minutes.
    """
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if is_sqlite(uri):
        prepare_database(database_path(uri))
    elif scheme in SERVERS:
        _check_server(uri)
    elif scheme not in DATABASES:
        raise UsageError(f"MLflow address {without_password(uri)!r} cannot be a store; expected {EXPECTED}")


def _check_server(uri: str) -> None:
    """Raise TrackingError unless the server answers; a refusal is left to MLflow, which describes it better."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_SECONDS):  # noqa: S310  http(s) only
            pass
    except urllib.error.HTTPError as error:
        error.close()
    except OSError as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return
        raise TrackingError(
            f"no MLflow server answers at {without_password(uri)}: {error}; expected one within {PROBE_SECONDS} s. "
            "Start it, or correct TAPECAST_TRACKING_URI; without one, runs are kept under TAPECAST_HOME"
        ) from error


def _folder_next_to_database(uri: str) -> str | None:
    """Return a folder next to a SQLite file: MLflow's default is ./mlruns in the working directory of the process."""
    return (database_path(uri).parent / "artifacts").as_uri() if is_sqlite(uri) else None


def _make_artifact_folder(location: str | None) -> None:
    if location is None or urlsplit(location).scheme != "file":
        return
    folder = Path(unquote(urlsplit(location).path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the artifact folder {folder}: {error}; expected a writable folder") from error


def _create(client: MlflowClient, name: str, location: str | None) -> Experiment:
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS))
    except Exception:
        existing = client.get_experiment_by_name(name)  # another process may have been first
        if existing is None:
            raise
        return existing


def _foreign(error: Exception) -> bool:
    """Return whether the error is a library's or the system's, not a mistake in this code.

    Decided by the module of its class: mlflow lets errors of SQLAlchemy, requests, sqlite3 or boto through. A
    module that is not found is a database's driver.
    """
    return isinstance(error, OSError | ModuleNotFoundError) or type(error).__module__.partition(".")[0] not in (
        "builtins",
        "pipeline",
    )


RUNS_PER_PAGE = 1000
SQLITE_HEADER = b"SQLite format 3\x00"


def database_path(uri: str) -> Path:
    """Return the file of a SQLite URI; raises UsageError where it names no file."""
    path = sqlite_path(uri)
    if path in (Path(), Path(":memory:")):
        raise UsageError(f"MLflow address {uri!r} names no file; expected sqlite:////absolute/path.db")
    return path.absolute()


def prepare_database(path: Path) -> None:
    """Create the database with its tables where there is none; raises UsageError on a file that is no database.

    MLflow creates its tables in about fifty steps: two processes that begin at once both fail, and one killed
    between two steps leaves an unusable file. So the tables are created in a draft, which then appears whole.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _create_database(path)
        with path.open("r+b") as file:
            header = file.read(len(SQLITE_HEADER))
    except OSError as error:
        raise UsageError(f"cannot write the MLflow database {path}: {error}; expected a writable folder") from error
    if header not in (b"", SQLITE_HEADER):
        raise UsageError(f"{path} begins with {header!r}; expected an MLflow database (SQLite), or no file at all")


def _create_database(path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=path.parent) as name:
        draft, whole = Path(name) / "draft.db", Path(name) / "whole.db"
        MlflowClient(tracking_uri=sqlite_uri(draft))  # the first client creates the tables
        shutil.copyfile(draft, whole)  # a file of its own: MLflow keeps the draft open
        try:
            path.hardlink_to(whole)  # fails where another process was first, unlike a rename
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            whole.replace(path)
