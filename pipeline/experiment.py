"""The typed description of a run, and the page that reads as the whole pipeline."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, Field, model_validator

from pipeline.dataset.abroad import MarketReturns, Surroundings, market_returns
from pipeline.dataset.covariates.calendar import calendar_columns, calendar_covariates
from pipeline.dataset.covariates.exogenous import NOTHING, Given, refuse_unlike
from pipeline.dataset.covariates.index import index_among
from pipeline.dataset.covariates.sectors import refuse_strangers
from pipeline.dataset.covariates.specification import (
    INDEX_FEATURES,
    SECTOR_FEATURES,
    CalendarCovariate,
    CovariateSpec,
    known_of,
    past_of,
    refuse_clashes,
    refuse_unfounded,
)
from pipeline.dataset.features import FEATURES, Feature, exogenous_feature, select_features
from pipeline.dataset.folds import Fold, FoldSpec, walk_forward
from pipeline.dataset.frames import Frames, build_frames
from pipeline.dataset.market import members_of
from pipeline.dataset.panel import Booleans, Panel, build_panel
from pipeline.dataset.paths import refuse_unmodelled
from pipeline.errors import UsageError
from pipeline.market.bars import Bars
from pipeline.market.specification import SampleSource, SourceSpec
from pipeline.market.universe import Universe, membership_mask
from pipeline.models.rivals import BoostingSpec, HarSpec, RidgeSpec, RivalSpec
from pipeline.models.specification import BASELINES, ForecasterSpec, LinearSpec, RecurrentSpec
from pipeline.training.devices import DeviceChoice
from pipeline.training.jobs import FitJob, digest_of_rows
from pipeline.training.labels import label_mask
from pipeline.training.specification import TrainingSpec

NETWORK_FEATURES = (
    "log_return",
    "overnight_gap",
    "open_to_close",
    "market_return",
    "log_range",
    "market_log_range",
    "close_location",
    "volume_surprise",
    "volatility_5",
    "volatility_20",
)


class Experiment(BaseModel, frozen=True, extra="forbid"):
    """Everything that decides a run: prices, features, forecasters, training and folds."""

    tickers: tuple[str, ...] = Field((), description="Tickers to forecast; empty: all that the source holds")
    universe: Path | None = Field(
        None,
        description="List in the home's folder universes, or file with tickers, one per line, or CSV with "
        "membership dates; empty: the tickers above",
    )
    source: SourceSpec = Field(default_factory=SampleSource, description="Where the daily bars come from")
    features: tuple[str, ...] = Field(NETWORK_FEATURES, min_length=1, description="What the network reads")
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
        (), description="What the network is told of each target session by the exchange's calendar"
    )
    covariates: tuple[CovariateSpec, ...] = Field(
        (), description="Further series from files, known only afterwards or known in advance"
    )
    horizons: int = Field(5, ge=1, le=60, description="Sessions ahead, H: all of 1..H are forecast at once")
    network: RecurrentSpec = Field(default_factory=RecurrentSpec)
    rivals: tuple[Annotated[RivalSpec, Field(discriminator="kind")], ...] = Field(
        (), description="Further forecasters, scored beside the baselines: each kind at most once"
    )
    training: TrainingSpec = Field(default_factory=TrainingSpec)
    folds: FoldSpec = Field(default_factory=FoldSpec)
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
            refuse_clashes(series, [*(one.name for one in FEATURES), *calendar_columns(self.calendar_covariates)])
            select_features(self.features, self.given_features)
            refuse_unfounded(self.features, self.sectors, self.index)
            if self.network.ahead == "recursive":
                refuse_unmodelled((*self.network_features, *self.ahead_names))
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _one_way_to_name_tickers(self) -> Self:
        if self.tickers and self.universe is not None:
            raise ValueError(f"found tickers and universe {self.universe}, expected one of them; leave the other out")
        return self

    @model_validator(mode="after")
    def _sound_rivals(self) -> Self:
        kinds = [rival.kind for rival in self.rivals]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(f"found more than one rival {', '.join(twice)}, expected each kind at most once")
        try:
            for rival in self.rivals:
                select_features(self.features_of(rival), self.given_features)
                refuse_unfounded(self.features_of(rival), self.sectors, self.index)
        except UsageError as error:
            raise ValueError(f"rivals: {error}") from error
        return self

    @property
    def forecasters(self) -> tuple[ForecasterSpec, ...]:
        """The network, every baseline (no number stands without them) and the rivals."""
        return (self.network, *BASELINES, *self.rivals)

    @property
    def network_features(self) -> tuple[str, ...]:
        """The features that the network reads: those named, then what sectors, index and past-only series add."""
        groups = ((self.sectors, SECTOR_FEATURES), (self.index, INDEX_FEATURES))
        added = [name for given, group in groups if given and not {*group} & {*self.features} for name in group]
        return tuple(dict.fromkeys((*self.features, *added, *(one.name for one in self.given_features))))

    @property
    def given_features(self) -> tuple[Feature, ...]:
        """The features that are past-only series of files."""
        return tuple(exogenous_feature(spec.name, spec.warm_up) for spec in past_of(self.covariates))

    @property
    def ahead_names(self) -> tuple[str, ...]:
        """What the network is told of each target session: columns of the calendar, then series known in advance."""
        return (*calendar_columns(self.calendar_covariates), *(spec.name for spec in known_of(self.covariates)))

    @property
    def all_features(self) -> tuple[str, ...]:
        """The features that any forecaster reads, each once."""
        read = [name for forecaster in self.forecasters for name in self.features_of(forecaster)]
        return tuple(dict.fromkeys(read))

    @property
    def minimum_sessions(self) -> int:
        """Own sessions a ticker needs before it is forecast: the features' warm-up and the burn-in."""
        warm_up = max(feature.warm_up for feature in select_features(self.all_features, self.given_features))
        return warm_up + self.training.burn_in_sessions

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

    def features_of(self, forecaster: ForecasterSpec) -> tuple[str, ...]:
        """Return the features that one forecaster reads."""
        if isinstance(forecaster, RecurrentSpec):
            return self.network_features
        if isinstance(forecaster, LinearSpec | HarSpec | RidgeSpec | BoostingSpec):
            return forecaster.features
        return ()

    def ahead_of(self, forecaster: ForecasterSpec) -> tuple[str, ...]:
        """Return what one forecaster is told of the target sessions: a baseline nothing."""
        return self.ahead_names if isinstance(forecaster, RecurrentSpec) else ()

    def seeds_of(self, forecaster: ForecasterSpec) -> range:
        """Return the seeds that one forecaster is fitted with: a baseline needs one."""
        count = self.seeds if isinstance(forecaster, RecurrentSpec) else 1
        return range(self.seed, self.seed + count)


# --- The pipeline, in its order: bars come from market.door, fits from training.executors, the rest from here. ---


def frames_of(
    bars: Bars,
    experiment: Experiment,
    market: tuple[str, ...] | None = None,
    others: Sequence[Bars] = (),
    universe: Universe | None = None,
    given: Given = NOTHING,
) -> Frames:
    """Return what fits and forecasts may read of the bars of one calendar.

    `market` names the tickers that make the market features (default: all). `others` are the bars of the run's other
    calendars, of which those named in `market` count, or all where it names none of them; they are read only where
    a feature asks for them. A ticker outside its membership of the universe is no origin and does not count.
    `given` is what read_given read of the experiment's files.
    """
    refuse_unlike(given, experiment.sectors, experiment.covariates)
    refuse_strangers(given.sectors, [ticker for some in (bars, *others) for ticker in some.tickers])
    features = select_features(experiment.all_features, experiment.given_features)
    panel, least = build_panel(bars), experiment.minimum_sessions
    abroad = [_returns_of(other, market, universe, least) for other in others if any(one.abroad for one in features)]
    around = Surroundings(
        belongs=_membership(universe, panel),
        abroad=tuple(abroad),
        sectors=given.sectors,
        index=index_among((bars, *others), experiment.index, least) if experiment.index else None,
        past=given.past,
        known=(*calendar_covariates(experiment.calendar_covariates, panel.calendar), *given.known),
    )
    members = bars.tickers if market is None else market
    return build_frames(panel, features, members, experiment.horizons, least, around)


def _returns_of(
    bars: Bars, market: tuple[str, ...] | None, universe: Universe | None, minimum_sessions: int
) -> MarketReturns:
    panel = build_panel(bars)
    named = tuple(ticker for ticker in bars.tickers if ticker in (market or ())) or bars.tickers
    return market_returns(panel, members_of(panel, named, minimum_sessions, _membership(universe, panel)))


def _membership(universe: Universe | None, panel: Panel) -> Booleans | None:
    return membership_mask(universe, panel.tickers, panel.sessions) if universe else None


def folds_of(frames: Frames, experiment: Experiment) -> tuple[Fold, ...]:
    """Return the folds of the experiment, oldest first; raises NothingUsableError when history is too short."""
    return walk_forward(frames.sessions, frames.usable, experiment.folds)


def jobs_of(frames: Frames, folds: tuple[Fold, ...], experiment: Experiment, device: str) -> Iterator[FitJob]:
    """Yield every fit of the experiment: each forecaster and seed on each fold, in the folds' order.

    A network per ticker is a fit per ticker. With a warm start a network's fit names that of the former fold.
    """
    former: dict[tuple[str, int], str] = {}
    for fold in folds:
        for forecaster in experiment.forecasters:
            for trained_on in trained_together(frames, fold, forecaster):
                for seed in experiment.seeds_of(forecaster):
                    job = _job(experiment, forecaster, trained_on, fold, seed)
                    if not isinstance(forecaster, RecurrentSpec):
                        yield job
                        continue
                    who = (trained_on.tickers[0] if forecaster.scope == "ticker" else "", seed)
                    begins_from = former.get(who) if experiment.training.warm_start else None
                    job = replace(job, device=device, begins_from=begins_from)
                    former[who] = job.key
                    yield job


def trained_together(frames: Frames, fold: Fold, forecaster: ForecasterSpec) -> Iterator[Frames]:
    """Yield what each fit of a fold may see: all tickers with a usable origin, or each by itself."""
    seen = frames.until(fold.validation.stop)
    learning = np.any(seen.usable[:, fold.train.start : fold.validation.stop], axis=1)
    if isinstance(forecaster, RecurrentSpec) and forecaster.scope == "ticker":
        can = learning & _can_learn_alone(seen, fold)
        yield from (seen.at(np.array([row])) for row in np.flatnonzero(can))
    else:
        yield seen.at(np.flatnonzero(learning))


def _can_learn_alone(frames: Frames, fold: Fold) -> Booleans:
    """Return whether each ticker has origins with known labels both to train and to validate on [ticker]."""
    parts = (fold.train, fold.validation)
    can: Booleans = np.all([label_mask(frames, part).any(axis=(1, 2)) for part in parts], axis=0)
    return can


def _job(experiment: Experiment, forecaster: ForecasterSpec, trained_on: Frames, fold: Fold, seed: int) -> FitJob:
    features, ahead = experiment.features_of(forecaster), experiment.ahead_of(forecaster)
    return FitJob(
        forecaster=forecaster,
        training=experiment.training,
        features=features,
        tickers=trained_on.tickers,
        fold=fold,
        seed=seed,
        data_digest=digest_of_rows(trained_on.with_features(features).with_ahead(ahead)),
        ahead=ahead,
    )
