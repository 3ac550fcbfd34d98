"""The level of prices plays no part (DESIGN 6.1): bars in another unit give the same features, fits and forecasts.

A power of two changes no bit, since it changes no mantissa. Another constant rounds prices anew, here to the eight
decimals of a file: features, and forecasts of the same fit, then agree to 1e-6. What is fitted again on them agrees to
1e-5 where the fit is a closed form or a convex problem; networks, trees and GARCH magnify the rounding.
"""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from pipeline.dataset.frames import Frames
from pipeline.forecasters.boosting import BoostingSpec
from pipeline.forecasters.registry import BENCHMARK_KINDS, FORECASTERS, forecaster_from_json
from pipeline.training.fits import fit_each, quantiles
from tests.panels import TINY, Rows, changed, frames_from, jobs_for, random_market

PRICES = ["open", "high", "low", "close", "adj_close", "dividend"]
FITTED_HERE = tuple(kind for kind in BENCHMARK_KINDS if kind != "pretrained")  # which reads weights from a folder
SMALL_TREES = BoostingSpec(leaves=6, min_leaf_rows=15, max_rounds=40)
BENCHMARKS = [SMALL_TREES if kind == "boosting" else forecaster_from_json({"kind": kind}) for kind in FITTED_HERE]
EXPERIMENT = changed(TINY, benchmarks=tuple(BENCHMARKS))
KINDS = tuple(forecaster.kind for forecaster in FORECASTERS if forecaster.kind != "pretrained")
CONVEX = ("climatology", "last_close", "drift", "ewma", "linear", "har", "ridge")
"""Those without parameters, with closed forms, and the convex problem of `linear`."""


def rescaled(factor: float) -> dict[str, pd.DataFrame]:
    """The market's prices times a power of two, or times another factor and rounded to the 8 decimals of a file."""
    exact = float(np.log2(factor)).is_integer()
    return {
        ticker: rows.assign(**(factor * rows[PRICES] if exact else (factor * rows[PRICES]).round(8)))
        for ticker, rows in market().items()
    }


@cache
def market() -> Rows:
    return random_market(700, 4)


@cache
def frames_at(factor: float) -> Frames:
    return frames_from(rescaled(factor), EXPERIMENT)


@cache
def forecasts_at(factor: float, fitted_at: float) -> dict[str, np.ndarray]:
    """Quantiles of log returns [ticker, session, horizon, level] by kind, of fits on prices times another factor."""
    jobs, _ = jobs_for(frames_at(fitted_at), EXPERIMENT, KINDS, slice(0, 1))
    frames = frames_at(factor)
    tested = slice(jobs[0].fold.test.start, jobs[0].fold.test.stop)
    results = fit_each(jobs, frames_at(fitted_at))
    return {result.job.forecaster.kind: quantiles(result.fitted, frames, tested) for result in results}


def worst(values: np.ndarray, others: np.ndarray) -> float:
    assert np.isfinite(values).any()
    assert (np.isnan(values) == np.isnan(others)).all()
    return float(np.nanmax(np.abs(values - others)))


def test_every_kind_is_fitted() -> None:
    assert set(forecasts_at(1.0, 1.0)) == set(KINDS)
    assert set(CONVEX) | {"network", "boosting", "garch"} == set(KINDS)


@pytest.mark.parametrize("factor", [0.25, 8.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_power_of_two_changes_no_bit_of_a_refitted_forecast(kind: str, factor: float) -> None:
    assert forecasts_at(factor, factor)[kind].tobytes() == forecasts_at(1.0, 1.0)[kind].tobytes()


def test_another_constant_changes_features_by_no_more_than_rounding() -> None:
    assert (frames_at(7.3).features != frames_at(1.0).features).sum() > 100  # it does round
    assert worst(frames_at(7.3).features, frames_at(1.0).features) <= 1e-6
    assert worst(frames_at(7.3).volatility, frames_at(1.0).volatility) <= 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_fit_forecasts_the_same_of_prices_times_another_constant(kind: str) -> None:
    assert worst(forecasts_at(7.3, 1.0)[kind], forecasts_at(1.0, 1.0)[kind]) <= 1e-6


@pytest.mark.parametrize("kind", CONVEX)
def test_what_is_closed_or_convex_and_fitted_again_agrees(kind: str) -> None:
    assert worst(forecasts_at(7.3, 7.3)[kind], forecasts_at(1.0, 1.0)[kind]) <= 1e-5


@pytest.mark.parametrize("kind", ["network", "garch", "boosting"])
def test_what_is_not_convex_and_fitted_again_agrees_in_the_median(kind: str) -> None:
    """How far the default ones move on real prices is measured by tests/benchmarks/rescaling.py, and in the README."""
    moved = np.abs(forecasts_at(7.3, 7.3)[kind] - forecasts_at(1.0, 1.0)[kind])
    assert np.nanmedian(moved) <= 1e-5
    assert 0.0 < np.nanmax(moved) <= 1e-2  # it does move


def test_boosting_has_trees_in_these_fits() -> None:
    """Without trees its constants alone would be compared."""
    forecasts = forecasts_at(1.0, 1.0)["boosting"]
    scaled = forecasts / frames_at(1.0).volatility[:, -forecasts.shape[1] :, None, None]
    assert np.isfinite(scaled).any()
    assert len(np.unique(scaled[np.isfinite(scaled)].round(4))) > 200
