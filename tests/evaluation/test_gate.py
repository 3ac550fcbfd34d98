"""The gate: its table is what single tests say one by one, and a model passes only where it beats every baseline."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, norm

from pipeline.evaluation.gate import SIMPLE, best_by_ticker, gate_table, judge, pooled, standing, words_by_ticker
from pipeline.evaluation.luck import Luck
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.significance.diebold_mariano import diebold_mariano
from pipeline.evaluation.significance.giacomini_white import giacomini_white
from pipeline.evaluation.significance.resampling import block_length, resampled_counts
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, CORE_FORECASTERS
from tests.evaluation.made import made_backtest

ALONE = Luck()


def with_more(backtest: Backtest) -> Backtest:
    """The same with a calibrated network and a rival."""
    draws = np.random.default_rng(5)
    shape = backtest.quantiles["network"].shape
    more = {name: np.sort(draws.normal(0, 0.02, shape), axis=-1).astype(np.float32) for name in (CALIBRATED, "ridge")}
    return replace(backtest, quantiles={**backtest.quantiles, **more})


@pytest.fixture(scope="module")
def made() -> Backtest:
    return with_more(made_backtest(origins=90, tickers=4, seed=3))


@pytest.fixture(scope="module")
def gate(made: Backtest) -> pd.DataFrame:
    return gate_table(made, ALONE)


def slow_losses(backtest: Backtest, name: str, horizon: int) -> dict[tuple[int, int], float]:
    """(ticker, origin) -> mean pinball loss, by loops."""
    losses = {}
    for row, origin in np.argwhere(backtest.scored[..., horizon - 1]):
        y = float(backtest.realised[row, origin, horizon - 1])
        values = backtest.quantiles[name][row, origin, horizon - 1].astype(float)
        each = [level * (y - q) if y >= q else (1 - level) * (q - y) for level, q in zip(LEVELS, values, strict=True)]
        losses[int(row), int(origin)] = sum(each) / len(each)
    return losses


def slow_difference(backtest: Backtest, model: str, baseline: str, horizon: int) -> dict[int, list[float]]:
    """origin -> differences in loss of its tickers."""
    own, other = (slow_losses(backtest, name, horizon) for name in (model, baseline))
    found: dict[int, list[float]] = {}
    for (row, origin), loss in own.items():
        found.setdefault(origin, []).append(loss - other[row, origin])
    return dict(sorted(found.items()))


def test_pooled_rows_are_the_single_tests(made: Backtest, gate: pd.DataFrame) -> None:
    for model, baseline, horizon in (("network", "ewma", 1), ("ridge", "drift", 2), (CALIBRATED, "ridge", 1)):
        row = pooled(gate, model, horizon).loc[baseline]
        difference = np.array([np.mean(values) for values in slow_difference(made, model, baseline, horizon).values()])
        test = diebold_mariano(difference, horizon, 20)
        assert (row["t"], row["p"], row["sessions"]) == (pytest.approx(test.t), pytest.approx(test.p), test.sessions)
        assert row["p_short_lags"] == pytest.approx(diebold_mariano(difference, horizon, horizon - 1).p_student)
        expected = giacomini_white(difference, horizon).p if horizon == 1 else np.nan
        assert row["gw_p"] == pytest.approx(expected, nan_ok=True)
        own, other = (np.mean(list(slow_losses(made, name, horizon).values())) for name in (model, baseline))
        assert row["skill"] == pytest.approx(1 - own / other)
        assert row["loss"] == pytest.approx(own)


def test_rows_of_tickers_are_the_single_tests_adjusted_together(made: Backtest, gate: pd.DataFrame) -> None:
    own = gate[(gate["horizon"] == 2) & (gate["forecaster"] == "network") & (gate["baseline"] == "linear")]
    own = own[own["ticker"] != POOLED].set_index("ticker")
    losses = [slow_losses(made, name, 2) for name in ("network", "linear")]
    ps = []
    for row, ticker in enumerate(made.tickers):
        keys = sorted(key for key in losses[0] if key[0] == row)
        test = diebold_mariano(np.array([losses[0][key] - losses[1][key] for key in keys]), 2, 20)
        assert own.loc[ticker, "t"] == pytest.approx(test.t)
        ps.append(test.p)
    assert own["p"].to_numpy() == pytest.approx(ps)
    assert own["p_adjusted"].to_numpy() == pytest.approx(false_discovery_control(ps))


def test_who_is_compared_with_whom(gate: pd.DataFrame) -> None:
    against = gate.groupby("forecaster")["baseline"].agg(set)
    assert against["network"] == against[CALIBRATED] == {*SIMPLE, "ridge"}
    assert against["ridge"] == {*SIMPLE}
    assert set(against.index) == {"network", CALIBRATED, "ridge"}
    assert set(CORE_FORECASTERS) == {"network", *SIMPLE}


def test_what_was_tried_before_raises_p_and_takes_the_word(made: Backtest) -> None:
    once, often = gate_table(sharp(), ALONE), gate_table(sharp(), Luck(tested=500))
    p = pooled(once, "network", 1)["p"]
    adjusted = [Luck(tested=500).adjusted(one) for one in p]
    assert pooled(often, "network", 1)["p_adjusted"].to_numpy() == pytest.approx(adjusted)
    own, raised = (table[table["ticker"] == "T1"] for table in (gate_table(made, ALONE), gate_table(made, Luck(5))))
    assert raised["p"].to_numpy() == pytest.approx(own["p"].to_numpy())
    assert (raised["p_adjusted"] > own["p_adjusted"]).all()  # a ticker's word pays for what was tried as well
    few, many = (pooled(gate_table(made, Luck(tested=n)), "network", 1) for n in (1, 40))
    assert (many["p_adjusted"] > few["p_adjusted"]).all()


def sharp(origins: int = 300) -> Backtest:
    """The network knows the scale of each session; every baseline says the mean scale, each a little differently."""
    draws = np.random.default_rng(1)
    scale = np.exp(draws.normal(0, 0.6, (6, origins, 1)))
    outcome = scale * draws.normal(0, 0.01, scale.shape)
    unit = 0.01 * norm.ppf(LEVELS)
    wide = {name: (1.1 + 0.05 * k) * np.ones_like(scale) for k, name in enumerate(SIMPLE)}
    spreads = {"network": scale, **wide}
    made = made_backtest(origins=origins, tickers=6, horizons=1)
    return replace(
        made,
        quantiles={name: (spread[..., None] * unit).astype(np.float32) for name, spread in spreads.items()},
        realised=outcome.astype(np.float32),
    )


def test_a_model_that_knows_the_scale_passes_pooled_and_per_ticker() -> None:
    gate = gate_table(sharp(), ALONE)
    stands = standing(gate, "network", 1)
    assert stands.passed
    assert stands.best_baseline == "climatology"
    assert stands.skill > 0.03
    assert list(words_by_ticker(gate, "network", 1).values()).count("better") >= 4
    assert set(best_by_ticker(gate, "network", 1).values()) <= {*SIMPLE}


def test_a_model_worse_than_one_baseline_is_worse() -> None:
    backtest = sharp()
    swapped = {**backtest.quantiles, "network": backtest.quantiles["linear"], "ewma": backtest.quantiles["network"]}
    stands = standing(gate_table(replace(backtest, quantiles=swapped), ALONE), "network", 1)
    assert (stands.word, stands.best_baseline) == ("worse", "ewma")
    assert not stands.passed


def test_only_the_rival_is_beaten_by_nobody() -> None:
    """A rival that is better than the network does not fail the gate: it holds simple baselines."""
    backtest = sharp()
    quantiles = {**backtest.quantiles, "ridge": backtest.quantiles["network"], "network": backtest.quantiles["network"]}
    gate = gate_table(replace(backtest, quantiles=quantiles), ALONE)
    assert pooled(gate, "network", 1).loc["ridge", "word"] == "no evidence"  # the same forecasts: nothing differs
    assert standing(gate, "network", 1).passed


def test_a_price_that_stands_still_is_the_best_baseline_and_no_crash() -> None:
    backtest = sharp()
    still = replace(
        backtest,
        realised=np.zeros_like(backtest.realised),
        quantiles=backtest.quantiles | {"last_close": np.zeros_like(backtest.quantiles["network"])},
    )
    stands = standing(gate_table(still, ALONE), "network", 1)
    assert stands.best_baseline == "last_close"
    assert np.isnan(stands.skill)
    assert stands.word == "worse"


@pytest.mark.parametrize(
    ("t", "p", "word"),
    [
        (-3.0, 0.01, "better"),
        (-2.0, 0.05, "better"),
        (-1.9, 0.051, "no evidence"),
        (3.0, 0.01, "worse"),
        (0.3, 0.5, "no evidence"),
        (float("nan"), float("nan"), "no evidence"),
    ],
)
def test_the_word_follows_sign_and_significance(t: float, p: float, word: str) -> None:
    assert judge(t, p) == word


def test_the_error_of_a_skill_is_that_of_a_loop(made: Backtest, gate: pd.DataFrame) -> None:
    row = pooled(gate, "network", 1).loc["ewma"]
    own, other = (slow_losses(made, name, 1) for name in ("network", "ewma"))
    origins = sorted({origin for _, origin in own})
    means = [
        [np.mean([loss for (_, at), loss in losses.items() if at == origin]) for origin in origins]
        for losses in (own, other)
    ]
    drawn = resampled_counts(len(origins), block_length(len(origins), 1), 0)
    skills = [1 - np.dot(counts, means[0]) / np.dot(counts, means[1]) for counts in drawn]
    assert row["skill_error"] == pytest.approx(np.std(skills, ddof=1), rel=1e-9)


def test_nothing_scored_names_the_baseline_that_is_usually_hardest() -> None:
    backtest = sharp()
    empty = replace(backtest, realised=np.full_like(backtest.realised, np.nan))
    stands = standing(gate_table(empty, ALONE), "network", 1)
    assert (stands.word, stands.best_baseline) == ("no evidence", "ewma")
