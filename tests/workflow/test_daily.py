"""The daily use case where something is otherwise than planned: late bars, faults, second runs, changed settings."""

import itertools
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import LedgerError, NothingUsableError, SourceError, UsageError
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.market.bars import FetchedRows
from pipeline.market.calendars import closed_at
from pipeline.operation.environment import Environment, this_environment
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.issues import KEY, LATE, ON_TIME
from pipeline.operation.ledger.reading import last_entry, listed, rows_of_entry, ungraded
from pipeline.operation.model_versions import read_version, versions
from pipeline.operation.states import get_state
from pipeline.settings import Settings
from pipeline.tracking.ledger_heads import heads_in_mlflow
from pipeline.workflow import daily as workflow_daily
from pipeline.workflow import grading
from pipeline.workflow.daily import DailyPlan, daily
from pipeline.workflow.daily_result import DailyResult, daily_sentences
from pipeline.workflow.day_file import day_file
from pipeline.workflow.ingest import IngestResult, ingest
from pipeline.workflow.issuer import Issuer, live_state
from pipeline.workflow.issuing import is_on_time
from pipeline.workflow.ledger import check_ledger
from pipeline.workflow.replay import environment_changes, replay, replays
from tests.panels import changed, random_rows
from tests.workflow.daily_job import DAYS, EXPERIMENT, LAST, ROWS, context_at, evening, live_through

NEXT = np.datetime64("2023-12-26")  # after Christmas
AFTER = np.datetime64("2023-12-27")
NO_SERVER = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which two days were issued."""
    home = tmp_path_factory.mktemp("lived") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAPECAST_HOME", str(home))
        live_through(DAYS)
    return home


@pytest.fixture(autouse=True)
def home(lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that home; MLflow's own files are not copied: its database names the place of its artifacts."""
    copied = tmp_path / "home"
    shutil.copytree(lived, copied, ignore=shutil.ignore_patterns("mlflow"))
    monkeypatch.setenv("TAPECAST_HOME", str(copied))
    monkeypatch.setenv("TAPECAST_TRACKING_URI", NO_SERVER)
    return copied


def run(day: np.datetime64 = NEXT, plan: DailyPlan | None = None, **values: object) -> DailyResult:
    return daily(context_at(evening(day)), changed(EXPERIMENT, **values), plan or DailyPlan())


def ledger() -> Ledger:
    return open_ledger(Settings().ledger_url)


def issued() -> pd.DataFrame:
    return pd.concat([rows_of_entry(ledger(), "daily", it.sequence) for it in listed(ledger(), "daily", 99)])


def test_without_mlflow_all_is_issued_and_the_result_says_that_it_is_not_recorded() -> None:
    announced: list[DailyResult] = []
    result = run(plan=DailyPlan(announce=announced.append))
    (calendar,) = result.calendars
    assert [row["session"] for row in calendar.issued] == [str(NEXT)]
    assert (result.recorded, result.as_json()["recorded"]) == (False, False)
    assert any("not in MLflow yet" in warning for warning in result.warnings)
    assert calendar.report is not None
    assert "Version 1 of model daily; its backtest of 2023-12-21 (MLflow run " in Path(calendar.report).read_text()
    (early,) = announced[0].calendars  # before it was recorded or drawn
    assert (early.forecasts, early.report, early.logged) == (calendar.forecasts, None, False)
    assert sum(path.is_dir() for path in Settings().outbox.iterdir()) == 1


def test_a_ticker_whose_bar_comes_late_is_issued_by_the_next_run_of_the_day() -> None:
    first = daily(context_at(evening(NEXT), late=("CCC",)), EXPERIMENT, DailyPlan()).calendars[0]
    assert {row["ticker"] for row in first.stale} == {"CCC"}
    before = issued()
    second = run().calendars[0]
    assert [(row["session"], row["status"], row["added"]) for row in second.issued] == [
        (str(NEXT), ON_TIME, 32),
        (str(NEXT), ON_TIME, 16),
    ]
    rows = issued()
    assert not rows.duplicated(list(KEY)).any()
    kept = rows.merge(before, how="inner")
    assert len(kept) == len(before)
    new = rows[(rows["as_of"] == pd.Timestamp(NEXT)) & (rows["ticker"] == "CCC")]
    assert set(new["status"]) == {ON_TIME}
    assert {row["ticker"]: row["as_of"] for row in second.forecasts} == dict.fromkeys(("AAA", "BBB", "CCC"), str(NEXT))
    entry = last_entry(ledger(), "daily", "XNYS")
    assert entry is not None
    assert entry.provenance.calibration_digest is not None
    state = get_state(Settings().models / "daily", "XNYS", entry.provenance.calibration_digest)
    assert state is not None
    assert state.calibration is not None  # what was issued in both runs waits for its outcome
    assert np.isfinite(state.calibration.pending[:, 0]).all()
    assert np.isfinite(state.combination.combined[0]).all()
    assert run().calendars[0].issued == second.issued
    later = run(AFTER)  # what was issued late is learned from as the rest is, and spoils nothing
    assert {(row["ticker"], row["as_of"]) for row in later.calendars[0].forecasts} == {
        (ticker, str(AFTER)) for ticker in ("AAA", "BBB", "CCC")
    }
    assert np.isfinite(issued()[list(QUANTILE_COLUMNS)].to_numpy()).all()


def test_a_run_that_dies_after_the_issue_is_finished_by_the_next() -> None:
    def die(_issued: DailyResult) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan=DailyPlan(announce=die))
    count = len(listed(ledger(), "daily", 99))
    result = run()
    assert len(listed(ledger(), "daily", 99)) == count
    (calendar,) = result.calendars
    assert calendar.logged
    assert "was issued at" in calendar.skipped
    assert [row["session"] for row in calendar.issued] == [str(NEXT)]
    day_file(Settings(), "daily", "XNYS", str(NEXT)).unlink()  # nor does a lost file lose what was issued
    again = run().calendars[0]
    assert again.forecasts == calendar.forecasts
    assert again.entry == calendar.entry


def test_a_record_that_was_not_noted_is_made_again_in_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPECAST_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    (first,) = run().calendars
    day_file(Settings(), "daily", "XNYS", str(NEXT)).unlink()
    (second,) = run().calendars
    assert second.recorded
    assert first.mlflow_run_id == second.mlflow_run_id is not None
    (head,) = heads_in_mlflow(Settings().mlflow_uri, "daily")
    chain = listed(ledger(), "daily", 99)[-1].digest
    assert (head.run_id, head.chain, head.sequence) == (first.mlflow_run_id, chain, first.entry["sequence"])
    assert check_ledger(Settings(), ledger(), "daily").as_json()["noted"]["MLflow"] == 1


def test_two_runs_at_once_give_one_result() -> None:
    recorded_at_issue: list[bool] = []

    def announce(result: DailyResult) -> None:
        recorded_at_issue.append(result.calendars[0].logged)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: run(plan=DailyPlan(announce=announce)), range(2))
    assert first.calendars[0].forecasts == second.calendars[0].forecasts
    assert len(listed(ledger(), "daily", 99)) == len(DAYS) + 1
    assert recorded_at_issue == [False, True], "the second begins when the first is recorded"
    assert sum(path.is_dir() for path in Settings().outbox.iterdir()) == 1


@pytest.mark.parametrize("name", [None, "mine"])
def test_a_run_waits_for_another_of_the_same_model_and_says_so(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_daily, "LOCK_SECONDS", 0.0)
    refusals: list[str] = []

    def run_another(_issued: DailyResult) -> None:
        with pytest.raises(UsageError, match=r"wait until it ends, or end it, and try again$") as caught:
            run(plan=DailyPlan(model=name))
        refusals.append(str(caught.value))

    run(plan=DailyPlan(model=name, announce=run_another))
    assert refusals[0].startswith(f"another process has been making a daily run of model {name or 'daily'} for 0 s")


class Refusing:
    """A remote source that refuses every request."""

    def fetch(self, first_days: Mapping[str, date | None]) -> Iterator[tuple[str, FetchedRows | SourceError]]:
        """Yield an error for each ticker."""
        for ticker in first_days:
            yield ticker, SourceError("Yahoo refuses requests")


def test_a_day_on_which_the_source_refuses_is_unfinished_and_issued_on_time_by_a_second_try() -> None:
    refusing = replace(context_at(evening(NEXT)), remote=lambda *_: Refusing())
    first = daily(refusing, EXPERIMENT, DailyPlan())
    assert [row["session"] for row in first.calendars[0].issued] == [str(DAYS[1])]  # by the run of that day
    assert first.unfinished == (
        "calendar XNYS: the bars of 1 completed session(s) are not there yet, Yahoo refuses requests"
    )
    second = run()
    assert [row["status"] for row in second.calendars[0].issued] == [ON_TIME]
    assert second.unfinished == ""


def test_a_clock_that_is_set_back_issues_nothing_twice() -> None:
    before = issued()
    result = run(DAYS[0])
    assert "was issued at" in result.calendars[0].skipped
    pd.testing.assert_frame_equal(issued(), before)


def test_bars_are_left_to_settle() -> None:
    context = context_at(closed_at("XNYS", NEXT) + timedelta(minutes=30))
    waiting = daily(context, EXPERIMENT, DailyPlan(delay_minutes=60)).calendars[0]
    assert "2023-12-26 closed less than 60 minutes ago" in waiting.skipped
    assert [row["session"] for row in daily(context, EXPERIMENT, DailyPlan(delay_minutes=30)).calendars[0].issued] == [
        str(NEXT)
    ]


def test_a_missed_session_does_not_wait_for_the_bars_of_a_later_one_to_settle() -> None:
    context = context_at(closed_at("XNYS", AFTER) + timedelta(minutes=30))
    (calendar,) = daily(context, EXPERIMENT, DailyPlan(delay_minutes=60)).calendars
    assert [(row["session"], row["status"]) for row in calendar.issued] == [(str(NEXT), LATE)]
    assert calendar.skipped == f"{AFTER} closed less than 60 minutes ago"


def test_a_forecast_is_on_time_before_the_next_session_opens() -> None:
    for minutes, on_time in ((-1, True), (0, False)):
        opening = pd.Timestamp("2023-12-27 14:30", tz="UTC").to_pydatetime() + timedelta(minutes=minutes)
        assert is_on_time("XNYS", NEXT, opening) is on_time
    around_the_clock = closed_at("24/7", np.datetime64("2023-12-26"))
    assert is_on_time("24/7", np.datetime64("2023-12-26"), around_the_clock + timedelta(hours=2))
    assert not is_on_time("24/7", np.datetime64("2023-12-26"), around_the_clock + timedelta(hours=3))


def test_a_new_ticker_is_forecast_without_a_refit_and_a_removed_one_is_not() -> None:
    result = run(tickers=("AAA", "BBB"))
    assert {row["ticker"] for row in result.calendars[0].forecasts} == {"AAA", "BBB"}
    assert result.refit is None
    back = run(AFTER)
    assert {row["ticker"] for row in back.calendars[0].forecasts} == {"AAA", "BBB", "CCC"}
    rows = issued()
    assert set(rows.loc[rows["as_of"] == pd.Timestamp(NEXT), "ticker"]) == {"AAA", "BBB"}


def forecast_from(universe: Path, listed: str, day: np.datetime64) -> tuple[set[str], DailyResult]:
    """The tickers that are forecast where the universe's list is this one."""
    universe.write_text(listed)
    result = run(day, tickers=(), universe=universe)
    return {row["ticker"] for row in result.calendars[0].forecasts}, result


def test_a_universe_is_read_every_day_who_joined_is_forecast_and_who_left_is_not(tmp_path: Path) -> None:
    listed = tmp_path / "mine.txt"
    assert forecast_from(listed, "AAA\nBBB\n", NEXT)[0] == {"AAA", "BBB"}
    found, result = forecast_from(listed, "AAA\nCCC\n", AFTER)
    assert (found, result.refit, result.status) == ({"AAA", "CCC"}, None, "ok")
    rows = issued()
    assert set(rows.loc[rows["as_of"] == pd.Timestamp(AFTER), "ticker"]) == {"AAA", "CCC"}
    assert replay(context_at(evening(AFTER)), "daily", 4).agreement == "identical"


def test_a_ticker_that_joins_a_universe_later_than_the_training_is_forecast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "new"))
    listed, head = tmp_path / "mine.csv", "ticker,member_from,member_until\n"
    trained = "AAA,2022-01-03,\nBBB,2022-01-03,\n"
    assert forecast_from(listed, head + trained, DAYS[0])[0] == {"AAA", "BBB"}
    joined = f"AAA,2022-01-03,{DAYS[0]}\nBBB,2022-01-03,\nCCC,{DAYS[1]},\nDDD,2030-01-02,\n"
    found, result = forecast_from(listed, head + joined, DAYS[1])
    assert (found, result.calendars[0].excluded, result.refit) == ({"BBB", "CCC"}, [], None)
    assert replay(context_at(evening(DAYS[1])), "daily", 2).agreement == "identical"
    again = f"AAA,2022-01-03,{DAYS[0]}\nAAA,{NEXT},\nBBB,2022-01-03,\n"
    assert forecast_from(listed, head + again, NEXT)[0] == {"AAA", "BBB"}
    with pytest.raises(UsageError, match=f"found no member of the universe mine on {AFTER}"):
        forecast_from(listed, f"{head}AAA,2022-01-03,{NEXT}\n", AFTER)


def test_a_member_that_the_model_knows_as_one_that_left_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "new"))
    listed, head = tmp_path / "mine.csv", "ticker,member_from,member_until\nAAA,2022-01-03,\nBBB,2022-01-03,\n"
    assert forecast_from(listed, f"{head}CCC,2022-01-03,2023-11-30\n", DAYS[0])[0] == {"AAA", "BBB"}
    found, result = forecast_from(listed, f"{head}CCC,2022-01-03,2023-11-30\nCCC,{DAYS[1]},\n", DAYS[1])
    (out,) = result.calendars[0].excluded
    assert (found, out["ticker"], result.status) == ({"AAA", "BBB"}, "CCC", "partial")
    assert "its membership dates exclude it from the universe" in out["reason"]


def test_a_ticker_of_a_calendar_without_a_model_is_reported() -> None:
    rows = {**ROWS, "BTC-USD": ROWS["AAA"]}
    experiment = changed(EXPERIMENT, tickers=tuple(rows))
    result = daily(context_at(evening(NEXT), rows=rows), experiment, DailyPlan())
    ((ticker, reason),) = [(row["ticker"], row["reason"]) for row in result.failed]
    assert (ticker, result.status) == ("BTC-USD", "partial")
    assert reason == "model daily has none for calendar 24/7 yet; the next refit trains one"
    asked = daily(context_at(evening(AFTER), rows=rows), experiment, DailyPlan(calendar="XNYS"))
    assert ({row["ticker"] for row in asked.calendars[0].forecasts}, asked.failed) == (set(ROWS), ())


def test_the_last_forecasts_of_a_ticker_that_was_requested_for_a_day_are_graded() -> None:
    rows = {**ROWS, "DDD": ROWS["AAA"]}
    joined = changed(EXPERIMENT, tickers=tuple(rows))
    first = daily(context_at(evening(NEXT), rows=rows), joined, DailyPlan())
    assert "DDD" in {row["ticker"] for row in first.calendars[0].forecasts}
    second = daily(context_at(evening(AFTER), rows=rows), EXPERIMENT, DailyPlan())
    assert "DDD" not in {row["ticker"] for row in second.calendars[0].forecasts}
    assert (second.status, second.calendars[0].excluded) == ("ok", [])
    ungraded_then = ungraded(ledger(), "daily", AFTER.item(), ["DDD"])
    assert ungraded_then.empty
    assert not ungraded(ledger(), "daily", (AFTER + 5).item(), ["DDD"]).empty  # two sessions ahead
    rows["DDD"] = rows["DDD"].iloc[:0]  # the source has it no more
    gone = daily(context_at(evening(AFTER + 1), rows=rows), EXPERIMENT, DailyPlan())
    assert (gone.status, gone.calendars[0].excluded) == ("ok", [])


def restated(ticker: str, session: np.datetime64) -> dict[str, pd.DataFrame]:
    """The rows of a source that corrected a close by half a per cent."""
    rows = {name: frame.copy() for name, frame in ROWS.items()}
    at = rows[ticker]["session"] == pd.Timestamp(session)
    rows[ticker].loc[at, ["open", "high", "low", "close"]] *= 1.005
    return rows


def ingested(day: np.datetime64, rows: dict[str, pd.DataFrame]) -> IngestResult:
    """An update of the store by itself, half an hour before the daily run."""
    context = context_at(evening(day) - timedelta(minutes=30), rows=rows)
    return ingest(context, tuple(ROWS), None, EXPERIMENT.source)


@pytest.mark.parametrize("rechecked", [20, 1, 0])
def test_what_an_update_of_its_own_found_restated_is_named_and_graded_again(
    rechecked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far back: of the outcomes that change, all, one or none is among those compared every day."""
    monkeypatch.setattr(grading, "RECHECKED_SESSIONS", rechecked)
    run()
    rows = restated("CCC", DAYS[1])
    assert ingested(AFTER, rows).states == {"updated": 2, "restated": 1}
    calendar = daily(context_at(evening(AFTER), rows=rows), EXPERIMENT, DailyPlan()).calendars[0]
    assert [row["session"] for row in calendar.issued] == [str(AFTER)]
    assert calendar.regraded == 2 * 8  # one session to the restated close, and one from it; what spans it is the same
    ((ticker, what),) = [(row["ticker"], row["what"]) for row in calendar.restated]
    assert (ticker, what.split(";")[0]) == ("CCC", f"prices from {DAYS[1]} on (1 row")
    again = daily(context_at(evening(AFTER), rows=rows), EXPERIMENT, DailyPlan()).calendars[0]
    assert (again.regraded, again.restated) == (2 * 8, calendar.restated)  # as the day's first run found
    following = daily(context_at(evening(AFTER + 1), rows=rows), EXPERIMENT, DailyPlan()).calendars[0]
    assert (following.regraded, following.restated) == (0, [])


def test_a_restatement_is_named_and_graded_though_the_first_grading_after_it_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grading, "RECHECKED_SESSIONS", 0)
    run()
    context = context_at(evening(AFTER), rows=restated("CCC", DAYS[1]))
    with monkeypatch.context() as patch:
        patch.setattr(grading, "scored", lambda *_: pd.DataFrame().loc["nothing"])
        failed = daily(context, EXPERIMENT, DailyPlan()).calendars[0]
    assert (failed.regraded, [row["ticker"] for row in failed.restated]) == (0, ["CCC"])  # by its own update
    assert daily(context, EXPERIMENT, DailyPlan()).calendars[0].regraded == 2 * 8


@pytest.mark.parametrize(("session", "named", "regraded"), [(DAYS[0] - 1, [], 0), (DAYS[1], ["CCC"], 3 * 8)])
def test_a_restated_ticker_that_is_forecast_no_more_is_named_where_its_grades_change(
    session: np.datetime64, named: list[str], regraded: int
) -> None:
    run()
    for day in (AFTER, AFTER + 1):
        run(day, tickers=("AAA", "BBB"))  # after these two, CCC waits for no outcome
    rows, day = restated("CCC", session), AFTER + 2
    assert ingested(day, rows).states == {"updated": 2, "restated": 1}
    fewer = changed(EXPERIMENT, tickers=("AAA", "BBB"))
    calendar = daily(context_at(evening(day), rows=rows), fewer, DailyPlan()).calendars[0]
    assert ([row["ticker"] for row in calendar.restated], calendar.regraded) == (named, regraded)


def test_a_grading_that_fails_is_said_and_blocks_no_issue(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(grading, "scored", lambda *_: pd.DataFrame().loc["nothing"])
        failed = run()
    (calendar,) = failed.calendars
    assert ([row["session"] for row in calendar.issued], calendar.graded) == ([str(NEXT)], 0)
    said = "The forecasts whose outcome is known could not be graded (KeyError: 'nothing'); the next run grades them."
    assert calendar.warnings == [said]
    assert said in list(daily_sentences(calendar))
    again = run().calendars[0]
    assert (again.warnings, again.graded) == ([], 2 * 3 * 8)  # what matured on this day


def test_a_ledger_that_fails_while_it_grades_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise LedgerError("locked")

    monkeypatch.setattr(grading, "append_grades", refuse)
    with pytest.raises(LedgerError, match="locked"):
        run()
    assert len(listed(ledger(), "daily", 99)) == len(DAYS)


def test_another_experiment_is_trained_after_the_issue_and_forecasts_the_next_day() -> None:
    result = run(seeds=2)
    assert result.refit is not None
    assert (result.refit["status"], result.refit["version"]) == ("champion", 2), result.refit
    assert result.refit["reason"] == "the experiment is another one than the champion's"
    assert result.calendars[0].version == 1
    following = run(AFTER, seeds=2)
    assert (following.calendars[0].version, following.refit) == (2, None)
    entry = last_entry(ledger(), "daily", "XNYS")
    assert entry is not None
    assert entry.provenance.version == 2
    before = last_entry(ledger(), "daily", "XNYS", entry.sequence)
    assert before is not None
    first, second = (
        get_state(Settings().models / "daily", "XNYS", str(it.provenance.calibration_digest)) for it in (before, entry)
    )
    assert first is not None
    assert second is not None
    assert first.calibration is not None
    assert second.calibration is not None
    # The new version goes on from the state.
    np.testing.assert_array_equal(second.calibration.pending[:, 1], first.calibration.pending[:, 0])
    np.testing.assert_array_equal(second.combination.combined[1], first.combination.combined[0])
    assert len(versions(Settings().models, "daily")) == 2


def test_a_ledger_that_cannot_be_written_ends_the_run_in_words(home: Path) -> None:
    shutil.rmtree(home / "ledger")
    (home / "ledger").write_text("no folder")
    with pytest.raises(LedgerError, match="could not open the ledger"):
        run()
    assert not any((home / "days").rglob(f"*{NEXT}*"))


def test_a_ledger_that_lacks_what_was_issued_gets_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = home / "elsewhere.db"
    monkeypatch.setenv("TAPECAST_LEDGER", f"sqlite:///{elsewhere}")
    with pytest.raises(LedgerError, match=r"found no entry 2 of daily in the ledger .*elsewhere\.db, expected entry 2"):
        run()
    assert listed(open_ledger(f"sqlite:///{elsewhere}"), "daily", 9) == []
    assert not any((home / "days").rglob(f"*{NEXT}*"))
    shutil.copy(home / "ledger" / "ledger.db", elsewhere)
    assert run().calendars[0].entry["sequence"] == 3


@pytest.mark.parametrize("lost", ["removed", "changed"])
def test_a_lost_state_costs_no_forecast_and_is_said(lost: str, home: Path) -> None:
    folder = home / "models" / "daily" / "states" / "XNYS"
    if lost == "removed":
        shutil.rmtree(folder)
    else:
        newest = max(folder.iterdir())
        newest.write_bytes(min(folder.iterdir()).read_bytes())
    (calendar,) = run().calendars
    assert [row["status"] for row in calendar.issued] == [ON_TIME]
    assert any("Combination and calibration were followed again" in warning for warning in calendar.warnings)
    assert any("Combination and calibration were followed again" in sentence for sentence in daily_sentences(calendar))
    assert run(AFTER).calendars[0].warnings == []


def test_a_state_that_is_followed_again_is_the_one_that_was_lost(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(home, other)
    kept = run()
    shutil.rmtree(other / "models" / "daily" / "states")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAPECAST_HOME", str(other))
        again = run()
    prices = [[row[name] for row in it.calendars[0].forecasts for name in QUANTILE_COLUMNS] for it in (kept, again)]
    assert prices[0] == pytest.approx(prices[1], rel=1e-6)


def test_a_state_that_cannot_be_stored_costs_no_forecast(home: Path) -> None:
    folder = home / "models" / "daily" / "states"
    shutil.rmtree(folder)
    folder.touch()
    (calendar,) = run().calendars
    assert [row["status"] for row in calendar.issued] == [ON_TIME]
    assert any("could not be stored" in warning for warning in calendar.warnings)


def test_an_origin_that_was_issued_gets_no_other_forecaster_by_a_later_version() -> None:
    assert run(NEXT, calibration={"method": "none"}).refit is not None
    quicker = {"calibration": {"scale_rate": 0.5}}
    first = run(AFTER, **quicker)  # by the version without a calibration; then one with another is made
    assert first.refit is not None
    assert {row["forecaster"] for row in first.calendars[0].forecasts} == {"combined"}
    second = run(AFTER, **quicker)
    assert second.calendars[0].issued == first.calendars[0].issued
    assert second.calendars[0].forecasts == first.calendars[0].forecasts
    rows = issued()
    assert not rows[rows["published"]].duplicated(["ticker", "as_of", "horizon"]).any()
    newest = read_version(Settings().models, "daily")
    issuer = Issuer(ledger(), newest, "XNYS", "run", None, "as traded")
    assert live_state(issuer, issuer.last) is issuer.model.state  # that of the last issue has no calibration
    assert {row["forecaster"] for row in run(AFTER + 1, **quicker).calendars[0].forecasts} == {"calibrated"}
    entry = last_entry(ledger(), "daily", "XNYS")
    assert entry is not None
    state = get_state(Settings().models / "daily", "XNYS", str(entry.provenance.calibration_digest))
    assert state is not None
    assert state.calibrated == "combined"
    assert state.calibration is not None


def test_after_a_refit_a_second_run_names_the_version_that_issued() -> None:
    first = run(seeds=2)
    assert first.refit is not None
    assert first.refit["version"] == 2
    second = run(seeds=2).calendars[0]
    assert (second.version, second.backtest) == (1, first.calendars[0].backtest)
    assert run(AFTER, seeds=2).calendars[0].version == 2


def test_a_forecast_is_on_time_by_the_instant_of_its_issue_not_by_that_of_the_start() -> None:
    begun, ticks = evening(NEXT), itertools.count()
    late = closed_at("XNYS", NEXT) + timedelta(days=1)

    def clock() -> datetime:
        return begun if next(ticks) == 0 else late  # it waited for another run, or for a slow source

    context = replace(context_at(begun), clock=clock)
    (calendar,) = daily(context, EXPERIMENT, DailyPlan()).calendars
    assert [row["status"] for row in calendar.issued] == [LATE]
    assert listed(ledger(), "daily", 1)[0].issued_at == late


def test_a_calendar_that_the_model_lacks_is_named() -> None:
    with pytest.raises(NothingUsableError, match="no calendar XLON, expected one of XNYS"):
        run(plan=DailyPlan(calendar="XLON"))


def test_the_result_is_said_in_sentences() -> None:
    result = run()
    text = " ".join(daily_sentences(result.calendars[0]))
    assert f"Issued {NEXT} (on time): 48 rows in entry 3 of the ledger, digest" in text
    assert "Graded 24 forecasts." in text or "Graded 48 forecasts." in text
    assert "Version 1, backtest of 2023-12-21" in text
    assert set(result.tables()) == {"forecasts", "issued"}


# --- Replay ---


def test_a_replay_is_the_issued_forecast_bit_for_bit() -> None:
    run()
    for which in (1, 2, 3):
        assert replay(context_at(evening(AFTER)), "daily", which).agreement == "identical"


def test_a_replay_of_a_run_is_that_of_all_of_its_entries() -> None:
    run(AFTER)  # a missed session, then the last one
    late, newest = sorted(listed(ledger(), "daily", 2), key=lambda entry: entry.sequence)
    found = replays(context_at(evening(AFTER)), "daily", newest.provenance.run_id[:12])
    assert [(it.sequence, it.agreement) for it in found.results] == [
        (late.sequence, "identical"),
        (newest.sequence, "identical"),
    ]
    assert (found.status, len(found.as_json()["entries"])) == ("ok", 2)
    assert found.sentence.count("every value is the issued one, bit for bit") == 2


def test_a_replay_reads_what_the_run_read_and_ends_where_it_ended() -> None:
    rows = {**ROWS, "DDD": random_rows(420, 9, LAST)}
    daily(context_at(evening(NEXT), rows=rows), changed(EXPERIMENT, tickers=tuple(rows)), DailyPlan())
    daily(context_at(evening(AFTER), rows=rows), EXPERIMENT, DailyPlan())  # DDD waits for its outcome
    behind = {**rows, "CCC": rows["CCC"][rows["CCC"]["session"] <= pd.Timestamp(AFTER)]}
    daily(context_at(evening(AFTER + 1), rows=behind), EXPERIMENT, DailyPlan())
    daily(context_at(evening(AFTER + 2), rows=behind), EXPERIMENT, DailyPlan())
    less = {**rows, "CCC": rows["CCC"][rows["CCC"]["session"] <= pd.Timestamp(AFTER + 1)]}
    daily(context_at(evening(AFTER + 2) + timedelta(hours=1), rows=less), EXPERIMENT, DailyPlan())
    entries = sorted(listed(ledger(), "daily", 99), key=lambda entry: entry.sequence)
    assert entries[-1].last_origin < entries[-2].last_origin  # of the ticker that is behind alone
    for entry in entries:
        assert replay(context_at(evening(AFTER + 2), rows=rows), "daily", entry.sequence).agreement == "identical"


def test_a_replay_names_the_first_stage_that_differs(home: Path) -> None:
    with sqlite3.connect(home / "ledger" / "ledger.db") as database:  # as someone would who alters the ledger
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        columns = [row[1] for row in database.execute("PRAGMA table_info(ledger_forecasts)")]
        assert "q50" in columns
        database.execute("UPDATE ledger_forecasts SET q50 = (q25 + q75) / 2 WHERE sequence = 2")
    database.close()
    found = replay(context_at(evening(AFTER)), "daily", 2)
    assert (found.agreement, found.stage, found.status) == ("different", "predict", "partial")
    assert "The first stage that differs: predict." in found.sentence
    assert replay(context_at(evening(AFTER)), "daily", 1).agreement == "identical"


def test_a_replay_without_its_version_or_entry_says_what_is_gone(home: Path) -> None:
    with pytest.raises(UsageError, match=r"found no entry 99 of model daily.*ledger list"):
        replay(context_at(evening(AFTER)), "daily", 99)
    shutil.rmtree(home / "models" / "daily" / "0001")
    (home / "models" / "daily" / "0002").mkdir()
    with pytest.raises(UsageError, match=r"no version 1 of model daily.*pruned, or never published"):
        replay(context_at(evening(AFTER)), "daily", 1)


def test_what_changed_in_the_environment_is_named() -> None:
    entry = listed(ledger(), "daily", 1)[0]
    present = this_environment()
    assert environment_changes(entry, present) == ()
    other = Environment("9.9", {**present.packages, "torch": "9.9"}, "NONE")
    assert [it.split(" ")[0] for it in environment_changes(entry, other)] == ["code", "packages", "CPU"]


def test_the_backtest_behind_a_version_is_in_the_ledger() -> None:
    entry = listed(ledger(), "daily", 1)[0]
    assert entry.provenance.backtest == read_version(Settings().models, "daily").models["XNYS"].backtest
    assert entry.provenance.backtest is not None
    assert entry.provenance.backtest.verdict
    assert set(issued()["status"]) <= {ON_TIME, LATE}
