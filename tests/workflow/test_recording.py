"""A run whose record fails: it prints its numbers, says what is missing, and a later run delivers the rest once."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from pipeline.errors import UsageError
from pipeline.operation.result import CalendarResult
from pipeline.reporting import figures, report
from pipeline.settings import Settings
from pipeline.tracking.patience import PATIENCE_SECONDS, Patience
from pipeline.workflow.progress import NoProgress
from pipeline.workflow.recording import recorded_experiment
from pipeline.workflow.result import CalendarSummary
from pipeline.workflow.run import RunPlan, run
from pipeline.workflow.run_context import new_context
from pipeline.workflow.summaries import result_of
from tests.panels import TINY, changed
from tests.tracking.faulty import free_port, silent_server
from tests.tracking.waiting import waiting_records

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes are included by select_dtypes"),
]

SMALL = changed(TINY, seeds=1)


@dataclass(frozen=True)
class Home:
    """A home whose fits are made, and where a run records."""

    path: Path
    database: Path
    patch: pytest.MonkeyPatch

    def run(self, seed: int = 0, live: bool = True, patience: float = PATIENCE_SECONDS) -> CalendarSummary:
        """The result of a run on one calendar."""
        context = replace(new_context("run", None, NoProgress()), patience=Patience(patience))
        experiment = changed(SMALL, seed=seed)
        (summary,) = result_of(run(context, experiment, RunPlan(live=live))).calendars
        return summary

    @property
    def waiting(self) -> int:
        """How many records wait in the outbox."""
        return waiting_records(Settings().outbox)

    def runs(self) -> list[Run]:
        """The runs in the database, their folds aside, the oldest first."""
        client = MlflowClient(f"sqlite:///{self.database}")
        found = client.search_runs(["1"], order_by=["attributes.start_time ASC"])
        return [run for run in found if "mlflow.parentRunId" not in run.data.tags]


@pytest.fixture
def own(home: Path, tmp_path: Path) -> Iterator[Home]:
    """The module's home, with a store of the test's own that nothing was recorded in."""
    with pytest.MonkeyPatch.context() as patch:
        database = tmp_path / "mlflow.db"
        patch.setenv("TAPECAST_TRACKING_URI", f"sqlite:///{database}")
        patch.setattr(figures, "draw_figures", lambda _: {"drawn.png": b"\x89PNG"})  # the real ones take seconds
        yield Home(home, database, patch)


def test_a_result_is_announced_before_it_is_drawn_reported_or_recorded(own: Home) -> None:
    reports = Settings().reports
    before = set(reports.glob("*"))
    announced: list[tuple[CalendarResult, set[Path]]] = []
    context = replace(
        new_context("run"), announce=lambda result: announced.append((result, set(reports.glob("*")) - before))
    )
    (recorded,) = run(context, SMALL, RunPlan()).results
    ((result, reported),) = announced
    assert result.forecasts is not None
    assert recorded.result.forecasts is result.forecasts
    assert reported == set()
    assert recorded.report is not None
    assert recorded.report.parent in set(reports.glob("*")) - before


def test_a_run_that_is_recorded_leaves_nothing_in_the_outbox(own: Home) -> None:
    summary = own.run()
    assert summary.recorded
    assert own.waiting == 0
    (found,) = own.runs()
    assert (found.info.run_id, found.info.status) == (summary.mlflow_run_id, "FINISHED")
    assert summary.report is not None
    assert str(summary.mlflow_url) in Path(summary.report).read_text()


@pytest.mark.parametrize("answer", ["refused", "silent", "trickling"])
def test_a_server_that_does_not_answer_costs_seconds_and_no_number(own: Home, answer: str) -> None:
    expected = own.run()
    with silent_server(trickles=answer == "trickling") as silent:
        uri = silent if answer != "refused" else f"http://127.0.0.1:{free_port()}"
        own.patch.setenv("TAPECAST_TRACKING_URI", uri)
        began = time.monotonic()
        summary = own.run()
        seconds = time.monotonic() - began
    assert summary.forecasts == expected.forecasts
    assert summary.backtest is not None
    assert expected.backtest is not None
    assert summary.backtest.scores == expected.backtest.scores
    assert (summary.recorded, summary.mlflow_run_id, summary.mlflow_url) == (False, None, None)
    (warning,) = summary.warnings
    assert warning.startswith("This run is not in MLflow yet: ")
    assert warning.endswith(f"It waits in {Settings().outbox}, and the next run delivers it.")
    assert summary.report is not None
    assert "This run is not in MLflow yet" in Path(summary.report).read_text()
    assert "is unknown, since their records could not be read" in summary.backtest.verdict
    assert summary.backtest.trials == {"tested": None, "tuned": 1, "total": None}
    assert seconds < sum(expected.seconds.values()) + PATIENCE_SECONDS + 10


def test_what_was_not_recorded_is_by_the_next_run_in_order_and_once(own: Home) -> None:
    client_uri = f"sqlite:///{own.database}"
    with closing(locked(own)) as other:
        first, second = own.run(seed=1, patience=0.5), own.run(seed=2, patience=0.5)
        other.execute("COMMIT")
    assert not first.recorded
    assert not second.recorded
    third = own.run(seed=3, patience=60.0)
    assert third.recorded
    assert third.backtest is not None
    assert third.backtest.trials["tested"] == 3, "those that waited are counted"
    seeds = [found.data.params["seed"] for found in own.runs()]
    assert seeds == ["1", "2", "3"]
    assert [found.info.status for found in own.runs()] == ["FINISHED"] * 3
    assert own.runs()[0].data.tags["tapecast.tested_specifications"] == "unknown"
    artifacts = {file.path for file in MlflowClient(client_uri).list_artifacts(own.runs()[0].info.run_id)}
    assert {"report", "tables", "figures", "model", "backtest"} <= artifacts, "of a run that could not be recorded"


def locked(own: Home) -> sqlite3.Connection:
    """A connection that holds the database, which has its tables."""
    with recorded_experiment(Settings(), "audit", SMALL) as recording:
        assert recording.recorded
    client = MlflowClient(f"sqlite:///{own.database}")
    for found in own.runs():
        client.delete_run(found.info.run_id)
    other = sqlite3.connect(own.database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    return other


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2 // 4096 * 4096],
    "cut within a page": lambda content: content[: len(content) - 1000],
    "overwritten": lambda content: content[:8192] + b"\x5a" * 40_000 + content[48_192:],
    "no database": lambda content: b"this is no database" + content[19:],
}


def with_database(own: Home, path: Path, content: bytes) -> Home:
    """The home with its own database in another place: MLflow keeps files open that this process has used before."""
    path.parent.mkdir()
    path.write_bytes(content)
    own.patch.delenv("TAPECAST_TRACKING_URI")
    own.patch.setattr(Settings, "mlflow_uri", property(lambda _: f"sqlite:///{path}"))
    return replace(own, database=path)


@pytest.fixture(scope="module")
def sound(home: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The content of a database that a run is recorded in."""
    path = tmp_path_factory.mktemp("sound") / "mlflow.db"
    settings = Settings(tracking_uri=f"sqlite:///{path}")
    with recorded_experiment(settings, "run", SMALL) as recording:
        for number in range(200):
            recording.record.write(tags={f"tag {number}": "x" * 500})
    assert recording.recorded
    return path.read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_set_aside_and_the_run_goes_on_with_a_new_one(
    own: Home, sound: bytes, tmp_path: Path, damage: str
) -> None:
    content = DAMAGES[damage](sound)
    damaged = with_database(own, tmp_path / "damaged" / "mlflow.db", content)
    summary = damaged.run()
    (kept,) = damaged.database.parent.glob("mlflow-damaged-*.db")
    assert kept.read_bytes() == content
    assert summary.recorded
    (warning,) = summary.warnings
    assert warning.startswith(f"The MLflow database was damaged: it is kept as {kept}, and this run is in a new one.")
    assert summary.backtest is not None
    assert summary.backtest.trials["tested"] is None
    assert len(damaged.runs()) == 1


def test_an_empty_database_where_reports_exist_is_said_loudly(own: Home, tmp_path: Path) -> None:
    own.run()
    summary = with_database(own, tmp_path / "emptied" / "mlflow.db", b"").run()
    assert summary.recorded
    assert summary.report is not None
    (warning,) = summary.warnings
    assert "is new, though there are" in warning
    assert "reports of earlier runs" in warning
    assert "of earlier runs: their records" in Path(summary.report).read_text()
    assert summary.backtest is not None
    assert summary.backtest.trials["tested"] is None


@pytest.mark.parametrize("part", ["figures", "report"])
def test_what_cannot_be_drawn_loses_nothing_else(own: Home, part: str) -> None:
    expected = own.run()

    def fails(*_: object) -> None:
        raise ValueError("no such font")

    own.patch.setattr(*((figures, "draw_figures") if part == "figures" else (report, "write_report")), fails)
    summary = own.run()
    assert summary.recorded
    assert summary.forecasts == expected.forecasts
    (warning,) = summary.warnings
    assert warning.startswith(f"The {part} could not be ")
    assert "ValueError: no such font" in warning
    assert (summary.report is None) == (part == "report")
    (_, found) = own.runs()
    assert warning in found.data.tags["mlflow.note.content"]
    artifacts = {file.path for file in MlflowClient(f"sqlite:///{own.database}").list_artifacts(found.info.run_id)}
    assert {"tables", "model", "backtest"} <= artifacts
    assert part not in artifacts


def test_what_can_be_no_store_is_refused_before_anything_is_done(own: Home, tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("ticker,session,close\n")
    for uri in ("ftp://host/x", f"sqlite:///{tmp_path / 'prices.csv'}"):
        own.patch.setenv("TAPECAST_TRACKING_URI", uri)
        with pytest.raises(UsageError, match="expected"):
            own.run()
    assert (tmp_path / "prices.csv").read_text() == "ticker,session,close\n"


def test_the_same_job_is_continued_and_another_is_not(own: Home) -> None:
    with recorded_experiment(Settings(), "run", changed(SMALL, seed=7)) as recording:
        run_id = recording.run_id
        recording.delivery.close()  # as a kill leaves it
        recording.record.journal.release()
        other = own.run(seed=8)
        assert other.mlflow_run_id != run_id
        assert {found.info.run_id: found.info.status for found in own.runs()}[str(run_id)] == "KILLED"
        same = own.run(seed=7)
        assert same.mlflow_run_id == run_id
    statuses = {found.info.run_id: found.info.status for found in own.runs()}
    assert statuses == {str(run_id): "FINISHED", str(other.mlflow_run_id): "FINISHED"}
