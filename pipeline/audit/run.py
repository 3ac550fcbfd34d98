"""One run through the steps, each stage done once, when it is first asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pipeline.arrays import Floats32
from pipeline.audit.steps import Found, Setting, Steps
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.dataset.panel import Panel, build_panel
from pipeline.errors import NothingUsableError
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED
from pipeline.market.bars import Admitted, Bars
from pipeline.market.source import Source
from pipeline.stages import jobs_of
from pipeline.training.jobs import FitJob, FitResult

QUICK = ("network", "climatology", "last_close", "drift", "ewma")
"""Forecasters that are fitted in a moment."""


@dataclass(frozen=True, eq=False)
class Run:
    """What each step makes of what the one before it handed on, for one calendar."""

    source: Source
    steps: Steps
    setting: Setting
    every_forecaster: bool = False
    _fits: dict[str, Fitted] = field(default_factory=dict)
    _backtests: dict[str, Backtest] = field(default_factory=dict)

    @cached_property
    def found(self) -> Found:
        """Rows by ticker as found."""
        return self.steps.load(self.source, self.setting.tickers)

    @cached_property
    def admitted(self) -> Admitted:
        """What the door let through, of every calendar."""
        return self.steps.door(self.found, self.setting.terms)

    @cached_property
    def bars(self) -> Bars:
        """The adjusted bars of the calendar that is audited."""
        return self.steps.adjust(self.admitted.bars.of_calendar(self.setting.calendar))

    @cached_property
    def panel(self) -> Panel:
        """The bars as arrays, with total returns."""
        return build_panel(self.bars)

    @cached_property
    def built(self) -> Frames:
        """The frames as built, before a step of one's own touches their labels."""
        whole = self.admitted.bars
        others = [whole.of_calendar(name) for name in whole.calendars if name != self.setting.calendar]
        return self.steps.features(self.bars, others, self.setting)

    @cached_property
    def frames(self) -> Frames:
        """The frames with their labels."""
        return self.steps.labels(self.built)

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """The folds, oldest first; none where what the door left of the later bars is too little for any."""
        try:
            return self.steps.fold(self.frames, self.setting.experiment)
        except NothingUsableError:
            return ()

    @cached_property
    def jobs(self) -> tuple[FitJob, ...]:
        """The audited fits of every fold, in order."""
        jobs = jobs_of(self.frames, self.folds, self.setting.experiment, "cpu")
        return tuple(job for job in jobs if self.every_forecaster or job.forecaster.kind in QUICK)

    def fits(self, fold: Fold) -> Iterator[FitResult]:
        """Yield the fits of a fold, as they are made; raises FitError where one fails."""
        for job in self.jobs:
            if job.fold.name == fold.name:
                yield FitResult(job, self._fitted(job))

    def _fitted(self, job: FitJob) -> Fitted:
        if job.key not in self._fits:
            former = next((one for one in self.jobs if one.key == job.starts_from), None)
            self._fits[job.key] = self.steps.fit(job, self.frames, self._fitted(former) if former else None)
        return self._fits[job.key]

    def backtest(self, fold: Fold) -> Backtest:
        """Return what a fold's fits say at its test origins, before any correction."""
        if fold.name not in self._backtests:
            self._backtests[fold.name] = self.steps.predict(tuple(self.fits(fold)), (fold,), self.frames)
        return self._backtests[fold.name]

    def corrected(self, fold: Fold) -> Mapping[str, Floats32]:
        """Return the network's corrected quantiles at a fold's test origins, by the name of the forecaster."""
        calibration = self.setting.experiment.calibration
        told = self.steps.calibrate(tuple(self.fits(fold)), (fold,), self.frames, calibration).quantiles
        return {CALIBRATED: told[CALIBRATED]} if CALIBRATED in told else {}
