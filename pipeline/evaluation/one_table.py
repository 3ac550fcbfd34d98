"""One table of a run: statistics and money of every forecaster over the same folds, with error bars."""

import pandas as pd

from pipeline.evaluation.gate import standing
from pipeline.evaluation.money.benchmarks import BENCHMARK
from pipeline.evaluation.scores import POOLED

STATISTICS = ("pinball", "crps", "coverage_80", "winkler_80", "rmse_return", "directional_accuracy")
MONEY = ("yearly_return", "yearly_volatility", "sharpe", "sharpe_error", "deflated_sharpe", "max_drawdown")
OF_MONEY = (*MONEY, "turnover_per_year")


def one_table(
    scores: pd.DataFrame,
    gate: pd.DataFrame,
    candidates: pd.DataFrame,
    signs: pd.DataFrame,
    ranking: pd.DataFrame,
    money: pd.DataFrame,
) -> pd.DataFrame:
    """Return a row per horizon and forecaster, pooled, then one per rule of buying without any forecast.

    Columns: horizon, forecaster, rows; each statistic with its error; best_baseline, skill, p, word (the gate, for
    models); mcs_p, may_be_best, spa_p; direction_p; rank_ic with its error; and of every rule sharpe, error and so on
    (long_only_sharpe ...). What is bought and held without a forecast has the money alone, at horizon 0.
    """
    pooled = scores[scores["ticker"] == POOLED]
    columns = ["rows", *(name for stem in STATISTICS for name in (stem, f"{stem}_error"))]
    keys = ["horizon", "forecaster"]
    table = pooled[[*keys, *columns]].merge(candidates, on=keys, how="left")
    table = table.merge(signs[[*keys, "p"]].rename(columns={"p": "direction_p"}), on=keys, how="left")
    table = table.merge(ranking[[*keys, "rank_ic", "rank_ic_error"]], on=keys, how="left")
    table = table.merge(_standings(gate), on=keys, how="left")
    return pd.concat([table.merge(_by_rule(money), on="forecaster", how="left"), _benchmarks(money)], ignore_index=True)


def _standings(gate: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for horizon, model in gate[["horizon", "forecaster"]].drop_duplicates().itertuples(index=False):
        stands = standing(gate, model, horizon)
        of = {"best_baseline": stands.best_baseline, "skill": stands.skill, "p": stands.p, "word": stands.word}
        rows.append({"horizon": horizon, "forecaster": model, **of})
    return pd.DataFrame(rows)


def _by_rule(money: pd.DataFrame) -> pd.DataFrame:
    """Return a row per forecaster with the figures of every rule as columns."""
    own = money[money["forecaster"] != BENCHMARK]
    wide = [
        own[own["rule"] == rule].set_index("forecaster")[list(OF_MONEY)].add_prefix(f"{rule}_")
        for rule in own["rule"].unique()
    ]
    whole: pd.DataFrame = pd.concat(wide, axis=1).rename_axis("forecaster").reset_index()
    return whole


def _benchmarks(money: pd.DataFrame) -> pd.DataFrame:
    """Return a row per benchmark; its figures stand in the columns of the long-only rule, which it is one of."""
    own = money[money["forecaster"] == BENCHMARK]
    figures = own[list(OF_MONEY)].add_prefix("long_only_")
    return pd.concat([own["rule"].rename("forecaster"), figures], axis=1).assign(horizon=0)
