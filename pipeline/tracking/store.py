"""An MLflow store: checked, prepared once, and errors of libraries translated into ours."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from mlflow.entities import Experiment, LifecycleStage, Run
from mlflow.tracking import MlflowClient

from pipeline.errors import TrackingError, UsageError
from pipeline.sqlite import is_sqlite
from pipeline.tracking.database import SQLITE_HEADER, database_path, header_of, prepare_database

RUNS_PER_PAGE = 1000
MAX_REASON = 500
SERVERS = ("http", "https")


DATABASES = ("postgresql", "mysql", "mssql")


EXPECTED = "sqlite:////absolute/path.db, http(s)://host:port, or a postgresql+psycopg2, mysql or mssql address"


PROBE_SECONDS = 10


LOCAL_UI = "http://127.0.0.1:5000"


EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # else the UI shows its pages for chat models
    "mlflow.note.content": "Tapecast: quantile forecasts of stock prices. One run per job, a child run per fold. "
    "`tapecast.verdict`: whether what is published beat its baselines; the description of a run has the full sentence.",
}


@dataclass(frozen=True)
class Destination:
    """Where an installation's records go: a tracking URI, artifacts, an experiment, and the pages for browsers.

    `artifacts` is where a new experiment keeps its files; None: next to a SQLite file, else where the server decides.
    `pages` is the address for browsers of a server that has another name there, as from inside a container. `own` is
    False where a person named the store: then a file that is no database is theirs, and left as it is.
    """

    uri: str
    artifacts: str | None
    experiment: str
    pages: str | None = None
    own: bool = False


@dataclass(frozen=True)
class Store:
    """Where runs are written: a tracking URI, an experiment in it, and the address of its pages where it differs.

    `is_new` says that the experiment was created now, `set_aside` where a damaged database was moved to.
    """

    uri: str
    experiment_id: str
    pages: str | None = None
    experiment: str = ""
    is_new: bool = field(default=False, compare=False)
    set_aside: Path | None = field(default=None, compare=False)


def refuse_unusable(destination: Destination) -> None:
    """Raise UsageError on an address that cannot be a store, without asking it anything."""
    uri = destination.uri
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if is_sqlite(uri):
        path = database_path(uri)
        if not destination.own and path.is_file() and header_of(path) not in (b"", SQLITE_HEADER):
            raise UsageError(
                f"{path} begins with {header_of(path)!r}; expected an MLflow database (SQLite), or no file"
            )
    elif scheme not in (*SERVERS, *DATABASES):
        raise UsageError(f"MLflow address {without_password(uri)!r} cannot be a store; expected {EXPECTED}")


def prepare_store(destination: Destination) -> Store:
    """Return the store with its experiment, created where absent; safe when two processes do it at once.

    The first use of a SQLite file creates its tables, in some seconds; later uses take the import of mlflow only. A
    damaged one is set aside before. Raises UsageError on what cannot be a store, TrackingError on one that does not
    answer.
    """
    refuse_unusable(destination)
    uri, experiment = destination.uri, destination.experiment
    with translated(uri, f"prepare experiment {experiment!r}"):
        set_aside = _make_ready(uri)
        location = destination.artifacts or _folder_next_to_database(uri)
        _make_artifact_folder(location)
        client = open_client(uri)
        former = client.get_experiment_by_name(experiment)
        existing = former or _create(client, experiment, location)
    if existing.lifecycle_stage != LifecycleStage.ACTIVE:
        raise UsageError(
            f"MLflow experiment {experiment!r} at {without_password(uri)} was deleted; expected one in use. Restore "
            f"it with `mlflow experiments restore --experiment-id {existing.experiment_id}` or give another name"
        )
    return Store(uri, str(existing.experiment_id), destination.pages, experiment, former is None, set_aside)


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
            f"could not {doing} in the MLflow store {without_password(uri)}: found {type(error).__name__}: "
            f"{reason_of(error)}; expected a store that can be reached and written. Check TAPECAST_TRACKING_URI, disk "
            "space and the server's log"
        ) from error


def reason_of(error: Exception) -> str:
    """Return what an error says in one line: of a page of SQL the line of the database's driver."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if line.startswith("(")), lines[0])[:MAX_REASON]


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


def _make_ready(uri: str) -> Path | None:
    """Make a SQLite file ready, and return where a damaged one was moved to; raise TrackingError on a silent server.

    MLflow itself would retry a file that is no database for 100 s, and a server without answer for four minutes.
    """
    if is_sqlite(uri):
        return prepare_database(database_path(uri))
    if urlsplit(uri).scheme in SERVERS:
        _check_server(uri)
    return None


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
