"""Linear quantile regression of several levels at once: a smoothed pinball loss, minimised by Newton's method.

He, Pan, Tan and Zhou (2023), "Smoothed quantile regression with large-scale inference" (conquer), section 2, with the
uniform kernel. The loss is convex and piecewise quadratic: its gradient needs the clipped residuals alone, its second
derivatives only the rows whose residual lies within the bandwidth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.errors import FitError

RIDGE = 1e-6
"""The weight of half the squared distance from the constant quantiles, which decides what the rows leave open.

Collinear or constant columns, or fewer rows than columns, then still have one solution, which changes continuously
with the labels. Where the rows decide, it moves a quantile by far less than its standard error.
"""
GRADIENT_TOLERANCE = 1e-9  # of the largest element of the mean gradient, with the target in units of its scale
START_TOLERANCE = 1e-3
START_ROWS = 2000  # the start needs no more of them
WIDEST_BANDWIDTH = 3.0  # most rows are within it: from there the first steps are those of least squares
NARROWING = 3.0
MAX_NEWTON_STEPS = 200  # for one bandwidth; 3 to 10 are usual
LEAST_DAMPING, MORE_DAMPING, LESS_DAMPING = 1e-8, 30.0, 3.0
LOSS_ROUNDING = 1e-13  # an increase of the loss, which is about 1, that is none
BLOCK_ROWS = 8192  # the residuals of seven levels then stay in the cache
NORMAL_RANGE = 3.29  # standard deviations between the 5 % and the 95 % quantile of a normal distribution


@dataclass(frozen=True)
class QuantileProblem:
    """Rows to learn from, the levels, and the constant quantiles that the ridge draws to."""

    columns: Floats  # [row, feature + 2]: features, ones, target
    levels: Floats  # [level]
    constant: Floats  # [feature + 1, level]

    @cached_property
    def column_sums(self) -> Floats:
        """The sum of each column [feature + 2]."""
        return self.columns.sum(axis=0)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Point:
    """The loss of each level at its weights, with its first and second derivatives."""

    weights: Floats  # [feature + 1, level]
    loss: Floats  # [level]
    gradient: Floats  # [feature + 1, level]
    hessian: Floats  # [level, feature + 1, feature + 1]


def quantile_regression(features: Floats32, target: Floats32, levels: Sequence[float]) -> Floats:
    """Return the weights [feature + 1, level] of standardised features [row, feature], the constant last.

    They minimise the smoothed pinball loss of the target [row], which is centred and scaled before; quantiles of
    different levels may cross. Nothing is drawn at random. Raises FitError where Newton's method does not converge.
    """
    values = target.astype(np.float64)
    middle, scale = _middle_and_scale(values)
    problem = _problem(features, (values - middle) / scale, np.asarray(levels, dtype=np.float64))
    bandwidth = smoothing_bandwidth(*features.shape)
    start = replace(problem, columns=problem.columns[:: max(len(target) // START_ROWS, 1)].copy())
    weights = problem.constant
    for wider in _wider(bandwidth):
        weights = minimum(start, weights, wider, START_TOLERANCE)
    weights = scale * minimum(problem, weights, bandwidth, GRADIENT_TOLERANCE)
    weights[-1] += middle
    return weights


def smoothing_bandwidth(rows: int, features: int) -> float:
    """Return the bandwidth in units of the target's scale: the default of the package conquer, of He et al. (2023)."""
    return float(max(((features + 1 + np.log(rows)) / rows) ** 0.4, 0.05))


def _wider(bandwidth: float) -> Iterator[float]:
    """Yield bandwidths down to the one before the last: the solution of each is the start of the next."""
    count = int(np.ceil(np.log(WIDEST_BANDWIDTH / bandwidth) / np.log(NARROWING)))
    return (bandwidth * NARROWING**k for k in range(count, 0, -1))


def _problem(features: Floats32, target: Floats, levels: Floats) -> QuantileProblem:
    constant = np.zeros((features.shape[1] + 1, len(levels)))
    constant[-1] = np.quantile(target, levels)
    return QuantileProblem(np.column_stack((features, np.ones(len(target)), target)), levels, constant)


def _middle_and_scale(target: Floats) -> tuple[float, float]:
    """Return the median, and a standard deviation that few outliers or many equal values leave alone (1 if all are)."""
    low, middle, high = np.quantile(target, (0.05, 0.5, 0.95))
    mean_deviation = np.abs(target - middle).mean()
    return float(middle), float(max((high - low) / NORMAL_RANGE, 0.1 * mean_deviation)) or 1.0


def smoothed_loss(problem: QuantileProblem, weights: Floats, bandwidth: float) -> Point:
    """Return the mean smoothed pinball loss with its ridge, per level.

    At a residual r the loss is (level - 1/2) r + |r| / 2, with (r^2 / b + b) / 4 in place of |r| / 2 where |r| < b.
    With c = r clipped to [-b, b] that is c (2 r - c) / (4 b) + b / 4 everywhere, and its derivative c / (2 b).
    """
    rows = len(problem.columns)
    to_residual = np.concatenate((-weights, np.ones((1, weights.shape[1]))))  # [column, level]
    clipped, squares, within = _sums(problem.columns, to_residual, bandwidth)
    tilted = (problem.levels - 0.5) * problem.column_sums[:, None]  # [column, level]
    bent = 2.0 * (clipped * to_residual).sum(axis=0) - squares  # [level], the sum of c (2 r - c)
    loss = ((tilted * to_residual).sum(axis=0) + bent / (4.0 * bandwidth)) / rows + bandwidth / 4.0
    gradient = -(tilted + clipped / (2.0 * bandwidth))[:-1] / rows
    hessian = within / (2.0 * bandwidth * rows)
    distance = weights - problem.constant
    return Point(
        weights,
        loss + RIDGE / 2.0 * (distance**2).sum(axis=0),
        gradient + RIDGE * distance,
        hessian + RIDGE * np.eye(len(weights)),
    )


def _sums(columns: Floats, to_residual: Floats, bandwidth: float) -> tuple[Floats, Floats, Floats]:
    """Return sums over the rows, with c the residual clipped to the bandwidth.

    They are column x c [column, level], c^2 [level], and the products of all columns but the target where the residual
    is not clipped [level, feature + 1, feature + 1].
    """
    width, levels = to_residual.shape
    products, squares = np.zeros((width, levels)), np.zeros(levels)
    within = np.zeros((levels, width - 1, width - 1))
    for block in (columns[first : first + BLOCK_ROWS] for first in range(0, len(columns), BLOCK_ROWS)):
        residual = block @ to_residual  # [row, level]
        clipped = np.clip(residual, -bandwidth, bandwidth)
        products += block.T @ clipped
        squares += np.einsum("rl,rl->l", clipped, clipped)
        for level, inside in enumerate((residual == clipped).T):
            rows = block[inside, :-1]
            within[level] += rows.T @ rows
    return products, squares, within


def minimum(problem: QuantileProblem, weights: Floats, bandwidth: float, tolerance: float) -> Floats:
    """Return the weights [feature + 1, level] at which no element of the gradient exceeds a tolerance.

    Newton's method from given weights, with a damping per level (Levenberg 1944) that grows where a step would increase
    the loss, and shrinks elsewhere. At a damping of 1 it bounds every second derivative: no step increases the loss.
    Raises FitError after MAX_NEWTON_STEPS.
    """
    features = problem.columns[:, :-1]
    most = features.T @ features / (2.0 * bandwidth * len(features))  # [feature + 1, feature + 1]
    point, damping = smoothed_loss(problem, weights, bandwidth), np.full(len(problem.levels), LEAST_DAMPING)
    for _ in range(MAX_NEWTON_STEPS):
        steep = ~(np.abs(point.gradient).max(axis=0) <= tolerance)  # [level], also where it is not a number
        if not steep.any():
            return point.weights
        damped = point.hessian + damping[:, None, None] * most
        step = steep * np.linalg.solve(damped, point.gradient.T[..., None])[..., 0].T  # [feature + 1, level]
        tried = smoothed_loss(problem, point.weights - step, bandwidth)
        better = tried.loss <= point.loss + LOSS_ROUNDING  # [level]
        point = _taken(better, tried, point)
        damping = np.clip(np.where(better, damping / LESS_DAMPING, damping * MORE_DAMPING), LEAST_DAMPING, 1.0)
    raise FitError(
        f"quantile regression found a gradient of {np.abs(point.gradient).max():.1e} after {MAX_NEWTON_STEPS} steps on "
        f"{len(problem.columns)} rows, expected at most {tolerance:.0e}; look in the training range for prices so "
        "extreme that features or returns are not finite"
    )


def _taken(better: Booleans, tried: Point, point: Point) -> Point:
    """Return the point that was tried for the levels that are better there, the former point for the others."""
    return Point(
        np.where(better, tried.weights, point.weights),
        np.where(better, tried.loss, point.loss),
        np.where(better, tried.gradient, point.gradient),
        np.where(better[:, None, None], tried.hessian, point.hessian),
    )
