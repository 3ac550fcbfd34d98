"""Synthetic prices: seeded, valid, and with the predictable part that their description states."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from pipeline.market.specification import Process, SyntheticSource
from pipeline.market.synthetic import VOLATILITY_PERSISTENCE, known_returns, open_synthetic, ticker_name
from pipeline.market.validation.validate import load_bars

from .rows import NOW

PROCESSES = get_args(Process)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_prices_pass_validation(process: Process) -> None:
    spec = SyntheticSource(process=process, sessions=300, tickers=3, noise=0.02)
    validated = load_bars(open_synthetic(spec), (), NOW, minimum_sessions=299)
    assert validated.bars.tickers == ("SYN001", "SYN002", "SYN003")
    assert validated.excluded == ()
    assert len(validated.bars.frame) == 3 * 299  # the last session of 2024 is not over


@pytest.mark.parametrize("process", PROCESSES)
def test_a_ticker_depends_on_seed_and_number_alone(process: Process) -> None:
    small = SyntheticSource(process=process, sessions=50, tickers=2, seed=5)
    large = SyntheticSource(process=process, sessions=50, tickers=6, seed=5)
    other = SyntheticSource(process=process, sessions=50, tickers=2, seed=6)
    for k in range(2):
        rows = open_synthetic(small).rows(ticker_name(k))
        pd.testing.assert_frame_equal(rows, open_synthetic(large).rows(ticker_name(k)))
        assert not rows.equals(open_synthetic(other).rows(ticker_name(k)))


@pytest.mark.parametrize("process", PROCESSES)
def test_the_closes_are_the_known_returns(process: Process) -> None:
    spec = SyntheticSource(process=process, sessions=100, tickers=1)
    close = open_synthetic(spec).rows("SYN001")["close"]
    np.testing.assert_allclose(np.diff(np.log(close)), known_returns(spec, 0).returns[1:], rtol=1e-9)


@pytest.mark.parametrize("process", ["sine", "random_walk", "planted"])
def test_the_error_of_the_best_forecast_is_the_noise(process: Process) -> None:
    known = known_returns(SyntheticSource(process=process, sessions=7000, noise=0.013), 0)
    surprise = known.returns - known.expectation
    assert surprise.std() == pytest.approx(0.013, rel=0.03)
    assert abs(np.corrcoef(surprise[1:], known.returns[:-1])[0, 1]) < 0.04


def test_the_sine_swings_by_twice_the_noise_every_forty_sessions() -> None:
    swing = known_returns(SyntheticSource(process="sine", sessions=400), 0).expectation
    assert np.abs(swing).max() == pytest.approx(0.02, rel=0.01)
    np.testing.assert_allclose(swing[40:], swing[:-40], atol=1e-12)


def test_the_planted_signal_is_the_former_return() -> None:
    known = known_returns(SyntheticSource(process="planted", sessions=7000), 0)
    assert np.corrcoef(known.returns[1:], known.returns[:-1])[0, 1] == pytest.approx(0.3, abs=0.04)
    np.testing.assert_allclose(known.expectation[1:], 0.3 * known.returns[:-1])


def test_the_planted_volatility_persists_and_scales_the_returns() -> None:
    known = known_returns(SyntheticSource(process="planted_volatility", sessions=7000), 0)
    log_volatility = np.log(known.volatility / 0.01)
    assert np.corrcoef(log_volatility[1:], log_volatility[:-1])[0, 1] == pytest.approx(VOLATILITY_PERSISTENCE, abs=0.02)
    assert (known.returns / known.volatility).std() == pytest.approx(1.0, rel=0.03)
    assert log_volatility.std() == pytest.approx(0.1 / np.sqrt(1 - VOLATILITY_PERSISTENCE**2), rel=0.2)
