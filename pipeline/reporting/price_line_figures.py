"""Figures of price lines sold as forecasts: levels over closes, changes, and the popular "accuracy"."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.arrays import Floats, Sessions
from pipeline.errors import UsageError
from pipeline.evaluation.popular_accuracy import PopularAccuracy, PriceLine
from pipeline.reporting.canvas import (
    GREY,
    INK,
    LEGEND_PAD,
    NETWORK_COLOUR,
    blank_figure,
    colour_of,
    drawable,
    plain_axes,
    write_legend_below_title,
    write_title,
)
from pipeline.wording import day, signed

LINE_SESSIONS = 250


DATES = 4


FORECAST_COLOUR = "#c2410c"
SESSIONS_BEFORE = 30
LINE_COLOURS = {
    "last value": colour_of("last_close"),
    "straight drift line": colour_of("drift"),
    "network": NETWORK_COLOUR,
}


# --- One line: levels and changes ---


def draw_echo(sessions: Sessions, closes: Floats, forecast: Floats, currency: str) -> Figure:
    """Return two panels: forecast over close in the last year, and realised against forecast change of all sessions.

    Arrays [session]; the forecast of a session was made at the close before; that of the first session is not used.
    Raises UsageError where their lengths differ, or are below three.
    """
    if not len(sessions) == len(closes) == len(forecast) >= 3:
        raise UsageError(
            f"found {len(sessions)} sessions, {len(closes)} closes and {len(forecast)} forecasts, expected one of "
            "each per session, and at least three sessions"
        )
    figure = blank_figure(8.6, 3.6)
    _draw_levels(plain_axes(figure, (0.075, 0.13, 0.50, 0.70)), sessions, closes, forecast, currency)
    _draw_changes(plain_axes(figure, (0.68, 0.13, 0.30, 0.70)), *forecast_and_realised_changes(closes, forecast))
    return figure


def forecast_and_realised_changes(closes: Floats, forecast: Floats) -> tuple[Floats, Floats]:
    """Return the forecast and the realised change from the previous close, in per cent [session - 1]."""
    forecast_change: Floats = 100 * (forecast[1:] / closes[:-1] - 1)
    realised_change: Floats = 100 * (closes[1:] / closes[:-1] - 1)
    return forecast_change, realised_change


def _draw_levels(axes: Axes, sessions: Sessions, closes: Floats, forecast: Floats, currency: str) -> None:
    shown = slice(max(len(closes) - LINE_SESSIONS, 1), None)
    days = sessions[shown]
    axes.plot(closes[shown], color=INK, linewidth=1.2, label="close")
    axes.plot(forecast[shown], color=FORECAST_COLOUR, linewidth=1.6, linestyle="--", label="forecast")
    dated = np.unique(np.linspace(0, len(days) - 1, DATES).astype(int))
    axes.set_xticks(dated, [day(days[place]) for place in dated])
    axes.set_ylabel(f"{drawable(currency)} per share", fontsize=8, parse_math=False)
    write_title(axes, f"Levels: forecast and close, the last {len(days)} sessions", LEGEND_PAD)
    write_legend_below_title(axes)


def _draw_changes(axes: Axes, forecast: Floats, realised: Floats) -> None:
    reach = 1.05 * max(float(np.max(np.abs(values))) for values in (forecast, realised))
    axes.plot([-reach, reach], [-reach, reach], color=GREY, linewidth=0.9, linestyle=":", label="perfect forecast")
    axes.plot(forecast, realised, color=NETWORK_COLOUR, linestyle="", marker=".", markersize=2.5, alpha=0.5,
              label="one session")  # fmt: skip
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    axes.set_xlabel("forecast change, % of the previous close", fontsize=8)
    axes.set_ylabel("realised change, %", fontsize=8)
    write_title(axes, f"Changes, all {len(forecast):,}: {_correlation(forecast, realised)}", LEGEND_PAD)
    write_legend_below_title(axes)


def _correlation(forecast: Floats, realised: Floats) -> str:
    if np.ptp(forecast) == 0 or np.ptp(realised) == 0:
        return "one side is constant"
    return f"correlation {signed(float(np.corrcoef(forecast, realised)[0, 1]))}"


# --- Several lines: the popular accuracy ---


def draw_popular_accuracy(accuracies: PopularAccuracy, currency: str = "USD") -> Figure:
    """Return a panel per line: the closes, the line over the last of them, and its popular "accuracy".

    `currency` is that of the prices; the bundled sample's are in US dollars.
    """
    count = len(accuracies.lines)
    figure = blank_figure(0.5 + 3.0 * count, 3.5)
    figure.text(0.02, 0.94, "“Accuracy” = 100 (1 − root mean squared relative error)", fontsize=10.5, color=INK)
    figure.text(0.02, 0.885, _subtitle(accuracies), fontsize=8, color=GREY, parse_math=False)
    panel = 0.97 / count
    for column, line in enumerate(accuracies.lines):
        axes = plain_axes(figure, (0.06 + panel * column, 0.14, panel - 0.05, 0.54))
        _draw_line(axes, accuracies, line)
        axes.set_ylim(_price_range(accuracies))
        write_title(axes, f"{line.name}: {line.accuracy:.2f} %", LEGEND_PAD)
        write_legend_below_title(axes)
    figure.axes[0].set_ylabel(f"{drawable(currency)} per share", fontsize=8, parse_math=False)
    return figure


def _subtitle(accuracies: PopularAccuracy) -> str:
    return (
        f"{drawable(accuracies.ticker)}, the {len(accuracies.sessions)} sessions from {day(accuracies.sessions[0])} "
        f"to {day(accuracies.sessions[-1])}; each line was fitted to the year before and starts at the last close "
        "before them"
    )


def _draw_line(axes: Axes, accuracies: PopularAccuracy, line: PriceLine) -> None:
    before = accuracies.fitted_closes[-SESSIONS_BEFORE:]
    ahead = range(1, len(accuracies.closes) + 1)
    axes.plot(
        [*range(1 - len(before), 1), *ahead], [*before, *accuracies.closes], color=INK, linewidth=1.1, label="close"
    )
    axes.plot([0, *ahead], [accuracies.fitted_closes[-1], *line.prices], color=LINE_COLOURS.get(line.name, GREY),
              linewidth=1.8, linestyle="--", label="forecast")  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=":")
    axes.set_xlabel("sessions after the fit", fontsize=8)


def _price_range(accuracies: PopularAccuracy) -> tuple[float, float]:
    """Return one price range for all panels, so that they can be compared."""
    shown = [
        *accuracies.fitted_closes[-SESSIONS_BEFORE:],
        *accuracies.closes,
        *(price for line in accuracies.lines for price in line.prices),
    ]
    margin = 0.05 * (max(shown) - min(shown))
    return min(shown) - margin, max(shown) + margin
