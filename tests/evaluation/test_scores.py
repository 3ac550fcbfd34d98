"""Every metric against a plain loop, its edges, and the tables."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.scores import BANDS, METRICS, POOLED, reliability, score, score_table, skill_of
from pipeline.forecasters.forecaster import LEVELS

from .made import made_backtest

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
    backtest = made_backtest()
    table = score_table(backtest)
    assert len(table) == 2 * 6 * 4
    for row in table.to_dict("records"):
        h, own = row["horizon"] - 1, [i for i, t in enumerate(backtest.tickers) if row["ticker"] in (POOLED, t)]
        rows = []
        for i in own:
            for t in range(60):
                all_spoke = all(np.isfinite(values[i, t, h]).all() for values in backtest.quantiles.values())
                if all_spoke and np.isfinite(backtest.realised[i, t, h]):
                    q = backtest.quantiles[row["forecaster"]][i, t, h]
                    rows.append(([float(v) for v in q], float(backtest.realised[i, t, h])))
        assert row["rows"] == len(rows)
        for name, value in slow_metrics(rows).items():
            assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_without_a_scored_row_the_metrics_are_undefined() -> None:
    backtest = made_backtest(missing=1.1)
    table = score_table(backtest)
    assert set(table["ticker"]) == {POOLED}
    assert (table["rows"] == 0).all()
    assert table[list(METRICS)].isna().all(axis=None)


def test_reliability_counts_outcomes_at_or_below_each_level() -> None:
    backtest = made_backtest()
    found = reliability(backtest, 2)["network"]
    where = backtest.scored[..., 1]
    values, outcome = backtest.quantiles["network"][where, 1], backtest.realised[where, 1]
    for k in range(7):
        assert found[k] == pytest.approx(sum(y <= q[k] for q, y in zip(values, outcome, strict=True)) / len(outcome))
