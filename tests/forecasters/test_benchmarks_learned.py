"""What each benchmark learns, against plain loops, normal equations and the libraries' own fits."""

import math
from dataclasses import replace

import numpy as np
import pytest
from arch import arch_model
from sklearn.linear_model import Ridge

from pipeline.dataset.folds import Fold, Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, scaled_target
from pipeline.dataset.scaling import Scaler
from pipeline.errors import FitError
from pipeline.forecasters import garch
from pipeline.forecasters.forecaster import LEVELS, FitData
from pipeline.forecasters.garch import ENOUGH_RETURNS, MIN_RETURNS, GarchSpec
from pipeline.forecasters.har import HarSpec
from pipeline.forecasters.ridge import RidgeSpec, centred, ridge_weights
from pipeline.training.fits import fit, quantiles
from pipeline.training.jobs import FitJob
from tests.panels import TINY, changed, frames_from, jobs_for, random_market, random_rows

EXPERIMENT = changed(TINY, benchmarks=(GarchSpec(), HarSpec(), RidgeSpec()))


@pytest.fixture(scope="module")
def frames() -> Frames:
    """YOUNG has returns in the training range, but too few of them for parameters of its own."""
    return frames_from({**random_market(520, 3), "YOUNG": random_rows(340, 9)}, EXPERIMENT)


@pytest.fixture(scope="module")
def jobs(frames: Frames) -> dict[str, FitJob]:
    kinds = [spec.kind for spec in EXPERIMENT.benchmarks]
    return {job.forecaster.kind: job for job in jobs_for(frames, EXPERIMENT, kinds, slice(1))[0]}


def garch_parameters(frames: Frames, train: Range) -> np.ndarray:
    """What GARCH learns [ticker + 1, parameter] from a training range."""
    fold = Fold("only its training range is read", train, train, train, train)
    return garch.fit(GarchSpec(), FitData(frames, fold, 0, TINY.training)).arrays["parameters"]


def column(frames: Frames, name: str) -> np.ndarray:
    return frames.features[..., frames.feature_names.index(name)].astype(np.float64)


def test_garch_has_the_parameters_of_arch_and_pooled_ones_where_returns_are_few() -> None:
    """YOUNG has some say in the pooled parameters and takes them, CHILD has none."""
    rows = {**random_market(900, 3), "YOUNG": random_rows(800, 9), "CHILD": random_rows(640, 10)}
    frames, stop = frames_from(rows), 320
    found = garch_parameters(frames, Range(frames.sessions[0], frames.sessions[stop], 0, stop))
    own = [100 * row[np.isfinite(row)] for row in frames.log_return[:, :stop].astype(np.float64)]
    count = {ticker: len(own[k]) for k, ticker in enumerate(frames.tickers)}
    assert count["CHILD"] < MIN_RETURNS < count["YOUNG"] < ENOUGH_RETURNS < count["T0"]
    fitted = {}
    for k, returns in enumerate(own):
        if len(returns) >= MIN_RETURNS:
            model = arch_model(returns, mean="Zero", vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False)
            fitted[k] = [*model.fit(disp="off").params, returns.var()]
    np.testing.assert_allclose(found[-1], np.median(list(fitted.values()), axis=0), rtol=1e-5, atol=1e-7)
    assert len({row.tobytes() for row in found}) > 2
    for k in range(len(own)):
        expected = fitted[k] if len(own[k]) >= ENOUGH_RETURNS else found[-1]
        np.testing.assert_allclose(found[k], expected, rtol=1e-5, atol=1e-7)


def still(frames: Frames, *tickers: int) -> Frames:
    returns = np.array(frames.log_return)
    returns[list(tickers)] = 0.0
    return replace(frames, log_return=returns)


def test_a_price_that_stands_still_takes_the_pooled_parameters_and_a_market_of_them_is_refused(
    frames: Frames, jobs: dict[str, FitJob]
) -> None:
    train = jobs["garch"].fold.train
    found = garch_parameters(still(frames, 1), train)
    np.testing.assert_array_equal(found[1], found[-1])
    with pytest.raises(FitError, match=r"none of 4 tickers.*leave garch out of the benchmarks"):
        garch_parameters(still(frames, 0, 1, 2, 3), train)
    early = Range(train.first, train.until, 0, MIN_RETURNS)  # one return too few, the first session has none
    with pytest.raises(FitError, match="none of 4 tickers"):
        garch_parameters(frames, early)


def slow_har(frames: Frames, train_stop: int, h: int) -> tuple[np.ndarray, list[list[float]]]:
    """Weights by the normal equations, and each ticker's y_h / (volatility x sqrt(h)) in training."""
    proxy, rows, targets, where = column(frames, "log_range"), [], [], []
    for i in range(len(frames.tickers)):
        for t in range(train_stop - h):
            ahead = [proxy[i, t + k] for k in range(1, h + 1)]
            if frames.usable[i, t] and not any(map(math.isnan, [*ahead, frames.future_return[i, t, h - 1]])):
                rows.append(slow_regressors(proxy[i], t))
                targets.append(sum(ahead) / h)
                where.append((i, t))
    x, y = np.array(rows), np.array(targets)
    weights = np.linalg.solve(x.T @ x, x.T @ y)
    residuals: list[list[float]] = [[] for _ in frames.tickers]
    for (i, t), row in zip(where, rows, strict=True):
        residuals[i].append(float(frames.future_return[i, t, h - 1]) / (math.exp(row @ weights) * math.sqrt(h)))
    return weights, residuals


def slow_regressors(proxy: np.ndarray, t: int) -> np.ndarray:
    own = [value for value in proxy[: t + 1].tolist() if not math.isnan(value)]
    return np.array([1.0, own[-1], sum(own[-5:]) / 5, sum(own[-22:]) / 22])


@pytest.mark.parametrize("h", [1, 2])
def test_har_is_a_regression_on_day_week_and_month_with_residual_quantiles(
    h: int, frames: Frames, jobs: dict[str, FitJob]
) -> None:
    fitted = fit(jobs["har"], frames)
    weights, residuals = slow_har(frames, jobs["har"].fold.train.stop, h)
    np.testing.assert_allclose(fitted.arrays["weights"][:, h - 1], weights, rtol=2e-4, atol=2e-5)
    everyone = [value for own in residuals for value in own]
    assert [len(own) >= 100 for own in residuals] == [True, True, False, False]
    found = quantiles(fitted, frames, slice(430, 440))
    for i, own in enumerate(residuals):
        unit = np.quantile(own if len(own) >= 100 else everyone, LEVELS)
        for t in range(430, 440, 3):
            scale = math.exp(slow_regressors(column(frames, "log_range")[i], t) @ weights) * math.sqrt(h)
            np.testing.assert_allclose(found[i, t - 430, h - 1], scale * unit, rtol=1e-3, atol=1e-6)


def slow_ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Normal equations with a constant that is not penalised."""
    design = np.column_stack([x, np.ones(len(x))])
    cost = np.diag([penalty * len(x)] * x.shape[1] + [0.0])
    return np.linalg.solve(design.T @ design + cost, design.T @ y)


def slow_location_scale(frames: Frames, job: FitJob, location: float, scale: float, h: int) -> tuple:
    seen = frames.until(job.fold.validation.stop).with_features(job.features)
    rows = seen.features[:, : job.fold.train.stop][seen.usable[:, : job.fold.train.stop]]
    scaler = Scaler(rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64))
    known = label_mask(seen, job.fold.train)[..., h - 1]
    x = scaler.apply(seen.features[known]).astype(np.float64)
    y = scaled_target(seen)[known][:, h - 1].astype(np.float64)
    centre = slow_ridge(x, y, location)
    error = y - (x @ centre[:-1] + centre[-1])
    spread = slow_ridge(x, np.log(np.abs(error) + 1e-2), scale)
    unit = np.quantile(error / np.exp(x @ spread[:-1] + spread[-1]), LEVELS)
    return scaler, centre, spread, unit


def slow_ridge_loss(frames: Frames, job: FitJob, location: float, scale: float) -> float:
    """The mean pinball of two horizons over the validation range, in scaled units."""
    part, losses = job.fold.validation, []
    for h in (1, 2):
        scaler, centre, spread, unit = slow_location_scale(frames, job, location, scale, h)
        seen = frames.until(part.stop).with_features(job.features)
        known = label_mask(seen, part)[..., h - 1]
        x, y = scaler.apply(seen.features[known]), scaled_target(seen)[known][:, h - 1]
        q = (x @ centre[:-1] + centre[-1])[:, None] + np.exp(x @ spread[:-1] + spread[-1])[:, None] * unit
        error, levels = y[:, None] - q, np.array(LEVELS)
        losses.append(np.maximum(levels * error, (levels - 1) * error).mean())
    return float(np.mean(losses))


def test_ridge_takes_the_penalties_that_are_best_in_validation(frames: Frames, jobs: dict[str, FitJob]) -> None:
    fitted = fit(jobs["ridge"], frames)
    pairs = [(a, b) for a in RidgeSpec().penalties for b in RidgeSpec().penalties]
    losses = {pair: slow_ridge_loss(frames, jobs["ridge"], *pair) for pair in pairs}
    best = min(losses, key=losses.__getitem__)
    assert fitted.arrays["penalties"].tolist() == pytest.approx(best)
    assert best != pairs[0]  # the first one that is tried
    for h in (1, 2):
        scaler, centre, spread, unit = slow_location_scale(frames, jobs["ridge"], *best, h)
        np.testing.assert_allclose(fitted.arrays["location"][:, h - 1], centre, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(fitted.arrays["scale"][:, h - 1], spread, rtol=1e-4, atol=1e-5)
        ridge_frames = frames.with_features(jobs["ridge"].features)
        x = scaler.apply(ridge_frames.features[:, 430:440])
        q = (x @ centre[:-1] + centre[-1])[..., None] + np.exp(x @ spread[:-1] + spread[-1])[..., None] * unit
        expected = q * (frames.volatility[:, 430:440, None] * math.sqrt(h))
        np.testing.assert_allclose(
            quantiles(fitted, frames, slice(430, 440))[:, :, h - 1], expected, rtol=5e-3, atol=2e-5
        )


@pytest.mark.parametrize("penalty", [1e-8, 1e-4, 1.0, 1e2])
def test_ridge_weights_are_those_of_scikit_learn(penalty: float) -> None:
    """With features that are almost collinear and a mean far from zero."""
    draws = np.random.default_rng(0)
    x = draws.normal(size=(500, 1)) + 0.1 * draws.normal(size=(500, 6)) + 3.0
    y = x[:, 0] - x[:, 1] + draws.standard_t(4, 500)
    found = ridge_weights(centred(x), y, (penalty, 0.5))[0]
    model = Ridge(alpha=500 * penalty, solver="cholesky").fit(x, y)
    np.testing.assert_allclose(found, [*model.coef_, model.intercept_], rtol=0, atol=1e-6)
    assert np.abs(found[:2]).max() > 1e-4


def test_ridge_is_fitted_with_constant_and_equal_features(frames: Frames, jobs: dict[str, FitJob]) -> None:
    names = np.array(frames.feature_names)
    still = np.where(names == "log_range", np.float32(-3.7), frames.features)
    still[..., names == "volatility_5"] = still[..., names == "volatility_20"]
    fitted = fit(jobs["ridge"], replace(frames, features=still))
    five, twenty = (jobs["ridge"].features.index(name) for name in ("volatility_5", "volatility_20"))
    np.testing.assert_allclose(fitted.arrays["location"][five], fitted.arrays["location"][twenty], atol=1e-5)
    assert all(np.isfinite(values).all() for values in fitted.arrays.values())


def test_without_a_penalty_equal_features_share_their_weight() -> None:
    draws = np.random.default_rng(1)
    x = draws.normal(size=(200, 1)).repeat(2, axis=1)
    (found,) = ridge_weights(centred(x), 3.0 * x[:, 0] + 1.0, (0.0,))
    np.testing.assert_allclose(found, [1.5, 1.5, 1.0], atol=1e-9)
