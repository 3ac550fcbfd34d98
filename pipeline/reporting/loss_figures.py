"""Figures of training: loss by step of every seed, for the latest fold and for all of them."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.dataset.folds import Fold
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasters.recurrent.specification import QuantileHeadSpec, RecurrentSpec
from pipeline.reporting.canvas import GREY, NETWORK_COLOUR, blank_figure, quiet_axes, write_title
from pipeline.wording import count_of

MOST_FOLDS = 12
FOLDS_PER_ROW = 4
LOSSES = {
    "quantiles": "pinball loss in units of volatility",
    "point": "loss in units of volatility",
    "student_t": "negative log-likelihood in units of volatility",
    "mixture": "negative log-likelihood in units of volatility",
    "direction": "negative log-likelihood of the class",
}


def draw_latest_loss(fits: Sequence[Fitted], fold: Fold) -> Figure:
    """Return the validation and the training loss by step of the fold's networks; a ring marks the weights kept."""
    figure = blank_figure(7.2, 3.0)
    validation = quiet_axes(figure, (0.08, 0.15, 0.40, 0.68))
    training = quiet_axes(figure, (0.58, 0.15, 0.40, 0.68))
    for fitted in fits:
        _draw_validation(validation, fitted)
        training.plot(_steps(fitted), [check.train_loss for check in fitted.checks], color=GREY, linewidth=1.1)
    for axes in (validation, training):
        axes.set_xlabel("step", fontsize=8)
    write_title(validation, f"Validation loss, {count_of(len(fits), 'network')}; ring: weights kept")
    write_title(training, "Loss of the training batches")
    figure.suptitle(f"Test from {fold.name}; {_loss_of(fits)}", fontsize=9.5, x=0.08, ha="left")
    return figure


def _loss_of(fits: Sequence[Fitted]) -> str:
    """Return what the networks' losses are, in words."""
    heads = (fitted.forecaster.head for fitted in fits if isinstance(fitted.forecaster, RecurrentSpec))
    return LOSSES[next(heads, QuantileHeadSpec()).kind]


def _steps(fitted: Fitted) -> list[int]:
    return [check.step for check in fitted.checks]


def _draw_validation(axes: Axes, fitted: Fitted) -> None:
    losses = [check.valid_loss for check in fitted.checks]
    axes.plot(_steps(fitted), losses, color=NETWORK_COLOUR, linewidth=1.2)
    kept = [(check.step, check.valid_loss) for check in fitted.checks if check.step == fitted.best_step]
    for step, loss in kept:
        axes.plot([step], [loss], "o", color=NETWORK_COLOUR, markerfacecolor="white", markersize=5)


def draw_losses_by_fold(fits_by_fold: Sequence[tuple[Fold, Sequence[Fitted]]]) -> Figure:
    """Return the validation loss by step of the last folds, a small panel each."""
    shown = fits_by_fold[-MOST_FOLDS:]
    rows = -(-len(shown) // FOLDS_PER_ROW)
    figure = blank_figure(7.2, 0.3 + 1.45 * rows)
    for number, (fold, fits) in enumerate(shown):
        row, column = divmod(number, FOLDS_PER_ROW)
        left, bottom = 0.07 + column * 0.24, 1 - (row + 0.82) / rows
        axes = quiet_axes(figure, (left, bottom, 0.175, 0.60 / rows))
        for fitted in fits:
            _draw_validation(axes, fitted)
        write_title(axes, fold.name)
        axes.tick_params(labelsize=6.5)
    return figure
