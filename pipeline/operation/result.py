"""The result of a run on one calendar: everything that a page, MLflow or another program reads."""

from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.evaluation.evaluation import Evaluation
from pipeline.experiment import Experiment
from pipeline.forecasting.weights import Weights
from pipeline.market.bars import CalendarMismatch, Exclusion, Listing, Problem, Restated, Stale
from pipeline.operation.model import VersionReference
from pipeline.operation.publication import Publication
from pipeline.training.jobs import FitResult


@dataclass(frozen=True)
class CalendarResult:
    """A finished run, backtest or forecast on one calendar.

    `experiment` is the one that was fitted, without benchmarks that could not be scored. `evaluation` is None where
    only a forecast was requested, `forecasts` where only a backtest.
    """

    experiment: Experiment
    source_note: str
    known_at: datetime | None  # the instant as of which the store returns these prices again; None: not stored
    listings: tuple[Listing, ...]  # of the accepted tickers, all of one calendar
    frames: Frames
    folds: tuple[Fold, ...]
    results: tuple[FitResult, ...]
    problems: tuple[Problem, ...]
    excluded: tuple[Exclusion, ...]
    stale: tuple[Stale, ...]  # forecast from bars that could not be brought up to date
    unseen: tuple[str, ...]  # forecast, though the model was not trained on them
    warnings: tuple[str, ...]  # sentences that qualify every number of this run
    evaluation: Evaluation | None
    forecasts: pd.DataFrame | None
    publication: Publication  # which forecaster's forecasts are the run's own
    weights: Weights | None = None  # of the combination at the last session, where the forecasts have one
    restated: tuple[Restated, ...] = ()  # found by this run's update: the source reported other values for stored bars
    calendar_mismatches: tuple[CalendarMismatch, ...] = ()  # bars were lost to a calendar that they do not fit
    model_version: VersionReference | None = None  # that forecast, or that the run's models were published as
    ledger_chain: str | None = None  # the digest of the first entry of the chain that the forecasts were issued into

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where a ticker was excluded, or bars are stale or do not fit the calendar."""
        return "partial" if self.excluded or self.stale or self.calendar_mismatches else "ok"

    @property
    def calendar(self) -> str:
        """The calendar of all its tickers."""
        return self.listings[0].calendar

    @property
    def currencies(self) -> dict[str, str]:
        """The currency that each ticker's prices are in."""
        return {listing.ticker: listing.currency for listing in self.listings}
