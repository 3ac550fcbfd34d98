"""The report's section on the combination: what every forecaster contributes, over time and on the mean."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.evaluation.contribution import Contribution, share_table
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.verdict import network_sentence
from pipeline.forecasting.weights import Weights
from pipeline.reporting.calibration_tables import last_scored
from pipeline.reporting.canvas import blank_figure, colour_of, plain_axes, write_title
from pipeline.reporting.labels import COMPARISON_SYMBOLS
from pipeline.reporting.tables import Cell, Column, ReportTable, Row, report_table
from pipeline.wording import band_shares_sentence, p_value, percent, plus_minus, sessions_ahead, skill

MAX_DRAWN_SESSIONS = 1000  # more are narrower than a dot


def combination_values(evaluation: Evaluation) -> dict[str, object] | None:
    """Return what the section reads, except the figure; None where nothing was combined."""
    weights = evaluation.backtest.weights
    if weights is None:
        return None
    horizons = sorted({1, last_scored(evaluation.backtest)})
    return {
        "sentence": network_sentence(evaluation.contributions),
        "shares": [band_shares_sentence(weights.mean_share(h), h, "on the mean of the test") for h in horizons],
        "network": _network_table(evaluation.contributions) if evaluation.contributions else None,
        "members": _member_table(share_table(evaluation.backtest), horizons),
    }


def _network_table(network_adds: Sequence[Contribution]) -> ReportTable:
    """Return the combination against itself without the network, by horizon."""
    columns = (Column("Skill of the network", "1 − loss with / without it"), Column("Result"), Column("Its share"))
    rows = [Row(sessions_ahead(it.horizon), _network_cells(it)) for it in network_adds]
    caption = "The combination against the same combination without the network, all tickers pooled"
    return report_table("What the network adds", "Horizon", columns, rows, caption)


def _network_cells(it: Contribution) -> tuple[Cell, ...]:
    colour = it.conclusion.replace(" ", "-")
    return (
        Cell(skill(it.skill), (plus_minus(it.skill_error, ".2f", 100), p_value(it.p))),
        Cell(f"{COMPARISON_SYMBOLS[it.conclusion]} {it.conclusion}", colour=colour),
        Cell(percent(it.shares["network"])),
    )


def _member_table(shares: pd.DataFrame, horizons: Sequence[int]) -> ReportTable:
    """Return every member's share of the band at these horizons: mean, at the end, and where it was silent."""
    columns = [Column(label, sessions_ahead(h)) for h in horizons for label in ("Share, mean", "at the end", "silent")]
    by_key = {(row["horizon"], row["forecaster"]): row for row in shares.to_dict("records")}
    rows = [
        Row(member, tuple(cell for h in horizons for cell in _member_cells(by_key[h, member])))
        for member in shares["forecaster"].unique()
    ]
    caption = (
        "Share of each forecaster in the band; silent: the share of forecasts at which it had none, or no plausible "
        "one, so that the others were combined without it"
    )
    return report_table("Weights", "Forecaster", columns, rows, caption)


def _member_cells(row: Mapping[Hashable, float]) -> tuple[Cell, ...]:
    return tuple(Cell(percent(row[name])) for name in ("share", "last", "silent"))


def draw_weights(weights: Weights, horizons: Sequence[int]) -> Figure:
    """Return the share of every member in the band over the test origins, a panel for each horizon."""
    figure = blank_figure(7.2, 0.5 + 2.3 * len(horizons))
    height = 0.98 / len(horizons)
    for place, horizon in enumerate(horizons):
        axes = plain_axes(figure, (0.07, 0.98 - height * (place + 1) + 0.07, 0.75, height - 0.14))
        _draw_shares(axes, weights, horizon)
        write_title(axes, f"{sessions_ahead(horizon)}: share of each forecaster in the band, %")
    axes.legend(loc="lower left", bbox_to_anchor=(1.01, 0), fontsize=8, frameon=False, reverse=True)
    return figure


def _draw_shares(axes: Axes, weights: Weights, horizon: int) -> None:
    step = -(-len(weights.sessions) // MAX_DRAWN_SESSIONS)
    shares = 100 * weights.smoothed(horizon)[::step]
    bottom = np.zeros(len(shares))
    for k, member in enumerate(weights.members):
        top = bottom + shares[:, k]
        axes.fill_between(weights.sessions[::step], bottom, top, color=colour_of(member), linewidth=0, label=member)
        bottom = top
    axes.set_ylim(0, 100)
    axes.margins(x=0)
