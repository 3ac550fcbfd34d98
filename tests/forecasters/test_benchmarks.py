"""Every benchmark through the protocol: fit, quantiles, cached fits, and nothing of what comes later."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError
from pipeline.evaluation.comparisons import comparison_table, models_of, pooled
from pipeline.evaluation.scores import POOLED, score_table
from pipeline.evaluation.trials import Trials
from pipeline.forecasters.boosting import BoostingSpec
from pipeline.forecasters.ewma import EwmaSpec
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.forecasters.garch import GarchSpec
from pipeline.forecasters.har import HarSpec
from pipeline.forecasters.registry import FORECASTERS, BenchmarkSpec, forecaster_of
from pipeline.forecasters.ridge import RidgeSpec
from pipeline.forecasting.backtest import build_backtest
from pipeline.forecasting.forecasts import FORECASTER_ORDER
from pipeline.training.cache import read_fitted, write_fitted
from pipeline.training.fits import fit, quantiles
from pipeline.training.jobs import FitJob, FitResult
from tests.panels import TINY, changed, fit_jobs, frames_from, jobs_for, random_market

SMALL_TREES = BoostingSpec(leaves=5, min_leaf_rows=20, max_rounds=25, max_rows=900)
BENCHMARKS: tuple[BenchmarkSpec, ...] = (GarchSpec(), HarSpec(), RidgeSpec(penalties=(1e-2, 1.0)), SMALL_TREES)
KINDS = tuple(spec.kind for spec in BENCHMARKS)
EXPERIMENT = changed(TINY, benchmarks=BENCHMARKS, horizons=3)


@pytest.fixture(scope="module")
def frames() -> Frames:
    """Three tickers, the last one listed late and one with gaps."""
    return frames_from(random_market(520, 3), EXPERIMENT)


@pytest.fixture(scope="module")
def jobs(frames: Frames) -> dict[str, FitJob]:
    return {job.forecaster.kind: job for job in jobs_for(frames, EXPERIMENT, KINDS, slice(1))[0]}


@pytest.fixture(scope="module")
def fold(jobs: dict[str, FitJob]) -> Fold:
    return jobs["har"].fold


@pytest.fixture(scope="module")
def fits(frames: Frames, jobs: dict[str, FitJob]) -> dict[str, Fitted]:
    return {kind: fit(job, frames) for kind, job in jobs.items()}


def same_bits(one: Fitted, other: Fitted) -> bool:
    return set(one.arrays) == set(other.arrays) and all(
        one.arrays[name].tobytes() == other.arrays[name].tobytes() for name in one.arrays
    )


def garbage_from(frames: Frames, start: int, seed: int = 0) -> Frames:
    """Other numbers of the same size, and other usable origins, in every row from `start`."""
    draws = np.random.default_rng(seed)

    def spoilt(name: str, values: np.ndarray) -> np.ndarray:
        array = np.array(getattr(frames, name))
        array[:, start:] = values[:, start:]
        return array.astype(getattr(frames, name).dtype)

    shape = frames.usable.shape
    return replace(
        frames,
        features=spoilt("features", draws.normal(0, 2, frames.features.shape)),
        volatility=spoilt("volatility", draws.uniform(0.005, 0.09, shape)),
        volatility_20=spoilt("volatility_20", draws.uniform(0.005, 0.09, shape)),
        log_return=spoilt("log_return", draws.normal(0, 0.05, shape)),
        future_return=spoilt("future_return", draws.normal(0, 0.05, frames.future_return.shape)),
        usable=spoilt("usable", draws.uniform(size=shape) < 0.9),
    )


def labels_before(frames: Frames, start: int) -> Frames:
    """The frames without the labels that need a row from `start`: garbage there would change them."""
    label = np.array(frames.future_return)
    for h in range(1, frames.horizons + 1):
        label[:, max(start - h, 0) : start, h - 1] = 0.777
    return replace(frames, future_return=label)


@pytest.mark.parametrize("kind", KINDS)
def test_quantiles_stand_at_every_usable_origin_and_rise_with_the_level(
    kind: str, frames: Frames, fits: dict[str, Fitted]
) -> None:
    found = quantiles(fits[kind], frames, slice(100, len(frames.sessions)))
    assert found.shape == (3, len(frames.sessions) - 100, 3, len(LEVELS))
    assert found.dtype == np.float32
    usable = frames.usable[:, 100:]
    np.testing.assert_array_equal(np.isfinite(found).all(axis=(2, 3)), usable)
    assert np.isnan(found[~usable]).all()
    steps = np.diff(found[usable], axis=-1)
    assert (steps >= 0).all()
    assert (steps > 0).mean() > 0.9
    width = (found[usable][..., -1] - found[usable][..., 0]).mean(axis=0)  # [horizon]
    assert 0.02 < width[0] < width[1] < width[2] < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_the_bands_hold_about_what_they_say(kind: str, frames: Frames, fold: Fold, fits: dict[str, Fitted]) -> None:
    """Of a market whose volatility comes and goes; a scale or horizon mixed up leaves these bounds."""
    origins = slice(fold.test.start, fold.test.stop - 3)
    found, outcome = quantiles(fits[kind], frames, origins), frames.future_return[:, origins]
    known = np.isfinite(found).all(axis=(2, 3)) & np.isfinite(outcome).all(axis=2)
    inside = (found[known][..., 1] <= outcome[known]) & (outcome[known] <= found[known][..., 5])
    assert (np.abs(inside.mean(axis=0) - 0.8) < 0.11).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_ticker_never_seen_is_forecast_too(kind: str, frames: Frames, jobs: dict[str, FitJob]) -> None:
    fitted = fit(replace(jobs[kind], tickers=("T0", "T2")), frames)
    assert fitted.tickers == ("T0", "T2")
    found = quantiles(fitted, frames, slice(300, 420))
    np.testing.assert_array_equal(np.isfinite(found).all(axis=(2, 3)), frames.usable[:, 300:420])
    width = np.nanmean(found[..., -1] - found[..., 0], axis=(1, 2))
    assert 0.5 < width[1] / width[0] < 2  # a forecast of the same size as a known ticker's


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_knows_nothing_after_its_validation(
    kind: str, frames: Frames, fold: Fold, jobs: dict[str, FitJob], fits: dict[str, Fitted]
) -> None:
    stop = fold.validation.stop
    assert same_bits(fit(jobs[kind], labels_before(garbage_from(frames, stop), stop)), fits[kind])
    assert not same_bits(fit(jobs[kind], garbage_from(frames, fold.train.stop - 40)), fits[kind])


@pytest.mark.parametrize("kind", ["garch", "har", "ridge"])
def test_what_is_not_chosen_is_learned_from_training_rows_alone(
    kind: str, frames: Frames, fold: Fold, jobs: dict[str, FitJob]
) -> None:
    """With one penalty there is nothing that the validation range could choose."""
    alone = RidgeSpec(penalties=(1.0,))
    job = replace(jobs[kind], forecaster=alone) if kind == "ridge" else jobs[kind]
    stop = fold.train.stop
    assert same_bits(fit(job, labels_before(garbage_from(frames, stop), stop)), fit(job, frames))


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_after_an_origin_changes_no_bit_of_its_forecast(
    kind: str, frames: Frames, fits: dict[str, Fitted]
) -> None:
    origins = slice(380, 470)
    before = quantiles(fits[kind], frames, origins)
    for origin in (380, 411, 468):
        after = quantiles(fits[kind], garbage_from(frames, origin + 1, origin), origins)
        seen = slice(0, origin + 1 - origins.start)
        assert after[:, seen].tobytes() == before[:, seen].tobytes()
        assert not np.array_equal(after[:, seen.stop :], before[:, seen.stop :], equal_nan=True)
        alone = quantiles(fits[kind], frames, slice(origin, origin + 1))
        np.testing.assert_allclose(alone[:, 0], before[:, seen.stop - 1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bits_and_a_cached_fit_the_same_forecast(
    kind: str, frames: Frames, jobs: dict[str, FitJob], fits: dict[str, Fitted], tmp_path: Path
) -> None:
    assert same_bits(fit(jobs[kind], frames), fits[kind])
    write_fitted(tmp_path / kind, fits[kind], jobs[kind])
    cached = read_fitted(tmp_path / kind)
    assert replace(cached, arrays={}) == replace(fits[kind], arrays={})
    assert same_bits(cached, fits[kind])
    origins = slice(400, 420)
    assert quantiles(cached, frames, origins).tobytes() == quantiles(fits[kind], frames, origins).tobytes()


def test_only_boosting_draws_rows_and_another_seed_draws_others(
    frames: Frames, jobs: dict[str, FitJob], fits: dict[str, Fitted]
) -> None:
    others = {kind: same_bits(fit(replace(job, seed=7), frames), fits[kind]) for kind, job in jobs.items()}
    assert others == {"garch": True, "har": True, "ridge": True, "boosting": False}


def test_arrays_hold_numbers_and_nothing_else(fits: dict[str, Fitted]) -> None:
    dtypes = {array.dtype for fitted in fits.values() for array in fitted.arrays.values()}
    assert dtypes == {np.dtype(np.float32), np.dtype(np.uint8)}  # the trees of boosting are text


@pytest.mark.parametrize("kind", KINDS)
def test_a_range_without_labels_is_refused_with_its_dates(
    kind: str, frames: Frames, fold: Fold, jobs: dict[str, FitJob]
) -> None:
    nothing = np.zeros_like(frames.usable)
    returns = np.full_like(frames.log_return, np.nan)
    with pytest.raises(FitError, match=rf"{fold.train.first}|{fold.train.until}"):
        fit(jobs[kind], replace(frames, usable=nothing, log_return=returns))


@pytest.mark.parametrize("kind", ["ridge", "boosting"])
def test_a_validation_without_labels_is_refused_with_its_dates(
    kind: str, frames: Frames, fold: Fold, jobs: dict[str, FitJob]
) -> None:
    usable = np.array(frames.usable)
    usable[:, fold.validation.start : fold.validation.stop] = False
    with pytest.raises(FitError, match=f"{fold.validation.first}"):
        fit(jobs[kind], replace(frames, usable=usable))


def test_a_specification_is_fitted_and_forecast_by_its_own_kind_alone(frames: Frames, fits: dict[str, Fitted]) -> None:
    """The arrays of one kind are not read as those of another."""
    assert len({one.kind for one in FORECASTERS}) == len({one.specification for one in FORECASTERS}) == len(FORECASTERS)
    assert [forecaster_of(spec).specification for spec in BENCHMARKS] == [type(spec) for spec in BENCHMARKS]
    origins = slice(400, 401)
    ewma = replace(fits["har"], forecaster=EwmaSpec())
    found = quantiles(ewma, frames, origins).tobytes()
    assert found == quantiles(replace(ewma, arrays={}), frames, origins).tobytes()
    assert found != quantiles(fits["har"], frames, origins).tobytes()


Results = tuple[list[FitResult], tuple[Fold, ...], Frames]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    frames = frames_from(random_market(620, 4), EXPERIMENT)
    jobs, folds = jobs_for(frames, EXPERIMENT, FORECASTER_ORDER, slice(-1, None))
    return fit_jobs(reversed(jobs), frames, tmp_path_factory.mktemp("fits")), folds, frames


def test_benchmarks_stand_in_the_backtest_behind_the_baselines(results: Results) -> None:
    backtest = build_backtest(*results)
    assert list(backtest.quantiles) == [
        name for name in FORECASTER_ORDER if name not in ("pretrained", "combined", "calibrated")
    ]
    assert backtest.scored.any(axis=(0, 1)).all()
    scores, comparisons = score_table(backtest), comparison_table(backtest, Trials())
    shown = scores[(scores["ticker"] == POOLED) & (scores["horizon"] == 1)].set_index("forecaster")
    assert set(shown.index) == set(backtest.quantiles)
    # Trees on 900 drawn rows learn noise: none has to be good here, but none may be of another size.
    assert (shown.loc[list(KINDS), "pinball"] < 1.3 * shown.loc["climatology", "pinball"]).all()
    assert set(KINDS) <= set(models_of(backtest))
    assert all(len(pooled(comparisons, kind, 1)) == 5 for kind in KINDS)


def test_the_network_has_a_skill_over_every_benchmark(results: Results) -> None:
    assert set(KINDS) <= set(pooled(comparison_table(build_backtest(*results), Trials()), "network", 1).index)
