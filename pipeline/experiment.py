"""The typed description of a run, and the page that reads as the whole pipeline."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, Field, model_validator

from pipeline.dataset.abroad import MarketReturns, Surroundings, market_returns
from pipeline.dataset.features import select_features
from pipeline.dataset.folds import Fold, FoldSpec, walk_forward
from pipeline.dataset.frames import Frames, build_frames
from pipeline.dataset.market import members_of
from pipeline.dataset.panel import Booleans, Panel, build_panel
from pipeline.errors import UsageError
from pipeline.market.bars import Bars
from pipeline.market.specification import SampleSource, SourceSpec
from pipeline.market.universe import Universe, membership_mask
from pipeline.models.specification import BASELINES, ForecasterSpec, LinearSpec, RecurrentSpec
from pipeline.training.devices import DeviceChoice
from pipeline.training.jobs import FitJob, digest_of_rows
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
    horizons: int = Field(5, ge=1, le=60, description="Sessions ahead, H: all of 1..H are forecast at once")
    network: RecurrentSpec = Field(default_factory=RecurrentSpec)
    training: TrainingSpec = Field(default_factory=TrainingSpec)
    folds: FoldSpec = Field(default_factory=FoldSpec)
    seeds: int = Field(3, ge=1, le=100, description="Networks per fold, S: the forecast is their mean")
    seed: int = Field(0, ge=0, description="Seed of the first network; the others count on from it")
    device: DeviceChoice = Field("auto", description="Where networks are trained")
    workers: int | None = Field(None, ge=1, description="Fits at once, a process each; empty: one per core")

    @model_validator(mode="after")
    def _known_features(self) -> Self:
        try:
            select_features(self.features)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _one_way_to_name_tickers(self) -> Self:
        if self.tickers and self.universe is not None:
            raise ValueError(f"found tickers and universe {self.universe}, expected one of them; leave the other out")
        return self

    @property
    def forecasters(self) -> tuple[ForecasterSpec, ...]:
        """The network and every baseline: no number stands without them."""
        return (self.network, *BASELINES)

    @property
    def all_features(self) -> tuple[str, ...]:
        """The features that any forecaster reads, each once."""
        read = [name for forecaster in self.forecasters for name in self.features_of(forecaster)]
        return tuple(dict.fromkeys(read))

    @property
    def minimum_sessions(self) -> int:
        """Own sessions a ticker needs before it is forecast: the features' warm-up and the burn-in."""
        warm_up = max(feature.warm_up for feature in select_features(self.all_features))
        return warm_up + self.training.burn_in_sessions

    @property
    def worker_count(self) -> int:
        """How many fits run at once."""
        return self.workers or os.cpu_count() or 1

    def features_of(self, forecaster: ForecasterSpec) -> tuple[str, ...]:
        """Return the features that one forecaster reads."""
        if isinstance(forecaster, RecurrentSpec):
            return self.features
        return forecaster.features if isinstance(forecaster, LinearSpec) else ()

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
) -> Frames:
    """Return what fits and forecasts may read of the bars of one calendar.

    `market` names the tickers that make the market features (default: all). `others` are the bars of the run's other
    calendars, of which those named in `market` count, or all where it names none of them; they are read only where
    a feature asks for them. A ticker outside its membership of the universe is no origin and does not count.
    """
    features = select_features(experiment.all_features)
    panel, least = build_panel(bars), experiment.minimum_sessions
    abroad = [_returns_of(other, market, universe, least) for other in others if any(one.abroad for one in features)]
    around = Surroundings(_membership(universe, panel), tuple(abroad))
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
    """Yield every fit of the experiment: each forecaster and seed on each fold."""
    for fold in folds:
        seen = frames.until(fold.validation.stop)
        origins = slice(fold.train.start, fold.validation.stop)
        learning = np.any(seen.usable[:, origins], axis=1)
        tickers = tuple(ticker for row, ticker in enumerate(seen.tickers) if learning[row])
        trained_on = seen.of(tickers)
        for forecaster in experiment.forecasters:
            digest = digest_of_rows(trained_on.with_features(experiment.features_of(forecaster)))
            for seed in experiment.seeds_of(forecaster):
                yield FitJob(
                    forecaster=forecaster,
                    training=experiment.training,
                    features=experiment.features_of(forecaster),
                    tickers=tickers,
                    fold=fold,
                    seed=seed,
                    data_digest=digest,
                    device=device if isinstance(forecaster, RecurrentSpec) else "cpu",
                )
