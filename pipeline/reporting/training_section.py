"""Training in the report: the table of folds, and the figures of losses by step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.arrays import Sessions
from pipeline.dataset.folds import Fold, Range
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasters.recurrent.specification import QuantileHeadSpec, RecurrentSpec
from pipeline.forecasting.forecasts import NETWORK, fits_of
from pipeline.reporting.canvas import GREY, NETWORK_COLOUR, blank_figure, plain_axes, write_title
from pipeline.reporting.labels import LOSS_LABELS
from pipeline.training.jobs import FitResult
from pipeline.wording import UNDEFINED, count_of, day

MAX_STEPS_LISTED = 8
MAX_FOLDS_DRAWN = 12
FOLDS_PER_ROW = 4
RANGES = ("Train", "Validation", "Calibration", "Test")


def network_fits(results: Sequence[FitResult], fold: Fold) -> list[Fitted]:
    """Return the fold's networks that have a loss curve, by seed."""
    return [fitted for fitted in fits_of(results, fold) if fitted.forecaster.kind == NETWORK and fitted.checks]


# --- Table of folds ---


@dataclass(frozen=True)
class FoldRow:
    """One fold: dates and number of sessions of its ranges, and the best step of each network."""

    name: str
    ranges: tuple[tuple[str, int], ...]
    best_steps: str  # by seed


@dataclass(frozen=True)
class FoldTable:
    """The folds, oldest first, with those ranges that any of them has."""

    ranges: tuple[str, ...]
    rows: tuple[FoldRow, ...]


def fold_table(folds: Sequence[Fold], results: Sequence[FitResult], sessions: Sessions) -> FoldTable:
    """Return the table of the folds; dates end with the last of `sessions`."""
    shown = [place for place in range(len(RANGES)) if any(len(fold.ranges[place]) for fold in folds)]
    rows = [
        FoldRow(
            name=fold.name,
            ranges=tuple(_dates_and_sessions(fold.ranges[place], sessions[-1]) for place in shown),
            best_steps=_best_steps(network_fits(results, fold)),
        )
        for fold in folds
    ]
    return FoldTable(tuple(RANGES[place] for place in shown), tuple(rows))


def _dates_and_sessions(part: Range, last: np.datetime64) -> tuple[str, int]:
    until = min(part.until - np.timedelta64(1, "D"), last)
    return (f"{day(part.first)} to {day(until)}" if len(part) else "none"), len(part)


def _best_steps(fits: Sequence[Fitted]) -> str:
    if len(fits) > MAX_STEPS_LISTED:
        steps = sorted(fitted.best_step for fitted in fits)
        return f"{steps[0]} to {steps[-1]}, median {int(np.median(steps))}"
    return ", ".join(str(fitted.best_step) for fitted in fits) or UNDEFINED


# --- Figures of losses ---


def draw_latest_loss(fits: Sequence[Fitted], fold: Fold) -> Figure:
    """Return the validation and the training loss by step of the fold's networks; a ring marks the best step."""
    figure = blank_figure(7.2, 3.0)
    validation = plain_axes(figure, (0.08, 0.15, 0.40, 0.68))
    training = plain_axes(figure, (0.58, 0.15, 0.40, 0.68))
    for fitted in fits:
        _draw_validation(validation, fitted)
        training.plot(_steps(fitted), [check.train_loss for check in fitted.checks], color=GREY, linewidth=1.1)
    for axes in (validation, training):
        axes.set_xlabel("step", fontsize=8)
    write_title(validation, f"Validation loss, {count_of(len(fits), 'network')}; ring: weights kept")
    write_title(training, "Loss of the training batches")
    heads = (fitted.forecaster.head for fitted in fits if isinstance(fitted.forecaster, RecurrentSpec))
    loss = LOSS_LABELS[next(heads, QuantileHeadSpec()).kind]
    figure.suptitle(f"Test from {fold.name}; {loss}", fontsize=9.5, x=0.08, ha="left")
    return figure


def draw_losses_by_fold(fits_by_fold: Sequence[tuple[Fold, Sequence[Fitted]]]) -> Figure:
    """Return the validation loss by step of the last folds, a small panel each."""
    shown = fits_by_fold[-MAX_FOLDS_DRAWN:]
    rows = -(-len(shown) // FOLDS_PER_ROW)
    figure = blank_figure(7.2, 0.3 + 1.45 * rows)
    for number, (fold, fits) in enumerate(shown):
        row, column = divmod(number, FOLDS_PER_ROW)
        left, bottom = 0.07 + column * 0.24, 1 - (row + 0.82) / rows
        axes = plain_axes(figure, (left, bottom, 0.175, 0.60 / rows))
        for fitted in fits:
            _draw_validation(axes, fitted)
        write_title(axes, fold.name)
        axes.tick_params(labelsize=6.5)
    return figure


def _draw_validation(axes: Axes, fitted: Fitted) -> None:
    losses = [check.valid_loss for check in fitted.checks]
    axes.plot(_steps(fitted), losses, color=NETWORK_COLOUR, linewidth=1.2)
    for check in fitted.checks:
        if check.step == fitted.best_step:
            axes.plot(
                [check.step], [check.valid_loss], "o", color=NETWORK_COLOUR, markerfacecolor="white", markersize=5
            )


def _steps(fitted: Fitted) -> list[int]:
    return [check.step for check in fitted.checks]
