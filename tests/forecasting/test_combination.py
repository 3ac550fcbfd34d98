"""The combination of forecasters: against a slow twin, within its stated bounds, and next to bad forecasters."""

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.combination import (
    IMPLAUSIBLE,
    SESSIONS_AT_ONCE,
    Combined,
    Origins,
    combined,
    combined_again,
)
from pipeline.forecasting.combination_state import (
    SMALLEST,
    CombinationState,
    combination_as_arrays,
    combination_from_arrays,
    new_combination,
)
from pipeline.forecasting.learners import RATE, TOO_LARGE, Learners
from pipeline.forecasting.span import outcomes_known_at

VOLATILITY = 0.02


@dataclass(frozen=True)
class Sequence:
    """Forecasts of some forecasters with the outcomes; 2 or 3 horizons."""

    quantiles: dict[str, np.ndarray]  # [ticker, session, horizon, level]
    outcome: np.ndarray  # [ticker, session, horizon], by origin
    volatility: np.ndarray  # [ticker, session]

    @property
    def known(self) -> np.ndarray:
        """The outcomes by the session at which they became known."""
        return outcomes_known_at(self.outcome, slice(0, self.outcome.shape[1]))

    @property
    def sessions(self) -> np.ndarray:
        return np.arange(self.outcome.shape[1]).astype("datetime64[D]")

    @property
    def new(self) -> CombinationState:
        tickers, _, horizons = self.outcome.shape
        return new_combination(tuple(self.quantiles), [f"T{row}" for row in range(tickers)], horizons)

    def until(self, stop: int) -> "Sequence":
        return Sequence(
            {name: values[:, :stop] for name, values in self.quantiles.items()},
            self.outcome[:, :stop],
            self.volatility[:, :stop],
        )


def combine(sequence: Sequence, state: CombinationState | None = None, first: int = 0) -> Combined:
    everyone = np.ones(len(sequence.volatility), bool)
    usual = np.zeros_like(sequence.volatility)
    origins = Origins(sequence.sessions, sequence.known, sequence.volatility, usual, everyone)
    quantiles = {name: values[:, first:] for name, values in sequence.quantiles.items()}
    return combined(state or sequence.new, origins.at(slice(first, None)), quantiles)


def drawn(seed: int, tickers: int, count: int, horizons: int, forecasters: int, silent: float, wild: float) -> Sequence:
    """Forecasters of different width and level, some silent now and then, some wild; outcomes of a changing width."""
    rng = np.random.default_rng(seed)
    shape = (tickers, count, horizons, len(LEVELS))
    normal = np.array([-1.645, -1.282, -0.674, 0.0, 0.674, 1.282, 1.645])
    root = np.sqrt(np.arange(1, horizons + 1))[:, None]
    quantiles = {}
    for k in range(forecasters):
        width = math.exp(rng.normal(0, 0.5)) * np.exp(rng.normal(0, 0.2, (tickers, count, 1, 1)))
        middle = rng.normal(0, 0.3) + rng.normal(0, 0.2, (tickers, count, 1, 1))
        values = VOLATILITY * root * (middle + width * normal) * np.ones(shape)
        values *= np.where(rng.random((tickers, count, 1, 1)) < wild, rng.uniform(1, 15, (tickers, count, 1, 1)), 1.0)
        values[rng.random((tickers, count)) < silent * rng.random()] = np.nan
        quantiles[f"F{k}"] = np.sort(values, axis=-1).astype(np.float32)
    outcome = VOLATILITY * root[:, 0] * rng.standard_t(3, (tickers, count, horizons)) * math.exp(rng.normal(0, 0.5))
    outcome[rng.random(outcome.shape) < silent * 0.5] = np.nan
    return Sequence(quantiles, outcome.astype(np.float32), np.full((tickers, count), VOLATILITY, dtype=np.float32))


def sequences(horizons: int, silent: float = 0.0, wild: float = 0.05) -> st.SearchStrategy[Sequence]:
    return st.builds(
        drawn,
        st.integers(0, 2**32 - 1),
        st.integers(1, 3),
        st.integers(1, 40),
        st.just(horizons),
        st.integers(2, 4),
        st.just(silent),
        st.sampled_from([0.0, wild]),
    )


@dataclass(frozen=True)
class Learner:
    """What one copy of a slow learner did: by round and forecaster the rates, the regrets and the excess loss."""

    rates: np.ndarray  # [round + 1, forecaster]: at each issue, then after the last outcome
    begun: np.ndarray  # [round + 1, forecaster]: whether it was awake by then
    regrets: np.ndarray  # [round, forecaster]
    excess: np.ndarray  # [round, forecaster]: loss of the combination less that of the forecaster where it is awake

    @property
    def bounds(self) -> np.ndarray:
        """The stated bound on the summed regret, by forecaster."""
        forecasters = self.rates.shape[1]
        slowed = (((self.rates[:-1] / self.rates[1:]) - 1) * self.begun[:-1]).sum(axis=0).mean()
        second = (self.rates[:-1] * self.regrets**2).sum(axis=0)
        bound: np.ndarray = second + (math.log(forecasters) + math.log(1 + slowed / math.e)) / self.rates[-1]
        return bound


def pinball(y: float, q: float, level: float) -> float:
    return max(level * (y - q), (level - 1) * (y - q))


def rates_of(variance: list[float], largest: list[float]) -> list[float]:
    return [
        min(1 / (2 * e), RATE * math.sqrt(math.log(len(variance)) / v) if v > 0 else math.inf)
        for v, e in zip(variance, largest, strict=True)
    ]


def slow_learner(  # noqa: C901  obvious rather than short
    sequence: Sequence, horizon: int, level: int, copy: int
) -> tuple[Learner, dict[int, np.ndarray]]:
    """Return what a copy of one horizon and level does, in loops over everything, and what it issues by session."""
    names, tau = list(sequence.quantiles), LEVELS[level]
    tickers, count, _ = sequence.outcome.shape
    regret, variance, largest = [0.0] * len(names), [0.0] * len(names), [SMALLEST] * len(names)
    rates, begun, regrets, excesses, issued = [], [], [], [], {}
    for s in range(copy, count, horizon):
        scale = [float(value) * math.sqrt(horizon) for value in sequence.volatility[:, s]]
        value = [[float(sequence.quantiles[name][i, s, horizon - 1, level]) for i in range(tickers)] for name in names]
        whole = [sequence.quantiles[name][:, s, horizon - 1] for name in names]
        awake = [
            [bool((np.abs(whole[k][i]) <= IMPLAUSIBLE * scale[i]).all()) for i in range(tickers)]
            for k in range(len(names))
        ]
        active = [i for i in range(tickers) if any(row[i] for row in awake)]
        known = [k for k in range(len(names)) if largest[k] > SMALLEST]
        for k in range(len(names)):
            if known and k not in known and any(awake[k]):
                variance[k] = sum(variance[j] for j in known) / len(known)
                largest[k] = sum(largest[j] for j in known) / len(known)
        while True:
            rate = rates_of(variance, largest)
            log_weight = [
                -math.inf if known and largest[k] == SMALLEST else rate[k] * regret[k] + math.log(rate[k])
                for k in range(len(names))
            ]
            weight = [math.exp(w - max(log_weight)) for w in log_weight]
            middle = {
                i: sum(weight[k] * value[k][i] for k in range(len(names)) if awake[k][i])
                / sum(weight[k] for k in range(len(names)) if awake[k][i])
                for i in active
            }
            reach = [
                max(tau, 1 - tau)
                * sum(abs(middle[i] - value[k][i]) / scale[i] for i in active if awake[k][i])
                / max(len(active), 1)
                for k in range(len(names))
            ]
            grown = [reach[k] if rate[k] * reach[k] > TOO_LARGE else largest[k] for k in range(len(names))]
            if grown == largest:
                break
            largest = grown
        issued[s] = np.array([middle.get(i, np.nan) for i in range(tickers)])
        if s + horizon >= count:
            break
        y = sequence.outcome[:, s, horizon - 1].astype(float)
        scored = [i for i in active if np.isfinite(y[i])]
        r, excess = [0.0] * len(names), [0.0] * len(names)
        for k in range(len(names)):
            for i in scored:
                if awake[k][i]:
                    unit = scale[i] * len(active)
                    r[k] += ((y[i] < middle[i]) - tau) * (middle[i] - value[k][i]) / unit
                    excess[k] += (pinball(y[i], middle[i], tau) - pinball(y[i], value[k][i], tau)) / unit
        rates.append(rate)
        begun.append([e > SMALLEST for e in largest])
        regrets.append(r)
        excesses.append(excess)
        for k in range(len(names)):
            regret[k] += r[k] - rate[k] * r[k] ** 2
            variance[k] += r[k] ** 2
    rates.append(rates_of(variance, largest))
    begun.append([True] * len(names))
    shape = (len(regrets), len(names))
    return Learner(np.array(rates), np.array(begun), np.reshape(regrets, shape), np.reshape(excesses, shape)), issued


def excess_of(found: np.ndarray, sequence: Sequence, horizon: int) -> np.ndarray:
    """Return the loss of what was issued less that of each forecaster, where it is awake, summed over levels."""
    scale = sequence.volatility.astype(float) * math.sqrt(horizon)  # [ticker, session]
    values = np.stack([it[:, :, horizon - 1] for it in sequence.quantiles.values()]).astype(float)  # [k, i, s, level]
    awake = (np.abs(values) <= IMPLAUSIBLE * scale[..., None]).all(axis=-1)
    count = np.maximum(awake.any(axis=0).sum(axis=0), 1)  # [session]
    outcome = sequence.outcome[:, :, horizon - 1].astype(float)
    outcome[:, max(outcome.shape[1] - horizon, 0) :] = np.nan  # known after the last session
    levels = np.array(LEVELS)

    def loss(quantiles: np.ndarray) -> np.ndarray:
        error = outcome[..., None] - quantiles
        each: np.ndarray = np.maximum(levels * error, (levels - 1) * error).sum(axis=-1) / scale / count
        return each

    issued = loss(found[:, :, horizon - 1].astype(float))
    return np.array(
        [np.nansum(np.where(rows, issued - loss(own), np.nan)) for rows, own in zip(awake, values, strict=True)]
    )


def check_against_the_twin(sequence: Sequence) -> None:
    """The combination is the twin's, and neither the twin's regret nor its loss exceeds the bound of any copy."""
    found = combine(sequence).quantiles
    horizons = sequence.outcome.shape[2]
    for horizon in range(1, horizons + 1):
        unsorted = np.full((*found.shape[:2], len(LEVELS)), np.nan)
        total = np.zeros(len(sequence.quantiles))
        for level in range(len(LEVELS)):
            for copy in range(horizon):
                learner, issued = slow_learner(sequence, horizon, level, copy)
                for session, values in issued.items():
                    unsorted[:, session, level] = values
                bound = learner.bounds + 1e-9
                total += bound
                assert (learner.regrets.sum(axis=0) <= bound).all()
                assert (learner.excess.sum(axis=0) <= bound).all()
        np.testing.assert_allclose(found[:, :, horizon - 1], np.sort(unsorted, axis=-1), rtol=1e-4, atol=1e-7)
        assert (excess_of(found, sequence, horizon) <= total + 1e-5).all()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(sequences(1))
def test_without_delay_the_loss_is_within_the_bound(sequence: Sequence) -> None:
    check_against_the_twin(sequence)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(sequences(3))
def test_with_delay_the_loss_of_each_copy_is_within_the_bound(sequence: Sequence) -> None:
    check_against_the_twin(sequence)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(sequences(2, silent=0.7))
def test_where_forecasters_are_silent_the_loss_is_within_the_bound_of_those_awake(sequence: Sequence) -> None:
    check_against_the_twin(sequence)


def hurt(base: Sequence, rounds: int) -> Sequence:
    """The same forecasts with outcomes that are each chosen, when the forecast is known, to hurt it most."""
    outcome = np.full(base.outcome.shape, np.nan, dtype=np.float32)
    stacked = np.stack([values[:, :, 0] for values in base.quantiles.values()]).astype(float)  # [k, i, s, level]
    levels = np.array(LEVELS)
    state = base.new
    for at in range(rounds):
        known = np.full((*outcome.shape[::2], 1), np.nan, np.float32).transpose(0, 2, 1)
        if at:
            known[:, 0] = outcome[:, at - 1]
        everyone = np.ones(len(outcome), bool)
        volatility = base.volatility[:, at : at + 1]
        origins = Origins(base.sessions[at : at + 1], known, volatility, np.zeros_like(volatility), everyone)
        made = combined(state, origins, {name: values[:, at : at + 1] for name, values in base.quantiles.items()})
        state = made.state
        for ticker in range(len(outcome)):
            tried = stacked[:, ticker, at].ravel()  # at a quantile of some forecaster its loss is least
            own, others = (
                np.maximum(levels * (tried[:, None] - it), (levels - 1) * (tried[:, None] - it)).sum(axis=-1)
                for it in (made.quantiles[ticker, 0, 0].astype(float), stacked[at % len(stacked), ticker, at])
            )
            outcome[ticker, at, 0] = tried[np.argmax(own - others)]
    return Sequence(base.quantiles, outcome, base.volatility)


@pytest.mark.parametrize("seed", range(4))
def test_outcomes_that_are_chosen_to_hurt_it_keep_it_within_the_bound(seed: int) -> None:
    base = drawn(seed, tickers=2, count=120, horizons=1, forecasters=3, silent=0.0, wild=0.1)
    hurtful = hurt(base, 120)
    check_against_the_twin(hurtful)
    found = combine(hurtful).quantiles
    best = excess_of(found, hurtful, 1).max()
    assert best > excess_of(combine(base).quantiles, base, 1).max()  # it does hurt


@pytest.fixture
def sequence() -> Sequence:
    return drawn(3, tickers=4, count=60, horizons=3, forecasters=4, silent=0.3, wild=0.02)


def assert_same_state(one: CombinationState, two: CombinationState) -> None:
    for field in fields(CombinationState):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name), field.name)


def test_no_forecast_depends_on_what_came_later(sequence: Sequence) -> None:
    whole = combine(sequence)
    for stop in (1, 17, 40):
        part = combine(sequence.until(stop))
        assert part.quantiles.tobytes() == whole.quantiles[:, :stop].copy().tobytes()


@pytest.mark.parametrize("cut", [1, 2, 30, 59])
def test_a_state_goes_on_bit_for_bit(cut: int, sequence: Sequence) -> None:
    whole, first = combine(sequence), combine(sequence.until(cut))
    rest = combine(sequence, first.state, cut)
    assert np.concatenate([first.quantiles, rest.quantiles], axis=1).tobytes() == whole.quantiles.tobytes()
    assert_same_state(whole.state, rest.state)


def test_quantiles_are_within_those_of_the_forecasters_and_do_not_cross(sequence: Sequence) -> None:
    found = combine(sequence).quantiles
    assert (np.diff(found, axis=-1)[np.isfinite(found).all(axis=-1)] >= 0).all()
    stacked = np.stack(list(sequence.quantiles.values()))
    with np.errstate(invalid="ignore"):
        low, high = np.nanmin(stacked, axis=0), np.nanmax(stacked, axis=0)
    known = np.isfinite(found)
    assert (found[known] >= low[known] - 1e-6).all()
    assert (found[known] <= high[known] + 1e-6).all()
    assert known.all(axis=-1).tobytes() == np.isfinite(stacked).all(axis=-1).any(axis=0).tobytes()


def test_a_change_of_the_unit_of_prices_changes_no_weight(sequence: Sequence) -> None:
    scaled = Sequence(
        {name: values * np.float32(4.0) for name, values in sequence.quantiles.items()},
        sequence.outcome * np.float32(4.0),
        sequence.volatility * np.float32(4.0),
    )
    np.testing.assert_allclose(combine(scaled).weights, combine(sequence).weights, rtol=1e-9)


# --- Bad forecasters ---


def with_one_more(name: str, values: np.ndarray, base: Sequence) -> Sequence:
    return Sequence({**base.quantiles, name: values.astype(np.float32)}, base.outcome, base.volatility)


def truth(seed: int, count: int = 700) -> Sequence:
    """A forecaster with the true quantiles of normal returns, and one that is too wide."""
    rng = np.random.default_rng(seed)
    normal = np.array([-1.645, -1.282, -0.674, 0.0, 0.674, 1.282, 1.645])
    root = np.sqrt(np.arange(1, 3))[:, None]
    true = VOLATILITY * root * normal * np.ones((5, count, 2, len(LEVELS)))
    outcome = VOLATILITY * root[:, 0] * rng.normal(size=(5, count, 2))
    return Sequence(
        {"true": true.astype(np.float32), "wide": (1.3 * true).astype(np.float32)},
        outcome.astype(np.float32),
        np.full((5, count), VOLATILITY, dtype=np.float32),
    )


def loss_of(quantiles: np.ndarray, outcome: np.ndarray, first: int = 0) -> float:
    """Return the mean pinball loss in units of the daily volatility."""
    error = outcome[:, first:, :, None].astype(float) - quantiles[:, first:].astype(float)
    levels = np.array(LEVELS)
    return float(np.maximum(levels * error, (levels - 1) * error).mean()) / VOLATILITY


def planted(kind: str) -> Sequence:
    """Three tickers, 420 sessions: the truth, a wide and a narrow forecaster, and a bad one of a kind."""
    base = truth(4, 420)
    true, wide = (base.quantiles[name][:3] for name in ("true", "wide"))
    # Three good ones that differ: where they are equally far from an outlier, a rate times a regret can be 0.6 to the
    # last bit, and rounding decides whether E grows.
    quantiles = {"true": true, "wide": wide + np.float32(0.003), "narrow": np.float32(0.8) * true - np.float32(0.001)}
    base = Sequence(quantiles, base.outcome[:3], base.volatility[:3])
    rng, bad = np.random.default_rng(5), np.array(base.quantiles["true"])
    garbage = np.sort(rng.normal(0, 5 * VOLATILITY, bad.shape), axis=-1).astype(np.float32)
    match kind:
        case "garbage":
            bad = garbage
        case "perfect, then garbage":
            # A forecast that knows the outcome: no other is as good while it lasts.
            bad[:, :300] = np.sort(base.outcome[:, :300, :, None] + 1e-3 * bad[:, :300], axis=-1)
            bad[:, 300:] = garbage[:, 300:]
        case "NaN now and then":
            bad[rng.random(bad.shape[:3]) < 0.3] = np.nan
        case "no fit for a ticker":
            bad[1] = np.nan
    return with_one_more("bad", bad, base)


@pytest.mark.parametrize("kind", ["garbage", "perfect, then garbage", "NaN now and then", "no fit for a ticker"])
def test_with_a_bad_forecaster_the_loss_is_within_the_stated_bound(kind: str) -> None:
    check_against_the_twin(planted(kind))


def test_garbage_costs_little_and_its_weight_goes() -> None:
    base = truth(0)
    rng = np.random.default_rng(1)
    garbage = np.sort(rng.normal(0, 5 * VOLATILITY, base.quantiles["true"].shape), axis=-1)
    found = combine(with_one_more("garbage", garbage, base))
    assert loss_of(found.quantiles, base.outcome, 100) < 1.005 * loss_of(base.quantiles["true"], base.outcome, 100)
    assert (found.weights[100:, ..., 2] < 0.06).all()
    assert (found.weights[-1, ..., 2] < 0.02).all()


def test_implausible_quantiles_are_those_of_a_silent_forecaster() -> None:
    base = truth(0, 50)
    implausible = with_one_more("implausible", np.full(base.quantiles["true"].shape, 1e6), base)
    silent = with_one_more("implausible", np.full(base.quantiles["true"].shape, np.nan), base)
    assert combine(implausible).quantiles.tobytes() == combine(silent).quantiles.tobytes()


def test_a_forecaster_that_turns_to_garbage_is_left() -> None:
    base = truth(0)
    turned = np.array(base.quantiles["true"])
    turned[:, 300:] = np.sort(np.random.default_rng(1).normal(0, 5 * VOLATILITY, turned[:, 300:].shape), axis=-1)
    worse = {"turned": turned, "wide": base.quantiles["wide"]}
    found = combine(Sequence(worse, base.outcome, base.volatility))
    assert found.weights[299, ..., 0].mean() > 0.5
    assert (found.weights[-1, ..., 0] < 0.1).all()
    assert loss_of(found.quantiles, base.outcome, 500) < 1.02 * loss_of(base.quantiles["wide"], base.outcome, 500)


def test_a_forecaster_that_fails_for_one_ticker_is_used_for_the_others() -> None:
    base = truth(0, 300)
    failed = np.array(base.quantiles["true"])
    failed[2] = np.nan
    found = combine(
        with_one_more("true", failed, Sequence({"wide": base.quantiles["wide"]}, base.outcome, base.volatility))
    )
    np.testing.assert_allclose(found.quantiles[2], base.quantiles["wide"][2], rtol=1e-6)
    others = [0, 1, 3, 4]
    wide, outcome = base.quantiles["wide"][others], base.outcome[others]
    assert loss_of(found.quantiles[others], outcome, 100) < loss_of(wide, outcome, 100)


def test_where_all_are_silent_there_is_no_forecast_and_nothing_is_learned() -> None:
    base = truth(0, 40)
    silent = {name: np.array(values) for name, values in base.quantiles.items()}
    for values in silent.values():
        values[:, 20] = np.nan
    found = combine(Sequence(silent, base.outcome, base.volatility))
    assert np.isnan(found.quantiles[:, 20]).all()
    assert np.isfinite(np.delete(found.quantiles, 20, axis=1)).all()


def test_where_all_are_silent_climatology_stands_implausible_though_it_be() -> None:
    base = truth(0, 40)
    implausible = {name: np.array(values) for name, values in base.quantiles.items()} | {
        "climatology": np.array(base.quantiles["wide"])
    }
    for values in implausible.values():
        values[1, 20] *= 100
    found = combine(Sequence(implausible, base.outcome, base.volatility))
    np.testing.assert_array_equal(found.quantiles[1, 20], implausible["climatology"][1, 20])
    assert np.abs(np.delete(found.quantiles, 20, axis=1)).max() < 0.2


def again(state: CombinationState, sequence: Sequence, at: int) -> Combined:
    """What a state makes of the forecasts of a session."""
    quantiles = {name: values[:, at : at + 1] for name, values in sequence.quantiles.items()}
    return combined_again(state, sequence.volatility[:, at : at + 1], quantiles)


def test_the_last_session_again_is_what_was_issued(sequence: Sequence) -> None:
    for stop in (1, 4, 30, 60):
        found = combine(sequence.until(stop))
        made = again(found.state, sequence, stop - 1)
        np.testing.assert_allclose(made.quantiles[:, 0], found.quantiles[:, -1], atol=1e-7)
        np.testing.assert_allclose(made.weights[0], found.weights[-1], rtol=1e-5)
        np.testing.assert_array_equal(made.answered[0], found.answered[-1])
        np.testing.assert_allclose(found.state.issued[:, 0], found.quantiles[:, -1], atol=0)


def test_what_is_made_again_leaves_out_what_is_implausible_and_does_not_cross() -> None:
    base = truth(0, 30)
    state = combine(with_one_more("bad", base.quantiles["true"], base)).state
    for factor in (1e6, np.nan):
        bad = with_one_more("bad", np.float32(factor) * base.quantiles["true"], base)
        made = again(state, bad, 29)
        assert np.abs(made.quantiles).max() < 3 * VOLATILITY
        assert (made.weights[..., 2] == 0).all()
        assert (made.answered[..., 2] == 0).all()
    turned = {name: -values for name, values in base.quantiles.items()}  # plausible, but in the wrong order
    first = combine(Sequence(turned, base.outcome, base.volatility).until(1))
    assert (np.diff(first.state.combined[0], axis=1) < 0).any()
    assert (np.diff(first.state.issued, axis=-1)[:, 0] >= 0).all()
    assert (np.diff(first.quantiles, axis=-1) >= 0).all()
    assert (
        np.diff(again(first.state, Sequence(turned, base.outcome, base.volatility), 0).quantiles, axis=-1) >= 0
    ).all()


def test_weights_are_those_that_went_into_the_forecast_on_the_mean_of_the_tickers() -> None:
    base = truth(0, 200)
    partly = np.array(base.quantiles["true"])
    partly[:2] = np.nan
    partly[2, 150:] = 1e6
    found = combine(with_one_more("partly", partly, base))
    np.testing.assert_allclose(found.weights.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(found.answered[:150, :, 2], 0.6)
    np.testing.assert_allclose(found.answered[150:, :, 2], 0.4)
    np.testing.assert_array_equal(found.answered[:, :, :2], 1)
    assert (found.weights[150:, ..., 2] < 0.4).all()
    of_all = combine(with_one_more("partly", base.quantiles["true"], base)).weights
    assert found.weights[100:, ..., 2].mean() < of_all[100:, ..., 2].mean()


def test_a_forecaster_that_never_answered_has_no_weight() -> None:
    base = truth(0, 60)
    found = combine(with_one_more("absent", np.full(base.quantiles["true"].shape, np.nan), base))
    assert (found.weights[..., 2] == 0).all()
    off_median = [0, 1, 2, 4, 5, 6]  # the two others have the same median: of both nothing is known there
    assert (Learners(found.state).weights(np.zeros(2, dtype=int))[:, off_median, 2] == 0).all()


def test_an_implausible_return_is_no_forecast_where_the_volatility_is_unknown() -> None:
    base = truth(0, 30)
    unknown = Sequence(base.quantiles, base.outcome, np.full_like(base.volatility, np.nan))
    huge = with_one_more("huge", np.full(base.quantiles["true"].shape, 3e38), unknown)
    found = combine(huge)
    assert np.isfinite(found.quantiles).all()
    assert np.abs(found.quantiles).max() < 1
    assert (found.weights[..., 2] == 0).all()


def test_sessions_are_prepared_in_parts_of_any_length() -> None:
    whole = drawn(5, tickers=2, count=2 * SESSIONS_AT_ONCE + 9, horizons=2, forecasters=3, silent=0.2, wild=0.02)
    found, state, parts = combine(whole), whole.new, []
    for first in range(0, whole.outcome.shape[1], 50):
        part = combine(whole.until(first + 50), state, first)
        state = part.state
        parts.append(part.quantiles)
    assert np.concatenate(parts, axis=1).tobytes() == found.quantiles.tobytes()
    assert_same_state(state, found.state)


def test_nothing_is_learned_from_a_ticker_that_is_not_to_teach() -> None:
    base = drawn(6, tickers=3, count=80, horizons=2, forecasters=3, silent=0.0, wild=0.0)
    wild = np.array(base.outcome)
    wild[2] = 1.0
    two = np.array([True, True, False])
    usual = np.zeros_like(base.volatility)
    origins = [
        Origins(base.sessions, it.known, it.volatility, usual, two) for it in (base, replace(base, outcome=wild))
    ]
    one, other = (combined(base.new, it, base.quantiles) for it in origins)
    assert one.quantiles.tobytes() == other.quantiles.tobytes()
    few = Sequence({name: values[:2] for name, values in base.quantiles.items()}, base.outcome[:2], base.volatility[:2])
    np.testing.assert_allclose(one.weights, combine(few).weights, rtol=1e-4)


def test_one_who_wakes_late_begins_at_the_rate_of_the_others() -> None:
    base = truth(0, 300)
    late = np.array(base.quantiles["true"])
    late[:, :200] = np.nan
    found = combine(with_one_more("late", late, base))
    assert (found.weights[201, ..., 2] > 0.02).all()
    assert (found.weights[201, ..., 2] < 0.9).all()
    assert (found.weights[-1, ..., 2] > found.weights[201, ..., 1]).mean() > 0.5


def test_a_state_comes_back_from_its_arrays(sequence: Sequence) -> None:
    state = combine(sequence).state
    assert_same_state(combination_from_arrays(combination_as_arrays(state)), state)
