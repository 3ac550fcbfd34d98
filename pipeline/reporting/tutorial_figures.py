"""The figure of a tutorial: actual and forecast values around the forecast start, loss by step, and a scatter."""

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
    plain_axes,
    png_bytes,
    write_legend_below_title,
    write_title,
)
from pipeline.tutorials.measures import direction_classes, direction_probabilities, flat_threshold
from pipeline.tutorials.run import TutorialFit, TutorialResult, medians, outcomes, unscaled

MAX_POINTS = 1500
BINS = np.linspace(0.0, 1.0, 11)
NOT_SCORED = colour_of("ewma")
TOP, LEFT, RIGHT = (0.075, 0.545, 0.90, 0.29), (0.075, 0.09, 0.40, 0.30), (0.575, 0.09, 0.40, 0.30)


def draw_tutorials(results: tuple[TutorialResult, ...]) -> dict[str, bytes]:
    """Return the figure of every tutorial as PNG, by file name."""
    return {figure_name(result.tutorial.name): png_bytes(draw_tutorial(result)) for result in results}


def figure_name(tutorial: str) -> str:
    """Return the file name of a tutorial's figure."""
    return f"{tutorial.replace(' ', '-')}.png"


def draw_tutorial(result: TutorialResult) -> Figure:
    """Return the figure of a tutorial: values of the seed with the median result, losses of all seeds."""
    figure = blank_figure(8.4, 6.2)
    fit, tutorial = result.median_fit, result.tutorial
    figure.suptitle(shorten(f"{tutorial.name}: {tutorial.description}", 105), fontsize=10.5, x=0.03, y=0.98, ha="left")
    figure.text(0.03, 0.925, _result_line(result), fontsize=8.5, color=INK)
    upper, right = plain_axes(figure, TOP), plain_axes(figure, RIGHT)
    if tutorial.measure == "excess nll":
        _draw_probabilities(upper, fit, tutorial.figure_steps)
        _draw_reliability(right, fit)
    elif fit.backtest.horizons > 1 and fit.data.last_close is None:
        _draw_sequences(upper, fit)
        _draw_scatter(right, fit)
    else:
        _draw_series(upper, fit, tutorial.figure_steps)
        _draw_scatter(right, fit)
    _draw_losses(plain_axes(figure, LEFT), result)
    return figure


def _result_line(result: TutorialResult) -> str:
    floor = result.median_fit.data.floor
    seeds = f", median of {len(result.fits)} seeds" if len(result.fits) > 1 else ""
    best_possible = "" if np.isnan(floor) else f", the best possible is {floor:.4g}"
    word = "passed" if result.passed else "MISSED"
    measure = result.tutorial.measure
    return f"{measure} {result.found:.4g}{seeds}; the mark is {result.tutorial.mark:g}{best_possible}: {word}"


# --- Series ---


def _draw_series(axes: Axes, fit: TutorialFit, around: int) -> None:
    """Draw one series step by step at the first horizon: actual values, and the forecast for each step."""
    actual, forecast = outcomes(fit)[..., 0], medians(fit)[..., 0]  # [ticker, origin]
    start, at = fit.data.fold.test.start, _axis(fit)
    part = slice(max(start - around, 0), start + around)
    for number, ticker in enumerate(dict.fromkeys((*fit.data.trained_tickers[:1], *fit.data.scored_tickers[:1]))):
        row = fit.data.frames.tickers.index(ticker)
        labels = ("actual", "forecast one step before") if number == 0 else (None, None)
        axes.plot(at[part], actual[row, part], color=GREY, linewidth=1.0, label=labels[0])
        axes.plot(at[part], forecast[row, part], color=NETWORK_COLOUR, linewidth=1.3, label=labels[1])
    _mark_start(axes, at[start])
    if fit.data.last_close is None:
        axes.set_xlabel("step", fontsize=8)
    write_title(axes, "Actual and forecast; the dotted line is the forecast start", LEGEND_PAD)
    write_legend_below_title(axes)


def _axis(fit: TutorialFit) -> Floats:
    """Return the position of each origin's next step: its date where there is one, else its number."""
    frames = fit.data.frames
    if fit.data.last_close is None:
        return np.arange(1, len(frames.sessions) + 1, dtype=np.float64)
    dates: Floats = np.append(frames.sessions[1:], frames.sessions[-1] + np.timedelta64(1, "D"))
    return dates


def _mark_start(axes: Axes, at: float) -> None:
    axes.axvline(at, color=INK, linewidth=0.9, linestyle=":")


# --- Sequences ---


def _draw_sequences(axes: Axes, fit: TutorialFit) -> None:
    """Draw the input and the output of each sequence, side by side, each from its own start."""
    frames, forecast, actual = fit.data.frames, medians(fit), outcomes(fit)
    horizons = fit.backtest.horizons
    for place, ticker in enumerate(frames.tickers):
        row = frames.tickers.index(ticker)
        origin = int(np.flatnonzero(frames.usable[row])[-1])
        begin = place * (2 * horizons + 2)
        read, future = begin + np.arange(horizons), begin + horizons + np.arange(horizons)
        known = frames.features[row, origin + 1 - horizons : origin + 1, 0]
        first = place == 0
        axes.plot(read, known, ".", color=GREY, label="input" if first else None)
        axes.plot(future, actual[row, origin], "o", color=INK, markerfacecolor="white", markersize=5,
                  label="target" if first else None)  # fmt: skip
        axes.plot(future, forecast[row, origin], "-x", color=NETWORK_COLOUR, label="output" if first else None)
        scored = ticker in fit.data.scored_tickers
        axes.text(begin, 16.2, f"{ticker}, {'trained on' if scored else 'not trained on'}", fontsize=7.5, color=INK)
        axes.vlines(begin + horizons - 0.5, 0, 15.5, color=INK, linewidth=0.9, linestyle=":")
    axes.set_ylim(0, 17.5)
    axes.set_xticks([])
    write_title(axes, "Input and output; a dotted line is the forecast start", LEGEND_PAD)
    write_legend_below_title(axes)


# --- Directions ---


def _draw_probabilities(axes: Axes, fit: TutorialFit, around: int) -> None:
    """Draw the probability of up in the first series, and above and below it the steps that went up or down."""
    data, start = fit.data, fit.data.fold.test.start
    part = slice(start - around, start + around)
    at = _axis(fit)[part]
    forecast = direction_probabilities(fit.network, data, slice(0, len(data.frames.sessions)))[0, part, 2]
    realised = _realised_classes(fit)[0, part]
    if data.optimal is not None:
        axes.plot(at, data.optimal[0, part, 2], color=GREY, linewidth=1.0, label="true process")
    axes.plot(at, forecast, color=NETWORK_COLOUR, linewidth=1.3, label="network")
    for kind, height, marker in ((2, 1.06, "^"), (0, -0.06, "v")):
        axes.plot(at[realised == kind], np.full((realised == kind).sum(), height), marker, color=INK, markersize=2.5)
    _mark_start(axes, _axis(fit)[start])
    axes.set_xlabel("step", fontsize=8)
    write_title(
        axes, "Probability of up at the next step, first series; marks above went up, marks below down", LEGEND_PAD
    )
    write_legend_below_title(axes)


def _realised_classes(fit: TutorialFit) -> Floats:
    returns = fit.data.frames.future_return[..., 0]
    return np.where(np.isfinite(returns), direction_classes(returns, flat_threshold(fit.network)), np.nan)


def _draw_reliability(axes: Axes, fit: TutorialFit) -> None:
    """Draw the realised share of up and down by the probability forecast."""
    test = slice(fit.data.fold.test.start, fit.data.fold.test.stop)
    probabilities = direction_probabilities(fit.network, fit.data, test)
    realised = _realised_classes(fit)[:, test]
    known = np.isfinite(realised)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    for name, kind, marker, colour in (("up", 2, "^", NETWORK_COLOUR), ("down", 0, "v", NOT_SCORED)):
        forecast, occurred = probabilities[..., kind][known], realised[known] == kind
        bins = np.digitize(forecast, BINS)
        filled = [place for place in np.unique(bins) if (bins == place).sum() >= 20]  # fewer are too few
        middle = [forecast[bins == place].mean() for place in filled]
        axes.plot(middle, [occurred[bins == place].mean() for place in filled], "-" + marker, color=colour, label=name)
    axes.set_xlabel("probability forecast", fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    write_title(axes, "Realised share, by the probability forecast")


# --- Loss and scatter ---


def _draw_losses(axes: Axes, result: TutorialResult) -> None:
    for number, fit in enumerate(result.fits):
        steps = [check.step for check in fit.network.checks]
        batch = [check.train_loss for check in fit.network.checks]
        whole = [check.valid_loss for check in fit.network.checks]
        axes.plot(steps, batch, color=FAINT, linewidth=0.9, label=None if number else "last batch")
        axes.plot(steps, whole, color=NETWORK_COLOUR, linewidth=1.2, label=None if number else _range_name(fit))
    floor = result.median_fit.data.floor
    if result.tutorial.measure == "mse" and floor > 0:
        axes.axhline(floor, color=INK, linewidth=0.8, linestyle="--", label="best possible")
    _scale(axes)
    axes.set_xlabel("step", fontsize=8)
    axes.legend(fontsize=7.5, frameon=False)
    unit = "negative log-likelihood" if result.tutorial.measure == "excess nll" else "squared error, as scaled"
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
    """Draw forecast against actual values over the test; for levels, the change from the last close."""
    forecast, actual, scored = medians(fit), outcomes(fit), _scored(fit)
    levels = fit.data.last_close is not None
    if levels:
        last = unscaled(fit, _last_close(fit))
        forecast, actual = forecast - last, actual - last
    known = np.isfinite(forecast) & np.isfinite(actual)
    known[:, : fit.data.fold.test.start] = False
    values = actual[known]
    axes.plot([values.min(), values.max()], [values.min(), values.max()], color=GREY, linewidth=0.8, linestyle=":")
    for rows, colour, face, label in (
        (known & ~scored, NOT_SCORED, "none", "not trained on"),
        (known & scored, NETWORK_COLOUR, NETWORK_COLOUR, "scored"),
    ):
        some = np.flatnonzero(rows.ravel())[:: rows.sum() // MAX_POINTS + 1]
        if len(some):
            axes.plot(actual.ravel()[some], forecast.ravel()[some], "o", color=colour, markerfacecolor=face,
                      markersize=3, linestyle="", label=label)  # fmt: skip
    if (known & ~scored).any():
        axes.legend(fontsize=7.5, frameon=False)
    axes.set_xlabel("actual", fontsize=8)
    axes.set_ylabel("forecast", fontsize=8)
    title = "Change from the last close" if levels else "Actual and forecast"
    write_title(axes, f"{title} (dotted: perfect)")


def _scored(fit: TutorialFit) -> Booleans:
    tickers = fit.data.frames.tickers
    result: Booleans = np.isin(tickers, fit.data.scored_tickers)[:, None, None]
    return result


def _last_close(fit: TutorialFit) -> Floats:
    """Return the last close at each origin and horizon, scaled and stored as the targets are."""
    level = fit.data.last_close
    horizons = np.sqrt(np.arange(1, fit.backtest.horizons + 1))
    return np.zeros((1, 1, 1)) if level is None else level[..., None] * horizons
