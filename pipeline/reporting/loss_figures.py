"""Figures of training: loss by step of every seed, for the latest fold and for all of them."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.dataset.folds import Fold
from pipeline.reporting.canvas import GREY, NETWORK_COLOUR, blank_figure, quiet_axes, write_title
from pipeline.training.jobs import Fitted

MOST_FOLDS = 12
FOLDS_PER_ROW = 4


def draw_latest_loss(fits: Sequence[Fitted], fold: Fold) -> Figure:
    """Return the training and validation loss by step of the fold's networks; a ring marks the weights kept."""
    figure = blank_figure(6.4, 3.2)
    axes = quiet_axes(figure, (0.11, 0.14, 0.86, 0.70))
    for number, fitted in enumerate(fits):
        _draw_curve(axes, fitted, labelled=number == 0)
    axes.set_xlabel("step", fontsize=8)
    write_title(axes, f"Fold tested from {fold.name}: pinball loss in units of volatility, {_seeds(len(fits))}\n")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0.99), ncols=3, fontsize=8, frameon=False, borderaxespad=0)
    return figure


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _draw_curve(axes: Axes, fitted: Fitted, *, labelled: bool) -> None:
    steps = [check.step for check in fitted.checks]
    train, valid, kept = ("training", "validation", "kept") if labelled else ("_", "_", "_")
    losses = [check.train_loss for check in fitted.checks]
    axes.plot(steps, losses, color=GREY, linewidth=0.9, linestyle="--", label=train)
    _draw_validation(axes, fitted, valid, kept)


def _draw_validation(axes: Axes, fitted: Fitted, label: str, kept: str) -> None:
    losses = {check.step: check.valid_loss for check in fitted.checks}
    axes.plot(list(losses), list(losses.values()), color=NETWORK_COLOUR, linewidth=1.3, label=label)
    if fitted.best_step in losses:
        best = losses[fitted.best_step]
        axes.plot([fitted.best_step], [best], "o", color=NETWORK_COLOUR, markerfacecolor="white", label=kept)


def draw_losses_by_fold(fits_by_fold: Sequence[tuple[Fold, Sequence[Fitted]]]) -> Figure:
    """Return the validation loss by step of the last folds, a small panel each."""
    shown = fits_by_fold[-MOST_FOLDS:]
    rows = -(-len(shown) // FOLDS_PER_ROW)
    figure = blank_figure(7.2, 0.3 + 1.45 * rows)
    for number, (fold, fits) in enumerate(shown):
        row, column = divmod(number, FOLDS_PER_ROW)
        left, bottom = 0.055 + column * 0.24, 1 - (row + 0.82) / rows
        axes = quiet_axes(figure, (left, bottom, 0.185, 0.60 / rows))
        for fitted in fits:
            _draw_validation(axes, fitted, "_", "_")
        write_title(axes, fold.name)
        axes.tick_params(labelsize=6.5)
    return figure
