"""Figures of a backtest: skill by horizon, accounts of the trading rules, and returns of ranked groups."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.arrays import Booleans, Floats, Sessions
from pipeline.evaluation.comparisons import SIGNIFICANT, pooled
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.money.simulation import MoneyResult
from pipeline.reporting.canvas import (
    CALIBRATED_COLOUR,
    GREY,
    INK,
    LEGEND_PAD,
    NETWORK_COLOUR,
    blank_figure,
    colour_of,
    marker_of,
    plain_axes,
    write_legend_below_title,
    write_title,
)
from pipeline.reporting.labels import RULE_LABELS
from pipeline.reporting.money_tables import model_and_passive_results
from pipeline.wording import model_in_words, sessions_ahead

MAX_HORIZON_TICKS = 10
RULE_STYLES: Mapping[str, tuple[str, str, float]] = {
    "long_only": (NETWORK_COLOUR, "-", 1.8),
    "long_short": ("#b0307a", "-", 1.2),
    "volatility_target": (CALIBRATED_COLOUR, "--", 1.2),
    "buy_and_hold": (INK, "-", 1.2),
    "equal_weight": (GREY, "--", 1.2),
}
"""Colour, line style and width by trading rule or passive portfolio."""


def draw_skill(evaluation: Evaluation) -> Figure:
    """Return the model's pooled skill over each baseline by horizon; a hollow mark is not significant."""
    figure = blank_figure(6.4, 3.4)
    axes = plain_axes(figure, (0.09, 0.14, 0.70, 0.76))
    axes.axhline(0, color=INK, linewidth=1)
    horizons = range(1, evaluation.backtest.horizons + 1)
    by_horizon = [pooled(evaluation.comparisons, evaluation.verdict.model, horizon) for horizon in horizons]
    for name in evaluation.backtest.opponents:
        skill = 100 * np.array([rows["skill"][name] for rows in by_horizon], dtype=np.float64)
        significant: Booleans = np.array([rows["p_adjusted"][name] for rows in by_horizon]) <= SIGNIFICANT
        _draw_skill_line(axes, name, skill, significant)
    axes.set_xticks(list(range(1, len(horizons) + 1, -(-len(horizons) // MAX_HORIZON_TICKS))))
    axes.set_xlabel("horizon, sessions", fontsize=8)
    axes.set_ylabel("skill, %", fontsize=8)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8, frameon=False, title="against", title_fontsize=8
    )
    write_title(
        axes, f"Above zero {model_in_words(evaluation.verdict.model)} is better; a filled mark has p ≤ {SIGNIFICANT}"
    )
    return figure


def _draw_skill_line(axes: Axes, baseline: str, skill: Floats, significant: Booleans) -> None:
    horizons, colour, marker = np.arange(1, len(skill) + 1), colour_of(baseline), marker_of(baseline)
    axes.plot(horizons, skill, color=colour, marker=marker, markerfacecolor="white", label=baseline)
    axes.plot(horizons[significant], skill[significant], color=colour, marker=marker, linestyle="")


def draw_equity(evaluation: Evaluation) -> Figure:
    """Return the value of one unit invested by each rule of the model and each passive portfolio, net of costs."""
    money = evaluation.money
    figure = blank_figure(7.2, 3.6)
    axes = plain_axes(figure, (0.08, 0.1, 0.89, 0.74))
    results = model_and_passive_results(money, evaluation.verdict.model)
    for result in results:
        _draw_account(axes, money.opened, result)
    scale = " (log scale)" if _set_log_scale(axes) else ""
    write_title(axes, f"Value of 1 invested, after costs, at the opens{scale}", LEGEND_PAD)
    write_legend_below_title(axes, columns=len(results))
    return figure


def _draw_account(axes: Axes, opened: Sessions, result: MoneyResult) -> None:
    colour, style, width = RULE_STYLES[result.rule]
    equity = np.where(result.equity > 0, result.equity, np.nan)  # a log scale has no place for an account at zero
    axes.plot(opened, equity, color=colour, linestyle=style, linewidth=width, label=RULE_LABELS[result.rule])


def _set_log_scale(axes: Axes) -> bool:
    """Use a log scale with ticks at 1, 2, 5, 10 ... where the accounts span two of them; return whether it is used."""
    low, high = axes.dataLim.intervaly
    steps = [float(f"{digit}e{power}") for power in range(-6, 10) for digit in (1, 2, 5)]
    inside = [step for step in steps if 0.95 * low <= step <= 1.05 * high]
    if not low > 0 or len(inside) < 2:
        return False
    axes.set_yscale("log")
    axes.set_yticks(inside, [f"{step:g}" for step in inside])
    axes.set_yticks([], minor=True)
    return True


def draw_groups(evaluation: Evaluation) -> Figure:
    """Return the mean return by group of the model's median, lowest first, with standard errors."""
    groups = _groups_of_model(evaluation)
    figure = blank_figure(5.2, 2.8)
    axes = plain_axes(figure, (0.11, 0.16, 0.86, 0.72))
    axes.axhline(0, color=INK, linewidth=0.9)
    mean, error = 1e4 * groups["mean_return"], 1e4 * groups["mean_return_error"]
    axes.bar(groups["group"], mean, 0.7, color=colour_of(evaluation.verdict.model), alpha=0.55)
    axes.errorbar(groups["group"], mean, error, fmt="none", ecolor=INK, elinewidth=0.9, capsize=3)
    axes.set_xticks(groups["group"])
    axes.set_xlabel("group of the median, lowest first", fontsize=8)
    write_title(
        axes, f"Mean return {sessions_ahead(evaluation.money.spec.horizon)}, basis points, ± one standard error"
    )
    return figure


def has_groups(evaluation: Evaluation) -> bool:
    """Return whether the model's medians put the tickers into groups on any session."""
    return bool(_groups_of_model(evaluation)["mean_return"].notna().any())


def _groups_of_model(evaluation: Evaluation) -> pd.DataFrame:
    """Return the rows of the model's groups at the horizon traded on."""
    deciles = evaluation.deciles
    of_model = deciles["forecaster"] == evaluation.verdict.model
    return deciles[of_model & (deciles["horizon"] == evaluation.money.spec.horizon)]
