"""Tutorial data: values stored as targets are restored exactly, and nothing of the test is trained on."""

import numpy as np
import pytest

from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, scaled_target
from pipeline.errors import UsageError
from pipeline.tutorials import toy_series
from pipeline.tutorials.data import TutorialData
from pipeline.tutorials.ohlc import OhlcSpec, ohlc_data
from pipeline.tutorials.presets import tutorials

ALL = tutorials("all", OhlcSpec())


@pytest.fixture(scope="module")
def tutorial_data() -> dict[str, TutorialData]:
    return {tutorial.name: tutorial.data(0) for tutorial in ALL}


def training_frames(data: TutorialData) -> Frames:
    return data.frames.until(data.fold.validation.stop).of(data.trained_tickers)


def test_the_scaled_targets_are_the_values(tutorial_data: dict[str, TutorialData]) -> None:
    data = tutorial_data["seq2seq-toy"]
    targets = scaled_target(data.frames)[0, toy_series.LENGTH - 1]  # [horizon]
    assert data.centre + data.unit * targets == pytest.approx([6, 7, 8, 9, 10])
    assert np.abs(scaled_target(data.frames)[np.isfinite(data.frames.future_return)]).max() <= 1.23


@pytest.mark.parametrize("name", [tutorial.name for tutorial in ALL])
def test_no_value_of_the_test_is_trained_on(tutorial_data: dict[str, TutorialData], name: str) -> None:
    data = tutorial_data[name]
    frames, fold = training_frames(data), data.fold
    mask = label_mask(frames, fold.train)
    steps, horizons = np.nonzero(mask)[1:]
    assert mask.any()
    assert (steps + horizons + 1).max() < fold.train.stop <= fold.test.start
    assert fold.test.stop == len(data.frames.sessions)
    scored = np.isfinite(data.frames.future_return) & data.frames.usable[..., None]
    assert scored[:, fold.test.start :].any()


@pytest.mark.parametrize("name", [tutorial.name for tutorial in ALL])
def test_what_became_known_at_a_step_is_the_value_before_it(tutorial_data: dict[str, TutorialData], name: str) -> None:
    frames = tutorial_data[name].frames
    known, targets = frames.log_return[:, 1:], frames.future_return[:, :-1, 0]
    assert np.array_equal(known, targets, equal_nan=True)
    assert np.isnan(frames.log_return[:, 0]).all()


def test_elman_reads_21_points_and_then_the_same_again(tutorial_data: dict[str, TutorialData]) -> None:
    data = tutorial_data["elman"]
    first, again = data.frames.features[0, :21, 0], data.frames.features[1, 21:, 0]
    assert np.array_equal(first, again)
    assert first == pytest.approx(np.sin(np.linspace(2, 10, 21)), abs=1e-6)
    assert data.frames.first.tolist() == [0, 21, 21]
    assert data.trained_tickers == data.frames.tickers[:1]


def test_levels_are_scaled_by_training_rows_and_the_last_close_is_the_level_itself() -> None:
    data = ohlc_data(OhlcSpec(), "one_to_many")
    frames, stop = data.frames, data.fold.train.stop
    close = frames.reference_close[0]
    assert data.centre == pytest.approx(np.nanmean(close[:stop]))
    assert data.unit == pytest.approx(np.nanstd(close[:stop]))
    assert data.last_close is not None
    assert data.centre + data.unit * data.last_close[0, -1] == pytest.approx(close[-1])
    levels = data.centre + data.unit * scaled_target(frames)[0, -10]  # [horizon]
    assert levels == pytest.approx(close[-9:-4], rel=1e-5)
    assert frames.feature_names == ("open", "high", "low", "close")
    assert np.array_equal(frames.features[0, -1, 3], np.float32(close[-1]))


def test_fewer_columns_are_the_last_ones_and_an_unknown_ticker_is_refused() -> None:
    assert ohlc_data(OhlcSpec(input_size=1), "one_to_one").frames.feature_names == ("close",)
    with pytest.raises(UsageError, match=r"found ticker 'NOPE', expected one of the sample: AAPL"):
        ohlc_data(OhlcSpec(ticker="NOPE"), "one_to_one")
