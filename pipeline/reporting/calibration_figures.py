"""Figures of calibration: reliability of the levels, coverage by quarter, and the PIT histogram."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.arrays import Floats, Indices, Sessions
from pipeline.evaluation.calibration.measures import reliability
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.scores import BANDS
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED
from pipeline.reporting.calibration_tables import BAND, last_scored, with_and_without_correction
from pipeline.reporting.canvas import (
    FAINT,
    GREY,
    LEGEND_PAD,
    blank_figure,
    colour_of,
    marker_of,
    plain_axes,
    write_legend_below_title,
    write_title,
)
from pipeline.wording import sessions_ahead

NOMINAL = 100 * np.array(LEVELS)


COMPARED = "ewma"  # the strongest of the baselines without learned parameters


def draw_reliability(backtest: Backtest) -> Figure:
    """Return observed share against nominal level at the first and the last horizon, and their difference below."""
    horizons = sorted({1, last_scored(backtest)})
    figure = blank_figure(0.6 + 3.6 * len(horizons), 5.4)
    panel = 0.97 / len(horizons)
    lowers = []
    for column, horizon in enumerate(horizons):
        left, width = 0.06 + panel * column, panel - 0.06
        upper = plain_axes(figure, (left, 0.45, width, 0.50))
        lower = plain_axes(figure, (left, 0.15, width, 0.21))
        observed = reliability(backtest, horizon)
        _draw_levels(upper, lower, observed, with_and_without_correction(backtest))
        write_title(upper, f"{sessions_ahead(horizon)}: observed share, %")
        write_title(lower, "observed less nominal, percentage points")
        lowers.append(lower)
    _share_limits(lowers)
    figure.legend(
        *upper.get_legend_handles_labels(),
        loc="lower center",
        ncols=_columns_of_two_rows(len(observed)),
        fontsize=7.5,
        frameon=False,
    )
    return figure


def _share_limits(panels: Sequence[Axes]) -> None:
    """Give all panels the same y range, so that horizons can be compared."""
    bottoms, tops = zip(*(axes.get_ylim() for axes in panels), strict=True)
    for axes in panels:
        axes.set_ylim(min(bottoms), max(tops))


def _columns_of_two_rows(entries: int) -> int:
    return entries if entries <= 7 else -(-entries // 2)


def _draw_levels(upper: Axes, lower: Axes, observed: dict[str, Floats], published: Sequence[str]) -> None:
    upper.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=":")
    lower.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    for name in sorted(observed, key=published.__contains__):  # what is published last: on top of the others
        width = 2.0 if name in published else 1.0
        _draw_forecaster(upper, name, 100 * observed[name], width)
        _draw_forecaster(lower, name, 100 * observed[name] - NOMINAL, width)
    for axes in (upper, lower):
        axes.set_xticks(NOMINAL, [f"{level:.0f}" for level in NOMINAL])
        axes.tick_params(axis="x", labelsize=6.5)  # 90 and 95 stand close together
    lower.set_xlabel("nominal level, %", fontsize=8)


def _draw_forecaster(axes: Axes, name: str, values: Floats, width: float) -> None:
    axes.plot(NOMINAL, values, color=colour_of(name), marker=marker_of(name), markersize=4, linewidth=width, label=name)


def draw_coverage(backtest: Backtest) -> Figure:
    """Return the observed coverage of the 80 % band by quarter; vertical lines are refits."""
    figure = blank_figure(7.2, 3.2)
    axes = plain_axes(figure, (0.08, 0.13, 0.89, 0.68))
    axes.axhline(BAND, color=GREY, linewidth=0.8, linestyle=":")
    axes.vlines(_refits(backtest), 0, 1, transform=axes.get_xaxis_transform(), color=FAINT, linewidth=0.8)
    last = last_scored(backtest)
    for name in (COMPARED, *with_and_without_correction(backtest)):
        if name in backtest.quantiles:
            _draw_quarters(axes, backtest, name, 1)
    if last > 1 and CALIBRATED not in backtest.quantiles:  # four lines are too many to follow
        _draw_quarters(axes, backtest, backtest.base, last)
    write_title(axes, f"Outcomes within the {BAND} % band, % of each quarter (vertical lines: refits)", LEGEND_PAD)
    write_legend_below_title(axes)
    return figure


def _refits(backtest: Backtest) -> Sessions:
    first: Sessions = backtest.sessions[np.unique(backtest.fold_of_origin, return_index=True)[1]]
    return first


def _draw_quarters(axes: Axes, backtest: Backtest, forecaster: str, horizon: int) -> None:
    quarters, coverage = coverage_by_quarter(backtest, forecaster, horizon)
    axes.plot(
        quarters,
        100 * coverage,
        color=colour_of(forecaster),
        linestyle="-" if horizon == 1 else "--",
        linewidth=1.8 if forecaster != COMPARED and horizon == 1 else 1.0,
        marker=marker_of(forecaster),
        markersize=2.5,
        label=f"{forecaster}, {sessions_ahead(horizon)}",
    )


def coverage_by_quarter(backtest: Backtest, forecaster: str, horizon: int) -> tuple[Sessions, Floats]:
    """Return the middle of each calendar quarter with a scored origin, and the share of outcomes within the band."""
    low, high = BANDS[BAND]
    values, outcome = backtest.quantiles[forecaster][:, :, horizon - 1], backtest.realised[..., horizon - 1]
    scored = backtest.scored[..., horizon - 1]  # [ticker, origin]
    within = scored & (values[..., low] <= outcome) & (outcome <= values[..., high])
    quarter = backtest.sessions.astype("datetime64[M]").astype(np.int64) // 3  # [origin]
    known, place = np.unique(quarter[scored.any(axis=0)], return_inverse=True)
    rows = [np.bincount(place, mask.sum(axis=0)[scored.any(axis=0)]) for mask in (within, scored)]
    return _mid_quarter(known), rows[0] / rows[1]


def _mid_quarter(quarters: Indices) -> Sessions:
    """Return the middle day of quarters counted from 1970."""
    middle: Sessions = (45 + 91.3125 * quarters).astype(np.int64).astype("datetime64[D]")
    return middle


FILL = 0.28


def draw_pit(evaluation: Evaluation) -> Figure:
    """Return, at the first and the last horizon, outcomes between two levels in multiples of the expected number."""
    horizons = sorted({1, last_scored(evaluation.backtest)})
    figure = blank_figure(0.6 + 3.6 * len(horizons), 2.9)
    panel = 0.97 / len(horizons)
    for column, horizon in enumerate(horizons):
        axes = plain_axes(figure, (0.05 + panel * column, 0.17, panel - 0.06, 0.62))
        _draw_histogram(axes, evaluation, horizon)
        write_title(axes, f"{sessions_ahead(horizon)}: outcomes over expected", LEGEND_PAD)
        write_legend_below_title(axes)
    return figure


def _draw_histogram(axes: Axes, evaluation: Evaluation, horizon: int) -> None:
    for name in with_and_without_correction(evaluation.backtest):
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
    axes.set_xlabel("forecast level of the outcome, %", fontsize=8)


def pit_bars(evaluation: Evaluation, forecaster: str, horizon: int) -> "tuple[pd.Series[float], ...]":
    """Return lower and upper edge of each bin in per cent, and its outcomes over the expected number."""
    pit = evaluation.pit
    bins = pit[(pit["horizon"] == horizon) & (pit["forecaster"] == forecaster)]
    return 100 * bins["low"], 100 * bins["high"], bins["observed"] / bins["expected"]
