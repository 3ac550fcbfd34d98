"""The figure of an echo draws the line over the closes, and every change that it announced."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UsageError
from pipeline.reporting.canvas import png_bytes
from pipeline.reporting.echo_figure import SHOWN_SESSIONS, announced_and_realised, draw_echo

COUNT = 400


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draws = np.random.default_rng(5)
    closes = 50 * np.exp(np.cumsum(draws.normal(0, 0.02, COUNT)))
    forecast = np.append(np.nan, closes[:-1] * np.exp(draws.normal(0, 0.005, COUNT - 1)))
    return np.datetime64("2020-01-01") + np.arange(COUNT), closes, forecast


def test_changes_are_of_the_close_before(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, closes, forecast = made
    announced, realised = announced_and_realised(closes, forecast)
    for session in range(1, COUNT):
        before = closes[session - 1]
        assert announced[session - 1] == pytest.approx(100 * (forecast[session] - before) / before)
        assert realised[session - 1] == pytest.approx(100 * (closes[session] - before) / before)


def test_both_panels_draw_what_they_say(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    sessions, closes, forecast = made
    levels, changes = draw_echo(sessions, closes, forecast, "CHF").axes
    drawn = {line.get_label(): line for line in (*levels.lines, *changes.lines)}
    np.testing.assert_array_equal(drawn["close"].get_ydata(), closes[-SHOWN_SESSIONS:])
    np.testing.assert_array_equal(drawn["forecast"].get_ydata(), forecast[-SHOWN_SESSIONS:])
    announced, realised = announced_and_realised(closes, forecast)
    np.testing.assert_array_equal(drawn["a session"].get_xdata(), announced)
    np.testing.assert_array_equal(drawn["a session"].get_ydata(), realised)
    assert list(drawn["if it came true"].get_xdata()) == list(drawn["if it came true"].get_ydata())
    assert changes.get_xlim() == changes.get_ylim(), "one scale: the dotted line is the diagonal"
    assert np.abs([announced, realised]).max() < changes.get_xlim()[1], "no session lies outside"
    assert levels.get_ylabel() == "CHF per share"
    assert [label.get_text() for label in levels.get_xticklabels()][-1] == str(sessions[-1])
    assert changes.get_xlabel() == "change announced, % of the close before"
    told = f"{np.corrcoef(announced, realised)[0, 1]:+.2f}".replace("-", "−")
    assert changes.get_title(loc="left") == f"Changes, all 399: correlation {told}"
    assert all({text.get_text() for text in axes.get_legend().get_texts()} <= set(drawn) for axes in (levels, changes))


def test_few_sessions_and_a_last_close_held_are_drawn(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    sessions, closes, _ = (values[:4] for values in made)
    figure = draw_echo(sessions, closes, np.append(np.nan, closes[:-1]), "USD")
    assert figure.axes[1].get_title(loc="left") == "Changes, all 3: one side never moves"
    assert len(figure.axes[0].lines[0].get_ydata()) == 3, "the first session has no forecast"
    assert Image.open(BytesIO(png_bytes(figure))).width > 600


def test_arrays_that_do_not_match_are_refused(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    sessions, closes, forecast = made
    with pytest.raises(UsageError, match="400 sessions, 400 closes and 399 forecasts"):
        draw_echo(sessions, closes, forecast[1:], "USD")
    with pytest.raises(UsageError, match="at least three"):
        draw_echo(sessions[:2], closes[:2], forecast[:2], "USD")
