"""Conformal corrections: coverage on simulated data, equality with plain loops, and no look-ahead."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasting.calibration_state import followed, new_calibration
from pipeline.forecasting.conformal import split_factors, stretched
from pipeline.forecasting.span import Origins
from pipeline.forecasting.specification import CalibrationSpec
from tests.forecasting.calibrating import calibrated, origins_of

ADAPTIVE = CalibrationSpec(method="adaptive", shrink_median=False)
"""The bands alone: what becomes of the median is tested at the end."""
SPLIT = CalibrationSpec(method="split")
NORMAL = norm.ppf(LEVELS)
TAILS = (0.05, 0.10, 0.25, None, 0.25, 0.10, 0.05)
LEVEL_INDICES = [k for k in range(7) if k != MEDIAN]

Made = tuple[np.ndarray, np.ndarray]


def spoken(shape: tuple[int, ...], spread: float = 1.0) -> np.ndarray:
    """Normal quantiles of one spread [ticker, origin, horizon, level], around a median of 0.1."""
    return np.broadcast_to(0.1 + spread * NORMAL, (*shape, 7)).astype(np.float32)


def coverage(quantiles: np.ndarray, outcome: np.ndarray, sessions: slice = slice(None)) -> float:
    values, truth = quantiles[:, sessions], outcome[:, sessions]
    return float(((values[..., 1] <= truth) & (truth <= values[..., 5])).mean())


@st.composite
def made(draw: st.DrawFn) -> Made:
    """Sorted quantiles and outcomes with gaps, on a coarse grid so that ties and flat bands occur."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 14)), draw(st.integers(1, 3)))
    draws = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grid = np.array([-0.5, -0.25, -0.125, 0.0, 0.125, 0.25, 0.5, 2.0], dtype=np.float32)
    quantiles = np.sort(draws.choice(grid, (*shape, 7)), axis=-1)
    outcome = draws.choice(np.append(grid, np.float32(math.nan)), shape)
    quantiles[draws.uniform(size=shape[:2]) < 0.25] = np.nan
    return quantiles, outcome


def turbulence(origins: Origins, ticker: int, origin: int) -> float:
    value = float(origins.relative_volatility[ticker, origin])
    return 0.0 if math.isnan(value) else min(max(value, -0.5), 0.5)


class SlowHorizon:
    """The recursion of one horizon as one would tell it, ticker by ticker and level by level."""

    def __init__(self, spec: CalibrationSpec, horizon: int) -> None:
        self.spec, self.horizon = spec, horizon
        self.scale = self.slope = self.excess = self.agreement = self.size = 0.0
        self.deviation, self.level = 0.05, [0.0] * 7

    def learn(self, rows: list[tuple[np.ndarray, float, float, float, float]]) -> None:
        """Learn from issued quantiles, outcome, turbulence, median as it was, and volatility of each ticker."""
        if not rows:
            return
        misses = [[(y < q[k] if k < MEDIAN else y > q[k]) - TAILS[k] for k in LEVEL_INDICES] for q, y, *_ in rows]
        beyond = [sum(of_ticker) / 6 for of_ticker in misses]
        count = len(rows) + 10
        wide = sum(beyond) / count
        share = 1 / (50 * self.horizon)
        self.excess += share * (wide - self.excess)
        self.deviation += share * (abs(wide) - self.deviation)
        rate = self.spec.scale_rate * max((abs(self.excess) / self.deviation) ** 4, 0.04)
        self.scale = bounded(self.scale + rate * wide / self.horizon, math.log(4))
        leaning = sum(b * row[2] for b, row in zip(beyond, rows, strict=True)) / count
        self.slope = bounded(self.slope + self.spec.slope_rate * leaning / self.horizon, 1.0)
        for at, k in enumerate(LEVEL_INDICES):
            of_level = sum(of_ticker[at] for of_ticker in misses) / count
            self.level[k] = bounded(self.level[k] + self.spec.level_rate * of_level / self.horizon, math.log(2))
        for _, y, _, median, volatility in rows:
            unit = volatility * math.sqrt(self.horizon)
            said, came = bounded(median / unit, 5.0), bounded(y / unit, 5.0)
            self.agreement += said * came / count
            self.size += said**2 / count

    def corrected(self, quantiles: np.ndarray, turbulent: float) -> np.ndarray:
        median, wide = float(quantiles[MEDIAN]), self.scale + self.slope * turbulent
        found = sorted(median + math.exp(wide + self.level[k]) * (float(quantiles[k]) - median) for k in range(7))
        if self.spec.shrink_median:
            kept = min(max((self.agreement + 1.0) / (self.size + 1.0), 0.0), 1.0)
            found[MEDIAN] = min(max(kept * median, found[MEDIAN - 1]), found[MEDIAN + 1])
        return np.float32(found)


def bounded(value: float, most: float) -> float:
    return min(max(value, -most), most)


def slow_adaptive(
    quantiles: np.ndarray, outcome: np.ndarray, spec: CalibrationSpec, origins: Origins
) -> tuple[np.ndarray, list[SlowHorizon]]:
    """The correction session by session and horizon by horizon, and what was learned at the end."""
    issued = np.full(quantiles.shape, np.nan, dtype=np.float32)
    horizons = [SlowHorizon(spec, h + 1) for h in range(quantiles.shape[2])]
    for now, slow in product(range(quantiles.shape[1]), horizons):
        at, origin = slow.horizon - 1, now - slow.horizon
        if origin >= 0:
            slow.learn(
                [
                    (
                        issued[k, origin, at],
                        float(outcome[k, origin, at]),
                        turbulence(origins, k, origin),
                        float(quantiles[k, origin, at, MEDIAN]),
                        float(origins.volatility[k, origin]),
                    )
                    for k in range(len(quantiles))
                    if not math.isnan(outcome[k, origin, at]) and not np.isnan(issued[k, origin, at]).any()
                ]
            )
        for k in range(len(quantiles)):
            if not np.isnan(quantiles[k, now, at]).any():
                issued[k, now, at] = slow.corrected(quantiles[k, now, at], turbulence(origins, k, now))
    return issued, horizons


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    made(),
    st.sampled_from([(0.4, 0.02, 0.0), (2.0, 0.5, 1.0), (0.0, 0.3, 6.0), (4.0, 0.0, 2.0)]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_the_adaptive_correction_is_what_a_plain_loop_says(
    data: Made, rates: tuple[float, float, float], shrinks: bool, seed: int
) -> None:
    spec = CalibrationSpec(scale_rate=rates[0], level_rate=rates[1], slope_rate=rates[2], shrink_median=shrinks)
    draws, shape = np.random.default_rng(seed), data[1].shape[:2]
    relative = draws.choice(np.float32([-2.0, -0.4, -0.1, 0.2, 0.9, math.nan]), shape)
    volatility = draws.choice(np.float32([0.01, 0.25, 3.0]), shape)
    origins = origins_of(data[1], relative, volatility)
    found = calibrated(*data, spec, origins=origins)
    np.testing.assert_allclose(found, slow_adaptive(*data, spec, origins)[0], rtol=2e-6, atol=1e-7)


def test_what_is_learned_over_many_sessions_is_what_a_plain_loop_learns() -> None:
    """The volatility is trebled at half and moves with its state more than any slope allows: all parts are at work."""
    draws, shape = np.random.default_rng(5), (3, 400, 3)
    relative = draws.normal(0, 0.4, shape[:2]).astype(np.float32)
    volatility = draws.uniform(0.5, 2, shape[:2]).astype(np.float32)
    spread = np.exp(4 * relative) * np.where(np.arange(400) < 200, 1, 3)
    outcome = (spread[..., None] * draws.normal(size=shape)).astype(np.float32)
    outcome[draws.uniform(size=shape) < 0.1] = math.nan
    quantiles = np.broadcast_to(NORMAL, (*shape, 7)) + draws.normal(size=(*shape, 1))
    spec, origins = CalibrationSpec(), origins_of(outcome, relative, volatility)
    issued, state = followed(new_calibration("ABC", 3), spec, origins, quantiles.astype(np.float32))
    expected, slow = slow_adaptive(quantiles.astype(np.float32), outcome, spec, origins)
    np.testing.assert_allclose(issued, expected, rtol=1e-5, atol=1e-5)
    for name in ("scale", "slope", "excess", "deviation", "agreement", "size"):
        learned = getattr(state, name).reshape(3)
        np.testing.assert_allclose(learned, [getattr(it, name) for it in slow], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(state.level, [it.level for it in slow], rtol=1e-5, atol=1e-7)
    signal = np.abs(state.excess / state.deviation)
    assert (state.slope == 1.0).any()
    assert (signal**4 > 0.04).any()


def test_one_extreme_outcome_does_not_decide_the_factor_of_the_median() -> None:
    draws = np.random.default_rng(6)
    outcome = draws.normal(size=(5, 800, 1)).astype(np.float32)
    quantiles = (NORMAL + 0.1 * draws.normal(size=(5, 800, 1, 1))).astype(np.float32)
    factors = []
    for extreme in (outcome[2, 300, 0], 100.0, -100.0):
        outcome[2, 300, 0] = extreme
        _, state = followed(new_calibration("ABCDE", 1), CalibrationSpec(), origins_of(outcome), quantiles)
        factors.append(float(state.shrinkage[0]))
    assert 0.2 < factors[0] < 0.8
    assert factors == pytest.approx([factors[0]] * 3, abs=0.05)


def slow_factor(quantiles: np.ndarray, outcome: np.ndarray, horizon: int, level: int) -> float:
    """The score of rank ceil((n + 1)(1 - tail)) among the labels known within the range."""
    scores = []
    for k, origin in product(range(len(outcome)), range(outcome.shape[1] - horizon)):
        if origin + horizon >= outcome.shape[1]:
            continue
        q, y = quantiles[k, origin, horizon - 1].astype(float), float(outcome[k, origin, horizon - 1])
        if math.isnan(y) or np.isnan(q).any():
            continue
        away, spread = (y - q[3], q[level] - q[3]) if level > MEDIAN else (q[3] - y, q[3] - q[level])
        scores.append(away / spread if spread > 0 else math.inf if away > 0 else 0.0)
    rank = math.ceil(round((len(scores) + 1) * (1 - TAILS[level]), 9))
    factor = sorted(scores)[rank - 1] if rank <= len(scores) else 1.0
    return min(max(factor, 1 / 8), 8.0)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(made())
def test_the_split_factors_are_what_a_plain_loop_says(data: Made) -> None:
    found = split_factors(*data)
    for h, level in product(range(data[1].shape[2]), LEVEL_INDICES):
        assert found[h, level] == pytest.approx(slow_factor(*data, h + 1, level), rel=1e-12)
    assert (found[:, MEDIAN] == 1).all()


def test_the_split_factor_of_known_scores_is_the_score_of_the_right_rank() -> None:
    outcome = np.arange(1, 40, dtype=np.float32).reshape(1, 39, 1)  # of 38 known: 1 to 38
    quantiles = np.broadcast_to(np.float32([-4, -2, -1, 0, 1, 2, 4]), (1, 39, 1, 7))
    factors = split_factors(quantiles, outcome)[0]
    assert factors[4] == pytest.approx(8.0)  # rank ceil(39 x 0.75) = 30: 30 / 1, at most 8
    assert factors[6] == pytest.approx(8.0)  # rank ceil(39 x 0.95) = 38: 38 / 4 = 9.5, at most 8
    assert factors[0] == pytest.approx(1 / 8)  # nothing fell below, and no band is closed altogether
    small = split_factors(quantiles, outcome / 16)[0]
    np.testing.assert_allclose(small[4:], [30 / 16, 36 / 32, 38 / 64])  # 36 = ceil(39 x 0.9)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(made(), st.integers(0, 13), st.integers(0, 2**32 - 1))
def test_an_adaptive_quantile_reads_no_outcome_known_after_its_origin(data: Made, now: int, seed: int) -> None:
    quantiles, outcome = data
    later = np.random.default_rng(seed).normal(0, 5, outcome.shape).astype(np.float32)
    known_at = np.arange(outcome.shape[1])[:, None] + np.arange(1, outcome.shape[2] + 1)  # [origin, horizon]
    changed = np.where(known_at > now, later, outcome)
    also = quantiles.copy()
    also[:, now + 1 :] *= 3
    first, second = calibrated(quantiles, outcome, ADAPTIVE), calibrated(also, changed, ADAPTIVE)
    assert first[:, : now + 1].tobytes() == second[:, : now + 1].tobytes()


def test_an_adaptive_quantile_does_read_what_is_known_at_its_origin() -> None:
    quantiles, outcome = spoken((1, 12, 3)), np.zeros((1, 12, 3), dtype=np.float32)
    before = calibrated(quantiles, outcome, ADAPTIVE)
    for horizon in (1, 2, 3):
        changed = outcome.copy()
        changed[:, 4, horizon - 1] = 9.0
        moved = (calibrated(quantiles, changed, ADAPTIVE) != before).any(axis=(0, 3))  # [origin, horizon]
        assert not moved[: 4 + horizon].any()
        assert moved[4 + horizon, horizon - 1]
        assert not np.delete(moved, horizon - 1, axis=1).any()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(made(), st.integers(0, 14), st.integers(0, 2**32 - 1))
def test_the_split_correction_reads_no_outcome_known_after_its_range(data: Made, warm: int, seed: int) -> None:
    quantiles, outcome = data
    later = np.random.default_rng(seed).normal(0, 5, outcome.shape).astype(np.float32)
    known_at = np.arange(outcome.shape[1])[:, None] + np.arange(1, outcome.shape[2] + 1)
    changed = np.where(known_at >= warm, later, outcome)
    first, second = calibrated(quantiles, outcome, SPLIT, warm), calibrated(quantiles, changed, SPLIT, warm)
    assert first.tobytes() == second.tobytes()


@settings(max_examples=80, deadline=None, derandomize=True)
@given(made(), st.sampled_from([ADAPTIVE, SPLIT]))
def test_none_cross_the_median_stays_and_gaps_stay(data: Made, spec: CalibrationSpec) -> None:
    quantiles, outcome = data
    found = calibrated(quantiles, outcome, spec, warm=len(outcome[0]))
    there = np.isfinite(quantiles).all(axis=-1)
    assert found.dtype == np.float32
    assert (np.diff(found[there], axis=-1) >= 0).all()
    np.testing.assert_array_equal(found[..., MEDIAN], quantiles[..., MEDIAN])
    np.testing.assert_array_equal(np.isfinite(found).all(axis=-1), there)


def test_levels_that_would_cross_are_sorted() -> None:
    factors = np.array([[0.1, 3.0, 1.0, 1.0, 5.0, 1.0, 0.2]])
    found = stretched(np.float32([[[-4, -2, -1, 0, 1, 2, 4]]]), factors)
    np.testing.assert_allclose(found[0, 0], [-6, -1, -0.4, 0, 0.8, 2, 5], rtol=1e-6)


def test_no_method_leaves_everything_as_it_is() -> None:
    quantiles = spoken((2, 5, 1))
    assert calibrated(quantiles, np.zeros((2, 5, 1), dtype=np.float32), CalibrationSpec(method="none"), 3) is quantiles


def test_a_ticker_without_any_outcome_changes_nothing_for_the_others() -> None:
    draws = np.random.default_rng(1)
    outcome = draws.normal(0, 2, (3, 80, 2)).astype(np.float32)
    outcome[1] = np.nan
    quantiles = spoken(outcome.shape)
    for spec in (ADAPTIVE, SPLIT):
        three, two = calibrated(quantiles, outcome, spec, 40), calibrated(quantiles[::2], outcome[::2], spec, 40)
        np.testing.assert_array_equal(three[::2], two)
        np.testing.assert_allclose(three[1], three[0], rtol=1e-6)  # and it is corrected as they are


def test_units_do_not_matter() -> None:
    draws = np.random.default_rng(2)
    outcome = draws.normal(0, 2, (3, 120, 2)).astype(np.float32)
    quantiles = spoken(outcome.shape)
    for spec in (ADAPTIVE, SPLIT):
        plain = calibrated(quantiles, outcome, spec, 60)
        np.testing.assert_array_equal(calibrated(quantiles / 64, outcome / 64, spec, 60), plain / 64)


def test_split_keeps_its_promise_on_exchangeable_rows() -> None:
    """The share beyond each level is at most its tail, and short of it by 1 / (n + 1) at most, whatever the network."""
    draws, repeats, rows = np.random.default_rng(3), 4000, 39
    beyond = np.zeros(7)
    quantiles = spoken((1, rows + 2, 1), spread=0.5)  # bands half as wide as they ought to be
    for _ in range(repeats):
        outcome = (0.1 + draws.standard_t(4, (1, rows + 2, 1))).astype(np.float32)
        found = calibrated(quantiles, outcome, SPLIT, warm=rows + 1)[0, -1, 0]
        beyond += np.where(np.arange(7) < MEDIAN, outcome[0, -1, 0] < found, outcome[0, -1, 0] > found)
    for level in LEVEL_INDICES:
        share, tail = beyond[level] / repeats, TAILS[level]
        error = 2.5 * math.sqrt(tail * (1 - tail) / repeats)
        assert tail - 1 / (rows + 1) - error <= share <= tail + error


BREAK, SESSIONS = 250, 800


def after_a_break(tickers: int, horizon: int = 1) -> Made:
    """Calibrated normal forecasts until the outcomes' spread doubles at session BREAK; half of it is common to all."""
    draws = np.random.default_rng(4)
    unit = np.sqrt(0.3) * draws.normal(size=(1, SESSIONS)) + np.sqrt(0.7) * draws.normal(size=(tickers, SESSIONS))
    spread = np.where(np.arange(SESSIONS) < BREAK, 1.0, 2.0)
    outcome = np.full((tickers, SESSIONS, horizon), np.nan)
    outcome[..., horizon - 1] = 0.1 + spread * unit
    return spoken(outcome.shape), outcome.astype(np.float32)


@pytest.mark.parametrize(
    ("tickers", "horizon", "recovered_sessions", "apart"),
    [(50, 1, 30, 0.04), (5, 1, 40, 0.04), (1, 1, 350, 0.09), (50, 5, 120, 0.04)],
)
def test_coverage_comes_back_after_the_spread_doubles(
    tickers: int, horizon: int, recovered_sessions: int, apart: float
) -> None:
    quantiles, outcome = after_a_break(tickers, horizon)
    at = slice(horizon - 1, horizon)
    found = calibrated(quantiles, outcome, ADAPTIVE)[:, :, at]
    quantiles, outcome = quantiles[:, :, at], outcome[:, :, at]
    before, after = slice(50, BREAK), slice(BREAK + recovered_sessions, SESSIONS)
    assert abs(coverage(found, outcome, before) - 0.8) < 0.03
    assert coverage(quantiles, outcome, after) < 0.55
    assert abs(coverage(found, outcome, after) - 0.8) < apart


def test_every_level_of_one_ticker_is_right_in_the_long_run() -> None:
    draws = np.random.default_rng(5)
    outcome = draws.standard_t(3, (1, 9000, 1)).astype(np.float32)  # heavier tails, and a median off by 0.1
    found = calibrated(spoken(outcome.shape, spread=0.7), outcome, ADAPTIVE)
    shares = (outcome[..., None] <= found)[0, 2000:, 0].mean(axis=0)
    np.testing.assert_allclose(np.delete(shares, MEDIAN), np.delete(np.array(LEVELS), MEDIAN), atol=0.015)


def test_a_price_that_stands_still_does_not_close_its_band_for_good() -> None:
    draws = np.random.default_rng(6)
    outcome = np.full((1, 2500, 1), 0.1, dtype=np.float32)
    outcome[0, 1000:, 0] += draws.normal(size=1500).astype(np.float32)
    found = calibrated(spoken(outcome.shape), outcome, ADAPTIVE)
    narrowest = (found[..., 5] - found[..., 1]).min() / (2 * NORMAL[5])
    assert 0.999 / 8 <= narrowest <= 0.25
    assert abs(coverage(found, outcome, slice(1300, None)) - 0.8) < 0.04


@pytest.mark.parametrize("spec", [ADAPTIVE, SPLIT])
def test_nothing_known_corrects_nothing(spec: CalibrationSpec) -> None:
    quantiles = spoken((2, 30, 2))
    found = calibrated(quantiles, np.full((2, 30, 2), np.nan, dtype=np.float32), spec, 20)
    np.testing.assert_allclose(found, quantiles, rtol=1e-6)


# --- By the volatility's state, and the median ---


def by_state(tickers: int, sessions: int, exponent: float) -> tuple[np.ndarray, Origins]:
    """Outcomes that are wider than normal ones by exp(exponent x relative volatility), which wanders."""
    draws = np.random.default_rng(7)
    relative = np.repeat(draws.uniform(-0.5, 0.5, (tickers, sessions // 20)), 20, axis=1).astype(np.float32)
    outcome = 0.1 + np.exp(exponent * relative) * draws.normal(size=relative.shape)
    return outcome[..., None].astype(np.float32), origins_of(outcome[..., None].astype(np.float32), relative)


@pytest.mark.parametrize("exponent", [-0.6, 0.6])
@pytest.mark.parametrize(("tickers", "warm"), [(20, 400), (2, 1500)])
def test_bands_that_miss_by_regime_are_repaired(exponent: float, tickers: int, warm: int) -> None:
    outcome, origins = by_state(tickers, 6000, exponent)
    quantiles = spoken(outcome.shape)
    without = calibrated(quantiles, outcome, ADAPTIVE.model_copy(update={"slope_rate": 0.0}), origins=origins)
    found = calibrated(quantiles, outcome, ADAPTIVE, origins=origins)
    edges = np.quantile(origins.relative_volatility, (0.2, 0.4, 0.6, 0.8))
    fifth = np.searchsorted(edges, origins.relative_volatility)

    def held(values: np.ndarray) -> list[float]:
        inside = (values[..., 0, 1] <= outcome[..., 0]) & (outcome[..., 0] <= values[..., 0, 5])
        return [float(inside[:, warm:][fifth[:, warm:] == k].mean()) for k in range(5)]

    assert max(abs(share - 0.8) for share in held(without)) > 0.08
    assert max(abs(share - 0.8) for share in held(found)) < 0.025


def with_median(truth: float, sessions: int) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts whose median is a signal, of which outcomes have the share `truth`."""
    draws = np.random.default_rng(8)
    signal = 0.3 * draws.normal(size=(20, sessions))
    outcome = truth * signal + draws.normal(size=signal.shape)
    quantiles = signal[..., None, None] + NORMAL
    return quantiles.astype(np.float32), outcome[..., None].astype(np.float32)


@pytest.mark.parametrize(("truth", "expected"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (-0.5, 0.0), (2.0, 1.0)])
def test_the_median_is_shrunk_as_far_as_outcomes_say(truth: float, expected: float) -> None:
    quantiles, outcome = with_median(truth, 600)
    found = calibrated(quantiles, outcome, CalibrationSpec())
    kept = found[:, -50:, 0, MEDIAN] / quantiles[:, -50:, 0, MEDIAN]
    within = np.abs(quantiles[:, -50:, 0, MEDIAN]) < 0.4  # elsewhere zero may lie beyond the quartiles
    np.testing.assert_allclose(np.median(kept[within]), expected, atol=0.06)
    np.testing.assert_array_equal(found[:, 0], quantiles[:, 0])


def test_a_shrunk_median_stays_between_its_neighbours() -> None:
    quantiles, outcome = with_median(0.0, 400)
    quantiles[:, -1] += 3  # zero lies far below the band
    found = calibrated(quantiles, outcome, CalibrationSpec())
    assert (np.diff(found, axis=-1) >= 0).all()
    np.testing.assert_array_equal(found[:, -1, 0, MEDIAN], found[:, -1, 0, MEDIAN - 1])
    bands = calibrated(quantiles, outcome, ADAPTIVE)
    np.testing.assert_array_equal(np.delete(found, MEDIAN, axis=-1), np.delete(bands, MEDIAN, axis=-1))
