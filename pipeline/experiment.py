"""The typed description of a run: prices, features, forecasters, training, folds and costs."""

import os
import tomllib
from datetime import date
from pathlib import Path
from typing import Self

import tomli_w
from pydantic import BaseModel, Field, model_validator

from pipeline.dataset.covariates.known_future import calendar_columns
from pipeline.dataset.covariates.specification import (
    INDEX_FEATURES,
    SECTOR_FEATURES,
    CalendarCovariate,
    CovariateSpec,
    known_future_specs,
    past_specs,
    refuse_duplicate_names,
    refuse_missing_sources,
)
from pipeline.dataset.features import FEATURES, Feature, file_feature, select_features
from pipeline.dataset.folds import FoldSpec
from pipeline.dataset.sampled_paths import refuse_unmodelled_features
from pipeline.errors import TapecastError, UsageError
from pipeline.evaluation.specification import Abstain, MoneySpec
from pipeline.files import write_whole
from pipeline.forecasters.forecaster import DEFAULT_FEATURES, Specification
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.registry import BASELINES, DEFAULT_BENCHMARKS, BenchmarkSpec, forecaster_of
from pipeline.forecasters.training_specification import TrainingSpec, refuse_shared_validation
from pipeline.forecasting.specification import (
    CalibrationSpec,
    PostprocessingSpec,
    Published,
    refuse_missing_calibration,
)
from pipeline.market.specification import SampleSource, SourceSpec
from pipeline.training.devices import DeviceChoice

CHOSEN = ("features", "network", "training")
DEFAULTS_CHOSEN_ON = date(2016, 12, 31)
"""The last day of the prices on which the defaults of features, network and training were chosen."""


class Experiment(BaseModel, frozen=True, extra="forbid"):
    """Everything that decides a run: prices, features, forecasters, training and folds."""

    tickers: tuple[str, ...] = Field((), description="Tickers to forecast; empty: all that the source holds")
    universe: Path | None = Field(
        None,
        description="List in the home's folder universes, or file with tickers, one per line, or CSV with "
        "membership dates; empty: the tickers above",
    )
    source: SourceSpec = Field(default_factory=SampleSource, description="Where the daily bars come from")
    features: tuple[str, ...] = Field(DEFAULT_FEATURES, min_length=1, description="What the network reads")
    sectors: Path | None = Field(
        None,
        description="CSV with ticker,sector: the network then reads the means of its sector too (sector_return and "
        "sector_log_range, or those of them that features names)",
    )
    index: str | None = Field(
        None,
        description="Ticker of the run that stands for the market: the network then reads its return and range too "
        "(index_return and index_log_range, or those of them that features names)",
    )
    calendar_covariates: tuple[CalendarCovariate, ...] = Field(
        (), description="Known-future covariates of each target session from the exchange's calendar"
    )
    covariates: tuple[CovariateSpec, ...] = Field(
        (), description="Further series from files, known only afterwards or known in advance"
    )
    horizons: int = Field(5, ge=1, le=60, description="Sessions ahead, H: all of 1..H are forecast at once")
    network: RecurrentSpec = Field(default_factory=RecurrentSpec)
    benchmarks: tuple[BenchmarkSpec, ...] = Field(
        DEFAULT_BENCHMARKS,
        description="Further forecasters, combined with the network and scored like the baselines: each kind at most "
        "once",
    )
    training: TrainingSpec = Field(default_factory=TrainingSpec)
    folds: FoldSpec = Field(default_factory=FoldSpec)
    publish: Published = Field(
        "combined",
        description="What is calibrated and published: the combination of the network and the other forecasters, or "
        "the network alone",
    )
    calibration: CalibrationSpec = Field(default_factory=CalibrationSpec)
    abstain: Abstain = Field(
        "never",
        description="Whether the best simple baseline is published, labelled so, where what would be published has not "
        "shown to be better than every one: never, judged by all tickers together (pooled), or by each ticker (ticker)",
    )
    money: MoneySpec = Field(default_factory=MoneySpec)
    seeds: int = Field(3, ge=1, le=100, description="Networks per fold, S: the forecast is their mean")
    seed: int = Field(0, ge=0, description="Seed of the first network; the others count on from it")
    device: DeviceChoice = Field("auto", description="Where networks are trained")
    workers: int | None = Field(None, ge=1, description="Fits at once, a process each; empty: one per core")
    trials: int = Field(
        1, ge=1, description="Specifications that were tried before this one was chosen, itself among them"
    )

    @model_validator(mode="after")
    def _known_features(self) -> Self:
        series = [spec.name for spec in self.covariates]
        try:
            refuse_duplicate_names(
                series, [*(feature.name for feature in FEATURES), *calendar_columns(self.calendar_covariates)]
            )
            select_features(self.features, self.file_features)
            refuse_missing_sources(self.features, self.sectors, self.index)
            if self.network.horizon_mode == "recursive":
                refuse_unmodelled_features((*self.network_features, *self.known_future_names))
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _one_way_to_name_tickers(self) -> Self:
        if self.tickers and self.universe is not None:
            raise ValueError(f"found tickers and universe {self.universe}, expected one of them; leave the other out")
        return self

    @model_validator(mode="after")
    def _money_within_the_horizons(self) -> Self:
        if self.money.horizon > self.horizons:
            raise ValueError(
                f"found money.horizon {self.money.horizon}, expected at most the {self.horizons} horizons forecast"
            )
        return self

    @model_validator(mode="after")
    def _honest_warm_start(self) -> Self:
        try:
            refuse_shared_validation(self.training, self.folds)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _sound_benchmarks(self) -> Self:
        kinds = [spec.kind for spec in self.benchmarks]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(f"found more than one benchmark {', '.join(twice)}, expected each kind at most once")
        try:
            for spec in self.benchmarks:
                select_features(self.features_of(spec), self.file_features)
                refuse_missing_sources(self.features_of(spec), self.sectors, self.index)
        except UsageError as error:
            raise ValueError(f"benchmarks: {error}") from error
        return self

    @model_validator(mode="after")
    def _calibration_has_its_range(self) -> Self:
        try:
            refuse_missing_calibration(self.calibration, self.folds)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def forecasters(self) -> tuple[Specification, ...]:
        """The network, every baseline (every score is compared with theirs) and the benchmarks."""
        return (self.network, *BASELINES, *self.benchmarks)

    @property
    def postprocessing(self) -> PostprocessingSpec:
        """What is made of the forecasts before they are published."""
        return PostprocessingSpec(self.publish, self.calibration)

    @property
    def network_features(self) -> tuple[str, ...]:
        """The features that the network reads: those named, then what sectors, index and past-only series add."""
        groups = ((self.sectors, SECTOR_FEATURES), (self.index, INDEX_FEATURES))
        added = [name for present, group in groups if present and not {*group} & {*self.features} for name in group]
        return tuple(dict.fromkeys((*self.features, *added, *(feature.name for feature in self.file_features))))

    @property
    def file_features(self) -> tuple[Feature, ...]:
        """The features that are past-only series of files."""
        return tuple(file_feature(spec.name, spec.warm_up) for spec in past_specs(self.covariates))

    @property
    def known_future_names(self) -> tuple[str, ...]:
        """The known-future covariates: columns of the calendar, then series of files that are known in advance."""
        return (
            *calendar_columns(self.calendar_covariates),
            *(spec.name for spec in known_future_specs(self.covariates)),
        )

    @property
    def all_features(self) -> tuple[str, ...]:
        """The features that any forecaster reads, each once."""
        read = [name for forecaster in self.forecasters for name in self.features_of(forecaster)]
        return tuple(dict.fromkeys(read))

    @property
    def minimum_sessions(self) -> int:
        """Own sessions a ticker needs before it is forecast: the features' warm-up and the burn-in."""
        warm_up = max(feature.warm_up for feature in select_features(self.all_features, self.file_features))
        return warm_up + self.training.burn_in_sessions

    def look_back(self, first_tested: date) -> str:
        """Return the sentence on defaults that were chosen on the sessions tested; empty where they were not."""
        default = {name: type(self).model_fields[name].get_default(call_default_factory=True) for name in CHOSEN}
        known = [name for name in CHOSEN if getattr(self, name) == default[name]]
        if first_tested > DEFAULTS_CHOSEN_ON or not known:
            return ""
        return (
            f"The defaults of {' and '.join(known)} were chosen on prices up to {DEFAULTS_CHOSEN_ON}: a test of "
            "earlier sessions looks a little better than it would have been then (look-back)."
        )

    @property
    def worker_count(self) -> int:
        """How many fits run at once."""
        return self.workers or os.cpu_count() or 1

    @property
    def chosen_from(self) -> str:
        """A sentence on how many specifications were tried before this one was chosen; empty where it is the first."""
        if self.trials == 1:
            return ""
        return (
            f"This specification was chosen among {self.trials} that were tried: the best of many looks better than it "
            "is where it was chosen, and its test has to be read with that number in mind."
        )

    def features_of(self, spec: Specification) -> tuple[str, ...]:
        """Return the features that one forecaster reads."""
        features = forecaster_of(spec).features(spec)
        return self.network_features if features is None else features

    def known_future_of(self, spec: Specification) -> tuple[str, ...]:
        """Return the known-future covariates that one forecaster reads: a baseline none."""
        return self.known_future_names if forecaster_of(spec).role == "network" else ()

    def seeds_of(self, spec: Specification) -> range:
        """Return the seeds that one forecaster is fitted with: a baseline needs one."""
        count = self.seeds if forecaster_of(spec).role == "network" else 1
        return range(self.seed, self.seed + count)


def write_experiment(path: Path, experiment: Experiment, comments: tuple[str, ...]) -> None:
    """Write the experiment as the TOML file that reads back as the same one, with comments above it, whole or not.

    Settings that are None are omitted, as TOML has no null. Raises UsageError where the file cannot be written.
    """
    header = "".join(f"# {line}\n" for text in comments for line in text.splitlines())
    text = f"{header}\n{tomli_w.dumps(experiment.model_dump(mode='json', exclude_none=True))}"
    if Experiment.model_validate(tomllib.loads(text)) != experiment:
        raise TapecastError(f"the experiment for {path} would be read back as a different one; expected the same")
    write_whole(path, text.encode())
