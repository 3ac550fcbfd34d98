"""The environment that Prefect and MLflow find: set before either is imported, and only where the user set nothing."""

import os
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.sqlite import PREFIX, sqlite_path
from pipeline.tracking.environment import MLFLOW_DEFAULTS, silence_libraries

DEPLOYMENTS = "prefect.yaml"
OWN_SERVER = "http://127.0.0.1:4200/api"
"""Where `tapecast ui` serves Prefect's pages."""
ASK_EVERY_SECONDS = "3"
"""How long a run that is started by hand waits at most for the worker to find it; Prefect's own is 15."""


def prepare_environment(root: Path) -> None:
    """Set what an ad hoc run needs: Prefect's state under our home, patience at a cold start, no telemetry.

    Raises UsageError where the home cannot be created; Prefect itself would only wait for its server in vain.
    """
    refuse_escapes(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create {root}: {error}; set TAPECAST_HOME to a folder you may write in") from error
    defaults = {
        # A cold temporary server needs up to 36 s on a small machine; Prefect gives up after 20 s.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **MLFLOW_DEFAULTS,
        # The terminal shows our own progress and errors; Prefect's log of a run is kept for its page.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    }
    silence_libraries()
    if "PREFECT_API_URL" not in os.environ:
        defaults["PREFECT_HOME"] = str(root / "prefect")
        defaults["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "true"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def prepare_worker(root: Path) -> None:
    """Set what a worker and its runs need: the server of `tapecast ui` where none is named, and an absolute home.

    Raises UsageError where the working folder has no deployments.
    """
    refuse_escapes(root)
    if not Path(DEPLOYMENTS).is_file():
        raise UsageError(
            f"no {DEPLOYMENTS} in {Path.cwd()}, which says what is deployed; start the worker in the project's folder"
        )
    defaults = {
        "PREFECT_API_URL": OWN_SERVER,
        "PREFECT_WORKER_QUERY_SECONDS": ASK_EVERY_SECONDS,
        "DO_NOT_TRACK": "1",
        **MLFLOW_DEFAULTS,
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    os.environ["TAPECAST_HOME"] = str(root)


def prepare_mlflow() -> None:
    """Set what a command needs that only asks MLflow: to give up a server that does not answer after seconds."""
    silence_libraries()
    for name, value in MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)


def refuse_escapes(root: Path) -> None:
    """Raise UsageError where Prefect would look for its database elsewhere: it escapes nothing in the address."""
    if sqlite_path(f"{PREFIX}{root}") != root:
        raise UsageError(
            f"the name of {root} has a percent escape or a question mark, which mean something else in the address of "
            "a database; set TAPECAST_HOME to a folder without"
        )
