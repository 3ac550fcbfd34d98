"""One outcome and one SQLite store for all tests of the room: the first use of a database lays out its tables."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.operation.result import CalendarResult
from pipeline.tracking.environment import QUIET_MLFLOW

os.environ.update(QUIET_MLFLOW)  # read while mlflow is imported, which the modules of the room do
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "false"  # the room itself must keep standard output clean

from mlflow.tracking import MlflowClient

from pipeline.tracking.record import log_result
from pipeline.tracking.runs import finish_run, start_run
from pipeline.tracking.store import Store, prepare_store

from .outcomes import small_outcome

# mlflow 3.17 uses what pandas 3 will drop; nothing of ours is meant.
THIRD_PARTY = [
    pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes are included by select_dtypes"),
]

FIGURES = {"fan_T0.png": b"\x89PNG one", "skill.png": b"\x89PNG two"}
SECONDS = {"load": 1.5, "fit": 20.25}


class Recorded(NamedTuple):
    """A finished run and a client of its own to read it with."""

    store: Store
    run_id: str
    client: MlflowClient


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> CalendarResult:
    return small_outcome(tmp_path_factory.mktemp("fits"))


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text("<h1>The report</h1>")
    return path


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("mlflow") / "not" / "there"  # the folder is made
    return prepare_store(f"sqlite:///{folder / 'mlflow.db'}", (folder / "files").as_uri(), "tapecast")


@pytest.fixture(scope="session")
def recorded(store: Store, outcome: CalendarResult, report: Path) -> Recorded:
    return record(store, outcome, report)


def record(store: Store, outcome: CalendarResult, report: Path | None) -> Recorded:
    run_id = start_run(store, "run", outcome.experiment)
    log_result(store, run_id, outcome, FIGURES, report, SECONDS)
    finish_run(store, run_id, "FINISHED")
    return Recorded(store, run_id, MlflowClient(tracking_uri=store.uri))
