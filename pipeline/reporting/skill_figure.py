"""Figure of the skill by horizon against each baseline."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.dataset.panel import Booleans, Floats
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.verdict import SIGNIFICANT
from pipeline.operation.outcome import Evaluation
from pipeline.reporting.canvas import INK, blank_figure, colour_of, marker_of, quiet_axes, write_title

MOST_HORIZON_TICKS = 10


def draw_skill(evaluation: Evaluation) -> Figure:
    """Return the pooled skill against each baseline by horizon; a hollow mark is not significant."""
    figure = blank_figure(6.4, 3.4)
    axes = quiet_axes(figure, (0.09, 0.14, 0.70, 0.76))
    axes.axhline(0, color=INK, linewidth=1)
    pooled = evaluation.skill.xs(POOLED, level="ticker")
    for baseline in evaluation.backtest.baselines:
        _draw_line(axes, baseline, 100 * pooled[baseline].to_numpy(), _significant(evaluation, baseline))
    axes.set_xticks(_horizon_ticks(len(pooled)))
    axes.set_xlabel("horizon, sessions", fontsize=8)
    axes.set_ylabel("skill, %", fontsize=8)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8, frameon=False, title="against", title_fontsize=8
    )
    write_title(axes, f"Above zero the network is better; a filled mark has p ≤ {SIGNIFICANT}")
    return figure


def _horizon_ticks(count: int) -> list[int]:
    return list(range(1, count + 1, -(-count // MOST_HORIZON_TICKS)))


def _draw_line(axes: Axes, baseline: str, skill: Floats, significant: Booleans) -> None:
    horizons, colour, marker = np.arange(1, len(skill) + 1), colour_of(baseline), marker_of(baseline)
    axes.plot(horizons, skill, color=colour, marker=marker, markerfacecolor="white", label=baseline)
    axes.plot(horizons[significant], skill[significant], color=colour, marker=marker, linestyle="")


def _significant(evaluation: Evaluation, baseline: str) -> Booleans:
    own = evaluation.significance[evaluation.significance["baseline"] == baseline].sort_values("horizon")
    significant: Booleans = own["dm_p"].to_numpy() <= SIGNIFICANT
    return significant
