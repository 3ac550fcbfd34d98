"""A run over several markets: one that fails stops no other, and every ticker keeps its own reason."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from pipeline.errors import NothingUsableError, UsageError
from pipeline.evaluation.evaluation import Evaluation, EvaluationInputs, evaluate
from pipeline.evaluation.specification import MoneySpec
from pipeline.evaluation.trials import Trials
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import Fitted
from pipeline.market.bars import Bars, Exclusion, Listing, Stale, ValidatedBars
from pipeline.market.calendars import listing_of
from pipeline.market.specification import SyntheticSource
from pipeline.market.universe import MembershipPeriod, Universe
from pipeline.market.validation.rules import problem_of
from pipeline.operation.model import LATEST, Model, TrainedModel, publish
from pipeline.operation.publication import Publication
from pipeline.operation.result import CalendarResult
from pipeline.settings import Settings
from pipeline.workflow import forecast as forecasting
from pipeline.workflow.calendar_bars import CalendarBars, LoadedBars, by_calendar, reported_with
from pipeline.workflow.context import RunContext, new_context
from pipeline.workflow.forecast import forecast, market_members, refuse_later_training, with_new_members
from pipeline.workflow.over_calendars import RecordedRun, over_calendars
from pipeline.workflow.progress import NoProgress
from pipeline.workflow.recording import RecordedResult, Recording
from pipeline.workflow.result import result_of
from pipeline.workflow.run import on_calendar, warnings_of
from tests.evaluation.backtests import flat_opens, random_backtest
from tests.panels import TINY, fit_jobs, frames_from, jobs_for, random_market

pytestmark = [pytest.mark.timeout(300)]

NOW = datetime(2024, 6, 3, 12, tzinfo=UTC)
EVERYWHERE = ("AAA", "BBB", "INFY.NS", "TCS.BO")


def bars_of(*tickers: str) -> Bars:
    """Bars of one session, of tickers on the calendars that their names stand for."""
    frame = pd.DataFrame({"ticker": tickers, "session": np.datetime64("2024-05-31", "s")})
    return Bars(frame, tuple(map(listing_of, tickers)), "actions")


def loaded_of(*tickers: str, **values: Any) -> LoadedBars:
    """What was loaded of the tickers; values are those of ValidatedBars and LoadedBars."""
    stale = values.pop("stale", ())
    universe = values.pop("universe", None)
    validated = replace(ValidatedBars(bars_of(*tickers), (), ()), **values)
    return LoadedBars(validated, stale, "Made up.", NOW, universe)


# --- where a ticker is told ---


def test_a_ticker_is_told_with_its_own_calendar_or_the_first() -> None:
    calendars = ("XBOM", "XNYS", "24/7")
    assert [reported_with(ticker, calendars) for ticker in ("AAPL", "TCS.BO", "INFY.NS", "BTC-USD")] == [
        "XNYS",
        "XBOM",
        "XBOM",
        "24/7",
    ]
    assert reported_with("ULVR.L", calendars) == "XBOM"  # London has no bars in this run
    assert reported_with("AAPL.QQQQ", calendars) == "XBOM"  # no exchange that is known
    assert reported_with("AAPL", ("XLON",)) == "XLON"


def test_every_calendar_is_a_market_with_what_was_found_in_its_own() -> None:
    problems = tuple(problem_of(one, "missing_sessions", "2024-01-08", "2 sessions") for one in EVERYWHERE)
    excluded = tuple(Exclusion(one, "why") for one in ("GONE", "GONE.NS", "GONE.L", "GONE.QQQQ"))
    stale = (Stale("AAA", "2024-05-30", 1, "429"), Stale("TCS.BO", "2024-05-30", 1, "429"))
    universe = Universe("mine", EVERYWHERE)
    told = loaded_of(*EVERYWHERE, "CCC", problems=problems, excluded=excluded, stale=stale, universe=universe)
    first, second = by_calendar(told)
    assert (first.calendar, second.calendar) == ("XNYS", "XBOM")
    assert (first.bars.tickers, second.bars.tickers) == (("AAA", "BBB", "CCC"), ("INFY.NS", "TCS.BO"))
    assert (first.other_tickers, second.other_tickers) == (("INFY.NS", "TCS.BO"), ("AAA", "BBB", "CCC"))
    assert [one.ticker for one in first.problems] == ["AAA", "BBB"]
    assert [one.ticker for one in second.problems] == ["INFY.NS", "TCS.BO"]
    assert [one.ticker for one in first.excluded] == ["GONE", "GONE.L", "GONE.QQQQ"]
    assert [one.ticker for one in second.excluded] == ["GONE.NS"]
    assert [[one.ticker for one in market.stale] for market in (first, second)] == [["AAA"], ["TCS.BO"]]
    assert {(market.note, market.known_at, market.universe) for market in (first, second)} == {
        ("Made up.", NOW, universe)
    }


def test_of_two_markets_as_large_the_first_by_name_comes_first() -> None:
    assert [market.calendar for market in by_calendar(loaded_of("AAA", "TCS.BO", "BTC-USD"))] == [
        "24/7",
        "XBOM",
        "XNYS",
    ]


def test_a_market_concerns_its_own_tickers_and_those_left_out_of_it() -> None:
    first, second = by_calendar(loaded_of("AAA", "BBB", "TCS.BO", excluded=(Exclusion("GONE", "why"),)))
    assert first.concerns(("GONE",))
    assert first.concerns(("TCS.BO", "BBB"))
    assert not first.concerns(("TCS.BO",))
    assert second.concerns(("TCS.BO",))
    assert not second.concerns(())


# --- the parts of a run ---


def outcome_on(market: CalendarBars, experiment: Experiment) -> CalendarResult:
    """An outcome with no more in it than what a run over several markets reads of it."""
    sentence = f"Nothing was tested on {market.calendar}."
    return CalendarResult(
        experiment=experiment,
        source_note=market.note,
        known_at=market.known_at,
        listings=market.bars.listings,
        frames=cast("Any", None),
        folds=(),
        results=(),
        problems=market.problems,
        excluded=market.excluded,
        stale=market.stale,
        unseen=(),
        warnings=(),
        evaluation=evaluation_of(sentence),
        forecasts=None,
        publication=Publication(),
    )


def evaluation_of(sentence: str, origins: int = 60) -> Evaluation:
    backtest = random_backtest(origins)
    whole = evaluate(backtest, EvaluationInputs(flat_opens(backtest), MoneySpec(), Trials()))
    return replace(whole, verdict=replace(whole.verdict, sentence=sentence))


@dataclass(frozen=True)
class Pretended:
    """A work that is done at once, or finds nothing usable on some calendars."""

    requested: Experiment
    failing: Mapping[str, NothingUsableError]

    def __call__(
        self, context: RunContext, recording: Recording, bars: CalendarBars, experiment: Experiment
    ) -> RecordedResult:
        if bars.calendar in self.failing:
            raise self.failing[bars.calendar]
        with context.timer.stage("work"):
            outcome = outcome_on(bars, experiment)
        report = context.out or Path("here")
        return RecordedResult(outcome, recording.run_id, recording.url, report, dict(context.timer.seconds))


@dataclass(frozen=True)
class Desk:
    """A job whose runs are filed under an MLflow experiment of its own."""

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
def desk(home: Path, tmp_path: Path) -> Desk:
    context = new_context("backtest", tmp_path / "out", NoProgress())
    return Desk(replace(context, settings=Settings(mlflow_experiment=tmp_path.name)))


def pretended(*tickers: str, **failing: NothingUsableError) -> Pretended:
    experiment = Experiment(source=SyntheticSource(process="random_walk"), tickers=tickers, device="cpu")
    return Pretended(experiment, failing)


def worked(desk: Desk, work: Pretended, loaded: LoadedBars) -> RecordedRun:
    calendars = by_calendar(loaded)
    experiments = {one.calendar: on_calendar(work.requested, one) for one in calendars}
    with Recording(desk.context.settings, desk.context.kind, work.requested) as recording:
        return over_calendars(desk.context, recording, calendars, experiments, work, work.requested.tickers)


SHORT = NothingUsableError("the history is too short", (Exclusion("TCS.BO", "20 usable sessions"),))
EXCLUDED_BEFORE = (Exclusion("WIPRO.NS", "unknown ticker"), Exclusion("GONE", "no such ticker"))


def test_a_market_that_fails_stops_no_other_and_its_tickers_keep_their_reasons(desk: Desk) -> None:
    loaded = loaded_of(*EVERYWHERE, excluded=EXCLUDED_BEFORE)
    parts = worked(desk, pretended(XBOM=SHORT), replace(loaded))
    (part,) = parts.results
    assert part.result.calendar == "XNYS"
    assert part.result.experiment.tickers == ("AAA", "BBB")
    assert part.report == desk.context.out / "XNYS"
    assert {out.ticker: out.reason for out in parts.excluded} == {
        "TCS.BO": "20 usable sessions",
        "WIPRO.NS": "unknown ticker",
        "INFY.NS": "the history is too short",
    }
    assert (list(part.seconds), parts.seconds) == (["work"], {})
    parent, children = desk.runs()
    assert parent.data.tags["tapecast.status"] == "partial"
    assert parent.data.tags["tapecast.calendar"] == "XNYS"
    note = parent.data.tags["mlflow.note.content"]
    assert "- **XNYS**: Nothing was tested on XNYS." in note
    assert "- **INFY.NS** was excluded: the history is too short" in note
    ended = {run.info.status: run for run in children}
    assert (len(children), set(ended)) == (2, {"FAILED", "FINISHED"})
    assert ended["FAILED"].data.tags["tapecast.error"] == "the history is too short"
    assert ended["FINISHED"].info.run_id == part.run_id
    assert parent.info.status == "FINISHED"


def test_tickers_that_nobody_asked_for_are_not_told(desk: Desk) -> None:
    work = pretended("AAA", "INFY.NS", "WIPRO.NS", XBOM=SHORT)
    parts = worked(desk, work, loaded_of(*EVERYWHERE, excluded=EXCLUDED_BEFORE))
    assert [out.ticker for out in parts.excluded] == ["WIPRO.NS", "INFY.NS"]


def test_where_every_market_fails_every_ticker_is_told(desk: Desk) -> None:
    work = pretended(XBOM=SHORT, XNYS=NothingUsableError("no fold"))
    with pytest.raises(NothingUsableError, match="nothing could be done on any calendar of this run") as caught:
        worked(desk, work, loaded_of(*EVERYWHERE, excluded=EXCLUDED_BEFORE))
    told = {out.ticker: out.reason for out in caught.value.excluded if isinstance(out, Exclusion)}
    assert told == {
        "AAA": "no fold",
        "BBB": "no fold",
        "GONE": "no such ticker",
        "INFY.NS": "the history is too short",
        "TCS.BO": "20 usable sessions",
        "WIPRO.NS": "unknown ticker",
    }
    assert all(f"{ticker}: {reason}" in str(caught.value) for ticker, reason in told.items())
    parent, children = desk.runs()
    assert [run.info.status for run in (parent, *children)] == ["FAILED"] * 3


@pytest.mark.parametrize("status", ["ok", "partial"])
def test_a_run_of_whole_markets_is_as_good_as_the_worst_of_them(desk: Desk, status: str) -> None:
    stale = (Stale("TCS.BO", "2024-05-30", 1, "429"),) if status == "partial" else ()
    parts = worked(desk, pretended(), loaded_of(*EVERYWHERE, stale=stale))
    assert [part.result.calendar for part in parts.results] == ["XBOM", "XNYS"]
    assert parts.excluded == ()
    parent, _ = desk.runs()
    assert parent.data.tags["tapecast.status"] == status
    assert parent.data.tags["tapecast.calendar"] == "XBOM XNYS"


def test_one_market_alone_is_the_run_itself(desk: Desk) -> None:
    parts = worked(desk, pretended("AAA"), loaded_of("AAA", "BBB"))
    (part,) = parts.results
    assert part.report == desk.context.out
    parent, children = desk.runs()
    assert (parent.info.run_id, children) == (part.run_id, [])
    with pytest.raises(NothingUsableError, match="no fold"):
        worked(desk, pretended(XNYS=NothingUsableError("no fold")), loaded_of("AAA"))


def test_the_summary_of_half_a_run_is_partial(desk: Desk) -> None:
    parts = worked(desk, pretended(XBOM=SHORT), loaded_of(*EVERYWHERE))
    whole = replace(parts.results[0].result, evaluation=None)
    summary = result_of(replace(parts, results=(replace(parts.results[0], result=whole),)))
    assert summary.status == "partial"
    assert {row["ticker"] for row in summary.excluded} == {"INFY.NS", "TCS.BO"}
    assert [market.status for market in summary.calendars] == ["ok"]
    assert desk.runs()[0].data.tags["tapecast.status"] == "partial"


# --- what is done on each market ---


class Heard(NoProgress):
    """A watch that keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


def model_of(*market: str, until: str = "2024-06-03", other_tickers: tuple[str, ...] = ("BTC-USD",)) -> Model:
    experiment = Experiment(source=SyntheticSource(process="random_walk"), device="cpu")
    fitted = cast("Fitted", None)
    return Model(experiment, market, other_tickers, None, until, (fitted,), Publication())


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunContext, Heard]:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "other"))
    watch = Heard()
    return new_context("forecast", None, watch), watch


def test_the_model_s_own_tickers_make_the_market(heard: tuple[RunContext, Heard]) -> None:
    job, watch = heard
    (market,) = by_calendar(loaded_of("AAA", "BBB", "CCC"))
    assert market_members(job, model_of("CCC", "AAA", "GONE"), market) == ("CCC", "AAA", "BTC-USD")
    assert market_members(job, model_of("BBB", other_tickers=()), market) == ("BBB",)
    assert watch.said == []


def test_where_none_of_them_is_there_those_asked_for_stand_in_and_that_is_said(heard: tuple[RunContext, Heard]) -> None:
    job, watch = heard
    (market,) = by_calendar(loaded_of("AAA", "BBB"))
    assert market_members(job, model_of("GONE"), market) == ("AAA", "BBB", "BTC-USD")
    (said,) = watch.said
    assert "none of the model's tickers" in said


def test_the_tickers_beside_the_model_s_own_are_read_too(desk: Desk, tmp_path: Path) -> None:
    frames = frames_from(random_market(500, 3))
    results = fit_jobs(jobs_for(frames, kinds=("ewma",), folds=slice(-1, None))[0], frames, tmp_path)
    (tmp_path / "kept").rename(desk.context.settings.fits)
    own = TrainedModel("XNYS", TINY, frames.tickers, ("TCS.BO", "BTC-USD"), None, tuple(results), Publication())
    publish(desk.context.settings.models, LATEST, [own])

    with pytest.raises(NothingUsableError) as caught:  # as that source has none of them
        forecast(desk.context, ("T1", "NEW"), SyntheticSource(process="random_walk", tickers=1))
    told = [out.ticker for out in caught.value.excluded if isinstance(out, Exclusion)]
    assert told == ["T0", "T1", "T2", "TCS.BO", "BTC-USD", "NEW"]


def test_a_model_from_later_sessions_is_refused() -> None:
    models = {"XNYS": model_of("AAA", until="2024-05-01"), "XBOM": model_of("TCS.BO", until="2024-06-03")}
    refuse_later_training(models, NOW)  # the day after the last session that was read
    with pytest.raises(UsageError, match=r"until 2024-06-03, after 2024-06-02; use `tapecast run --as-known`"):
        refuse_later_training(models, datetime(2024, 6, 2, 23, 59, tzinfo=UTC))


def test_a_calendar_without_a_model_leaves_out_its_tickers_that_were_asked_for(heard: tuple[RunContext, Heard]) -> None:
    job, _ = heard
    (market,) = by_calendar(loaded_of("AAA", "BBB", excluded=(Exclusion("GONE", "no such ticker"),)))
    asked = Experiment(tickers=("AAA", "GONE"), device="cpu")
    with pytest.raises(NothingUsableError, match="no model is published for calendar XNYS") as caught:
        forecasting._on_calendar({"XBOM": model_of("TCS.BO")}, job, cast("Recording", None), market, asked)
    assert [out.ticker for out in caught.value.excluded if isinstance(out, Exclusion)] == ["GONE", "AAA"]


def test_a_forecast_is_narrowed_to_the_tickers_of_its_market() -> None:
    asked = Experiment(tickers=("TCS.BO", "AAA", "GONE"), device="cpu")
    markets = by_calendar(loaded_of(*EVERYWHERE, excluded=(Exclusion("GONE", "none"),)))
    own = {one.calendar: forecasting._concerned(asked, one).tickers for one in markets}
    assert own == {"XBOM": ("TCS.BO",), "XNYS": ("AAA", "GONE")}


def test_tickers_that_the_model_did_not_know_belong_to_its_universe_always() -> None:
    dated = Universe("mine", ("AAA",), (MembershipPeriod("AAA", date(2020, 1, 2), date(2021, 1, 4)),))
    found = with_new_members(dated, ("AAA", "NEW"))
    assert found is not None
    assert found.memberships == (*dated.memberships, MembershipPeriod("NEW", None, None))
    plain = Universe("mine", ("AAA",))
    assert with_new_members(plain, ("NEW",)) == plain
    assert with_new_members(None, ("NEW",)) is None


def test_a_list_of_today_tested_on_the_past_is_warned_of_on_each_market() -> None:
    first, second = by_calendar(loaded_of("AAA", "BBB", "TCS.BO"))
    real = Experiment(device="cpu")
    long = evaluation_of("", origins=420)
    (warning,) = warnings_of(first, real, long)
    assert warning.startswith("These 2 tickers were chosen today and are tested on 2023 to 2024")
    assert warnings_of(second, real, long)[0].startswith("This ticker was chosen today")
    assert warnings_of(first, real, evaluation_of("", origins=60)) == ()
    dated = Universe("mine", ("AAA",), (MembershipPeriod("AAA", date(2020, 1, 2), None),))
    assert warnings_of(replace(first, universe=dated), real, long) == ()
    made_up = Experiment(source=SyntheticSource(process="random_walk"), device="cpu")
    assert warnings_of(first, made_up, long) == ()


def test_a_market_s_own_experiment_names_its_tickers() -> None:
    (market,) = by_calendar(loaded_of("AAA", "BBB"))
    narrowed = on_calendar(Experiment(universe=Path("list.txt"), device="cpu"), market)
    assert (narrowed.tickers, narrowed.universe) == (("AAA", "BBB"), None)
    assert Listing("AAA", "XNYS", "USD") in market.bars.listings
