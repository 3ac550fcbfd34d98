"""One outcome and one SQLite store for all tests of the room: the first use of a database lays out its tables."""

import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.operation.result import CalendarResult
from pipeline.tracking.environment import MLFLOW_DEFAULTS

os.environ.update(MLFLOW_DEFAULTS)  # read while mlflow is imported, which the modules of the room do

from mlflow.tracking import MlflowClient

from pipeline.tracking.delivery import deliver
from pipeline.tracking.outbox import Header, Journal, open_journal
from pipeline.tracking.record import log_result
from pipeline.tracking.runs import Record, start_run
from pipeline.tracking.store import Destination, Store, prepare_store, without_password

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
    return prepare_store(Destination(f"sqlite:///{folder / 'mlflow.db'}", (folder / "files").as_uri(), "tapecast"))


@pytest.fixture(scope="session")
def outbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outbox")


@pytest.fixture(scope="session")
def recorded(store: Store, outbox: Path, outcome: CalendarResult, report: Path) -> Recorded:
    return record(store, outbox, outcome, report)


def new_record(store: Store, outbox: Path, job: str = "") -> Record:
    """A record that goes to the store; without a job it is one of its own."""
    header = Header.new(job, without_password(store.uri), store.experiment)
    return Record(open_journal(outbox, header if job else replace(header, job=header.id)))


def delivered(store: Store, journal: Journal) -> str:
    """MLflow's id of a record's run, after all of it is delivered."""
    deliver(store, journal, lambda: None)
    assert journal.delivered.refused == ()
    return journal.delivered.runs[""]


def record(store: Store, outbox: Path, outcome: CalendarResult, report: Path | None) -> Recorded:
    begun = new_record(store, outbox)
    start_run(begun, "run", outcome.experiment)
    log_result(begun, "run", outcome, FIGURES, report, SECONDS)
    begun.end("FINISHED")
    return Recorded(store, delivered(store, begun.journal), MlflowClient(tracking_uri=store.uri))
