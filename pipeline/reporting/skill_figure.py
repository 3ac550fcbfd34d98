"""Figure of the skill by horizon against each baseline."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.arrays import Booleans, Floats
from pipeline.evaluation.comparisons import SIGNIFICANT, pooled
from pipeline.evaluation.evaluation import Evaluation
from pipeline.reporting.canvas import INK, blank_figure, colour_of, marker_of, quiet_axes, write_title
from pipeline.wording import model_in_words

MOST_HORIZON_TICKS = 10


def draw_skill(evaluation: Evaluation) -> Figure:
    """Return the model's pooled skill against each opponent by horizon; a hollow mark is not significant."""
    figure = blank_figure(6.4, 3.4)
    axes = quiet_axes(figure, (0.09, 0.14, 0.70, 0.76))
    axes.axhline(0, color=INK, linewidth=1)
    horizons = range(1, evaluation.backtest.horizons + 1)
    by_horizon = [pooled(evaluation.comparisons, evaluation.verdict.model, horizon) for horizon in horizons]
    for name in evaluation.backtest.opponents:
        skill = 100 * np.array([rows["skill"][name] for rows in by_horizon], dtype=np.float64)
        significant: Booleans = np.array([rows["p_adjusted"][name] for rows in by_horizon]) <= SIGNIFICANT
        _draw_line(axes, name, skill, significant)
    axes.set_xticks(_horizon_ticks(len(horizons)))
    axes.set_xlabel("horizon, sessions", fontsize=8)
    axes.set_ylabel("skill, %", fontsize=8)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8, frameon=False, title="against", title_fontsize=8
    )
    write_title(
        axes, f"Above zero {model_in_words(evaluation.verdict.model)} is better; a filled mark has p ≤ {SIGNIFICANT}"
    )
    return figure


def _horizon_ticks(count: int) -> list[int]:
    return list(range(1, count + 1, -(-count // MOST_HORIZON_TICKS)))


def _draw_line(axes: Axes, baseline: str, skill: Floats, significant: Booleans) -> None:
    horizons, colour, marker = np.arange(1, len(skill) + 1), colour_of(baseline), marker_of(baseline)
    axes.plot(horizons, skill, color=colour, marker=marker, markerfacecolor="white", label=baseline)
    axes.plot(horizons[significant], skill[significant], color=colour, marker=marker, linestyle="")
