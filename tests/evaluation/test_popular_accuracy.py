"""The popular accuracy, and its value for lines without information."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.evaluation.popular_accuracy import (
    FITTED_SESSIONS,
    FORECAST_SESSIONS,
    last_value,
    popular_accuracies,
    popular_accuracy,
    straight_drift,
)
from pipeline.market.in_memory import open_sample

NEEDED = FITTED_SESSIONS + FORECAST_SESSIONS
DAYS = np.datetime64("2020-01-01") + np.arange(NEEDED + 50)


def random_closes(count: int = NEEDED + 50) -> np.ndarray:
    return 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, count)))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(1, 1000), st.floats(1, 1000)), min_size=1, max_size=40))
def test_accuracy_against_a_slow_twin(pairs: list[tuple[float, float]]) -> None:
    squares = [((forecast - close) / close) ** 2 for forecast, close in pairs]
    expected = 100 * (1 - math.sqrt(sum(squares) / len(squares)))
    forecast, closes = np.array(pairs).T
    assert popular_accuracy(forecast, closes) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_lines_without_information_score_high_on_the_samples_google() -> None:
    rows = open_sample().rows("GOOG")
    found = popular_accuracies("GOOG", rows["session"].to_numpy("datetime64[D]"), rows["close"].to_numpy(float), None)
    assert {line.name: round(line.accuracy, 2) for line in found.lines} == {
        "last value": 92.10,
        "straight drift line": 92.85,
    }
    assert str(found.sessions[0]) == "2013-01-17"
    assert str(found.sessions[-1]) == "2013-03-01"


def test_lines_by_hand() -> None:
    fitted = np.linspace(100, 100 + 251 * 2, 252)  # two a session
    assert straight_drift(fitted)[[0, -1]].tolist() == [604, 602 + 60]
    assert set(last_value(fitted)) == {602.0}
    assert len(last_value(fitted)) == FORECAST_SESSIONS


def test_lines_depend_on_the_closes_of_their_year_alone() -> None:
    closes = random_closes()
    other = closes.copy()
    other[-FORECAST_SESSIONS:] *= 3
    other[:-NEEDED] *= 7
    for one, two in zip(
        popular_accuracies("A", DAYS, closes, None).lines,
        popular_accuracies("A", DAYS, other, None).lines,
        strict=True,
    ):
        np.testing.assert_array_equal(one.prices, two.prices)
        assert one.accuracy != two.accuracy


def test_the_networks_line_is_scored_unchanged() -> None:
    closes = random_closes()
    network = np.linspace(90, 110, FORECAST_SESSIONS)
    line = popular_accuracies("A", DAYS, closes, network).lines[2]
    assert line.name == "network"
    np.testing.assert_array_equal(line.prices, network)
    assert line.accuracy == popular_accuracy(network, closes[-FORECAST_SESSIONS:])
    assert popular_accuracies("A", DAYS, closes, closes[-FORECAST_SESSIONS:]).lines[2].accuracy == 100


def test_unusable_closes_are_refused() -> None:
    closes = random_closes()
    with pytest.raises(UsageError, match=r"found 281 closes of 281 sessions, expected at least 282"):
        popular_accuracies("A", DAYS[:281], closes[:281], None)
    with pytest.raises(UsageError, match="expected at least 282, one per session"):
        popular_accuracies("A", DAYS[1:], closes, None)
    broken = closes.copy()
    broken[-1] = np.nan
    with pytest.raises(UsageError, match="missing or not positive"):
        popular_accuracies("A", DAYS, broken, None)
    with pytest.raises(UsageError, match=r"shape \(29,\)"):
        popular_accuracies("A", DAYS, closes, np.ones(29))
    assert len(popular_accuracies("A", DAYS[:NEEDED], closes[:NEEDED], None).fitted_closes) == FITTED_SESSIONS
