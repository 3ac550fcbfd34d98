"""Walk-forward folds anchored to calendar dates: train, validation, calibration and test, purged at each border."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import takewhile
from typing import Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field, model_validator

from pipeline.arrays import Booleans, Sessions
from pipeline.errors import NothingUsableError, UsageError

MONTHS_BETWEEN_BORDERS = 3  # a border is the first day of a calendar quarter


class FoldSpec(BaseModel, frozen=True, extra="forbid"):
    """How history is cut into folds, or the two dates of one fixed split."""

    refit_months: int = Field(12, ge=3, multiple_of=3, description="Months between two refits; borders are quarters")
    validation_months: int = Field(6, ge=3, multiple_of=3, description="Months of validation, for early stopping")
    calibration_months: int = Field(0, ge=0, multiple_of=3, description="Months reserved for calibration")
    train_years: int | None = Field(None, ge=1, description="Length of the training window; empty: all history")
    minimum_train_sessions: int = Field(150, ge=50, description="Usable sessions before the first fold trains")
    train_end: date | None = Field(None, description="Fixed split: last day of training")
    valid_end: date | None = Field(None, description="Fixed split: last day of validation; the test is all after it")

    @model_validator(mode="after")
    def _both_dates_in_order(self) -> Self:
        if (self.train_end is None) != (self.valid_end is None):
            raise ValueError("a fixed split needs both train_end and valid_end")
        if self.train_end and self.valid_end and self.train_end >= self.valid_end:
            raise ValueError(f"train_end {self.train_end} must come before valid_end {self.valid_end}")
        return self

    def describe(self) -> str:
        """Return the specification as one sentence."""
        if self.train_end:
            return f"one split: train to {self.train_end}, validate to {self.valid_end}, test all after it"
        window = f"the last {self.train_years} years" if self.train_years else "all history"
        return (
            f"refit every {self.refit_months} months on {window}, the {self.validation_months} months "
            f"before each refit are for early stopping, and the sessions until the next refit are the test"
        )


@dataclass(frozen=True)
class Range:
    """Sessions from `first` (a date, included) until `until` (excluded), as indices [start, stop)."""

    first: np.datetime64
    until: np.datetime64
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def label_known(self, horizons: int) -> Booleans:
        """Return True [session of the range, horizon] where the label is known before the range ends: the purge."""
        return np.arange(self.start, self.stop)[:, None] + np.arange(1, horizons + 1) < self.stop


@dataclass(frozen=True)
class Fold:
    """One refit: rows belong to a range by their origin."""

    name: str
    train: Range
    validation: Range
    calibration: Range
    test: Range

    @property
    def ranges(self) -> tuple[Range, Range, Range, Range]:
        """The four ranges, oldest first."""
        return (self.train, self.validation, self.calibration, self.test)


def walk_forward(sessions: Sessions, usable: Booleans, spec: FoldSpec) -> tuple[Fold, ...]:
    """Return the folds of a calendar, oldest first; `usable` [ticker, session] marks possible origins.

    The first border depends on where history begins, never on where it ends, so a later bar moves no fold. A fold whose
    training or validation range lies in a gap of the whole universe is excluded. Raises NothingUsableError when history
    is too short for one fold, UsageError where that is a fixed split.
    """
    borders = (_fixed_borders(sessions, spec),) if spec.train_end else tuple(_borders(sessions, usable, spec))
    all_folds = (_fold(sessions, dates) for dates in borders)
    folds = tuple(fold for fold in all_folds if _has_rows(fold, usable))
    if not folds and spec.train_end:
        raise UsageError(_too_short(sessions, usable, spec))
    if not folds:
        raise NothingUsableError(_too_short(sessions, usable, spec))
    return folds


def fold_sessions(folds: Sequence[Fold], sessions: Sessions) -> pd.DataFrame:
    """Return the first and the last session of every range, a row per fold with the fold's name as index.

    Columns are pairs such as ("train", "first"); a calibration range is included only if some fold has one.
    """
    columns: dict[tuple[str, str], list[np.datetime64]] = {}
    for name in ("train", "validation", "calibration", "test"):
        ranges = [getattr(fold, name) for fold in folds]
        if any(len(part) for part in ranges):
            columns[name, "first"] = [sessions[part.start] for part in ranges]
            columns[name, "last"] = [sessions[part.stop - 1] for part in ranges]
    return pd.DataFrame(columns, index=pd.Index([fold.name for fold in folds], name="fold"))


def _has_rows(fold: Fold, usable: Booleans) -> bool:
    """Return whether the fold has test sessions, and usable origins with a known label to train and to validate."""
    labelled = (usable[:, part.start : max(part.stop - 1, part.start)].any() for part in (fold.train, fold.validation))
    return len(fold.test) > 0 and all(labelled)


def _too_short(sessions: Sessions, usable: Booleans, spec: FoldSpec) -> str:
    found = (
        f"{len(sessions)} sessions from {sessions[0]} to {sessions[-1]}, {int(usable.any(axis=0).sum())} of them usable"
    )
    if spec.train_end:
        return f"found {found}; expected some to train to {spec.train_end}, to validate to {spec.valid_end} and to test"
    expected = f"{spec.minimum_train_sessions} usable ones, then {spec.validation_months} months to validate and a test"
    return f"history is too short for one fold: found {found}; expected {expected}. Give an earlier start or more bars"


FoldBorders = tuple[np.datetime64, np.datetime64, np.datetime64, np.datetime64, np.datetime64]
"""The first day of train, validation, calibration and test, and the day after the test."""


def _fixed_borders(sessions: Sessions, spec: FoldSpec) -> FoldBorders:
    day = np.timedelta64(1, "D")
    train_until, valid_until = np.datetime64(spec.train_end, "D") + day, np.datetime64(spec.valid_end, "D") + day
    if valid_until > sessions[-1]:
        raise UsageError(f"valid_end {spec.valid_end} leaves nothing to test: the last session is {sessions[-1]}")
    return (sessions[0], train_until, valid_until, valid_until, sessions[-1] + day)


def _borders(sessions: Sessions, usable: Booleans, spec: FoldSpec) -> Iterator[FoldBorders]:
    any_usable = np.flatnonzero(usable.any(axis=0))
    if len(any_usable) <= spec.minimum_train_sessions:
        return
    first_train_end = sessions[any_usable[spec.minimum_train_sessions]]
    before_test = spec.validation_months + spec.calibration_months
    test = _quarter_from(first_train_end) + np.timedelta64(before_test, "M")
    months = (test + np.timedelta64(k * spec.refit_months, "M") for k in range(10_000))
    for month in takewhile(lambda m: _day(m) <= sessions[-1], months):
        train_until = month - np.timedelta64(before_test, "M")
        start = _day(train_until - np.timedelta64(12 * spec.train_years, "M")) if spec.train_years else sessions[0]
        calibration = month - np.timedelta64(spec.calibration_months, "M")
        after = month + np.timedelta64(spec.refit_months, "M")
        yield (max(start, sessions[0]), _day(train_until), _day(calibration), _day(month), _day(after))


def _quarter_from(day: np.datetime64) -> np.datetime64:
    months = (day - np.timedelta64(1, "D")).astype("datetime64[M]").astype(int) + 1
    return np.datetime64(int(-(-months // MONTHS_BETWEEN_BORDERS) * MONTHS_BETWEEN_BORDERS), "M")


def _day(month: np.datetime64) -> np.datetime64:
    day: np.datetime64 = month.astype("datetime64[D]")
    return day


def _fold(sessions: Sessions, borders: FoldBorders) -> Fold:
    indices = [int(index) for index in np.searchsorted(sessions, np.array(borders))]
    ranges = [Range(borders[k], borders[k + 1], indices[k], indices[k + 1]) for k in range(4)]
    return Fold(f"{borders[3]}", *ranges)
