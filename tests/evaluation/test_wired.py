"""Every part of the evaluation reads what it should: its horizon, its forecaster, its band, and what it was asked."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from pipeline.evaluation.calibration.tested import coverage_test_table
from pipeline.evaluation.echo import echo_of, relation_p
from pipeline.evaluation.evaluation import Asked, Evaluation, evaluate
from pipeline.evaluation.gate import (
    SIMPLE,
    best_by_ticker,
    clark_west_p,
    gate_table,
    pooled,
    standing,
    words_by_ticker,
)
from pipeline.evaluation.luck import Luck
from pipeline.evaluation.money.opens import Opens
from pipeline.evaluation.money.simulation import money_table, simulate
from pipeline.evaluation.money.specification import MoneySpec
from pipeline.evaluation.significance.clark_west import clark_west
from pipeline.evaluation.significance.coverage_tests import coverage_tests_overlapping
from pipeline.evaluation.significance.diebold_mariano import long_lags
from pipeline.evaluation.significance.pesaran_timmermann import pesaran_timmermann_pooled
from pipeline.evaluation.signs import sign_table
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK
from tests.evaluation.made import flat_opens, made_backtest

NOISE = 0.02
BANDS = {50: ("q25", "q75"), 80: ("q10", "q90"), 90: ("q05", "q95")}
PLACES = {"q05": 0, "q10": 1, "q25": 2, "q75": 4, "q90": 5, "q95": 6}


def draws_of(origins: int, tickers: int, horizons: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, NOISE, (tickers, origins, horizons))


def around(median: np.ndarray, spread: float = 1.0) -> np.ndarray:
    """Normal quantiles [ticker, origin, horizon, level] around a median."""
    return (median[..., None] + spread * NOISE * norm.ppf(LEVELS)).astype(np.float32)


def saying(realised: np.ndarray, **medians: np.ndarray) -> Backtest:
    """A backtest of these outcomes in which the named forecasters have these medians, and the others none."""
    tickers, origins, horizons = realised.shape
    made = made_backtest(origins, tickers, horizons, missing=0.0)
    still = np.zeros_like(realised)
    plain = {name: around(still, 1.0 + 0.1 * place) for place, name in enumerate((NETWORK, *SIMPLE))}
    told = {name: around(median) for name, median in medians.items()}
    return replace(made, quantiles=plain | told, realised=realised.astype(np.float32))


@pytest.fixture(scope="module")
def second_only() -> Backtest:
    """The network knows a little of what comes two sessions ahead, and nothing of the next session."""
    outcome = draws_of(300, 4, 2, seed=1)
    median = draws_of(300, 4, 2, seed=5) * (0.3, 0.1)
    median[..., 1] += 0.012 * outcome[..., 1]
    realised = outcome.copy()
    realised[:2, ::3, 0] = np.nan  # horizon 1 is scored at fewer rows
    return saying(realised, network=median)


def known(backtest: Backtest, name: str, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Medians and outcomes [ticker, origin] of one horizon, NaN where it is not scored."""
    where = backtest.scored[..., horizon - 1]
    values = (backtest.quantiles[name][..., horizon - 1, MEDIAN], backtest.realised[..., horizon - 1])
    median, outcome = (np.where(where, own.astype(np.float64), np.nan) for own in values)
    return median, outcome


# Clark and West


def test_a_median_that_knows_something_beats_no_change_and_noise_does_not(second_only: Backtest) -> None:
    gate = gate_table(second_only, Luck())
    of = {h: pooled(gate, NETWORK, h)["cw_p"] for h in (1, 2)}
    assert of[2]["last_close"] < 0.01
    assert of[1]["last_close"] > 0.1
    assert of[1].drop("last_close").isna().all()  # the last close alone is nested in the network


@pytest.mark.parametrize("horizon", [1, 2])
def test_the_larger_model_is_the_one_that_is_judged(second_only: Backtest, horizon: int) -> None:
    median, outcome = known(second_only, NETWORK, horizon)
    no_change = np.where(np.isfinite(median), 0.0, np.nan)
    wanted = clark_west(outcome, no_change, median, horizon, long_lags(horizon)).p
    assert clark_west_p(second_only, NETWORK, horizon) == pytest.approx(wanted)


# The gate by ticker


def test_a_rival_that_beats_the_network_changes_no_tickers_word() -> None:
    origins, tickers = 300, 4
    draws = np.random.default_rng(3)
    scale = np.exp(draws.normal(0, 0.8, (tickers, origins, 1)))
    outcome = scale * draws.normal(0, NOISE, scale.shape)
    alone = saying(outcome)
    unit = (NOISE * norm.ppf(LEVELS)).astype(np.float32)
    network, ridge = ((spread[..., None] * unit).astype(np.float32) for spread in (scale * 1.4, scale))
    alone = replace(alone, quantiles=alone.quantiles | {NETWORK: network})
    rivalled = replace(alone, quantiles=alone.quantiles | {"ridge": ridge})
    gates = [gate_table(one, Luck()) for one in (alone, rivalled)]
    against = gates[1][(gates[1]["forecaster"] == NETWORK) & (gates[1]["baseline"] == "ridge")]
    assert set(against["word"]) == {"worse"}  # pooled and for each ticker
    words = [words_by_ticker(gate, NETWORK, 1) for gate in gates]
    assert words[0] == words[1]
    assert "better" in words[1].values()
    assert best_by_ticker(gates[0], NETWORK, 1) == best_by_ticker(gates[1], NETWORK, 1)
    assert standing(gates[0], NETWORK, 1) == standing(gates[1], NETWORK, 1)


# The echo


def test_the_echo_is_judged_at_the_horizon_that_is_asked(second_only: Backtest) -> None:
    for horizon, name in ((1, "echo"), (2, "informs")):
        found = echo_of(second_only, NETWORK, claims=True, horizon=horizon)
        median, outcome = known(second_only, NETWORK, horizon)
        where = np.isfinite(median)
        assert found.name == name
        assert found.moved_share == pytest.approx(np.var(median[where]) / np.var(outcome[where]))
        assert found.relation_p == pytest.approx(relation_p(median, outcome, where, horizon))


def without_relation(moved: float, seed: int = 5) -> Backtest:
    """A median that moves exactly this share of what prices do, and not along with them."""
    outcome = draws_of(400, 3, 1, seed)
    change = draws_of(400, 3, 1, seed + 1)
    change -= change.mean()
    change -= outcome * (change * outcome).sum() / (outcome**2).sum()
    return saying(outcome, network=change * np.sqrt(moved * np.var(outcome) / np.var(change)))


@pytest.mark.parametrize(
    ("moved", "claims", "name"),
    [
        (0.035, False, "no claim"),
        (0.048, False, "no claim"),
        (0.052, False, "echo"),
        (0.06, False, "echo"),
        (0.035, True, "echo"),
    ],
)
def test_who_moves_more_than_a_twentieth_of_what_prices_do_claims_direction(
    moved: float, claims: bool, name: str
) -> None:
    found = echo_of(without_relation(moved), NETWORK, claims=claims)
    assert found.moved_share == pytest.approx(moved, rel=1e-3)
    assert found.relation_p > 0.1
    assert (found.name, found.claims) == (name, name == "echo")


# What the evaluation is asked


@pytest.fixture(scope="module")
def both() -> Backtest:
    """A network without a word on direction, and a corrected one whose median knows a sixth of what comes."""
    outcome = draws_of(150, 4, 2, seed=7)
    return saying(outcome, network=0.15 * draws_of(150, 4, 2, seed=8), calibrated=outcome / 6)


def moving_opens(backtest: Backtest) -> Opens:
    """Opens of whose growth something is known: that of the next session's outcome."""
    flat = flat_opens(backtest)
    growth = np.exp(np.roll(backtest.realised[..., 0].astype(np.float64), 1, axis=1))
    return replace(flat, growth=np.where(np.isfinite(growth), growth, 1.0))


DEAR = MoneySpec(commission_bps=70.0)


@pytest.fixture(scope="module")
def asked(both: Backtest) -> Asked:
    return Asked(moving_opens(both), DEAR, Luck(tested=2, tuned=3), sold_as_point=True)


@pytest.fixture(scope="module")
def evaluation(both: Backtest, asked: Asked) -> Evaluation:
    return evaluate(both, asked)


def test_the_verdicts_echo_is_the_models_own(evaluation: Evaluation, both: Backtest) -> None:
    assert evaluation.verdict.model == CALIBRATED
    assert evaluation.verdict.echo == evaluation.echoes[CALIBRATED] == echo_of(both, CALIBRATED, claims=True)
    assert (evaluation.verdict.echo.name, evaluation.echoes[NETWORK].name) == ("informs", "echo")
    assert evaluation.verdict.echo.sentence in evaluation.verdict.sentence


def test_what_the_network_is_sold_as_is_what_its_median_is_held_to(
    evaluation: Evaluation, both: Backtest, asked: Asked
) -> None:
    modest = evaluate(both, replace(asked, sold_as_point=False))
    assert {name: evaluation.echoes[name].claims for name in (NETWORK, CALIBRATED, "ewma")} == {
        NETWORK: True,
        CALIBRATED: True,
        "ewma": False,
    }
    assert not modest.echoes[NETWORK].claims
    assert (modest.echoes[NETWORK].name, evaluation.echoes[NETWORK].name) == ("no claim", "echo")


def test_the_money_is_simulated_at_the_costs_luck_and_opens_that_are_asked(
    evaluation: Evaluation, both: Backtest, asked: Asked
) -> None:
    assert evaluation.money.spec == DEAR
    wanted = money_table(simulate(both, asked.opens, DEAR, trials=4))
    pd.testing.assert_frame_equal(evaluation.money_table, wanted)
    for other in (
        simulate(both, asked.opens, MoneySpec(), trials=4),
        simulate(both, asked.opens, DEAR, trials=1),
        simulate(both, flat_opens(both), DEAR, trials=4),
    ):
        assert not money_table(other).equals(wanted)


# Tests of the bands


@pytest.fixture(scope="module")
def banded() -> Backtest:
    """Bands a little too wide, of outcomes whose misses follow misses."""
    draws = np.random.default_rng(11)
    scale = np.exp(np.cumsum(draws.normal(0, 0.05, (3, 240, 1)), axis=1))
    outcome = scale / scale.mean(axis=1, keepdims=True) * draws.normal(0, NOISE, (3, 240, 3))
    made = saying(outcome)
    return replace(made, quantiles=made.quantiles | {NETWORK: around(np.zeros_like(outcome), 1.02)})


def slow_hits(backtest: Backtest, name: str, horizon: int, band: int) -> np.ndarray:
    """1 within the band, 0 outside, NaN where not scored [ticker, origin], by loops."""
    low, high = (PLACES[edge] for edge in BANDS[band])
    hits = np.full(backtest.scored.shape[:2], np.nan)
    for row, origin in np.argwhere(backtest.scored[..., horizon - 1]):
        quantiles = backtest.quantiles[name][row, origin, horizon - 1]
        hits[row, origin] = float(quantiles[low] <= backtest.realised[row, origin, horizon - 1] <= quantiles[high])
    return hits


@pytest.mark.parametrize("horizon", [1, 2, 3])
@pytest.mark.parametrize("band", [50, 80, 90])
def test_bands_are_tested_at_their_share_and_horizon_each_p_under_its_name(
    banded: Backtest, horizon: int, band: int
) -> None:
    table = coverage_test_table(banded, (NETWORK,))
    own = table[(table["horizon"] == horizon) & (table["band"] == band)].set_index("ticker")
    tests = coverage_tests_overlapping(slow_hits(banded, NETWORK, horizon, band), band / 100, horizon)
    assert list(own.index) == list(banded.tickers)
    assert own["coverage"].to_numpy() == pytest.approx(tests.coverage)
    wanted = {
        "kupiec_p": tests.unconditional_p,
        "independence_p": tests.independence_p,
        "christoffersen_p": tests.conditional_p,
    }
    for name, values in wanted.items():
        assert own[name].to_numpy() == pytest.approx(values), name
    if horizon == 1:  # of one series each: three tests that differ, or this would not see them swapped
        assert all(len({*row}) == 3 for row in zip(*wanted.values(), strict=True))


# Direction


FAR = 12
"""A horizon at which the lags are more than the fewest."""


@pytest.fixture(scope="module")
def far() -> Backtest:
    """Outcomes over up to twelve sessions that overlap, and medians that know a little of them."""
    steps = draws_of(220 + FAR, 3, 1, seed=13)[..., 0]
    ahead = np.stack([sum(steps[:, k : 220 + k] for k in range(h)) for h in range(1, FAR + 1)], axis=-1)
    drifting = np.cumsum(draws_of(220, 3, 1, seed=14), axis=1) / 10
    return saying(np.asarray(ahead), network=0.05 * ahead + drifting + 0.002)


@pytest.fixture(scope="module")
def table(far: Backtest) -> pd.DataFrame:
    return evaluate(far, Asked(flat_opens(far), MoneySpec(), Luck())).one_table.set_index(["horizon", "forecaster"])


@pytest.mark.parametrize("horizon", [1, 2, FAR])
def test_direction_is_tested_at_its_horizon_and_its_p_is_in_the_one_table(
    far: Backtest, table: pd.DataFrame, horizon: int
) -> None:
    median, outcome = known(far, NETWORK, horizon)
    test = pesaran_timmermann_pooled(median, outcome, horizon, long_lags(horizon))
    near = pesaran_timmermann_pooled(median, outcome, 1, long_lags(1))
    assert table.loc[(horizon, NETWORK), "direction_p"] == pytest.approx(test.p)
    assert abs(test.p - test.statistic) > 0.01
    if horizon > 1:
        assert abs(test.p - near.p) > 1e-9


def test_hit_rates_are_told_beside_what_chance_gives(far: Backtest) -> None:
    signs = sign_table(far).set_index(["horizon", "forecaster"])
    for horizon in (1, 2, FAR):
        median, outcome = known(far, NETWORK, horizon)
        where = np.isfinite(median)
        chance = []
        for up, rose, scored in zip(median > 0, outcome > 0, where, strict=True):  # a ticker each, as long as it is
            x, y = up[scored].mean(), rose[scored].mean()
            chance += [x * y + (1 - x) * (1 - y)] * int(scored.sum())
        row = signs.loc[(horizon, NETWORK)]
        test = pesaran_timmermann_pooled(median, outcome, horizon, long_lags(horizon))
        assert row["hit_rate"] == pytest.approx(np.mean((median > 0)[where] == (outcome > 0)[where]))
        assert row["expected_hit_rate"] == pytest.approx(np.mean(chance))
        assert row["hit_rate"] - row["expected_hit_rate"] > 0.005
        assert (row["t"], row["p"]) == (pytest.approx(test.statistic), pytest.approx(test.p))
