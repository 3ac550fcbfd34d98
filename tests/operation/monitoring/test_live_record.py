"""The live record: plain sums over the last sessions, and evidence that is read every day."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.calibration.measures import REGIMES
from pipeline.evaluation.session_record import (
    PIT,
    PUBLISHED,
    REGIME_INSIDE,
    REGIME_ROWS,
    known_forecasts,
    regime_cuts,
    session_record,
)
from pipeline.evaluation.significance.sequential import interleaved_wealth
from pipeline.operation.monitoring.live_record import LEVEL, evidence, live_record
from tests.evaluation.backtests import random_backtest

BASELINES = ("climatology", "last_close")


def record_of(sessions: int = 90, error: float = 0.0) -> pd.DataFrame:
    """The record of forecasts of which the published one is wrong by `error` on top of what the others are."""
    backtest = random_backtest(sessions, 5, 2, missing=0.0)
    draws = np.random.default_rng(4)
    quantiles = dict(backtest.quantiles)
    published = quantiles[backtest.published]
    quantiles[backtest.published] = published + error * draws.normal(size=published.shape[:3])[..., None]
    relative = draws.normal(size=(5, sessions)).astype(np.float32)
    forecasts = known_forecasts(replace(backtest, quantiles=quantiles, relative_volatility=relative))
    return session_record(forecasts, regime_cuts(relative))


def of(record: pd.DataFrame, horizon: int, forecaster: str, window: int) -> pd.DataFrame:
    rows = record[(record["horizon"] == horizon) & (record["forecaster"] == forecaster)]
    return rows.sort_values("as_of").tail(window)


@pytest.mark.parametrize("window", [1, 30, 400])
def test_every_figure_is_a_plain_sum_over_the_last_sessions(window: int) -> None:
    record = record_of()
    found = live_record(record, BASELINES, (window,))
    for row in found.skill.to_dict("records"):
        rows = of(record, row["horizon"], row["baseline"], window)
        assert (row["sessions"], row["first"], row["last"]) == (len(rows), rows["as_of"].min(), rows["as_of"].max())
        if window > 1:
            assert row["skill"] == pytest.approx(1 - rows["published_pinball"].sum() / rows["pinball"].sum())
            assert 0 < row["skill_error"] < 1
        else:
            assert np.isnan(row["skill"])
    assert len(found.skill) == 4
    for row in found.coverage.to_dict("records"):
        rows = of(record, row["horizon"], PUBLISHED, window)
        assert row["coverage"] == pytest.approx(rows[f"inside_{row['band']}"].sum() / rows["rows"].sum())
        assert row["rows"] == rows["rows"].sum()
    assert len(found.coverage) == 6
    for row in found.regimes.to_dict("records"):
        rows, k = of(record, row["horizon"], PUBLISHED, window), REGIMES.index(row["regime"])
        assert row["rows"] == rows[REGIME_ROWS[k]].sum() > 0
        assert row["coverage_80"] == pytest.approx(rows[REGIME_INSIDE[k]].sum() / row["rows"])
    for horizon in (1, 2):
        rows = of(record, horizon, PUBLISHED, window)
        histogram = found.pit[found.pit["horizon"] == horizon]
        np.testing.assert_allclose(histogram["observed"], rows[list(PIT)].sum() / rows["rows"].sum())
        assert histogram["expected"].sum() == pytest.approx(1)


def test_the_evidence_is_that_of_the_interleaved_bets_on_the_whole_record() -> None:
    record = record_of()
    table = evidence(record, BASELINES)
    for row in table.to_dict("records"):
        rows = of(record, row["horizon"], row["baseline"], 10**6)
        loss = (rows["published_pinball"] - rows["pinball"]).to_numpy()
        expected = interleaved_wealth(loss, rows["least_loss"].to_numpy(), row["horizon"])[-1]
        assert row["worse"] == pytest.approx(expected, rel=1e-12)
        gain = interleaved_wealth(-loss, rows["least_gain"].to_numpy(), row["horizon"])[-1]
        assert row["better"] == pytest.approx(gain, rel=1e-12)


def test_a_published_forecast_that_loses_is_called_worse_and_never_better() -> None:
    table = evidence(record_of(200, error=1.0), BASELINES)
    assert table.loc[table["horizon"] == 1, "is_worse"].all()
    assert not table["is_better"].any()
    assert (table.loc[table["is_worse"], "worse"] >= 1 / LEVEL).all()
    alike = evidence(record_of(200), BASELINES)
    assert not alike["is_worse"].any()


def test_the_published_forecast_itself_is_no_evidence_of_anything() -> None:
    table = evidence(record_of(), (PUBLISHED,))
    assert (table[["worse", "better"]] == 1).all(axis=None)


def test_a_record_without_a_session_says_so() -> None:
    record = record_of().iloc[:0]
    found = live_record(record, BASELINES)
    assert all(len(table) == 0 for table in (found.skill, found.coverage, found.regimes, found.pit, found.evidence))


def test_a_baseline_without_a_record_has_no_skill_and_no_evidence() -> None:
    found = live_record(record_of(), ("absent",))
    assert found.skill["skill"].isna().all()
    assert (found.skill["sessions"] == 0).all()
    assert (found.evidence["worse"] == 1).all()
