"""The stages of the pipeline as replaceable steps, and one run through them; replace a step to have it audited."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from pipeline.dataset.covariates.from_files import NO_FILE_COVARIATES, FileCovariates
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.dataset.panel import Panel, build_panel
from pipeline.errors import FitError, NothingUsableError, SourceError
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasters.registry import forecaster_of
from pipeline.forecasting.backtest import Backtest, build_backtest
from pipeline.forecasting.forecasts import DEFAULT_FORECASTERS
from pipeline.forecasting.specification import PostprocessingSpec
from pipeline.market.bars import Bars, ValidatedBars
from pipeline.market.sources import Source
from pipeline.market.universe import Universe
from pipeline.market.validation.validate import ValidationTerms, rows_or_error, validate
from pipeline.stages import folds_of, frames_of, jobs_of
from pipeline.training.fits import fit
from pipeline.training.jobs import FitJob, FitResult

RowsByTicker = Mapping[str, pd.DataFrame | SourceError]


@dataclass(frozen=True)
class RunInputs:
    """The inputs of a run other than its bars; the audit tampers with `file_covariates` only."""

    experiment: Experiment
    tickers: tuple[str, ...]
    validation_terms: ValidationTerms
    calendar: str
    universe: Universe | None = None
    file_covariates: FileCovariates = NO_FILE_COVARIATES


def load_rows(source: Source, tickers: Iterable[str]) -> RowsByTicker:
    """Return each ticker's rows as its source returns them, or the error of a ticker without rows."""
    return {ticker: rows_or_error(source, ticker) for ticker in tickers}


def unadjusted(bars: Bars) -> Bars:
    """Return the bars unchanged: the pipeline adjusts no price, it computes each session's total return."""
    return bars


def default_frames(bars: Bars, other_bars: Sequence[Bars], inputs: RunInputs) -> Frames:
    """Return the frames of one calendar's bars as every run builds them; `other_bars` are of the other calendars."""
    return frames_of(bars, inputs.experiment, None, other_bars, inputs.universe, inputs.file_covariates)


def unchanged_labels(frames: Frames) -> Frames:
    """Return the frames with the labels that they were built with."""
    return frames


@dataclass(frozen=True)
class Steps:
    """One function per stage, by default the one of every run.

    Scaling and early stopping are part of `fit`. The audit compares all forecasts of `predict`, and of
    `postprocess` what was combined and calibrated of them.
    """

    load: Callable[[Source, Iterable[str]], RowsByTicker] = load_rows
    validate: Callable[[RowsByTicker, ValidationTerms], ValidatedBars] = validate
    adjust: Callable[[Bars], Bars] = unadjusted
    features: Callable[[Bars, Sequence[Bars], RunInputs], Frames] = default_frames
    labels: Callable[[Frames], Frames] = unchanged_labels
    fold: Callable[[Frames, Experiment], tuple[Fold, ...]] = folds_of
    fit: Callable[[FitJob, Frames, Fitted | None], Fitted] = fit
    predict: Callable[[Sequence[FitResult], Sequence[Fold], Frames], Backtest] = build_backtest
    postprocess: Callable[[Sequence[FitResult], Sequence[Fold], Frames, PostprocessingSpec], Backtest] = build_backtest


@dataclass(frozen=True, eq=False)
class PipelineRun:
    """One run through the steps for one calendar; each stage is computed once, when it is first read."""

    source: Source
    steps: Steps
    inputs: RunInputs
    every_forecaster: bool = False
    _fits: dict[str, Fitted] = field(default_factory=dict)
    _backtests: dict[str, Backtest] = field(default_factory=dict)
    _postprocessed: dict[str, Backtest] = field(default_factory=dict)

    @cached_property
    def rows(self) -> RowsByTicker:
        """The loaded rows by ticker."""
        return self.steps.load(self.source, self.inputs.tickers)

    @cached_property
    def validated(self) -> ValidatedBars:
        """The validated bars of every calendar."""
        return self.steps.validate(self.rows, self.inputs.validation_terms)

    @cached_property
    def bars(self) -> Bars:
        """The adjusted bars of the calendar that is audited."""
        return self.steps.adjust(self.validated.bars.of_calendar(self.inputs.calendar))

    @cached_property
    def panel(self) -> Panel:
        """The bars as arrays, with total returns."""
        return build_panel(self.bars)

    @cached_property
    def built_frames(self) -> Frames:
        """The frames as built, before the step `labels`."""
        whole = self.validated.bars
        other_bars = [whole.of_calendar(name) for name in whole.calendars if name != self.inputs.calendar]
        return self.steps.features(self.bars, other_bars, self.inputs)

    @cached_property
    def frames(self) -> Frames:
        """The frames with their labels."""
        return self.steps.labels(self.built_frames)

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """The folds, oldest first; empty where too few bars are left after validation for any fold."""
        try:
            return self.steps.fold(self.frames, self.inputs.experiment)
        except NothingUsableError:
            return ()

    @cached_property
    def jobs(self) -> tuple[FitJob, ...]:
        """The audited fits of every fold, in order."""
        kinds = None if self.every_forecaster else DEFAULT_FORECASTERS
        return tuple(jobs_of(self.frames, self.folds, self.inputs.experiment, "cpu", kinds))

    def fits(self, fold: Fold) -> Iterator[FitResult]:
        """Yield the fits of a fold as they are computed, without benchmarks that find nothing to learn from.

        Raises FitError where another one fails.
        """
        for job in self.jobs:
            if job.fold.name == fold.name and (fitted := self._fitted_or_left_out(job)) is not None:
                yield FitResult(job, fitted)

    def _fitted_or_left_out(self, job: FitJob) -> Fitted | None:
        try:
            return self._fitted(job)
        except FitError:
            if forecaster_of(job.forecaster).role != "benchmark":
                raise
            return None

    def _fitted(self, job: FitJob) -> Fitted:
        if job.key not in self._fits:
            former = next((candidate for candidate in self.jobs if candidate.key == job.starts_from), None)
            self._fits[job.key] = self.steps.fit(job, self.frames, self._fitted(former) if former else None)
        return self._fits[job.key]

    def backtest(self, fold: Fold) -> Backtest:
        """Return the forecasts of a fold's fits at its test origins, each forecaster's own."""
        if fold.name not in self._backtests:
            self._backtests[fold.name] = self.steps.predict(tuple(self.fits(fold)), (fold,), self.frames)
        return self._backtests[fold.name]

    def postprocessed(self, fold: Fold) -> Backtest:
        """Return the forecasts of a fold's fits at its test origins, with what is combined and calibrated of them."""
        if fold.name not in self._postprocessed:
            spec = self.inputs.experiment.postprocessing
            made = self.steps.postprocess(tuple(self.fits(fold)), (fold,), self.frames, spec)
            self._postprocessed[fold.name] = made
        return self._postprocessed[fold.name]
