"""Lessons: values stored as targets come back as they were, and nothing of the test is learned from."""

import numpy as np
import pytest

from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, scaled_target
from pipeline.errors import UsageError
from pipeline.tutorials import toys
from pipeline.tutorials.lesson import Lesson
from pipeline.tutorials.ohlc import OhlcTerms, levels_of
from pipeline.tutorials.presets import tutorials

ALL = tutorials("all", OhlcTerms())


@pytest.fixture(scope="module")
def lessons() -> dict[str, Lesson]:
    return {one.name: one.lesson(0) for one in ALL}


def origins_to_learn_from(lesson: Lesson) -> Frames:
    return lesson.frames.until(lesson.fold.validation.stop).of(lesson.learned)


def test_the_network_is_given_the_values_themselves(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["seq2seq-toy"]
    given = scaled_target(lesson.frames)[0, toys.LENGTH - 1]  # [horizon]
    assert lesson.centre + lesson.unit * given == pytest.approx([6, 7, 8, 9, 10])
    assert np.abs(scaled_target(lesson.frames)[np.isfinite(lesson.frames.future_return)]).max() <= 1.23


@pytest.mark.parametrize("name", [one.name for one in ALL])
def test_no_value_of_the_test_is_learned_from(lessons: dict[str, Lesson], name: str) -> None:
    lesson = lessons[name]
    frames, fold = origins_to_learn_from(lesson), lesson.fold
    mask = label_mask(frames, fold.train)
    steps, horizons = np.nonzero(mask)[1:]
    assert mask.any()
    assert (steps + horizons + 1).max() < fold.train.stop <= fold.test.start
    assert fold.test.stop == len(lesson.frames.sessions)
    scored = np.isfinite(lesson.frames.future_return) & lesson.frames.usable[..., None]
    assert scored[:, fold.test.start :].any()


@pytest.mark.parametrize("name", [one.name for one in ALL])
def test_what_became_known_at_a_step_is_the_value_before_it(lessons: dict[str, Lesson], name: str) -> None:
    frames = lessons[name].frames
    told, asked = frames.log_return[:, 1:], frames.future_return[:, :-1, 0]
    assert np.array_equal(told, asked, equal_nan=True)
    assert np.isnan(frames.log_return[:, 0]).all()


def test_elman_reads_21_points_and_then_the_same_again(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["elman"]
    first, again = lesson.frames.features[0, :21, 0], lesson.frames.features[1, 21:, 0]
    assert np.array_equal(first, again)
    assert first == pytest.approx(np.sin(np.linspace(2, 10, 21)), abs=1e-6)
    assert lesson.frames.first.tolist() == [0, 21, 21]
    assert lesson.learned == lesson.frames.tickers[:1]


def test_levels_are_scaled_by_training_rows_and_the_last_close_is_the_level_itself() -> None:
    lesson = levels_of(OhlcTerms(), "one_to_many")
    frames, stop = lesson.frames, lesson.fold.train.stop
    close = frames.reference_close[0]
    assert lesson.centre == pytest.approx(np.nanmean(close[:stop]))
    assert lesson.unit == pytest.approx(np.nanstd(close[:stop]))
    assert lesson.last_close is not None
    assert lesson.centre + lesson.unit * lesson.last_close[0, -1] == pytest.approx(close[-1])
    ahead = lesson.centre + lesson.unit * scaled_target(frames)[0, -10]  # [horizon]
    assert ahead == pytest.approx(close[-9:-4], rel=1e-5)
    assert frames.feature_names == ("open", "high", "low", "close")
    assert np.array_equal(frames.features[0, -1, 3], np.float32(close[-1]))


def test_fewer_columns_are_the_last_ones_and_an_unknown_stock_is_refused() -> None:
    assert levels_of(OhlcTerms(input_size=1), "one_to_one").frames.feature_names == ("close",)
    with pytest.raises(UsageError, match=r"found ticker 'NOPE', expected one of the sample: AAPL"):
        levels_of(OhlcTerms(ticker="NOPE"), "one_to_one")
