"""Figures of price lines: levels and changes of one line, and the popular accuracy of several."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UsageError
from pipeline.evaluation.popular_accuracy import PopularAccuracy, popular_accuracies
from pipeline.market.in_memory import open_sample
from pipeline.reporting.canvas import png_bytes
from pipeline.reporting.price_line_figures import (
    LINE_SESSIONS,
    draw_echo,
    draw_popular_accuracy,
    forecast_and_realised_changes,
)

COUNT = 400


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draws = np.random.default_rng(5)
    closes = 50 * np.exp(np.cumsum(draws.normal(0, 0.02, COUNT)))
    forecast = np.append(np.nan, closes[:-1] * np.exp(draws.normal(0, 0.005, COUNT - 1)))
    return np.datetime64("2020-01-01") + np.arange(COUNT), closes, forecast


def test_changes_are_of_the_close_before(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, closes, forecast = made
    forecast_change, realised = forecast_and_realised_changes(closes, forecast)
    for session in range(1, COUNT):
        before = closes[session - 1]
        assert forecast_change[session - 1] == pytest.approx(100 * (forecast[session] - before) / before)
        assert realised[session - 1] == pytest.approx(100 * (closes[session] - before) / before)


def test_both_panels_draw_what_they_say(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    sessions, closes, forecast = made
    levels, changes = draw_echo(sessions, closes, forecast, "CHF").axes
    drawn = {line.get_label(): line for line in (*levels.lines, *changes.lines)}
    np.testing.assert_array_equal(drawn["close"].get_ydata(), closes[-LINE_SESSIONS:])
    np.testing.assert_array_equal(drawn["forecast"].get_ydata(), forecast[-LINE_SESSIONS:])
    forecast_change, realised = forecast_and_realised_changes(closes, forecast)
    np.testing.assert_array_equal(drawn["one session"].get_xdata(), forecast_change)
    np.testing.assert_array_equal(drawn["one session"].get_ydata(), realised)
    assert list(drawn["perfect forecast"].get_xdata()) == list(drawn["perfect forecast"].get_ydata())
    assert changes.get_xlim() == changes.get_ylim(), "one scale: the dotted line is the diagonal"
    assert np.abs([forecast_change, realised]).max() < changes.get_xlim()[1], "no session lies outside"
    assert levels.get_ylabel() == "CHF per share"
    assert [label.get_text() for label in levels.get_xticklabels()][-1] == str(sessions[-1])
    assert changes.get_xlabel() == "forecast change, % of the previous close"
    correlation = f"{np.corrcoef(forecast_change, realised)[0, 1]:+.2f}".replace("-", "−")
    assert changes.get_title(loc="left") == f"Changes, all 399: correlation {correlation}"
    assert all({text.get_text() for text in axes.get_legend().get_texts()} <= set(drawn) for axes in (levels, changes))


def test_few_sessions_and_a_last_close_held_are_drawn(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    sessions, closes, _ = (values[:4] for values in made)
    figure = draw_echo(sessions, closes, np.append(np.nan, closes[:-1]), "USD")
    assert figure.axes[1].get_title(loc="left") == "Changes, all 3: one side is constant"
    assert len(figure.axes[0].lines[0].get_ydata()) == 3, "the first session has no forecast"
    assert Image.open(BytesIO(png_bytes(figure))).width > 600


def test_arrays_that_do_not_match_are_refused(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    sessions, closes, forecast = made
    with pytest.raises(UsageError, match="400 sessions, 400 closes and 399 forecasts"):
        draw_echo(sessions, closes, forecast[1:], "USD")
    with pytest.raises(UsageError, match="at least three"):
        draw_echo(sessions[:2], closes[:2], forecast[:2], "USD")


@pytest.fixture(scope="module")
def google() -> PopularAccuracy:
    rows = open_sample().rows("GOOG")
    closes = rows["close"].to_numpy(np.float64)
    network = np.linspace(closes[-31], 1.4 * closes[-31], 31)[1:]  # beyond all that came
    return popular_accuracies("GOOG", rows["session"].to_numpy("datetime64[D]"), closes, network)


def test_popular_accuracy_is_drawn_side_by_side(google: PopularAccuracy) -> None:
    figure = draw_popular_accuracy(google)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == [f"{line.name}: {line.accuracy:.2f} %" for line in google.lines]
    assert titles[:2] == ["last value: 92.10 %", "straight drift line: 92.85 %"]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1, "one scale, so that they can be compared"
    for axes, line in zip(figure.axes, google.lines, strict=True):
        drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
        assert drawn["forecast"] == [google.fitted_closes[-1], *line.prices]
        assert drawn["close"][-30:] == list(google.closes)
    assert [axes.get_ylabel() for axes in figure.axes] == ["USD per share", "", ""]
    assert any("2013-01-17 to 2013-03-01" in text.get_text() for text in figure.texts)


def test_popular_accuracy_is_a_picture_with_or_without_a_network(google: PopularAccuracy) -> None:
    whole = Image.open(BytesIO(png_bytes(draw_popular_accuracy(google))))
    two = Image.open(BytesIO(png_bytes(draw_popular_accuracy(replace(google, lines=google.lines[:2])))))
    assert whole.width > two.width
    assert whole.height == two.height
