"""The folds of a run as rows for a table, and the networks that were trained on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.dataset.folds import Fold, Range
from pipeline.dataset.panel import Sessions
from pipeline.evaluation.backtest import NETWORK, fits_of
from pipeline.reporting.wording import UNDEFINED, day
from pipeline.training.jobs import FitResult, Fitted


def network_fits(results: Sequence[FitResult], fold: Fold) -> list[Fitted]:
    """Return the fold's networks that have a loss curve, by seed."""
    return [fitted for fitted in fits_of(results, fold) if fitted.forecaster.kind == NETWORK and fitted.checks]


@dataclass(frozen=True)
class FoldRow:
    """One fold: its ranges as (dates, sessions), and the steps whose weights were kept."""

    name: str
    ranges: tuple[tuple[str, int], ...]  # train, validation, calibration, test
    kept_steps: str  # of each seed's network


def fold_rows(folds: Sequence[Fold], results: Sequence[FitResult], sessions: Sessions) -> list[FoldRow]:
    """Return a row per fold, oldest first; dates end with the last of `sessions`."""
    last = sessions[-1]
    return [
        FoldRow(fold.name, tuple(_range(part, last) for part in fold.ranges), _kept_steps(fold, results))
        for fold in folds
    ]


def _range(part: Range, last: np.datetime64) -> tuple[str, int]:
    until = min(part.until - np.timedelta64(1, "D"), last)
    return (f"{day(part.first)} to {day(until)}" if len(part) else "none"), len(part)


def _kept_steps(fold: Fold, results: Sequence[FitResult]) -> str:
    return ", ".join(str(fitted.best_step) for fitted in network_fits(results, fold)) or UNDEFINED
