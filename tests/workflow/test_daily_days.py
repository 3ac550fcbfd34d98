"""Sixty simulated days of the daily use case: a complete, verified and graded ledger, and no look-ahead in it."""

import math
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from pipeline.evaluation.comparisons import BASELINE_KINDS
from pipeline.evaluation.scores import pinball_of, within
from pipeline.evaluation.session_record import PUBLISHED
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED, CORE_FORECASTERS
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.issues import KEY, LATE, ON_TIME, log_quantiles
from pipeline.operation.ledger.reading import exported, first_graded, listed, rows_of_entry, ungraded
from pipeline.operation.ledger.record import first_outcomes, latest_outcomes, record_of
from pipeline.operation.ledger.verification import verify
from pipeline.operation.model_versions import read_version, versions
from pipeline.operation.monitoring.live_record import live_record
from pipeline.operation.monitoring.record_file import read_record
from pipeline.settings import Settings
from pipeline.tracking.ledger_heads import heads_in_mlflow
from pipeline.workflow.daily_result import DailyResult
from pipeline.workflow.ledger import heads_of_days, merged_heads
from pipeline.workflow.live_record import as_json
from pipeline.workflow.replay import replay
from pipeline.workflow.run_context import new_context
from tests.panels import random_rows
from tests.workflow.simulated_days import World, sessions_of, world_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LAST = np.datetime64("2024-03-28")
DAYS = sessions_of("2023-11-20", "2024-02-15")[:60]  # Thanksgiving, a half day, Christmas, a refit at the new year
MISSED, LATER = DAYS[20], DAYS[21]
SPLIT, DIVIDEND, RESTATED_ON, DELISTED = DAYS[12], DAYS[15], DAYS[30], DAYS[40]
RESTATED = DAYS[28]
REFUSED = DAYS[45:48]
UPDATED = {*DAYS[5:10], SPLIT, LATER, RESTATED_ON, DELISTED, *REFUSED, *DAYS[55:]}
"""Days on which the store is updated by itself before the daily run, so that this finds nothing to request."""
THANKSGIVING = np.datetime64("2023-11-23")


def market() -> dict[str, pd.DataFrame]:
    """Four tickers with a split, a dividend and a delisting among the days; other actions lie before them."""
    rows = {name: random_rows(790, seed, LAST) for seed, name in enumerate(("AAA", "BBB", "CCC", "DDD"))}
    for name, frame in rows.items():
        quiet = (frame["session"] >= DAYS[0]).to_numpy()
        at = {"AAA": ("split", SPLIT, 2.0), "BBB": ("dividend", DIVIDEND, 1.0)}.get(name)
        rows[name] = with_actions(frame, quiet, at)
    rows["DDD"] = rows["DDD"][rows["DDD"]["session"] <= DELISTED].reset_index(drop=True)
    return rows


def with_actions(
    frame: pd.DataFrame, quiet: np.ndarray, action: tuple[str, np.datetime64, float] | None
) -> pd.DataFrame:
    """The rows without splits and dividends on quiet days but for one; prices follow the total returns that were."""
    total = np.diff(np.log(frame["adj_close"].to_numpy()), prepend=np.nan)
    frame = frame.copy()
    frame.loc[quiet, "split"], frame.loc[quiet, "dividend"] = 1.0, 0.0
    if action:
        frame.loc[frame["session"] == action[1], action[0]] = action[2]
    shape = frame[["open", "high", "low"]].div(frame["close"], axis=0)
    close = frame["close"].to_numpy().copy()
    for t in np.flatnonzero(quiet):
        close[t] = (close[t - 1] * np.exp(total[t]) - frame["dividend"].iloc[t]) / frame["split"].iloc[t]
    return frame.assign(close=close, **{name: shape[name] * close for name in shape})


Lived = tuple[World, dict[np.datetime64, DailyResult], DailyResult]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    folder = tmp_path_factory.mktemp("days")
    with pytest.MonkeyPatch.context() as patch, world_of(market(), folder) as world:
        patch.setenv("TAPECAST_HOME", str(folder / "home"))
        results = {}
        for day in DAYS:
            if day == MISSED:
                continue
            if day == RESTATED_ON:
                restate(world)
            world.fake.play.everything = 429 if day in REFUSED else None
            results[day] = world.day(day, with_update=day in UPDATED)
            if day == DAYS[2]:
                world.now += timedelta(hours=24)  # Thanksgiving at the same hour
                holiday = world.run()
        yield world, results, holiday


def restate(world: World) -> None:
    """Yahoo corrects an old close of CCC by half a per cent."""
    where = world.rows["CCC"]["session"] == RESTATED
    world.rows["CCC"].loc[where, ["open", "high", "low", "close"]] *= 1.005


@pytest.fixture
def ledger(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    return open_ledger(Settings().ledger_url)


def issued_rows(ledger: Ledger) -> pd.DataFrame:
    entries = listed(ledger, "daily", 1000)
    return pd.concat([rows_of_entry(ledger, "daily", entry.sequence) for entry in entries], ignore_index=True)


def test_every_session_is_issued_once_and_what_came_late_is_late(ledger: Ledger) -> None:
    rows = issued_rows(ledger)
    assert not rows.duplicated(list(KEY)).any()
    found = rows.groupby("as_of")["status"].agg(set)
    late = {MISSED, *REFUSED}
    expected = {pd.Timestamp(day): {LATE if day in late else ON_TIME} for day in DAYS}
    assert found.to_dict() == expected
    tickers = rows.groupby("as_of")["ticker"].agg(set)
    for day, names in tickers.items():
        assert names == {"AAA", "BBB", "CCC", *(["DDD"] if day <= DELISTED else [])}, day
    assert set(rows["forecaster"]) == {*CORE_FORECASTERS, COMBINED, CALIBRATED}
    assert (rows[rows["published"]].groupby(["ticker", "as_of", "horizon"]).size() == 1).all()


def test_days_without_a_new_session_say_why(lived: Lived) -> None:
    _, results, holiday = lived
    (calendar,) = holiday.calendars
    assert calendar.issued == results[DAYS[2]].calendars[0].issued
    assert "2023-11-22 was issued at 2023-11-22 23:30 UTC, and no later session has closed" in calendar.skipped
    assert calendar.forecasts == results[DAYS[2]].calendars[0].forecasts
    for k, day in enumerate(REFUSED, 1):
        (calendar,) = results[day].calendars
        assert f"the bars of {k} completed session(s) are not there yet" in calendar.skipped
        assert results[day].status == "partial"
        assert {row["ticker"] for row in calendar.stale} >= {"AAA", "BBB", "CCC"}


def test_the_chain_and_the_heads_of_all_days_are_whole(ledger: Ledger) -> None:
    noted, contradiction = merged_heads(heads_of_days(Settings().days / "daily"))
    assert (len(noted), contradiction) == (len(DAYS), None)
    heads = heads_in_mlflow(Settings().mlflow_uri, "daily")
    assert {(it.sequence, it.digest) for it in heads} <= set(noted.items())
    assert len(heads) == len(DAYS) - 4  # one a run: late ones have no other
    assert {it.chain for it in heads} == {noted[1]}
    client = MlflowClient(tracking_uri=Settings().mlflow_uri)
    experiment = client.get_experiment_by_name("tapecast")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`tapecast.kind` = 'daily'")
    versions_named = {run.data.tags["tapecast.model_version"].split(" ")[1] for run in runs}
    assert len(runs) == len(DAYS) - 4
    assert versions_named == {"1", "2"}, {run.data.tags["tapecast.model_version"] for run in runs}
    found = verify(ledger, "daily", noted)
    assert found.fault is None, found
    assert found.entries == len(DAYS)


def true_return(rows: pd.DataFrame, as_of: pd.Timestamp, horizon: int) -> float:
    """The log total return over the next sessions, one by one from prices and actions; NaN where a bar is missing."""
    at = int(np.flatnonzero(rows["session"] == as_of)[0])
    if at + horizon >= len(rows):
        return math.nan
    total = 0.0
    for t in range(at + 1, at + horizon + 1):
        held = rows["close"].iloc[t] * rows["split"].iloc[t] + rows["dividend"].iloc[t]
        total += math.log(held / rows["close"].iloc[t - 1])
    return total


def test_what_has_matured_is_graded_once_and_a_restatement_is_a_revision(lived: Lived, ledger: Ledger) -> None:
    world, results, _ = lived
    tickers, since = ("AAA", "BBB", "CCC", "DDD"), DAYS[0].item()
    waiting = ungraded(ledger, "daily", DAYS[-1].item())
    assert set(waiting["ticker"]) <= {"DDD"}  # delisted before its targets
    latest = latest_outcomes(ledger, "daily", tickers, since)
    assert len(latest) > 3 * 2 * (len(DAYS) - 2)
    for row in latest.itertuples():
        expected = true_return(world.rows[row.ticker], row.as_of, row.horizon)
        assert row.outcome == pytest.approx(expected, abs=2e-6), row
    first = first_outcomes(ledger, "daily", tickers, since)
    both = first.merge(latest, on=["ticker", "as_of", "horizon"], suffixes=("_first", ""))
    moved = both[(both["outcome"] - both["outcome_first"]).abs() > 1e-6]
    assert set(moved["ticker"]) == {"CCC"}
    assert set(moved["revision"]) == {1}
    assert len(moved) == 3  # to the restated close one and two sessions ahead, and from it one; the rest came later
    assert [row["ticker"] for row in results[RESTATED_ON].calendars[0].restated] == ["CCC"]
    assert "prices" in results[RESTATED_ON].calendars[0].restated[0]["what"]  # though an update before had found it
    assert not any(result.calendars[0].warnings for result in results.values())
    assert sum(result.calendars[0].regraded for result in results.values()) == 3 * 8


def test_the_record_has_every_forecaster_and_late_rows_by_themselves(ledger: Ledger) -> None:
    record = record_of(ledger, "daily")
    on_time = record[(record["status"] == ON_TIME) & (record["horizon"] == 1)].set_index("forecaster")
    assert len(on_time) == 8
    assert set(record["status"]) == {ON_TIME, LATE}
    late = record[(record["status"] == LATE) & (record["horizon"] == 1) & (record["forecaster"] == "ewma")]
    assert late["rows"].tolist() == [3 * 4 + 1]  # DDD was still there on the missed day
    grades = exported(ledger, "daily")
    truth = grades[(grades["forecaster"] == "ewma") & (grades["horizon"] == 1) & (grades["status"] == ON_TIME)].dropna()
    inside = (truth["q10"] <= truth["actual"]) & (truth["actual"] <= truth["q90"])
    assert on_time.loc["ewma", "coverage_80"] == pytest.approx(inside.mean())


def test_the_live_record_is_what_the_first_grades_say(lived: Lived, ledger: Ledger) -> None:
    table = read_record(Settings().models / "daily", "XNYS")
    assert table is not None
    rows = first_graded(ledger, "daily")
    rows = rows[rows["status"] == ON_TIME]
    quantiles, outcome = log_quantiles(rows), rows["outcome"].to_numpy()
    scored = rows.assign(pinball=pinball_of(quantiles, outcome), inside=within(80)(quantiles, outcome))
    published = scored[scored["published"]].assign(forecaster=PUBLISHED)
    of_session = pd.concat([scored, published]).groupby(["as_of", "horizon", "forecaster"])
    expected = of_session.agg(rows=("pinball", "size"), pinball=("pinball", "mean"), inside_80=("inside", "sum"))
    found = table.set_index(["as_of", "horizon", "forecaster"])[list(expected.columns)]
    assert len(found) == len(expected) > 900
    np.testing.assert_allclose(found.sort_index(), expected.sort_index(), rtol=1e-6)
    _, results, _ = lived
    (last,) = results[DAYS[-1]].calendars
    assert last.live == as_json(live_record(table, BASELINE_KINDS))
    assert {row["sessions"] for row in last.live["evidence"] if row["horizon"] == 1} == {
        len(DAYS) - 2
    }  # one was missed


def test_the_refit_of_the_new_year_takes_over_the_next_day(lived: Lived, ledger: Ledger) -> None:
    _, results, _ = lived
    refits = {day: result.refit for day, result in results.items() if result.refit}
    assert list(refits) == [np.datetime64("2024-01-02")]
    (refit,) = refits.values()
    assert (refit["status"], refit["version"]) == ("champion", 2), refit
    used = issued_rows(ledger).groupby("as_of")["version"].agg(set)
    for day in DAYS:
        assert used[pd.Timestamp(day)] == ({1} if day <= np.datetime64("2024-01-02") else {2}), day
    assert [it.number for it in versions(Settings().models, "daily")] == [1, 2]
    assert read_version(Settings().models, "daily").models["XNYS"].backtest is not None


def test_no_forecast_saw_a_later_bar(ledger: Ledger) -> None:
    """Each entry is made again from the store as known at its issue: every bit is the issued one."""
    for entry in listed(ledger, "daily", 1000):
        result = replay(new_context("forecast"), "daily", entry.sequence)
        assert result.agreement == "identical", result.sentence
        assert result.environment == ()
