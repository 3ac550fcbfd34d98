"""The folds of a run as rows for a table, and the networks that were trained on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Sessions
from pipeline.dataset.folds import Fold, Range
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasting.forecasts import NETWORK, fits_of
from pipeline.training.jobs import FitResult
from pipeline.wording import UNDEFINED, day


def network_fits(results: Sequence[FitResult], fold: Fold) -> list[Fitted]:
    """Return the fold's networks that have a loss curve, by seed."""
    return [fitted for fitted in fits_of(results, fold) if fitted.forecaster.kind == NETWORK and fitted.checks]


MOST_STEPS_SHOWN = 8
RANGES = ("Train", "Validation", "Calibration", "Test")


@dataclass(frozen=True)
class FoldRow:
    """One fold: the dates and sessions of its ranges, and the steps whose weights were kept."""

    name: str
    ranges: tuple[tuple[str, int], ...]
    kept_steps: str  # of each seed's network


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
            ranges=tuple(_range(fold.ranges[place], sessions[-1]) for place in shown),
            kept_steps=_kept_steps(fold, results),
        )
        for fold in folds
    ]
    return FoldTable(tuple(RANGES[place] for place in shown), tuple(rows))


def _range(part: Range, last: np.datetime64) -> tuple[str, int]:
    until = min(part.until - np.timedelta64(1, "D"), last)
    return (f"{day(part.first)} to {day(until)}" if len(part) else "none"), len(part)


def _kept_steps(fold: Fold, results: Sequence[FitResult]) -> str:
    steps = sorted(fitted.best_step for fitted in network_fits(results, fold))
    if len(steps) > MOST_STEPS_SHOWN:
        return f"{steps[0]} to {steps[-1]}, median {int(np.median(steps))}"
    return ", ".join(str(fitted.best_step) for fitted in network_fits(results, fold)) or UNDEFINED
