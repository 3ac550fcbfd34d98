"""Figure of a line that is sold as a forecast: how right it looks over the closes, and what its changes are worth."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.arrays import Floats, Sessions
from pipeline.errors import UsageError
from pipeline.reporting.canvas import (
    GREY,
    INK,
    LEGEND_PAD,
    NETWORK_COLOUR,
    blank_figure,
    drawable,
    quiet_axes,
    write_legend_below_title,
    write_title,
)
from pipeline.wording import day, signed

SHOWN_SESSIONS = 250
DATES = 4
FORECAST_COLOUR = "#c2410c"


def draw_echo(sessions: Sessions, closes: Floats, forecast: Floats, currency: str) -> Figure:
    """Return two panels: forecast over close of the last year, and announced against realised change of all.

    Arrays [session]; the forecast of a session was made at the close before, and that of the first is not read.
    Raises UsageError where they are not as many, or fewer than three.
    """
    if not len(sessions) == len(closes) == len(forecast) >= 3:
        raise UsageError(
            f"found {len(sessions)} sessions, {len(closes)} closes and {len(forecast)} forecasts, expected one of "
            "each per session, and at least three sessions"
        )
    figure = blank_figure(8.6, 3.6)
    _draw_levels(quiet_axes(figure, (0.075, 0.13, 0.50, 0.70)), sessions, closes, forecast, currency)
    _draw_changes(quiet_axes(figure, (0.68, 0.13, 0.30, 0.70)), *announced_and_realised(closes, forecast))
    return figure


def announced_and_realised(closes: Floats, forecast: Floats) -> tuple[Floats, Floats]:
    """Return the change from the close before that was announced and the one that came, in per cent [session - 1]."""
    announced: Floats = 100 * (forecast[1:] / closes[:-1] - 1)
    realised: Floats = 100 * (closes[1:] / closes[:-1] - 1)
    return announced, realised


def _draw_levels(axes: Axes, sessions: Sessions, closes: Floats, forecast: Floats, currency: str) -> None:
    shown = slice(max(len(closes) - SHOWN_SESSIONS, 1), None)
    days = sessions[shown]
    axes.plot(closes[shown], color=INK, linewidth=1.2, label="close")
    axes.plot(forecast[shown], color=FORECAST_COLOUR, linewidth=1.6, linestyle="--", label="forecast")
    dated = np.unique(np.linspace(0, len(days) - 1, DATES).astype(int))
    axes.set_xticks(dated, [day(days[place]) for place in dated])
    axes.set_ylabel(f"{drawable(currency)} per share", fontsize=8, parse_math=False)
    write_title(axes, f"Levels: forecast and close, the last {len(days)} sessions", LEGEND_PAD)
    write_legend_below_title(axes)


def _draw_changes(axes: Axes, announced: Floats, realised: Floats) -> None:
    reach = 1.05 * max(float(np.max(np.abs(values))) for values in (announced, realised))
    axes.plot([-reach, reach], [-reach, reach], color=GREY, linewidth=0.9, linestyle=":", label="if it came true")
    axes.plot(announced, realised, color=NETWORK_COLOUR, linestyle="", marker=".", markersize=2.5, alpha=0.5,
              label="a session")  # fmt: skip
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    axes.set_xlabel("change announced, % of the close before", fontsize=8)
    axes.set_ylabel("change that came, %", fontsize=8)
    write_title(axes, f"Changes, all {len(announced):,}: {_correlation(announced, realised)}", LEGEND_PAD)
    write_legend_below_title(axes)


def _correlation(announced: Floats, realised: Floats) -> str:
    if np.ptp(announced) == 0 or np.ptp(realised) == 0:
        return "one side never moves"
    return f"correlation {signed(float(np.corrcoef(announced, realised)[0, 1]))}"
