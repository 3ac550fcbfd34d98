"""Figure of the probability integral transform: where outcomes fell between the levels."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.evaluation.evaluation import Evaluation
from pipeline.forecasters.forecaster import LEVELS
from pipeline.reporting.calibration_rows import corrected_or_not, last_scored
from pipeline.reporting.canvas import FAINT, GREY, LEGEND_PAD, blank_figure, colour_of, quiet_axes, write_title
from pipeline.reporting.canvas import write_legend_below_title as write_legend
from pipeline.wording import ahead

FILL = 0.28


def draw_pit(evaluation: Evaluation) -> Figure:
    """Return, at the first and the last horizon, outcomes between two levels in multiples of what is expected."""
    horizons = sorted({1, last_scored(evaluation.backtest)})
    figure = blank_figure(0.6 + 3.6 * len(horizons), 2.9)
    panel = 0.97 / len(horizons)
    for column, horizon in enumerate(horizons):
        axes = quiet_axes(figure, (0.05 + panel * column, 0.17, panel - 0.06, 0.62))
        _draw_histogram(axes, evaluation, horizon)
        write_title(axes, f"{ahead(horizon)}: outcomes over those expected", LEGEND_PAD)
        write_legend(axes)
    return figure


def _draw_histogram(axes: Axes, evaluation: Evaluation, horizon: int) -> None:
    for name in corrected_or_not(evaluation.backtest):
        low, high, ratio = pit_bars(evaluation, name, horizon)
        model = name == evaluation.verdict.model
        colour = colour_of(name)
        if model:
            axes.bar(low, ratio, high - low, align="edge", color=colour, alpha=FILL, linewidth=0)
        axes.stairs(
            ratio, [*low, high.iloc[-1]], color=colour, linewidth=2.0 if model else 1.2, baseline=None, label=name
        )
    axes.axhline(1, color=GREY, linewidth=0.9, linestyle=":")
    axes.set_ylim(0, max(1.5, axes.dataLim.y1 * 1.08))
    axes.set_xlim(0, 100)
    axes.set_xticks([100 * level for level in LEVELS], [f"{100 * level:.0f}" for level in LEVELS])
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_xlabel("level of the forecast that the outcome fell on, %", fontsize=8)


def pit_bars(evaluation: Evaluation, forecaster: str, horizon: int) -> "tuple[pd.Series[float], ...]":
    """Return lower and upper edge of each bin in per cent, and its outcomes over those expected."""
    pit = evaluation.pit
    own = pit[(pit["horizon"] == horizon) & (pit["forecaster"] == forecaster)]
    return 100 * own["low"], 100 * own["high"], own["observed"] / own["expected"]
