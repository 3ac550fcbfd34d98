"""The popular accuracy on the sample: known numbers of naive lines, and a network that reads no later bar."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.popular_accuracy import FITTED_SESSIONS, FORECAST_SESSIONS
from pipeline.market.bars import Bars
from pipeline.market.in_memory import open_sample
from pipeline.market.validation.validate import load_bars
from pipeline.sanity.cases import NOW
from pipeline.sanity.popular import last_sessions, median_line, median_lines, popular_by_start, popular_on_sample


@pytest.fixture(scope="module")
def bars() -> Bars:
    return last_sessions(load_bars(open_sample(), ("GOOG",), NOW, 1).bars, FITTED_SESSIONS + FORECAST_SESSIONS)


def test_naive_lines_score_above_ninety() -> None:
    found = popular_on_sample(seeds=1)
    accuracy = {line.name: line.accuracy for line in found.lines}
    assert str(found.sessions[-1]) == "2013-03-01"
    assert accuracy["last value"] == pytest.approx(92.10, abs=0.005)
    assert accuracy["straight drift line"] == pytest.approx(92.85, abs=0.005)
    assert 80 < accuracy["network"] < 100
    assert len(found.lines[2].prices) == FORECAST_SESSIONS


@pytest.mark.slow
def test_the_network_reads_nothing_of_what_it_is_scored_on(bars: Bars) -> None:
    frame = bars.frame.copy()
    later = slice(FITTED_SESSIONS, None)
    factor = np.exp(np.random.default_rng(0).normal(0, 0.05, FORECAST_SESSIONS))
    for name in ("open", "high", "low", "close", "adj_close"):
        frame.loc[frame.index[later], name] = frame[name].to_numpy()[later] * factor
    other = replace(bars, frame=frame)
    line = median_line(bars, 1)
    assert line.tobytes() == median_line(other, 1).tobytes()
    before = bars.frame.copy()
    before.loc[before.index[FITTED_SESSIONS - 1], ["close", "adj_close"]] *= 1.01
    assert median_line(replace(bars, frame=before), 1).tobytes() != line.tobytes()


def test_only_the_last_sessions_are_kept(bars: Bars) -> None:
    assert len(bars.frame) == FITTED_SESSIONS + FORECAST_SESSIONS
    assert str(bars.frame["session"].iloc[-1])[:10] == "2013-03-01"


@pytest.mark.slow
def test_every_start_has_its_own_accuracy(bars: Bars) -> None:
    found = popular_by_start(("GOOG",), 2)
    assert list(found.columns) == ["last value", "straight drift line", "network, start 1", "network, start 2"]
    lines, closes = median_lines(bars, 2), bars.frame["close"].to_numpy()[-FORECAST_SESSIONS:]
    errors = [np.sqrt(np.mean((line / closes - 1) ** 2)) for line in lines]
    assert errors[0] != errors[1]
    assert found.loc["GOOG"].tolist() == pytest.approx([92.10, 92.85, *(100 - 100 * np.array(errors))], abs=0.005)
