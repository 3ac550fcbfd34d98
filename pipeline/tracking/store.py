"""An MLflow store: checked, prepared once, and its errors in our own words."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from mlflow.entities import Experiment, LifecycleStage
from mlflow.tracking import MlflowClient

from pipeline.errors import TrackingError, UsageError
from pipeline.tracking.sqlite import database_path, is_sqlite, prepare_database

SERVERS = ("http", "https")
DATABASES = ("postgresql", "mysql", "mssql")
EXPECTED = "sqlite:////absolute/path.db, http(s)://host:port, or a postgresql, mysql or mssql address"
PROBE_SECONDS = 10
LOCAL_UI = "http://127.0.0.1:5000"
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # else the UI shows its pages for chat models
    "mlflow.note.content": "Tapecast: quantile forecasts of stock prices. One run per job, a child run per fold. "
    "`tapecast.verdict` says whether the network beat its baselines; a run's description says it in words.",
}


@dataclass(frozen=True)
class Store:
    """Where runs are written: a tracking URI and the experiment in it; where people see them, if that is elsewhere."""

    uri: str
    experiment_id: str
    pages: str | None = None


def prepare_store(uri: str, artifacts: str | None, experiment: str, pages: str | None = None) -> Store:
    """Return the store with its experiment, created where absent; safe when two processes do it at once.

    The first use of a SQLite file lays out its tables, a second or more; later ones take the import of mlflow only.
    `artifacts` is where a new experiment keeps its files; None: beside a SQLite file, else where the server decides.
    `pages` is where a browser finds a server that has another name there, as it has from inside a container.
    Raises UsageError on what cannot be a store, TrackingError on one that does not answer.
    """
    with translated(uri, f"prepare experiment {experiment!r}"):
        make_ready(uri)
        location = artifacts or _beside_database(uri)
        _make_artifact_folder(location)
        client = open_client(uri)
        found = client.get_experiment_by_name(experiment) or _create(client, experiment, location)
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise UsageError(
            f"MLflow experiment {experiment!r} at {shown(uri)} was deleted; expected one in use. Restore it with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}` or give another name"
        )
    return Store(uri, str(found.experiment_id), pages)


def open_client(uri: str) -> MlflowClient:
    """Return a client of this URI alone; the second one in a process shares the first one's connections."""
    return MlflowClient(tracking_uri=uri)


@contextmanager
def translated(uri: str, doing: str) -> Iterator[None]:
    """Return a context in which every error of a library beneath us becomes a TrackingError."""
    try:
        yield
    except Exception as error:
        if not _foreign(error):
            raise
        raise TrackingError(
            f"could not {doing} in the MLflow store {shown(uri)}: found {type(error).__name__}: {error}; expected a "
            f"store that can be reached and written. Check TAPECAST_TRACKING_URI, disk space and the server's log"
        ) from error


def run_url(store: Store, run_id: str) -> str:
    """Return the address of a run for people: on the pages told, the server's own, or those of `tapecast ui`."""
    base = store.pages or (shown(store.uri) if urlsplit(store.uri).scheme in SERVERS else LOCAL_UI)
    return f"{base.rstrip('/')}/#/experiments/{store.experiment_id}/runs/{run_id}"


def shown(uri: str) -> str:
    """Return the URI as it may be printed: without user name and password."""
    parts = urlsplit(uri)
    return uri if "@" not in parts.netloc else urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def make_ready(uri: str) -> None:
    """Make a SQLite file ready; raise UsageError on what can be no store, TrackingError on a server that is silent.

    MLflow itself would try a file that is no database for 100 s, and a silent server for four minutes.
    """
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if is_sqlite(uri):
        prepare_database(database_path(uri))
    elif scheme in SERVERS:
        _check_server(uri)
    elif scheme not in DATABASES:
        raise UsageError(f"MLflow address {shown(uri)!r} cannot be a store; expected {EXPECTED}")


def _check_server(uri: str) -> None:
    """Raise TrackingError unless something answers, be it with a refusal: MLflow then says it better."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_SECONDS):  # noqa: S310  http(s) only
            pass
    except urllib.error.HTTPError as error:
        error.close()
    except OSError as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return
        raise TrackingError(
            f"no MLflow server answers at {shown(uri)}: {error}; expected one within {PROBE_SECONDS} s. "
            "Start it, or mend TAPECAST_TRACKING_URI; without one, runs are kept under TAPECAST_HOME"
        ) from error


def _beside_database(uri: str) -> str | None:
    """Return a folder beside a SQLite file: MLflow's own default is ./mlruns, wherever the process happens to be."""
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
        found = client.get_experiment_by_name(name)  # another process may have been first
        if found is None:
            raise
        return found


def _foreign(error: Exception) -> bool:
    """Return whether the error is a library's or the system's, not a slip of our own.

    Told by where its class comes from: mlflow lets errors of SQLAlchemy, requests, sqlite3 or boto through.
    """
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] not in ("builtins", "pipeline")
