"""The baselines fitted and asked through the same protocol as a network, against plain loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.linear_model import QuantileRegressor
from threadpoolctl import threadpool_limits

from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, scaled_target
from pipeline.dataset.scaling import fit_scaler
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.forecasters.linear import LinearSpec
from pipeline.forecasters.per_ticker import ENOUGH_SESSIONS
from pipeline.training.fits import fit, quantiles
from pipeline.training.jobs import FitJob
from tests.panels import TINY, changed, frames_from, jobs_for, random_market, random_rows

KINDS = ("climatology", "last_close", "drift", "ewma")


@pytest.fixture(scope="module")
def frames() -> Frames:
    """The last ticker has returns in the training range, but too few of them for quantiles of its own."""
    rows = random_market(500, 3)
    return frames_from({**rows, "YOUNG": random_rows(330, 9)})


@pytest.fixture(scope="module")
def jobs(frames: Frames) -> dict[str, FitJob]:
    return {job.forecaster.kind: job for job in jobs_for(frames, kinds=KINDS, folds=slice(1))[0]}


@pytest.fixture(scope="module")
def fits(frames: Frames, jobs: dict[str, FitJob]) -> dict[str, Fitted]:
    return {kind: fit(job, frames) for kind, job in jobs.items()}


def known_returns(frames: Frames, i: int, stop: int) -> list[float]:
    return [float(r) for r in frames.log_return[i, 1:stop] if not math.isnan(r)]


def slow_quantile(values: list[float], level: float) -> float:
    """Linear interpolation between order statistics."""
    ordered = sorted(values)
    place = level * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def learnt_from(frames: Frames, i: int, stop: int) -> list[float]:
    own = known_returns(frames, i, stop)
    pooled = [r for k in range(len(frames.tickers)) for r in known_returns(frames, k, stop)]
    return own if len(own) >= ENOUGH_SESSIONS else pooled


def slow_forecast(kind: str, frames: Frames, stop: int, i: int, t: int, h: int) -> list[float]:
    learnt, vol = learnt_from(frames, i, stop), float(frames.volatility_20[i, t])
    if kind == "climatology":
        return [slow_quantile(learnt, level) * math.sqrt(h) for level in LEVELS]
    if kind == "ewma":
        past = [(age, float(r)) for age, r in enumerate(frames.log_return[i, t::-1]) if not math.isnan(r)]
        vol = math.sqrt(sum(0.94**a * r * r for a, r in past) / sum(0.94**a for a, _ in past))
        return [vol * math.sqrt(h) * student.ppf(level, 5) * math.sqrt(3 / 5) for level in LEVELS]
    drift = h * sum(learnt) / len(learnt) if kind == "drift" else 0.0
    return [drift + vol * math.sqrt(h) * norm.ppf(level) for level in LEVELS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_baseline_forecasts_what_its_formula_says(
    kind: str, frames: Frames, jobs: dict[str, FitJob], fits: dict[str, Fitted]
) -> None:
    fold = jobs[kind].fold
    assert len(known_returns(frames, 3, fold.train.stop)) < ENOUGH_SESSIONS
    found = quantiles(fits[kind], frames, slice(fold.test.start, fold.test.start + 40))
    for i in range(len(frames.tickers)):
        for t in range(fold.test.start, fold.test.start + 40, 13):
            for h in (1, 2):
                expected = slow_forecast(kind, frames, fold.train.stop, i, t, h)
                assert found[i, t - fold.test.start, h - 1].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("kind", [*KINDS])
def test_no_forecast_stands_where_the_origin_is_not_usable(kind: str, frames: Frames, fits: dict[str, Fitted]) -> None:
    found = quantiles(fits[kind], frames, slice(0, 400))
    np.testing.assert_array_equal(np.isfinite(found).all(axis=(2, 3)), frames.usable[:, :400])
    assert np.isnan(found[~frames.usable[:, :400]]).all()


def test_a_ticker_never_seen_takes_the_pooled_values(frames: Frames, jobs: dict[str, FitJob]) -> None:
    fewer = replace(jobs["climatology"], tickers=("T0", "T1"))
    fitted = fit(fewer, frames)
    found = quantiles(fitted, frames, slice(400, 401))
    pooled = [r for i in (0, 1) for r in known_returns(frames, i, fewer.fold.train.stop)]
    expected = [slow_quantile(pooled, level) for level in LEVELS]
    assert found[2, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert found[0, 0, 0].tolist() != pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_baseline_learns_from_training_rows_only(kind: str, frames: Frames, jobs: dict[str, FitJob]) -> None:
    job = jobs[kind]
    later = np.arange(len(frames.sessions)) >= job.fold.train.stop
    spoilt = replace(frames, log_return=np.where(later, np.float32(0.25), frames.log_return))
    before, after = fit(job, frames), fit(job, spoilt)
    assert all(before.arrays[name].tobytes() == after.arrays[name].tobytes() for name in before.arrays)
    assert set(before.arrays) == {"climatology": {"quantiles"}, "drift": {"mean"}}.get(kind, set())


@pytest.fixture(scope="module")
def linear() -> tuple[FitJob, Frames, Fitted]:
    experiment = changed(TINY, horizons=1)
    frames = frames_from(random_market(500, 3), experiment)
    (job,) = jobs_for(frames, experiment, kinds=("linear",), folds=slice(1))[0]
    return job, frames, fit(job, frames)


def test_the_linear_fit_is_close_to_the_exact_solution(linear: tuple[FitJob, Frames, Fitted]) -> None:
    """Scikit-learn's linear programme is the optimum; on few rows the smoothing gives up 0.3 % of the training loss."""
    job, frames, fitted = linear
    seen = frames.until(job.fold.validation.stop).with_features(job.features)
    mask = label_mask(seen, job.fold.train)[..., 0]
    rows = fit_scaler(seen, job.fold.train).apply(seen.features[mask]).astype(np.float64)
    target = scaled_target(seen)[mask][:, 0].astype(np.float64)
    weights = fitted.arrays["weights"].astype(np.float64)
    ours = rows @ weights[:-1] + weights[-1]
    total, best = 0.0, 0.0
    for k, level in enumerate(LEVELS):
        exact = QuantileRegressor(quantile=level, alpha=0.0, solver="highs").fit(rows, target).predict(rows)
        for forecast, add in ((ours[:, k], "ours"), (exact, "best")):
            loss = float(np.maximum(level * (target - forecast), (level - 1) * (target - forecast)).mean())
            total, best = (total + loss, best) if add == "ours" else (total, best + loss)
    assert len(rows) > 300
    assert best <= total <= best * 1.003


def test_linear_forecasts_are_the_scaled_features_times_the_weights(linear: tuple[FitJob, Frames, Fitted]) -> None:
    _, frames, fitted = linear
    found, weights = quantiles(fitted, frames, slice(410, 420)), fitted.arrays["weights"]
    columns = [frames.feature_names.index(name) for name in LinearSpec().features]
    for i in range(len(frames.tickers)):
        for t in range(410, 420):
            x = [
                (float(frames.features[i, t, c]) - m) / s
                for c, m, s in zip(
                    columns, fitted.arrays["scaler.mean"].tolist(), fitted.arrays["scaler.std"].tolist(), strict=True
                )
            ]
            x = [max(-6.0, min(6.0, value)) for value in x] + [1.0]
            raw = [sum(a * float(w) for a, w in zip(x, weights[:, k], strict=True)) for k in range(7)]
            unit = float(frames.volatility[i, t])
            assert found[i, t - 410, 0].tolist() == pytest.approx([unit * q for q in sorted(raw)], rel=1e-4, abs=1e-6)


def test_linear_fits_are_the_same_bits_and_know_no_later_row(linear: tuple[FitJob, Frames, Fitted]) -> None:
    job, frames, fitted = linear
    later = np.arange(len(frames.sessions)) >= job.fold.train.stop
    spoilt = replace(frames, features=np.where(later[:, None], np.float32(3.0), frames.features))
    again = fit(job, spoilt)
    assert all(again.arrays[name].tobytes() == fitted.arrays[name].tobytes() for name in fitted.arrays)


def test_a_linear_fit_uses_no_seed_and_any_number_of_threads(linear: tuple[FitJob, Frames, Fitted]) -> None:
    job, frames, fitted = linear
    for threads in (1, 2):
        with threadpool_limits(threads):
            again = fit(replace(job, seed=7), frames)
        assert all(again.arrays[name].tobytes() == fitted.arrays[name].tobytes() for name in fitted.arrays)


def test_one_ulp_in_a_label_moves_no_linear_quantile(linear: tuple[FitJob, Frames, Fitted]) -> None:
    job, frames, fitted = linear
    moved = np.where(
        frames.usable[..., None], np.nextafter(frames.future_return, np.float32(1.0)), frames.future_return
    )
    again, origins = fit(job, replace(frames, future_return=moved)), slice(job.fold.test.start, job.fold.test.stop)
    before, after = quantiles(fitted, frames, origins), quantiles(again, frames, origins)
    assert np.nanmax(np.abs(after - before)) < 1e-6
    assert (np.diff(after[frames.usable[:, origins]], axis=-1) >= 0).all()


def test_prices_in_another_unit_change_a_refitted_linear_forecast_by_less_than_1e5(
    linear: tuple[FitJob, Frames, Fitted],
) -> None:
    """A constant that is no power of two changes features and returns by rounding, of up to a millionth."""
    job, frames, fitted = linear
    draws, origins = np.random.default_rng(0), slice(300, len(frames.sessions))
    noise = {name: draws.uniform(-1e-6, 1e-6, getattr(frames, name).shape) for name in ("features", "future_return")}
    moved = replace(
        frames,
        features=(frames.features + noise["features"]).astype(np.float32),
        future_return=(frames.future_return * (1 + noise["future_return"])).astype(np.float32),
    )
    before, after = quantiles(fitted, frames, origins), quantiles(fit(job, moved), moved, origins)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5)
    assert not np.array_equal(after, before, equal_nan=True)


def test_one_ticker_with_a_feature_that_never_varies_is_fitted(linear: tuple[FitJob, Frames, Fitted]) -> None:
    job, frames, _ = linear
    still = np.where(np.array(frames.feature_names) == "log_range", np.float32(-3.7), frames.features)
    fitted = fit(replace(job, tickers=("T0",)), replace(frames, features=still))
    column = job.features.index("log_range")
    assert np.abs(fitted.arrays["weights"][column]).max() < 1e-3
    assert np.isfinite(quantiles(fitted, frames, slice(420, 440))[0]).all()


def test_a_label_known_only_after_the_training_range_teaches_a_linear_fit_nothing(frames: Frames) -> None:
    """The last training origin of horizon 2 is one session before that of horizon 1."""
    (job,) = jobs_for(frames, kinds=("linear",), folds=slice(1))[0]
    fitted, last = fit(job, frames), job.fold.train.stop - 1
    spoilt = {}
    for first in (last, last - 1):  # the first origin whose label of horizon 1 is changed; of horizon 2, one before
        labels = np.array(frames.future_return)
        labels[:, first:, 0], labels[:, first - 1 :, 1] = 0.5, 0.5
        spoilt[first] = fit(job, replace(frames, future_return=labels)).arrays["weights"].reshape(-1, 2, len(LEVELS))
    before = fitted.arrays["weights"].reshape(-1, 2, len(LEVELS))
    np.testing.assert_array_equal(spoilt[last], before)
    assert not np.array_equal(spoilt[last - 1][:, 0], before[:, 0])
    assert not np.array_equal(spoilt[last - 1][:, 1], before[:, 1])


def test_a_horizon_without_labels_is_refused_with_its_dates(linear: tuple[FitJob, Frames, Fitted]) -> None:
    job, frames, _ = linear
    with pytest.raises(FitError, match=f"no label of horizon 1 that is known between {job.fold.train.first}"):
        fit(job, replace(frames, future_return=np.full_like(frames.future_return, np.nan)))
