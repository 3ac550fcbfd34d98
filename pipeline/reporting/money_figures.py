"""Figures of money: what an account became under each rule, and what the groups of a ranking returned."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    quiet_axes,
    write_legend_below_title,
    write_title,
)
from pipeline.reporting.money_rows import results_of
from pipeline.wording import ahead, rule_in_words

LINES = {
    "long_only": (NETWORK_COLOUR, "-", 1.8),
    "long_short": ("#b0307a", "-", 1.2),
    "volatility_target": (CALIBRATED_COLOUR, "--", 1.2),
    "buy_and_hold": (INK, "-", 1.2),
    "equal_weight": (GREY, "--", 1.2),
}


def draw_equity(evaluation: Evaluation) -> Figure:
    """Return what one unit became under each rule of the model and each benchmark, net of costs, on a log scale."""
    money = evaluation.money
    figure = blank_figure(7.2, 3.6)
    axes = quiet_axes(figure, (0.08, 0.1, 0.89, 0.74))
    own = results_of(money, evaluation.verdict.model)
    for one in own:
        _draw_account(axes, money.opened, one)
    scale = " (log scale)" if _scaled_by_log(axes) else ""
    write_title(axes, f"What 1 became after costs, at the opens{scale}", LEGEND_PAD)
    write_legend_below_title(axes, columns=len(own))
    return figure


def _draw_account(axes: Axes, opened: "np.typing.NDArray[np.datetime64]", one: MoneyResult) -> None:
    colour, style, width = LINES[one.rule]
    worth = np.where(one.equity > 0, one.equity, np.nan)  # an account that is lost has no place on a log scale
    axes.plot(opened, worth, color=colour, linestyle=style, linewidth=width, label=rule_in_words(one.rule))


def _scaled_by_log(axes: Axes) -> bool:
    """Use a log scale, marked at 1, 2, 5, 10 ..., where an account passed two of them; return whether it is used."""
    low, high = axes.dataLim.intervaly
    steps = [float(f"{one}e{power}") for power in range(-6, 10) for one in (1, 2, 5)]
    inside = [step for step in steps if 0.95 * low <= step <= 1.05 * high]
    if not low > 0 or len(inside) < 2:
        return False
    axes.set_yscale("log")
    axes.set_yticks(inside, [f"{step:g}" for step in inside])
    axes.set_yticks([], minor=True)
    return True


def draw_groups(evaluation: Evaluation) -> Figure:
    """Return the mean return by group of the model's median, lowest first, with standard errors."""
    horizon, model = evaluation.money.spec.horizon, evaluation.verdict.model
    deciles = evaluation.deciles
    own = deciles[(deciles["horizon"] == horizon) & (deciles["forecaster"] == model)]
    figure = blank_figure(5.2, 2.8)
    axes = quiet_axes(figure, (0.11, 0.16, 0.86, 0.72))
    axes.axhline(0, color=INK, linewidth=0.9)
    mean, error = 1e4 * own["mean_return"], 1e4 * own["mean_return_error"]
    axes.bar(own["group"], mean, 0.7, color=colour_of(model), alpha=0.55)
    axes.errorbar(own["group"], mean, error, fmt="none", ecolor=INK, elinewidth=0.9, capsize=3)
    axes.set_xticks(own["group"])
    axes.set_xlabel("group of the median, lowest first", fontsize=8)
    write_title(axes, f"Mean return {ahead(horizon)}, basis points, ± one standard error")
    return figure


def has_groups(evaluation: Evaluation) -> bool:
    """Return whether the model's medians put the tickers into groups on any session."""
    horizon, deciles = evaluation.money.spec.horizon, evaluation.deciles
    own = deciles[(deciles["horizon"] == horizon) & (deciles["forecaster"] == evaluation.verdict.model)]
    return bool(len(own)) and bool(own["mean_return"].notna().any())
