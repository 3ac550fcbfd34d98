"""Targets against a plain loop, with gaps, young tickers and more horizons than sessions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.targets import future_returns
from tests.panels import panel_of, random_rows

LATEST = 30


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(1, 8),
    st.lists(st.sets(st.integers(0, LATEST - 1), max_size=6), min_size=1, max_size=3),
    st.integers(0, 20),
)
def test_a_target_is_the_sum_of_the_next_total_returns(horizons: int, gaps: list[set[int]], late: int) -> None:
    rows = {f"T{k}": random_rows(LATEST, k).drop(index=sorted(gap)) for k, gap in enumerate(gaps)}
    rows = {**rows, "YOUNG": random_rows(LATEST, 99).iloc[late:]}
    panel = panel_of(rows)
    found = future_returns(panel, horizons)
    assert found.shape == (len(panel.tickers), len(panel.sessions), horizons)
    for i, row in enumerate(panel.log_return.tolist()):
        for t in range(len(row)):
            for h in range(1, horizons + 1):
                there = t + h < len(row) and panel.present[i, t] and panel.present[i, t + h]
                expected = sum(r for r in row[t + 1 : t + h + 1] if not math.isnan(r)) if there else math.nan
                assert found[i, t, h - 1] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_sum_is_the_ratio_of_total_return_prices() -> None:
    """Independent of the log returns: adj_close tells the same total return, over the gap too."""
    rows = random_rows(60, 4).drop(index=[20, 21, 22]).reset_index(drop=True)
    panel = panel_of({"A": rows, "B": random_rows(60, 5)})
    target = future_returns(panel, 5)[0]
    adjusted = np.full(len(panel.sessions), np.nan)
    adjusted[panel.present[0]] = rows["adj_close"]
    for t in range(len(adjusted) - 5):
        expected = math.log(adjusted[t + 5] / adjusted[t]) if np.isfinite(adjusted[[t, t + 5]]).all() else math.nan
        assert target[t, 4] == pytest.approx(expected, abs=1e-9, nan_ok=True)
