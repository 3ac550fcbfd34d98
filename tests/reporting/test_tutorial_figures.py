"""The figure of a tutorial: its required content."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.reporting.tutorial_figures import draw_tutorial, draw_tutorials
from pipeline.tutorials.run import TutorialResult, medians
from tests.tutorials.quick import quick_results


@pytest.fixture(scope="module")
def results() -> tuple[TutorialResult, ...]:
    return quick_results()


def test_each_tutorial_has_a_picture_of_its_own(results: tuple[TutorialResult, ...]) -> None:
    figures = draw_tutorials(results)
    assert list(figures) == ["elman.png", "seq2seq-toy.png", "concat-cell.png", "ohlc-one-to-many.png"]
    sizes = {Image.open(BytesIO(png)).size for png in figures.values()}
    assert sizes == {(1008, 744)}
    assert draw_tutorials(results) == figures


def test_it_says_what_was_found_and_whether_it_passed(results: tuple[TutorialResult, ...]) -> None:
    for result, word in zip(results, ("passed", "passed", "MISSED", "passed"), strict=True):
        figure = draw_tutorial(result)
        texts = " ".join(text.get_text() for text in figure.texts)
        assert f"{result.found:.4g}" in texts
        assert f"the mark is {result.tutorial.mark:g}" in texts
        assert texts.endswith(word)
        assert result.tutorial.name in figure.get_suptitle()


def test_the_forecast_start_and_the_forecasts_stand_where_they_belong(results: tuple[TutorialResult, ...]) -> None:
    result = results[0]
    upper = draw_tutorial(result).axes[0]
    (start,) = [line for line in upper.lines if line.get_linestyle() == ":"]
    assert set(start.get_xdata()) == {result.fits[0].data.fold.test.start + 1}
    drawn = next(line for line in upper.lines if line.get_label() == "forecast one step before")
    assert np.array_equal(drawn.get_ydata(), medians(result.fits[0])[0, :, 0], equal_nan=True)


def test_the_scatter_of_levels_shows_changes_from_the_last_close(results: tuple[TutorialResult, ...]) -> None:
    right = draw_tutorial(results[3]).axes[1]
    (points,) = [line for line in right.lines if line.get_marker() == "o"]
    assert np.abs(np.median(points.get_xdata())) < 5  # dollars; the price itself is some hundreds
    assert right.get_title("left").startswith("Change from the last close")


def test_every_validation_check_is_drawn(results: tuple[TutorialResult, ...]) -> None:
    for result in results:
        lower = draw_tutorial(result).axes[2]
        checks = result.fits[0].network.checks
        lines = {line.get_label(): list(line.get_ydata()) for line in lower.lines}
        assert lines["last batch"] == [check.train_loss for check in checks]
        assert [check.valid_loss for check in checks] in lines.values()
