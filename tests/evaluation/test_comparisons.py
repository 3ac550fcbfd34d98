"""Comparisons: the table equals single tests one by one, and a model passes only where it beats every baseline."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, norm

from pipeline.evaluation.comparisons import (
    BASELINE_KINDS,
    best_by_ticker,
    compare_with_baselines,
    comparison_table,
    conclusion_of,
    conclusions_by_ticker,
    pooled,
)
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.significance.predictive_ability import diebold_mariano, giacomini_white
from pipeline.evaluation.significance.resampling import block_length, resampled_counts
from pipeline.evaluation.trials import Trials
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, CORE_FORECASTERS, NETWORK
from tests.evaluation.backtests import NOISE, backtest_with, random_backtest

ALONE = Trials()


def with_benchmark(backtest: Backtest) -> Backtest:
    """Return the backtest with a calibrated network and a benchmark."""
    draws = np.random.default_rng(5)
    shape = backtest.quantiles["network"].shape
    more = {name: np.sort(draws.normal(0, 0.02, shape), axis=-1).astype(np.float32) for name in (CALIBRATED, "ridge")}
    return replace(backtest, quantiles={**backtest.quantiles, **more})


@pytest.fixture(scope="module")
def made() -> Backtest:
    return with_benchmark(random_backtest(origins=90, tickers=4, seed=3))


@pytest.fixture(scope="module")
def comparisons(made: Backtest) -> pd.DataFrame:
    return comparison_table(made, ALONE)


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
    model_loss, baseline_loss = (slow_losses(backtest, name, horizon) for name in (model, baseline))
    found: dict[int, list[float]] = {}
    for (row, origin), loss in model_loss.items():
        found.setdefault(origin, []).append(loss - baseline_loss[row, origin])
    return dict(sorted(found.items()))


def test_pooled_rows_are_the_single_tests(made: Backtest, comparisons: pd.DataFrame) -> None:
    for model, baseline, horizon in (("network", "ewma", 1), ("ridge", "drift", 2), (CALIBRATED, "ridge", 1)):
        row = pooled(comparisons, model, horizon).loc[baseline]
        difference = np.array([np.mean(values) for values in slow_difference(made, model, baseline, horizon).values()])
        test = diebold_mariano(difference, horizon, 20)
        assert (row["t"], row["p"], row["sessions"]) == (pytest.approx(test.t), pytest.approx(test.p), test.sessions)
        assert row["p_short_lags"] == pytest.approx(diebold_mariano(difference, horizon, horizon - 1).p_student)
        expected = giacomini_white(difference, horizon).p if horizon == 1 else np.nan
        assert row["gw_p"] == pytest.approx(expected, nan_ok=True)
        model_loss, baseline_loss = (
            np.mean(list(slow_losses(made, name, horizon).values())) for name in (model, baseline)
        )
        assert row["skill"] == pytest.approx(1 - model_loss / baseline_loss)
        assert row["loss"] == pytest.approx(model_loss)


def test_rows_of_tickers_are_the_single_tests_adjusted_together(made: Backtest, comparisons: pd.DataFrame) -> None:
    rows = comparisons[
        (comparisons["horizon"] == 2) & (comparisons["forecaster"] == "network") & (comparisons["baseline"] == "linear")
    ]
    rows = rows[rows["ticker"] != POOLED].set_index("ticker")
    losses = [slow_losses(made, name, 2) for name in ("network", "linear")]
    ps = []
    for row, ticker in enumerate(made.tickers):
        keys = sorted(key for key in losses[0] if key[0] == row)
        test = diebold_mariano(np.array([losses[0][key] - losses[1][key] for key in keys]), 2, 20)
        assert rows.loc[ticker, "t"] == pytest.approx(test.t)
        ps.append(test.p)
    assert rows["p"].to_numpy() == pytest.approx(ps)
    assert rows["p_adjusted"].to_numpy() == pytest.approx(false_discovery_control(ps))


def test_which_forecasters_are_compared(comparisons: pd.DataFrame) -> None:
    against = comparisons.groupby("forecaster")["baseline"].agg(set)
    assert against["network"] == against[CALIBRATED] == {*BASELINE_KINDS, "ridge"}
    assert against["ridge"] == {*BASELINE_KINDS}
    assert set(against.index) == {"network", CALIBRATED, "ridge"}
    assert set(CORE_FORECASTERS) == {"network", *BASELINE_KINDS}


def test_former_trials_raise_p_and_can_change_the_conclusion(made: Backtest) -> None:
    once, often = comparison_table(sharp(), ALONE), comparison_table(sharp(), Trials(tested=500))
    p = pooled(once, "network", 1)["p"]
    adjusted = [Trials(tested=500).adjusted(value) for value in p]
    assert pooled(often, "network", 1)["p_adjusted"].to_numpy() == pytest.approx(adjusted)
    unadjusted, raised = (
        table[table["ticker"] == "T1"] for table in (comparison_table(made, ALONE), comparison_table(made, Trials(5)))
    )
    assert raised["p"].to_numpy() == pytest.approx(unadjusted["p"].to_numpy())
    assert (raised["p_adjusted"] > unadjusted["p_adjusted"]).all()  # tickers are adjusted for the trials as well
    few, many = (pooled(comparison_table(made, Trials(tested=n)), "network", 1) for n in (1, 40))
    assert (many["p_adjusted"] > few["p_adjusted"]).all()


def sharp(origins: int = 300) -> Backtest:
    """Return a backtest whose network knows the scale of each session; baselines have the mean scale, each another."""
    draws = np.random.default_rng(1)
    scale = np.exp(draws.normal(0, 0.6, (6, origins, 1)))
    outcome = scale * draws.normal(0, 0.01, scale.shape)
    unit = 0.01 * norm.ppf(LEVELS)
    wide = {name: (1.1 + 0.05 * k) * np.ones_like(scale) for k, name in enumerate(BASELINE_KINDS)}
    spreads = {"network": scale, **wide}
    made = random_backtest(origins=origins, tickers=6, horizons=1)
    return replace(
        made,
        quantiles={name: (spread[..., None] * unit).astype(np.float32) for name, spread in spreads.items()},
        realised=outcome.astype(np.float32),
    )


def test_a_model_that_knows_the_scale_passes_pooled_and_per_ticker() -> None:
    comparisons = comparison_table(sharp(), ALONE)
    result = compare_with_baselines(comparisons, "network", 1)
    assert result.passed
    assert result.best_baseline == "climatology"
    assert result.skill > 0.03
    assert list(conclusions_by_ticker(comparisons, "network", 1).values()).count("better") >= 4
    assert set(best_by_ticker(comparisons, "network", 1).values()) <= {*BASELINE_KINDS}


def test_a_model_worse_than_one_baseline_is_worse() -> None:
    backtest = sharp()
    swapped = {**backtest.quantiles, "network": backtest.quantiles["linear"], "ewma": backtest.quantiles["network"]}
    result = compare_with_baselines(comparison_table(replace(backtest, quantiles=swapped), ALONE), "network", 1)
    assert (result.conclusion, result.best_baseline) == ("worse", "ewma")
    assert not result.passed


def test_a_benchmark_that_is_as_good_as_the_network_does_not_stop_it_from_passing() -> None:
    """Only simple baselines decide whether a model passes."""
    backtest = sharp()
    quantiles = {**backtest.quantiles, "ridge": backtest.quantiles["network"], "network": backtest.quantiles["network"]}
    comparisons = comparison_table(replace(backtest, quantiles=quantiles), ALONE)
    assert (
        pooled(comparisons, "network", 1).loc["ridge", "conclusion"] == "no evidence"
    )  # the same forecasts: nothing differs
    assert compare_with_baselines(comparisons, "network", 1).passed


def test_a_price_that_stands_still_is_the_best_baseline_and_no_crash() -> None:
    backtest = sharp()
    still = replace(
        backtest,
        realised=np.zeros_like(backtest.realised),
        quantiles=backtest.quantiles | {"last_close": np.zeros_like(backtest.quantiles["network"])},
    )
    result = compare_with_baselines(comparison_table(still, ALONE), "network", 1)
    assert result.best_baseline == "last_close"
    assert np.isnan(result.skill)
    assert result.conclusion == "worse"


@pytest.mark.parametrize(
    ("t", "p", "conclusion"),
    [
        (-3.0, 0.01, "better"),
        (-2.0, 0.05, "better"),
        (-1.9, 0.051, "no evidence"),
        (3.0, 0.01, "worse"),
        (0.3, 0.5, "no evidence"),
        (float("nan"), float("nan"), "no evidence"),
    ],
)
def test_the_conclusion_follows_sign_and_significance(t: float, p: float, conclusion: str) -> None:
    assert conclusion_of(t, p) == conclusion


def test_the_error_of_a_skill_is_that_of_a_loop(made: Backtest, comparisons: pd.DataFrame) -> None:
    row = pooled(comparisons, "network", 1).loc["ewma"]
    model_loss, baseline_loss = (slow_losses(made, name, 1) for name in ("network", "ewma"))
    origins = sorted({origin for _, origin in model_loss})
    means = [
        [np.mean([loss for (_, at), loss in losses.items() if at == origin]) for origin in origins]
        for losses in (model_loss, baseline_loss)
    ]
    drawn = resampled_counts(len(origins), block_length(len(origins), 1), 0)
    skills = [1 - np.dot(counts, means[0]) / np.dot(counts, means[1]) for counts in drawn]
    assert row["skill_error"] == pytest.approx(np.std(skills, ddof=1), rel=1e-9)


def test_nothing_scored_names_the_baseline_that_is_usually_hardest() -> None:
    backtest = sharp()
    empty = replace(backtest, realised=np.full_like(backtest.realised, np.nan))
    result = compare_with_baselines(comparison_table(empty, ALONE), "network", 1)
    assert (result.conclusion, result.best_baseline) == ("no evidence", "ewma")


def test_a_benchmark_that_beats_the_network_changes_no_tickers_conclusion() -> None:
    origins, tickers = 300, 4
    draws = np.random.default_rng(3)
    scale = np.exp(draws.normal(0, 0.8, (tickers, origins, 1)))
    outcome = scale * draws.normal(0, NOISE, scale.shape)
    alone = backtest_with(outcome)
    unit = (NOISE * norm.ppf(LEVELS)).astype(np.float32)
    network, ridge = ((spread[..., None] * unit).astype(np.float32) for spread in (scale * 1.4, scale))
    alone = replace(alone, quantiles=alone.quantiles | {NETWORK: network})
    with_ridge = replace(alone, quantiles=alone.quantiles | {"ridge": ridge})
    tables = [comparison_table(each, Trials()) for each in (alone, with_ridge)]
    against = tables[1][(tables[1]["forecaster"] == NETWORK) & (tables[1]["baseline"] == "ridge")]
    assert set(against["conclusion"]) == {"worse"}  # pooled and for each ticker
    conclusions = [conclusions_by_ticker(table, NETWORK, 1) for table in tables]
    assert conclusions[0] == conclusions[1]
    assert "better" in conclusions[1].values()
    assert best_by_ticker(tables[0], NETWORK, 1) == best_by_ticker(tables[1], NETWORK, 1)
    assert compare_with_baselines(tables[0], NETWORK, 1) == compare_with_baselines(tables[1], NETWORK, 1)
