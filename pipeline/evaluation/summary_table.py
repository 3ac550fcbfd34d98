"""The summary table of a run: statistics and money of every forecaster over the same folds, with error bars."""

import pandas as pd

from pipeline.evaluation.comparisons import compare_with_baselines
from pipeline.evaluation.money.positions import PASSIVE
from pipeline.evaluation.scores import POOLED

STATISTICS = ("pinball", "crps", "coverage_80", "winkler_80", "rmse_return", "directional_accuracy")
MONEY_COLUMNS = (
    "yearly_return",
    "yearly_volatility",
    "sharpe",
    "sharpe_error",
    "deflated_sharpe",
    "max_drawdown",
    "turnover_per_year",
)
_KEYS = ["horizon", "forecaster"]


def summary_table(
    scores: pd.DataFrame,
    comparisons: pd.DataFrame,
    candidates: pd.DataFrame,
    signs: pd.DataFrame,
    ranking: pd.DataFrame,
    money: pd.DataFrame,
) -> pd.DataFrame:
    """Return a row per horizon and forecaster, pooled, then one per passive portfolio.

    Columns: horizon, forecaster, rows; each statistic with its error; best_baseline, skill, p, conclusion (for
    models); mcs_p, may_be_best, spa_p; direction_p; rank_ic with its error; and of every rule sharpe, error and so on
    (long_only_sharpe ...). Passive portfolios have money columns alone, at horizon 0.
    """
    pooled = scores[scores["ticker"] == POOLED]
    columns = ["rows", *(name for stem in STATISTICS for name in (stem, f"{stem}_error"))]
    table = pooled[[*_KEYS, *columns]].merge(candidates, on=_KEYS, how="left")
    table = table.merge(signs[[*_KEYS, "p"]].rename(columns={"p": "direction_p"}), on=_KEYS, how="left")
    table = table.merge(ranking[[*_KEYS, "rank_ic", "rank_ic_error"]], on=_KEYS, how="left")
    table = table.merge(_baseline_comparisons(comparisons), on=_KEYS, how="left")
    table = table.merge(_by_rule(money), on="forecaster", how="left")
    return pd.concat([table, _passive_portfolios(money)], ignore_index=True)


def _baseline_comparisons(comparisons: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for horizon, model in comparisons[_KEYS].drop_duplicates().itertuples(index=False):
        result = compare_with_baselines(comparisons, model, horizon)
        columns = {"best_baseline": result.best_baseline, "skill": result.skill, "p": result.p}
        rows.append({"horizon": horizon, "forecaster": model, **columns, "conclusion": result.conclusion})
    return pd.DataFrame(rows)


def _by_rule(money: pd.DataFrame) -> pd.DataFrame:
    """Return a row per forecaster with the figures of every rule as columns."""
    active = money[money["forecaster"] != PASSIVE]
    wide = [
        active[active["rule"] == rule].set_index("forecaster")[list(MONEY_COLUMNS)].add_prefix(f"{rule}_")
        for rule in active["rule"].unique()
    ]
    table: pd.DataFrame = pd.concat(wide, axis=1).rename_axis("forecaster").reset_index()
    return table


def _passive_portfolios(money: pd.DataFrame) -> pd.DataFrame:
    """Return a row per passive portfolio; its figures are in the columns of the long-only rule."""
    passive = money[money["forecaster"] == PASSIVE]
    figures = passive[list(MONEY_COLUMNS)].add_prefix("long_only_")
    return pd.concat([passive["rule"].rename("forecaster"), figures], axis=1).assign(horizon=0)
