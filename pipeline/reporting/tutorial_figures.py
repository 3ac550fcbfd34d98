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
from pipeline.tutorials.measures import direction_classes, direction_probabilities, flat_threshold
from pipeline.tutorials.run import TutorialFit, TutorialResult, medians, outcomes, unscaled

MOST_POINTS = 1500
BINS = np.linspace(0.0, 1.0, 11)
NOT_JUDGED = colour_of("ewma")
TOP, LEFT, RIGHT = (0.075, 0.545, 0.90, 0.29), (0.075, 0.09, 0.40, 0.30), (0.575, 0.09, 0.40, 0.30)


def draw_tutorials(verdicts: tuple[TutorialResult, ...]) -> dict[str, bytes]:
    """Return the figure of every tutorial as PNG, by file name."""
    return {figure_name(verdict.tutorial.name): png_bytes(draw_tutorial(verdict)) for verdict in verdicts}


def figure_name(tutorial: str) -> str:
    """Return the file name of a tutorial's figure."""
    return f"{tutorial.replace(' ', '-')}.png"


def draw_tutorial(verdict: TutorialResult) -> Figure:
    """Return the figure of a tutorial: of the seed whose result lies in the middle, and the loss of all seeds."""
    figure = blank_figure(8.4, 6.2)
    fit, tutorial = verdict.median_fit, verdict.tutorial
    figure.suptitle(shorten(f"{tutorial.name}: {tutorial.description}", 105), fontsize=10.5, x=0.03, y=0.98, ha="left")
    figure.text(0.03, 0.925, _result(verdict), fontsize=8.5, color=INK)
    upper, right = quiet_axes(figure, TOP), quiet_axes(figure, RIGHT)
    if tutorial.measure == "excess nll":
        _draw_chances(upper, fit, tutorial.figure_steps)
        _draw_reliability(right, fit)
    elif fit.backtest.horizons > 1 and fit.data.last_close is None:
        _draw_sequences(upper, fit)
        _draw_scatter(right, fit)
    else:
        _draw_series(upper, fit, tutorial.figure_steps)
        _draw_scatter(right, fit)
    _draw_losses(quiet_axes(figure, LEFT), verdict)
    return figure


def _result(verdict: TutorialResult) -> str:
    floor = verdict.median_fit.data.floor
    seeds = f", median of {len(verdict.fits)} seeds" if len(verdict.fits) > 1 else ""
    least = "" if np.isnan(floor) else f", the least to be expected is {floor:.4g}"
    word = "passed" if verdict.passed else "MISSED"
    measure = verdict.tutorial.measure
    return f"{measure} {verdict.found:.4g}{seeds}; the mark is {verdict.tutorial.mark:g}{least}: {word}"


# --- Series ---


def _draw_series(axes: Axes, fit: TutorialFit, around: int) -> None:
    """Draw one series step by step at the first horizon: what came, and what was forecast for that step."""
    truth, said = outcomes(fit)[..., 0], medians(fit)[..., 0]  # [ticker, origin]
    start, at = fit.data.fold.test.start, _axis(fit)
    part = slice(max(start - around, 0), start + around)
    for number, ticker in enumerate(dict.fromkeys((*fit.data.trained_tickers[:1], *fit.data.scored_tickers[:1]))):
        row = fit.data.frames.tickers.index(ticker)
        labels = ("what came", "forecast one step before") if number == 0 else (None, None)
        axes.plot(at[part], truth[row, part], color=GREY, linewidth=1.0, label=labels[0])
        axes.plot(at[part], said[row, part], color=NETWORK_COLOUR, linewidth=1.3, label=labels[1])
    _mark_start(axes, at[start])
    if fit.data.last_close is None:
        axes.set_xlabel("step", fontsize=8)
    write_title(axes, "What came, and what was forecast; the dotted line is the forecast start", LEGEND_PAD)
    write_legend_below_title(axes)


def _axis(fit: TutorialFit) -> Floats:
    """Return where each origin's next step stands: at a date where there is one, else at its number."""
    frames = fit.data.frames
    if fit.data.last_close is None:
        return np.arange(1, len(frames.sessions) + 1, dtype=np.float64)
    dates: Floats = np.append(frames.sessions[1:], frames.sessions[-1] + np.timedelta64(1, "D"))
    return dates


def _mark_start(axes: Axes, at: float) -> None:
    axes.axvline(at, color=INK, linewidth=0.9, linestyle=":")


# --- Sequences ---


def _draw_sequences(axes: Axes, fit: TutorialFit) -> None:
    """Draw what is read and what is answered, sequence beside sequence, each from a start of its own."""
    frames, said, came = fit.data.frames, medians(fit), outcomes(fit)
    horizons = fit.backtest.horizons
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
        judged = ticker in fit.data.scored_tickers
        axes.text(begin, 16.2, f"{ticker}, {'learned' if judged else 'never shown'}", fontsize=7.5, color=INK)
        axes.vlines(begin + horizons - 0.5, 0, 15.5, color=INK, linewidth=0.9, linestyle=":")
    axes.set_ylim(0, 17.5)
    axes.set_xticks([])
    write_title(axes, "Numbers read, and numbers answered; a dotted line is the forecast start", LEGEND_PAD)
    write_legend_below_title(axes)


# --- Directions ---


def _draw_chances(axes: Axes, fit: TutorialFit, around: int) -> None:
    """Draw the chance of up in the first series, and above and below it the steps that went up or down."""
    data, start = fit.data, fit.data.fold.test.start
    part = slice(start - around, start + around)
    at = _axis(fit)[part]
    own = direction_probabilities(fit.network, data, slice(0, len(data.frames.sessions)))[0, part, 2]
    which = _classes_that_came(fit)[0, part]
    if data.optimal is not None:
        axes.plot(at, data.optimal[0, part, 2], color=GREY, linewidth=1.0, label="optimal forecast")
    axes.plot(at, own, color=NETWORK_COLOUR, linewidth=1.3, label="network")
    for kind, height, marker in ((2, 1.06, "^"), (0, -0.06, "v")):
        axes.plot(at[which == kind], np.full((which == kind).sum(), height), marker, color=INK, markersize=2.5)
    _mark_start(axes, _axis(fit)[start])
    axes.set_xlabel("step", fontsize=8)
    write_title(axes, "Chance of up at the next step, first series; marks above went up, marks below down", LEGEND_PAD)
    write_legend_below_title(axes)


def _classes_that_came(fit: TutorialFit) -> Floats:
    came = fit.data.frames.future_return[..., 0]
    return np.where(np.isfinite(came), direction_classes(came, flat_threshold(fit.network)), np.nan)


def _draw_reliability(axes: Axes, fit: TutorialFit) -> None:
    """Draw how often it went up and down where the network said so."""
    test = slice(fit.data.fold.test.start, fit.data.fold.test.stop)
    chances, which = direction_probabilities(fit.network, fit.data, test), _classes_that_came(fit)[:, test]
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


def _draw_losses(axes: Axes, verdict: TutorialResult) -> None:
    for number, fit in enumerate(verdict.fits):
        steps = [check.step for check in fit.network.checks]
        batch = [check.train_loss for check in fit.network.checks]
        whole = [check.valid_loss for check in fit.network.checks]
        axes.plot(steps, batch, color=FAINT, linewidth=0.9, label=None if number else "last batch")
        axes.plot(steps, whole, color=NETWORK_COLOUR, linewidth=1.2, label=None if number else _range_name(fit))
    floor = verdict.median_fit.data.floor
    if verdict.tutorial.measure == "mse" and floor > 0:
        axes.axhline(floor, color=INK, linewidth=0.8, linestyle="--", label="least to be expected")
    _scale(axes)
    axes.set_xlabel("step", fontsize=8)
    axes.legend(fontsize=7.5, frameon=False)
    unit = "negative log-likelihood" if verdict.tutorial.measure == "excess nll" else "squared error, as scaled"
    write_title(axes, f"Loss while training ({unit})")


def _scale(axes: Axes) -> None:
    """Use a logarithmic scale where losses fall by much, with plain numbers on it."""
    low, high = axes.dataLim.intervaly
    if high > 10 * low > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")


def _range_name(fit: TutorialFit) -> str:
    fold = fit.data.fold
    return "all training rows" if fold.train == fold.validation else "validation rows"


def _draw_scatter(axes: Axes, fit: TutorialFit) -> None:
    """Draw forecast against what came over the test; for levels, the change from the last close."""
    said, came, own = medians(fit), outcomes(fit), _judged(fit)
    levels = fit.data.last_close is not None
    if levels:
        last = unscaled(fit, _last_close(fit))
        said, came = said - last, came - last
    known = np.isfinite(said) & np.isfinite(came)
    known[:, : fit.data.fold.test.start] = False
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


def _judged(fit: TutorialFit) -> Booleans:
    tickers = fit.data.frames.tickers
    result: Booleans = np.isin(tickers, fit.data.scored_tickers)[:, None, None]
    return result


def _last_close(fit: TutorialFit) -> Floats:
    """Return the last close at each origin and horizon, scaled and stored as the targets are."""
    level = fit.data.last_close
    horizons = np.sqrt(np.arange(1, fit.backtest.horizons + 1))
    return np.zeros((1, 1, 1)) if level is None else level[..., None] * horizons
