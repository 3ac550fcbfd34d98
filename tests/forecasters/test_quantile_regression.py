"""The smoothed quantile regression against linear programming, autograd and a slow twin, and on degenerate designs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import QuantileRegressor

from pipeline.errors import FitError
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasters.quantile_regression import (
    RIDGE,
    QuantileProblem,
    minimum,
    quantile_regression,
    smoothed_loss,
    smoothing_bandwidth,
)

Rows = tuple[np.ndarray, np.ndarray]


def market_rows(count: int, seed: int = 0, features: int = 8) -> Rows:
    """Correlated features with clipped tails, and a heavy-tailed target whose scale and centre follow them."""
    draws = np.random.default_rng(seed)
    shared = draws.standard_t(4, size=(count, 1))
    x = np.clip(0.7 * shared + 0.7 * draws.standard_t(5, size=(count, features)), -6, 6).astype(np.float32)
    centre = 0.05 * x[:, 0] if features else 0.0
    scale = np.exp(0.15 * x[:, -1]) if features else 1.0
    return x, (centre + scale * draws.standard_t(4, count)).astype(np.float32)


def predicted(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) @ weights[:-1] + weights[-1]


def pinball(x: np.ndarray, y: np.ndarray, weights: np.ndarray, levels: tuple[float, ...]) -> float:
    error, level = y[:, None] - predicted(x, weights), np.array(levels)
    return float(np.maximum(level * error, (level - 1) * error).mean())


@pytest.mark.parametrize(
    ("count", "levels", "excess"),
    [(1000, LEVELS, 3e-3), pytest.param(20_000, (0.05, 0.5), 1e-4, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_the_training_loss_is_almost_that_of_the_linear_programme(
    count: int, levels: tuple[float, ...], excess: float
) -> None:
    x, y = market_rows(count)
    found = [pinball(x, y, quantile_regression(x, y, (level,)), (level,)) for level in levels]
    for level, loss in zip(levels, found, strict=True):
        model = QuantileRegressor(quantile=level, alpha=0.0, solver="highs").fit(x.astype(float), y.astype(float))
        best = pinball(x, y, np.array([[*model.coef_, model.intercept_]]).T, (level,))
        assert best <= loss * (1 + 1e-12) <= best * (1 + excess)


def bandwidth_of(x: np.ndarray, y: np.ndarray) -> float:
    """The bandwidth in units of the target."""
    scale = max((np.quantile(y, 0.95) - np.quantile(y, 0.05)) / 3.29, 0.1 * np.abs(y - np.median(y)).mean())
    return float(scale * smoothing_bandwidth(*x.shape))


def least_losses(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A lower bound of the mean pinball loss of any weights at all [level], by the duality of linear programmes.

    The loss is at least a r for any a from level - 1 to level; where a is orthogonal to the features and the constant,
    the mean of a r is that of a y, whatever the weights. How a was found does not matter.
    """
    problem, levels = problem_of(x, y), np.array(LEVELS)
    weights, design = problem.constant, problem.columns[:, :-1]
    for bandwidth in (0.5, 0.1, 0.02, 0.005):
        weights = minimum(problem, weights, bandwidth, 1e-9)
    a = levels - 0.5 + np.clip((y[:, None] - design @ weights) / 0.01, -0.5, 0.5)  # [row, level]
    a -= design @ np.linalg.lstsq(design, a, rcond=None)[0]
    a /= np.maximum((a / levels).max(axis=0), (a / (levels - 1)).max(axis=0))
    return a.T @ y / len(y)


@pytest.mark.parametrize(("count", "excess"), [(5000, 5e-4), (20_000, 1e-4)])
def test_no_weights_have_a_training_loss_that_is_much_smaller(count: int, excess: float) -> None:
    x, y = market_rows(count)
    found, least = pinball(x, y, quantile_regression(x, y, LEVELS), LEVELS), float(least_losses(x, y).mean())
    assert least <= found <= least * (1 + excess)


def slow_loss(x: np.ndarray, y: np.ndarray, weights: np.ndarray, level: float, b: float, constant: float) -> float:
    """The pinball loss averaged over errors moved by a uniform number from -b to b, row by row, and the ridge."""
    total = 0.0
    for row, target in zip(x.tolist(), y.tolist(), strict=True):
        r = target - sum(v * w for v, w in zip([*row, 1.0], weights.tolist(), strict=True))
        low, high = r - b, r + b
        above = max(high, 0.0) ** 2 - max(low, 0.0) ** 2  # twice the integral of the positive part
        below = min(low, 0.0) ** 2 - min(high, 0.0) ** 2
        total += (level * above + (1 - level) * below) / (4 * b)
    distance = weights - np.array([0.0] * x.shape[1] + [constant])
    return total / len(y) + RIDGE / 2 * float(distance @ distance)


def problem_of(x: np.ndarray, y: np.ndarray) -> QuantileProblem:
    constant = np.zeros((x.shape[1] + 1, len(LEVELS)))
    constant[-1] = np.quantile(y, LEVELS)
    return QuantileProblem(np.column_stack((x, np.ones(len(y)), y)).astype(np.float64), np.array(LEVELS), constant)


@pytest.mark.parametrize("bandwidth", [0.05, 0.7, 5.0])
def test_the_smoothed_loss_is_the_pinball_loss_averaged_over_uniform_errors(bandwidth: float) -> None:
    x, y = market_rows(60, features=2)
    problem, weights = problem_of(x, y), np.random.default_rng(3).normal(size=(3, len(LEVELS)))
    found = smoothed_loss(problem, weights, bandwidth).loss
    for k, level in enumerate(LEVELS):
        constant = float(problem.constant[-1, k])
        assert found[k] == pytest.approx(slow_loss(x, y, weights[:, k], level, bandwidth, constant), rel=1e-9)


def torch_loss(problem: QuantileProblem, weights: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """The loss per level by its cases."""
    columns = torch.from_numpy(problem.columns)
    r = columns[:, -1:] - columns[:, :-1] @ weights
    half = torch.where(r.abs() < bandwidth, (r**2 / bandwidth + bandwidth) / 4, r.abs() / 2)
    distance = weights - torch.from_numpy(problem.constant)
    return ((torch.from_numpy(problem.levels) - 0.5) * r + half).mean(dim=0) + RIDGE / 2 * (distance**2).sum(dim=0)


@pytest.mark.parametrize("bandwidth", [0.05, 0.7, 5.0])
def test_the_derivatives_are_those_of_autograd(bandwidth: float) -> None:
    """More rows than a block has; the second derivatives are differences of the gradient along random directions."""
    problem, draws = problem_of(*market_rows(9000)), np.random.default_rng(1)
    weights = torch.from_numpy(0.3 * draws.normal(size=(9, len(LEVELS)))).requires_grad_()
    torch_loss(problem, weights, bandwidth).sum().backward()  # type: ignore[no-untyped-call]
    found = smoothed_loss(problem, weights.detach().numpy(), bandwidth)
    np.testing.assert_allclose(found.loss, torch_loss(problem, weights, bandwidth).detach(), rtol=1e-12)
    np.testing.assert_allclose(found.gradient, weights.grad, atol=1e-12)
    assert np.abs(found.gradient).max() > 0.05
    step = 1e-8 * draws.normal(size=weights.shape)  # so short that hardly a residual crosses the bandwidth
    moved = smoothed_loss(problem, weights.detach().numpy() + step, bandwidth).gradient - found.gradient
    expected = np.einsum("lpq,ql->pl", found.hessian, step)
    np.testing.assert_allclose(1e8 * moved, 1e8 * expected, atol=1e-6)


TIGHT = {"xatol": 1e-5, "fatol": 1e-10}


def slow_loss_of(weights: np.ndarray, x: np.ndarray, y: np.ndarray, level: float, b: float, constant: float) -> float:
    return slow_loss(x, y, weights, level, b, constant)


def test_the_weights_are_the_minimum_that_a_general_minimiser_finds() -> None:
    x, y = market_rows(80, features=2)
    found = quantile_regression(x, y, LEVELS)
    for k, level in enumerate(LEVELS):
        constant = float(np.quantile(y, level))
        start = np.array([0.1, 0.1, constant])
        slow = minimize(slow_loss_of, start, (x, y, level, bandwidth_of(x, y), constant), "Nelder-Mead", options=TIGHT)
        np.testing.assert_allclose(found[:, k], slow.x, atol=1e-3)


def test_the_bandwidth_narrows_with_rows_to_a_floor() -> None:
    assert smoothing_bandwidth(1000, 8) == pytest.approx(((9 + np.log(1000)) / 1000) ** 0.4)
    assert smoothing_bandwidth(10**6, 8) == 0.05


@pytest.mark.parametrize("count", [30, 200, 3000])
def test_one_ulp_in_the_labels_moves_no_quantile(count: int) -> None:
    x, y = market_rows(count)
    before = predicted(x, quantile_regression(x, y, LEVELS))
    up = np.random.default_rng(5).uniform(size=count) < 0.5
    one = np.where(np.arange(count) == count // 2, np.nextafter(y, np.float32(np.inf)), y)
    every = np.where(up, np.nextafter(y, np.float32(np.inf)), np.nextafter(y, np.float32(-np.inf)))
    for moved in (one, every):
        assert np.abs(predicted(x, quantile_regression(x, moved, LEVELS)) - before).max() < 1e-5


@pytest.mark.parametrize("count", [200, 3000])
def test_features_and_labels_equal_to_a_millionth_give_quantiles_equal_to_1e5(count: int) -> None:
    """As after prices are rescaled by a constant that is no power of two; in log return, at a volatility of 2 %."""
    (x, y), draws = market_rows(count), np.random.default_rng(6)
    before = predicted(x, quantile_regression(x, y, LEVELS))
    near = (x + draws.uniform(-1e-6, 1e-6, x.shape)).astype(np.float32)
    moved = quantile_regression(near, (y + draws.uniform(-1e-6, 1e-6, count)).astype(np.float32), LEVELS)
    assert 0.02 * np.abs(predicted(near, moved) - before).max() < 1e-5


def test_the_weights_follow_the_units_of_the_target() -> None:
    x, y = market_rows(400)
    found = quantile_regression(x, y, LEVELS)
    moved = quantile_regression(x, 1000 * y + 5, LEVELS)
    np.testing.assert_allclose(moved[:-1], 1000 * found[:-1], atol=1e-2)
    np.testing.assert_allclose(moved[-1], 1000 * found[-1] + 5, atol=1e-2)
    np.testing.assert_allclose(quantile_regression(x, 8 * y, LEVELS), 8 * found, rtol=1e-12)


def test_a_level_does_not_depend_on_the_others() -> None:
    x, y = market_rows(700)
    together = quantile_regression(x, y, LEVELS)
    for k, level in enumerate(LEVELS):
        np.testing.assert_allclose(quantile_regression(x, y, (level,))[:, 0], together[:, k], atol=1e-7)


def test_what_the_rows_leave_open_stays_at_the_constant_quantiles() -> None:
    """A constant feature has no weight, equal features share one, and their forecasts are those of one feature."""
    x, y = market_rows(600, features=3)
    alone = quantile_regression(x, y, LEVELS)
    constant = quantile_regression(np.column_stack((x, np.zeros(600, dtype=np.float32))), y, LEVELS)
    np.testing.assert_array_equal(constant[3], 0.0)
    twice = quantile_regression(np.column_stack((x, x[:, 2])), y, LEVELS)
    np.testing.assert_allclose(twice[2], twice[3], atol=1e-6)
    bandwidths = [smoothing_bandwidth(600, k) for k in (3, 4)]
    assert bandwidths[0] < bandwidths[1]  # so the weights differ a little
    np.testing.assert_allclose(twice[2] + twice[3], alone[2], atol=0.02)


def test_without_features_the_quantiles_are_almost_the_empirical_ones() -> None:
    x, y = market_rows(5000, features=0)
    found = quantile_regression(x, y, LEVELS)
    np.testing.assert_allclose(found[0], np.quantile(y, LEVELS), atol=0.02)


COLUMNS = st.lists(
    st.sampled_from(["normal", "heavy", "constant", "copy", "nearly a copy", "rare", "integer"]), max_size=9
)
TARGETS = st.sampled_from(["heavy", "mostly equal", "all equal", "integer", "one outlier", "exactly linear"])


def column(kind: str, columns: list[np.ndarray], count: int, draws: np.random.Generator) -> np.ndarray:
    last = columns[-1] if columns else draws.normal(size=count)
    return {
        "normal": lambda: draws.normal(size=count),
        "heavy": lambda: draws.standard_t(2, count),
        "constant": lambda: np.full(count, draws.normal()),
        "copy": lambda: last * draws.normal(),
        "nearly a copy": lambda: last + 1e-7 * draws.normal(size=count),
        "rare": lambda: 6.0 * (draws.uniform(size=count) < 2 / count),
        "integer": lambda: draws.integers(-1, 2, count).astype(float),
    }[kind]()


def target_of(kind: str, x: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    noise = draws.standard_t(2, len(x))
    return {
        "heavy": lambda: noise * 10.0 ** draws.uniform(-6, 6),
        "mostly equal": lambda: np.where(draws.uniform(size=len(x)) < 0.9, 0.0, noise),
        "all equal": lambda: np.full(len(x), draws.normal()),
        "integer": lambda: np.round(noise),
        "one outlier": lambda: np.where(np.arange(len(x)) == len(x) // 2, 1e7, noise),
        "exactly linear": lambda: x @ draws.normal(size=x.shape[1]),
    }[kind]()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(COLUMNS, TARGETS, st.sampled_from([1, 2, 8, 30, 150, 1500]), st.integers(0, 2**31))
def test_any_finite_rows_have_a_minimum(kinds: list[str], target: str, count: int, seed: int) -> None:
    """Whatever the design: fewer rows than columns, equal and constant columns, equal labels, extreme units."""
    draws = np.random.default_rng(seed)
    columns: list[np.ndarray] = []
    for kind in kinds:
        columns.append(np.clip(column(kind, columns, count, draws), -6, 6))
    x = np.column_stack([*columns, np.zeros((count, 0))]).astype(np.float32)
    y = target_of(target, x, draws).astype(np.float32)
    found = predicted(x, quantile_regression(x, y, LEVELS))
    assert np.isfinite(found).all()
    width = 4.0 * max(float(np.ptp(y)), 1.0)
    assert (found.min(axis=0) <= y.max() + width).all()
    assert (found.max(axis=0) >= y.min() - width).all()


@pytest.mark.parametrize("bandwidth", [0.05, 1.0])
def test_the_minimum_is_the_same_from_any_start(bandwidth: float) -> None:
    problem, draws = problem_of(*market_rows(300)), np.random.default_rng(2)
    found = minimum(problem, problem.constant, bandwidth, 1e-9)
    assert np.abs(smoothed_loss(problem, found, bandwidth).gradient).max() <= 1e-9
    again = minimum(problem, draws.normal(size=found.shape), bandwidth, 1e-9)
    np.testing.assert_allclose(again, found, atol=1e-4)


def test_rows_that_are_not_finite_are_refused() -> None:
    x, y = market_rows(100)
    x[3, 2] = np.nan
    with pytest.raises(FitError, match=r"found a gradient of nan .* 100 rows, expected at most 1e-03; look in"):
        quantile_regression(x, y, LEVELS)
