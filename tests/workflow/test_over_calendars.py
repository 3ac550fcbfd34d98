"""A run over several calendars: one that fails stops no other, and every ticker keeps its own reason."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from pipeline.dataset.frames import Frames
from pipeline.errors import NothingUsableError
from pipeline.experiment import Experiment
from pipeline.market.bars import Exclusion, Stale
from pipeline.market.specification import SyntheticSource
from pipeline.operation.publication import Publication
from pipeline.operation.result import CalendarResult
from pipeline.settings import Settings
from pipeline.workflow.calendar_bars import CalendarBars, LoadedBars, by_calendar
from pipeline.workflow.over_calendars import RecordedRun, over_calendars
from pipeline.workflow.progress import NoProgress
from pipeline.workflow.recording import RecordedResult, Recording, recorded_experiment
from pipeline.workflow.run import on_calendar
from pipeline.workflow.run_context import RunContext, new_context
from pipeline.workflow.summaries import result_of
from tests.panels import frames_from, random_market

from .builders import EVERYWHERE, evaluation_of, loaded_of

pytestmark = [pytest.mark.timeout(300)]


@cache
def small_frames() -> Frames:
    return frames_from(random_market(300, 3))


def result_on(bars: CalendarBars, experiment: Experiment) -> CalendarResult:
    """A result with no more in it than what a run over several calendars reads of it."""
    sentence = f"Nothing was tested on {bars.calendar}."
    return CalendarResult(
        experiment=experiment,
        source_note=bars.note,
        known_at=bars.known_at,
        listings=bars.bars.listings,
        frames=small_frames(),
        folds=(),
        results=(),
        problems=bars.problems,
        excluded=bars.excluded,
        stale=bars.stale,
        unseen=(),
        warnings=(),
        evaluation=evaluation_of(sentence),
        forecasts=None,
        publication=Publication(),
    )


@dataclass(frozen=True)
class FakeWork:
    """Work that is done at once, or finds nothing usable on some calendars."""

    requested: Experiment
    failing: Mapping[str, NothingUsableError]

    def __call__(
        self, context: RunContext, recording: Recording, bars: CalendarBars, experiment: Experiment
    ) -> RecordedResult:
        if bars.calendar in self.failing:
            raise self.failing[bars.calendar]
        with context.timer.stage("work"):
            result = result_on(bars, experiment)
        report = context.out or Path("here")
        return RecordedResult(result, recording.run_id, recording.url, report, dict(context.timer.seconds))


@dataclass(frozen=True)
class RecordedRuns:
    """A context whose runs are recorded under an MLflow experiment of its own."""

    context: RunContext

    def runs(self) -> tuple[Run, list[Run]]:
        """The run and its children."""
        settings = self.context.settings
        client = MlflowClient(tracking_uri=settings.mlflow_uri)
        found = client.search_runs([client.get_experiment_by_name(settings.mlflow_experiment).experiment_id])
        (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
        children = [run for run in found if run is not parent]
        assert {run.data.tags["mlflow.parentRunId"] for run in children} <= {parent.info.run_id}
        return parent, children


@pytest.fixture
def recorded_runs(home: Path, tmp_path: Path) -> RecordedRuns:
    context = new_context("backtest", tmp_path / "out", NoProgress())
    return RecordedRuns(replace(context, settings=Settings(mlflow_experiment=tmp_path.name)))


def fake_work(*tickers: str, **failing: NothingUsableError) -> FakeWork:
    experiment = Experiment(source=SyntheticSource(process="random_walk"), tickers=tickers, device="cpu")
    return FakeWork(experiment, failing)


def run_over(recorded_runs: RecordedRuns, work: FakeWork, loaded: LoadedBars) -> RecordedRun:
    calendars = by_calendar(loaded)
    experiments = {calendar.calendar: on_calendar(work.requested, calendar) for calendar in calendars}
    context = recorded_runs.context
    with recorded_experiment(context.settings, context.kind, work.requested) as recording:
        return over_calendars(context, recording, calendars, experiments, work, work.requested.tickers)


SHORT = NothingUsableError("the history is too short", (Exclusion("TCS.BO", "20 usable sessions"),))
EXCLUDED_BEFORE = (Exclusion("WIPRO.NS", "unknown ticker"), Exclusion("GONE", "no such ticker"))


def test_a_calendar_that_fails_stops_no_other_and_its_tickers_keep_their_reasons(recorded_runs: RecordedRuns) -> None:
    loaded = loaded_of(*EVERYWHERE, excluded=EXCLUDED_BEFORE)
    finished = run_over(recorded_runs, fake_work(XBOM=SHORT), replace(loaded))
    (recorded,) = finished.results
    assert recorded.result.calendar == "XNYS"
    assert recorded.result.experiment.tickers == ("AAA", "BBB")
    assert recorded_runs.context.out is not None
    assert recorded.report == recorded_runs.context.out / "XNYS"
    assert {out.ticker: out.reason for out in finished.excluded} == {
        "TCS.BO": "20 usable sessions",
        "WIPRO.NS": "unknown ticker",
        "INFY.NS": "the history is too short",
    }
    assert (list(recorded.seconds), finished.seconds) == (["work"], {})
    parent, children = recorded_runs.runs()
    assert parent.data.tags["tapecast.status"] == "partial"
    assert parent.data.tags["tapecast.calendar"] == "XNYS"
    note = parent.data.tags["mlflow.note.content"]
    assert "- **XNYS**: Nothing was tested on XNYS." in note
    assert "- **INFY.NS** was excluded: the history is too short" in note
    ended = {run.info.status: run for run in children}
    assert (len(children), set(ended)) == (2, {"FAILED", "FINISHED"})
    assert ended["FAILED"].data.tags["tapecast.error"] == "the history is too short"
    assert ended["FINISHED"].info.run_id == recorded.run_id
    assert parent.info.status == "FINISHED"


def test_tickers_that_were_not_requested_are_not_reported(recorded_runs: RecordedRuns) -> None:
    work = fake_work("AAA", "INFY.NS", "WIPRO.NS", XBOM=SHORT)
    finished = run_over(recorded_runs, work, loaded_of(*EVERYWHERE, excluded=EXCLUDED_BEFORE))
    assert [out.ticker for out in finished.excluded] == ["WIPRO.NS", "INFY.NS"]


def test_where_every_calendar_fails_every_ticker_is_reported(recorded_runs: RecordedRuns) -> None:
    work = fake_work(XBOM=SHORT, XNYS=NothingUsableError("no fold"))
    with pytest.raises(NothingUsableError, match="nothing could be done on any calendar of this run") as caught:
        run_over(recorded_runs, work, loaded_of(*EVERYWHERE, excluded=EXCLUDED_BEFORE))
    reported = {out.ticker: out.reason for out in caught.value.excluded if isinstance(out, Exclusion)}
    assert reported == {
        "AAA": "no fold",
        "BBB": "no fold",
        "GONE": "no such ticker",
        "INFY.NS": "the history is too short",
        "TCS.BO": "20 usable sessions",
        "WIPRO.NS": "unknown ticker",
    }
    assert all(f"{ticker}: {reason}" in str(caught.value) for ticker, reason in reported.items())
    parent, children = recorded_runs.runs()
    assert [run.info.status for run in (parent, *children)] == ["FAILED"] * 3


@pytest.mark.parametrize("status", ["ok", "partial"])
def test_the_status_of_a_run_is_that_of_its_worst_calendar(recorded_runs: RecordedRuns, status: str) -> None:
    stale = (Stale("TCS.BO", "2024-05-30", 1, "429"),) if status == "partial" else ()
    finished = run_over(recorded_runs, fake_work(), loaded_of(*EVERYWHERE, stale=stale))
    assert [result.result.calendar for result in finished.results] == ["XBOM", "XNYS"]
    assert finished.excluded == ()
    parent, _ = recorded_runs.runs()
    assert parent.data.tags["tapecast.status"] == status
    assert parent.data.tags["tapecast.calendar"] == "XBOM XNYS"


def test_one_calendar_alone_is_the_run_itself(recorded_runs: RecordedRuns) -> None:
    finished = run_over(recorded_runs, fake_work("AAA"), loaded_of("AAA", "BBB"))
    (recorded,) = finished.results
    assert recorded.report == recorded_runs.context.out
    parent, children = recorded_runs.runs()
    assert (parent.info.run_id, children) == (recorded.run_id, [])
    with pytest.raises(NothingUsableError, match="no fold"):
        run_over(recorded_runs, fake_work(XNYS=NothingUsableError("no fold")), loaded_of("AAA"))


def test_the_result_of_a_run_with_a_failed_calendar_is_partial(recorded_runs: RecordedRuns) -> None:
    finished = run_over(recorded_runs, fake_work(XBOM=SHORT), loaded_of(*EVERYWHERE))
    whole = replace(finished.results[0].result, evaluation=None)
    summary = result_of(replace(finished, results=(replace(finished.results[0], result=whole),)))
    assert summary.status == "partial"
    assert {row["ticker"] for row in summary.excluded} == {"INFY.NS", "TCS.BO"}
    assert [bars.status for bars in summary.calendars] == ["ok"]
    assert recorded_runs.runs()[0].data.tags["tapecast.status"] == "partial"
