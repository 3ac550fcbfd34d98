"""The figure of a tutorial: truth against forecast with the forecast start marked, loss by step, and a scatter."""

from textwrap import shorten

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.arrays import Booleans, Floats
from pipeline.reporting.canvas import (
    FAINT,
    GREY,
    INK,
    LEGEND_PAD,
    NETWORK_COLOUR,
    blank_figure,
    colour_of,
    png_bytes,
    quiet_axes,
    write_legend_below_title,
    write_title,
)
from pipeline.tutorials.measures import class_probabilities, classes, flat_of
from pipeline.tutorials.teaching import Taught, Verdict, in_own_units, medians, outcomes

MOST_POINTS = 1500
BINS = np.linspace(0.0, 1.0, 11)
NOT_JUDGED = colour_of("ewma")
TOP, LEFT, RIGHT = (0.075, 0.545, 0.90, 0.29), (0.075, 0.09, 0.40, 0.30), (0.575, 0.09, 0.40, 0.30)


def draw_tutorials(verdicts: tuple[Verdict, ...]) -> dict[str, bytes]:
    """Return the figure of every tutorial as PNG, by file name."""
    return {figure_name(verdict.tutorial.name): png_bytes(draw_tutorial(verdict)) for verdict in verdicts}


def figure_name(tutorial: str) -> str:
    """Return the file name of a tutorial's figure."""
    return f"{tutorial.replace(' ', '-')}.png"


def draw_tutorial(verdict: Verdict) -> Figure:
    """Return the figure of a tutorial: of the seed whose result lies in the middle, and the loss of all seeds."""
    figure = blank_figure(8.4, 6.2)
    taught, tutorial = verdict.median_taught, verdict.tutorial
    figure.suptitle(shorten(f"{tutorial.name}: {tutorial.teaches}", 105), fontsize=10.5, x=0.03, y=0.98, ha="left")
    figure.text(0.03, 0.925, _result(verdict), fontsize=8.5, color=INK)
    upper, right = quiet_axes(figure, TOP), quiet_axes(figure, RIGHT)
    if tutorial.measure == "nll above floor":
        _draw_chances(upper, taught, tutorial.shown_steps)
        _draw_reliability(right, taught)
    elif taught.backtest.horizons > 1 and taught.lesson.last_close is None:
        _draw_sequences(upper, taught)
        _draw_scatter(right, taught)
    else:
        _draw_series(upper, taught, tutorial.shown_steps)
        _draw_scatter(right, taught)
    _draw_losses(quiet_axes(figure, LEFT), verdict)
    return figure


def _result(verdict: Verdict) -> str:
    floor = verdict.median_taught.lesson.floor
    seeds = f", median of {len(verdict.taught)} seeds" if len(verdict.taught) > 1 else ""
    least = "" if np.isnan(floor) else f", the least to be expected is {floor:.4g}"
    word = "passed" if verdict.passed else "MISSED"
    measure = verdict.tutorial.measure
    return f"{measure} {verdict.found:.4g}{seeds}; the mark is {verdict.tutorial.mark:g}{least}: {word}"


# --- Series ---


def _draw_series(axes: Axes, taught: Taught, around: int) -> None:
    """Draw one series step by step at the first horizon: what came, and what was forecast for that step."""
    truth, said = outcomes(taught)[..., 0], medians(taught)[..., 0]  # [ticker, origin]
    start, at = taught.lesson.fold.test.start, _axis(taught)
    part = slice(max(start - around, 0), start + around)
    for number, ticker in enumerate(dict.fromkeys((*taught.lesson.learned[:1], *taught.lesson.judged[:1]))):
        row = taught.lesson.frames.tickers.index(ticker)
        labels = ("what came", "forecast one step before") if number == 0 else (None, None)
        axes.plot(at[part], truth[row, part], color=GREY, linewidth=1.0, label=labels[0])
        axes.plot(at[part], said[row, part], color=NETWORK_COLOUR, linewidth=1.3, label=labels[1])
    _mark_start(axes, at[start])
    if taught.lesson.last_close is None:
        axes.set_xlabel("step", fontsize=8)
    write_title(axes, "What came, and what was forecast; the dotted line is the forecast start", LEGEND_PAD)
    write_legend_below_title(axes)


def _axis(taught: Taught) -> Floats:
    """Return where each origin's next step stands: at a date where there is one, else at its number."""
    frames = taught.lesson.frames
    if taught.lesson.last_close is None:
        return np.arange(1, len(frames.sessions) + 1, dtype=np.float64)
    dates: Floats = np.append(frames.sessions[1:], frames.sessions[-1] + np.timedelta64(1, "D"))
    return dates


def _mark_start(axes: Axes, at: float) -> None:
    axes.axvline(at, color=INK, linewidth=0.9, linestyle=":")


# --- Sequences ---


def _draw_sequences(axes: Axes, taught: Taught) -> None:
    """Draw what is read and what is answered, sequence beside sequence, each from a start of its own."""
    frames, said, came = taught.lesson.frames, medians(taught), outcomes(taught)
    horizons = taught.backtest.horizons
    for place, ticker in enumerate(frames.tickers):
        row = frames.tickers.index(ticker)
        origin = int(np.flatnonzero(frames.usable[row])[-1])
        begin = place * (2 * horizons + 2)
        read, ahead = begin + np.arange(horizons), begin + horizons + np.arange(horizons)
        known = frames.features[row, origin + 1 - horizons : origin + 1, 0]
        first = place == 0
        axes.plot(read, known, ".", color=GREY, label="read" if first else None)
        axes.plot(ahead, came[row, origin], "o", color=INK, markerfacecolor="white", markersize=5,
                  label="right answer" if first else None)  # fmt: skip
        axes.plot(ahead, said[row, origin], "-x", color=NETWORK_COLOUR, label="answer" if first else None)
        judged = ticker in taught.lesson.judged
        axes.text(begin, 16.2, f"{ticker}, {'learned' if judged else 'never shown'}", fontsize=7.5, color=INK)
        axes.vlines(begin + horizons - 0.5, 0, 15.5, color=INK, linewidth=0.9, linestyle=":")
    axes.set_ylim(0, 17.5)
    axes.set_xticks([])
    write_title(axes, "Numbers read, and numbers answered; a dotted line is the forecast start", LEGEND_PAD)
    write_legend_below_title(axes)


# --- Directions ---


def _draw_chances(axes: Axes, taught: Taught, around: int) -> None:
    """Draw the chance of up in the first series, and above and below it the steps that went up or down."""
    lesson, start = taught.lesson, taught.lesson.fold.test.start
    part = slice(start - around, start + around)
    at = _axis(taught)[part]
    own = class_probabilities(taught.network, lesson, slice(0, len(lesson.frames.sessions)))[0, part, 2]
    which = _classes_that_came(taught)[0, part]
    if lesson.ideal is not None:
        axes.plot(at, lesson.ideal[0, part, 2], color=GREY, linewidth=1.0, label="who knows the process")
    axes.plot(at, own, color=NETWORK_COLOUR, linewidth=1.3, label="network")
    for kind, height, marker in ((2, 1.06, "^"), (0, -0.06, "v")):
        axes.plot(at[which == kind], np.full((which == kind).sum(), height), marker, color=INK, markersize=2.5)
    _mark_start(axes, _axis(taught)[start])
    axes.set_xlabel("step", fontsize=8)
    write_title(axes, "Chance of up at the next step, first series; marks above went up, marks below down", LEGEND_PAD)
    write_legend_below_title(axes)


def _classes_that_came(taught: Taught) -> Floats:
    came = taught.lesson.frames.future_return[..., 0]
    return np.where(np.isfinite(came), classes(came, flat_of(taught.network)), np.nan)


def _draw_reliability(axes: Axes, taught: Taught) -> None:
    """Draw how often it went up and down where the network said so."""
    test = slice(taught.lesson.fold.test.start, taught.lesson.fold.test.stop)
    chances, which = class_probabilities(taught.network, taught.lesson, test), _classes_that_came(taught)[:, test]
    known = np.isfinite(which)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    for name, kind, marker, colour in (("up", 2, "^", NETWORK_COLOUR), ("down", 0, "v", NOT_JUDGED)):
        said, came = chances[..., kind][known], which[known] == kind
        bins = np.digitize(said, BINS)
        filled = [one for one in np.unique(bins) if (bins == one).sum() >= 20]  # fewer say nothing
        middle = [said[bins == one].mean() for one in filled]
        axes.plot(middle, [came[bins == one].mean() for one in filled], "-" + marker, color=colour, label=name)
    axes.set_xlabel("chance forecast", fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    write_title(axes, "Share that came, by the chance forecast")


# --- Loss and scatter ---


def _draw_losses(axes: Axes, verdict: Verdict) -> None:
    for number, taught in enumerate(verdict.taught):
        steps = [check.step for check in taught.network.checks]
        batch = [check.train_loss for check in taught.network.checks]
        whole = [check.valid_loss for check in taught.network.checks]
        axes.plot(steps, batch, color=FAINT, linewidth=0.9, label=None if number else "last batch")
        axes.plot(steps, whole, color=NETWORK_COLOUR, linewidth=1.2, label=None if number else _range_name(taught))
    floor = verdict.median_taught.lesson.floor
    if verdict.tutorial.measure == "mse" and floor > 0:
        axes.axhline(floor, color=INK, linewidth=0.8, linestyle="--", label="least to be expected")
    _scale(axes)
    axes.set_xlabel("step", fontsize=8)
    axes.legend(fontsize=7.5, frameon=False)
    unit = "negative log-likelihood" if verdict.tutorial.measure == "nll above floor" else "squared error, as scaled"
    write_title(axes, f"Loss while training ({unit})")


def _scale(axes: Axes) -> None:
    """Use a logarithmic scale where losses fall by much, with plain numbers on it."""
    low, high = axes.dataLim.intervaly
    if high > 10 * low > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")


def _range_name(taught: Taught) -> str:
    fold = taught.lesson.fold
    return "all training rows" if fold.train == fold.validation else "validation rows"


def _draw_scatter(axes: Axes, taught: Taught) -> None:
    """Draw forecast against what came over the test; for levels, the change from the last close."""
    said, came, own = medians(taught), outcomes(taught), _judged(taught)
    levels = taught.lesson.last_close is not None
    if levels:
        last = in_own_units(taught, _last_close(taught))
        said, came = said - last, came - last
    known = np.isfinite(said) & np.isfinite(came)
    known[:, : taught.lesson.fold.test.start] = False
    values = came[known]
    axes.plot([values.min(), values.max()], [values.min(), values.max()], color=GREY, linewidth=0.8, linestyle=":")
    for rows, colour, face, label in (
        (known & ~own, NOT_JUDGED, "none", "never shown"),
        (known & own, NETWORK_COLOUR, NETWORK_COLOUR, "judged"),
    ):
        some = np.flatnonzero(rows.ravel())[:: rows.sum() // MOST_POINTS + 1]
        if len(some):
            axes.plot(came.ravel()[some], said.ravel()[some], "o", color=colour, markerfacecolor=face, markersize=3,
                      linestyle="", label=label)  # fmt: skip
    if (known & ~own).any():
        axes.legend(fontsize=7.5, frameon=False)
    axes.set_xlabel("actual", fontsize=8)
    axes.set_ylabel("forecast", fontsize=8)
    of = "Change from the last close" if levels else "Actual and predicted"
    write_title(axes, f"{of} (dotted: perfect)")


def _judged(taught: Taught) -> Booleans:
    tickers = taught.lesson.frames.tickers
    result: Booleans = np.isin(tickers, taught.lesson.judged)[:, None, None]
    return result


def _last_close(taught: Taught) -> Floats:
    """Return the last close at each origin and horizon, scaled and stored as the targets are."""
    level = taught.lesson.last_close
    horizons = np.sqrt(np.arange(1, taught.backtest.horizons + 1))
    return np.zeros((1, 1, 1)) if level is None else level[..., None] * horizons
