"""Figure of the popular "accuracy": how well it speaks of lines that know nothing."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.evaluation.popular_accuracy import PopularAccuracy, PriceLine
from pipeline.reporting.canvas import (
    GREY,
    INK,
    LEGEND_PAD,
    NETWORK_COLOUR,
    blank_figure,
    colour_of,
    drawable,
    quiet_axes,
    write_legend_below_title,
    write_title,
)
from pipeline.wording import day

BEFORE = 30
COLOURS = {"last value": colour_of("last_close"), "straight drift line": colour_of("drift"), "network": NETWORK_COLOUR}


def draw_popular_accuracy(found: PopularAccuracy, currency: str = "USD") -> Figure:
    """Return a panel per line: the closes, what the line said of the last of them, and the accuracy it is given.

    `currency` is that of the prices; the bundled sample's are in US dollars.
    """
    count = len(found.lines)
    figure = blank_figure(0.5 + 3.0 * count, 3.5)
    figure.text(0.02, 0.94, "“Accuracy” = 100 (1 − root mean squared relative error)", fontsize=10.5, color=INK)
    figure.text(0.02, 0.885, _of_what(found), fontsize=8, color=GREY, parse_math=False)
    panel = 0.97 / count
    for column, line in enumerate(found.lines):
        axes = quiet_axes(figure, (0.06 + panel * column, 0.14, panel - 0.05, 0.54))
        _draw_line(axes, found, line)
        axes.set_ylim(_limits(found))
        write_title(axes, f"{line.name}: {line.accuracy:.2f} %", LEGEND_PAD)
        write_legend_below_title(axes)
    figure.axes[0].set_ylabel(f"{drawable(currency)} per share", fontsize=8, parse_math=False)
    return figure


def _of_what(found: PopularAccuracy) -> str:
    return (
        f"{drawable(found.ticker)}, the {len(found.sessions)} sessions from {day(found.sessions[0])} to "
        f"{day(found.sessions[-1])}; each line was drawn at the last close before them, from one year: "
        "none of them saw what came"
    )


def _draw_line(axes: Axes, found: PopularAccuracy, line: PriceLine) -> None:
    before = found.fitted_closes[-BEFORE:]
    ahead = range(1, len(found.closes) + 1)
    axes.plot([*range(1 - len(before), 1), *ahead], [*before, *found.closes], color=INK, linewidth=1.1, label="close")
    axes.plot([0, *ahead], [found.fitted_closes[-1], *line.prices], color=COLOURS.get(line.name, GREY),
              linewidth=1.8, linestyle="--", label="forecast")  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=":")
    axes.set_xlabel("sessions after the fit", fontsize=8)


def _limits(found: PopularAccuracy) -> tuple[float, float]:
    """Return one range of prices for all panels, so that they can be compared."""
    shown = [*found.fitted_closes[-BEFORE:], *found.closes, *(price for line in found.lines for price in line.prices)]
    room = 0.05 * (max(shown) - min(shown))
    return min(shown) - room, max(shown) + room
