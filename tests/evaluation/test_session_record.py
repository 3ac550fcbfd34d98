"""The record by session against a plain loop over its rows."""

import time
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.calibration.measures import coverage_table, pit_table
from pipeline.evaluation.scores import BANDS, pinball_of, score_table
from pipeline.evaluation.session_record import (
    COUNTS,
    INSIDE,
    PIT,
    PUBLISHED,
    RECORD_COLUMNS,
    RECORD_KEY,
    REGIME_INSIDE,
    REGIME_ROWS,
    KnownForecasts,
    known_forecasts,
    regime_cuts,
    session_record,
)
from pipeline.forecasting.backtest import Backtest
from tests.evaluation.backtests import random_backtest

LEVELS = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)


def made(sessions: int = 40, tickers: int = 4, horizons: int = 2) -> Backtest:
    """A backtest with gaps in outcomes, and in the forecasts of each forecaster by itself."""
    backtest = random_backtest(sessions, tickers, horizons, missing=0.1)
    draws = np.random.default_rng(1)
    quantiles = {}
    for name, values in backtest.quantiles.items():
        quantiles[name] = np.where(draws.random((tickers, sessions, 1, 1)) < 0.1, np.nan, values).astype(np.float32)
    relative = draws.normal(size=(tickers, sessions)).astype(np.float32)
    relative[draws.random(relative.shape) < 0.1] = np.nan
    return replace(backtest, quantiles=quantiles, relative_volatility=relative)


def record_of(backtest: Backtest) -> pd.DataFrame:
    forecasts = known_forecasts(backtest)
    return session_record(forecasts, regime_cuts(forecasts.relative_volatility))


def slow_least(own: np.ndarray, others: np.ndarray) -> float:
    return sum(min(-tau * (q - p), (1 - tau) * (q - p)) for tau, q, p in zip(LEVELS, own, others, strict=True)) / 7


def test_each_row_is_what_a_plain_loop_says() -> None:
    backtest = made()
    table = record_of(backtest)
    assert tuple(table.columns) == RECORD_COLUMNS
    assert not table.duplicated(list(RECORD_KEY)).any()
    relative = backtest.relative_volatility
    assert relative is not None
    known = sorted(float(value) for value in relative.ravel() if np.isfinite(value))
    cuts = np.quantile(known, [0.2, 0.4, 0.6, 0.8])
    expected = 0
    found = table.set_index(list(RECORD_KEY))
    named = {**backtest.quantiles, PUBLISHED: backtest.quantiles[backtest.published]}
    for (name, values), t, h in product(named.items(), range(40), (0, 1)):
        rows = []
        for k in range(4):
            own, published = (it[k, t, h].astype(float) for it in (values, backtest.quantiles[backtest.published]))
            y = float(backtest.realised[k, t, h])
            if np.isfinite(y) and np.isfinite(own).all() and np.isfinite(published).all():
                rows.append((own, published, y, float(relative[k, t])))
        if not rows:
            continue
        expected += 1
        row = found.loc[(backtest.sessions[t], h + 1, name)]
        own, published, outcome = (np.array(it) for it in list(zip(*rows, strict=True))[:3])
        assert row["rows"] == len(rows)
        assert row["pinball"] == pytest.approx(pinball_of(own, outcome).mean(), rel=1e-9)
        assert row["published_pinball"] == pytest.approx(pinball_of(published, outcome).mean(), rel=1e-9)
        loss, gain = (sum(slow_least(*pair) for pair in pairs) / len(rows) for pairs in _both_ways(rows))
        assert (row["least_loss"], row["least_gain"]) == pytest.approx((loss, gain), rel=1e-9)
        for band, (low, high) in BANDS.items():
            assert row[f"inside_{band}"] == sum(q[low] <= y <= q[high] for q, _, y, _ in rows)
        bins = [sum(y > level for level in q) for q, _, y, _ in rows]
        assert [row[name] for name in PIT] == [bins.count(k) for k in range(8)]
        fifths = [sum(x > cut for cut in cuts) if np.isfinite(x) else -1 for *_, x in rows]
        inside = [q[1] <= y <= q[5] for q, _, y, _ in rows]
        assert [row[name] for name in REGIME_ROWS] == [fifths.count(k) for k in range(5)]
        held = [sum(i for f, i in zip(fifths, inside, strict=True) if f == k) for k in range(5)]
        assert [row[name] for name in REGIME_INSIDE] == held
    assert len(table) == expected


def _both_ways(rows: list[tuple[np.ndarray, ...]]) -> tuple[list[tuple[np.ndarray, ...]], ...]:
    return [(published, own) for own, published, *_ in rows], [(own, published) for own, published, *_ in rows]


def test_sums_of_the_record_are_the_figures_of_the_backtest() -> None:
    backtest, draws = random_backtest(60, 5, 2, missing=0.0), np.random.default_rng(2)
    realised = np.where(draws.random(backtest.realised.shape) < 0.2, np.nan, backtest.realised).astype(np.float32)
    relative = draws.normal(size=(5, 60)).astype(np.float32)
    backtest = replace(backtest, realised=realised, relative_volatility=relative)
    table = record_of(backtest)
    sums = table[table["forecaster"] != PUBLISHED].groupby(["horizon", "forecaster"])[list(COUNTS)].sum()
    pooled = coverage_table(backtest).query("by == 'all'").set_index(["horizon", "forecaster"])
    for band, inside in zip(BANDS, INSIDE, strict=True):
        share = (sums[inside] / sums["rows"]).loc[pooled.index]
        np.testing.assert_allclose(share, pooled[f"coverage_{band}"], rtol=1e-12)
    for (horizon, name), bins in pit_table(backtest).groupby(["horizon", "forecaster"]):
        row = sums.loc[(horizon, name)]
        np.testing.assert_allclose(row[list(PIT)] / row["rows"], bins["observed"], rtol=1e-12)
    regimes = coverage_table(backtest).query("by == 'regime'").groupby(["horizon", "forecaster"])
    for key, of_regime in regimes:
        np.testing.assert_array_equal(sums.loc[key][list(REGIME_ROWS)], of_regime["rows"])
        share = sums.loc[key][list(REGIME_INSIDE)].to_numpy() / of_regime["rows"].to_numpy()
        np.testing.assert_allclose(share, of_regime["coverage_80"], rtol=1e-12)
    scores = score_table(backtest).query("ticker == 'all tickers'").set_index(["horizon", "forecaster"])
    table = table[table["forecaster"] != PUBLISHED]
    mean = (table["pinball"] * table["rows"]).groupby([table["horizon"], table["forecaster"]]).sum() / sums["rows"]
    np.testing.assert_allclose(mean.loc[scores.index], scores["pinball"], rtol=1e-6)


def test_a_session_is_the_same_alone_and_among_others() -> None:
    backtest = made()
    forecasts = known_forecasts(backtest)
    cuts = regime_cuts(forecasts.relative_volatility)
    whole = session_record(forecasts, cuts)
    alone = KnownForecasts(
        forecasts.sessions[7:8],
        {name: values[:, 7:8] for name, values in forecasts.quantiles.items()},
        forecasts.published[:, 7:8],
        forecasts.outcome[:, 7:8],
        forecasts.relative_volatility[:, 7:8],
    )
    expected = whole[whole["as_of"] == forecasts.sessions[7]].reset_index(drop=True)
    pd.testing.assert_frame_equal(session_record(alone, cuts), expected, check_exact=True)


def test_without_a_relative_volatility_no_row_is_in_a_fifth() -> None:
    table = record_of(replace(made(), relative_volatility=None))
    assert (table[[*REGIME_ROWS, *REGIME_INSIDE]] == 0).all(axis=None)
    assert (table["rows"] > 0).all()


@pytest.mark.slow
def test_the_record_of_a_hundred_tickers_takes_seconds() -> None:
    backtest = random_backtest(1250, 100, 5, missing=0.0)
    began = time.process_time()
    assert len(record_of(backtest)) >= 1245 * 5 * (len(backtest.quantiles) + 1)
    assert time.process_time() - began < 20
