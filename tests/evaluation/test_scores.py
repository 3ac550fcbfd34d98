"""Every metric against a plain loop, its edges, and the tables."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.scores import (
    BANDS,
    METRICS,
    POOLED,
    loss_by_ticker,
    score,
    score_table,
    silence_sentences,
    skill_of,
    with_error_bars,
)
from pipeline.evaluation.significance.resampling import block_length, resampled_counts
from pipeline.forecasters.forecaster import LEVELS
from tests.evaluation.backtests import loss_per_session, random_backtest

Row = tuple[list[float], float]


def slow_pinball(row: Row, k: int) -> float:
    q, y = row[0][k], row[1]
    return LEVELS[k] * (y - q) if y > q else (1 - LEVELS[k]) * (q - y)


def slow_crps(row: Row) -> float:
    losses = [slow_pinball(row, k) for k in range(7)]
    return 2 * sum((losses[k] + losses[k + 1]) / 2 * (LEVELS[k + 1] - LEVELS[k]) for k in range(6))


def slow_winkler(row: Row, band: int) -> float:
    q, y = row
    low, high = (q[LEVELS.index(level)] for level in EDGES[band])
    missed_by = low - y if y < low else y - high if y > high else 0.0
    return high - low + missed_by * 2 / {80: 0.2, 90: 0.1}[band]


def slow_direction(rows: list[Row]) -> float:
    signed = [(q[3] > 0) == (y > 0) for q, y in rows if q[3] != 0 and y != 0]
    return sum(signed) / len(signed) if signed else math.nan


EDGES = {50: (0.25, 0.75), 80: (0.10, 0.90), 90: (0.05, 0.95)}


def slow_metrics(rows: list[Row]) -> dict[str, float]:
    n = len(rows)
    ends = {band: (LEVELS.index(low), LEVELS.index(high)) for band, (low, high) in EDGES.items()}
    return {
        "pinball": sum(slow_pinball(row, k) for row in rows for k in range(7)) / (7 * n),
        "crps": sum(slow_crps(row) for row in rows) / n,
        **{f"coverage_{b}": sum(q[low] <= y <= q[high] for q, y in rows) / n for b, (low, high) in ends.items()},
        **{f"width_{b}": sum(q[high] - q[low] for q, _ in rows) / n for b, (low, high) in ends.items()},
        **{f"winkler_{b}": sum(slow_winkler(row, b) for row in rows) / n for b in (80, 90)},
        "rmse_return": math.sqrt(sum((y - q[3]) ** 2 for q, y in rows) / n),
        "mae_return": sum(abs(y - q[3]) for q, y in rows) / n,
        "directional_accuracy": slow_direction(rows),
    }


VALUE = st.one_of(st.floats(-0.5, 0.5), st.sampled_from([0.0, 0.1, -0.1]))


ROWS = st.lists(st.tuples(st.lists(VALUE, min_size=7, max_size=7).map(sorted), VALUE), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(ROWS)
def test_every_metric_is_what_a_plain_loop_says(rows: list[Row]) -> None:
    quantiles, outcome = np.array([q for q, _ in rows]), np.array([y for _, y in rows])
    expected = slow_metrics(rows)
    assert expected.keys() == METRICS.keys()
    for name, value in expected.items():
        assert score(name, quantiles, outcome) == pytest.approx(value, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("band", BANDS)
def test_an_outcome_on_the_edge_is_covered_and_one_beyond_is_not(band: int) -> None:
    quantiles = np.array([[-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]])
    edge = {50: 1.0, 80: 2.0, 90: 3.0}[band]
    for sign in (-1, 1):
        assert score(f"coverage_{band}", quantiles, np.array([sign * edge])) == 1.0
        assert score(f"coverage_{band}", quantiles, np.array([np.nextafter(sign * edge, sign * 9)])) == 0.0


def test_direction_is_undefined_without_a_sign() -> None:
    up, flat = np.full((2, 7), 0.1), np.zeros((2, 7))
    accuracy = "directional_accuracy"
    assert math.isnan(score(accuracy, flat, np.array([0.1, -0.1])))
    assert math.isnan(score(accuracy, up, np.zeros(2)))
    assert score(accuracy, up, np.array([0.1, 0.0])) == 1.0


def test_a_price_that_stands_still_leaves_no_skill() -> None:
    assert skill_of(0.9, 1.0) == pytest.approx(0.1)
    assert math.isnan(skill_of(0.1, 0.0))


def test_the_table_has_every_horizon_forecaster_and_ticker_on_the_same_rows() -> None:
    backtest = random_backtest()
    table = score_table(backtest)
    assert len(table) == 2 * 6 * 4
    for row in table.to_dict("records"):
        h, tickers = row["horizon"] - 1, [i for i, t in enumerate(backtest.tickers) if row["ticker"] in (POOLED, t)]
        rows = []
        for i in tickers:
            for t in range(60):
                all_spoke = all(np.isfinite(values[i, t, h]).all() for values in backtest.quantiles.values())
                if all_spoke and np.isfinite(backtest.realised[i, t, h]):
                    q = backtest.quantiles[row["forecaster"]][i, t, h]
                    rows.append(([float(v) for v in q], float(backtest.realised[i, t, h])))
        assert row["rows"] == len(rows)
        for name, value in slow_metrics(rows).items():
            assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_without_a_scored_row_the_metrics_are_undefined() -> None:
    backtest = random_backtest(missing=1.1)
    table = score_table(backtest)
    assert set(table["ticker"]) == {POOLED}
    assert (table["rows"] == 0).all()
    assert table[list(METRICS)].isna().all(axis=None)


def test_the_loss_of_a_ticker_is_missing_where_it_is_not_scored() -> None:
    backtest = random_backtest()
    losses = loss_by_ticker(backtest, "ewma", 2)
    assert (np.isfinite(losses) == backtest.scored[..., 1]).all()
    i, t = (int(k[0]) for k in np.nonzero(backtest.scored[..., 1]))
    y, q = float(backtest.realised[i, t, 1]), backtest.quantiles["ewma"][i, t, 1].tolist()
    slow = sum(max(a * (y - v), (a - 1) * (y - v)) for v, a in zip(q, LEVELS, strict=True)) / 7
    assert losses[i, t] == pytest.approx(slow, rel=1e-9)


def test_the_loss_of_a_session_is_the_mean_over_its_scored_tickers() -> None:
    backtest = random_backtest()
    for horizon in (1, 2):
        for name in ("network", "ewma"):
            expected = []
            for t in range(60):
                losses = []
                for i in range(3):
                    if backtest.scored[i, t, horizon - 1]:
                        y = float(backtest.realised[i, t, horizon - 1])
                        q = [float(v) for v in backtest.quantiles[name][i, t, horizon - 1]]
                        losses.append(
                            sum(max(a * (y - v), (a - 1) * (y - v)) for v, a in zip(q, LEVELS, strict=True)) / 7
                        )
                if losses:
                    expected.append(sum(losses) / len(losses))
            assert len(expected) < 60
            assert loss_per_session(backtest, name, horizon).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    backtest = random_backtest(origins=70, seed=2)
    return with_error_bars(score_table(backtest), backtest)


def row_of(table: pd.DataFrame, horizon: int, forecaster: str, ticker: str) -> pd.Series:
    is_row = (table["horizon"] == horizon) & (table["forecaster"] == forecaster) & (table["ticker"] == ticker)
    return table[is_row].iloc[0]


def slow_error(horizon: int, forecaster: str, metric: str, ticker: int | None) -> float:
    """The standard deviation of the mean over sessions drawn again, by loops."""
    backtest = random_backtest(origins=70, seed=2)
    where = backtest.scored[..., horizon - 1]
    sessions = np.flatnonzero(where.any(axis=0))
    values = []
    for session in sessions:
        rows = [row for row in range(3) if where[row, session] and ticker in (None, row)]
        each = [
            score(
                metric,
                backtest.quantiles[forecaster][row, [session], horizon - 1].astype(float),
                backtest.realised[row, [session], horizon - 1].astype(float),
            )
            for row in rows
        ]
        if metric == "rmse_return":
            each = [error**2 for error in each]
        known = [error for error in each if np.isfinite(error)]
        values.append(np.mean(known) if known else np.nan)
    drawn = resampled_counts(len(sessions), block_length(len(sessions), horizon), 0)
    means = []
    for counts in drawn:
        pairs = [(value, count) for value, count in zip(values, counts, strict=True) if np.isfinite(value)]
        means.append(sum(v * c for v, c in pairs) / sum(c for _, c in pairs))
    return float(np.std(means, ddof=1))


@pytest.mark.parametrize("metric", ["pinball", "coverage_80", "directional_accuracy", "winkler_90"])
def test_a_pooled_error_is_that_of_a_loop(table: pd.DataFrame, metric: str) -> None:
    row = row_of(table, 2, "linear", POOLED)
    assert row[f"{metric}_error"] == pytest.approx(slow_error(2, "linear", metric, None), rel=1e-9)


def test_the_error_of_a_root_is_that_of_the_mean_square_over_twice_it(table: pd.DataFrame) -> None:
    row = row_of(table, 1, "network", POOLED)
    squares = slow_error(1, "network", "rmse_return", None)
    assert row["rmse_return_error"] == pytest.approx(squares / (2 * row["rmse_return"]), rel=1e-9)


def test_a_ticker_has_an_error_of_its_loss_alone(table: pd.DataFrame) -> None:
    row = row_of(table, 1, "ewma", "T1")
    assert row["pinball_error"] == pytest.approx(slow_error(1, "ewma", "pinball", 1), rel=1e-9)
    assert row["coverage_80_error"] == pytest.approx(slow_error(1, "ewma", "coverage_80", 1), rel=1e-9)
    assert np.isnan(row["winkler_80_error"])


def test_every_score_has_an_error_and_none_is_lost(table: pd.DataFrame) -> None:
    backtest = random_backtest(origins=70, seed=2)
    plain = score_table(backtest)
    pd.testing.assert_frame_equal(table[list(plain.columns)], plain)
    pooled = table[table["ticker"] == POOLED]
    learned = pooled[pooled["forecaster"] != "last_close"]
    assert (learned[[f"{name}_error" for name in METRICS]] > 0).all(axis=None)


def test_nothing_scored_has_no_error() -> None:
    backtest = random_backtest(missing=1.1)
    table = with_error_bars(score_table(backtest), backtest)
    assert table[[f"{name}_error" for name in METRICS]].isna().all(axis=None)


def test_what_a_silent_forecaster_costs_all_is_said() -> None:
    backtest = random_backtest(missing=0.0)
    assert silence_sentences(backtest) == ()
    drift = np.array(backtest.quantiles["drift"])
    drift[1, :5, 0] = np.nan
    silent = replace(backtest, quantiles={**backtest.quantiles, "drift": drift})
    known = int(np.isfinite(backtest.realised).sum())
    (sentence,) = silence_sentences(silent)
    assert sentence == (
        f"drift has no forecast at 5 of {known} test origins and horizons with an outcome: they are scored for no "
        "forecaster. Leave it out to score them."
    )
    unknown = replace(silent, realised=np.full_like(backtest.realised, np.nan))
    assert silence_sentences(unknown) == ()
