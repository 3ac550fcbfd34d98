"""A model: per exchange calendar the fits of one fold, with what is needed to forecast from new bars; its names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from pipeline.errors import UsageError
from pipeline.evaluation.session_record import SessionRecord
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasting.postprocessing_state import PostprocessingState
from pipeline.market.specification import SourceSpec
from pipeline.market.universe import Universe
from pipeline.operation.publication import Publication
from pipeline.training.jobs import FitResult

DAILY, SAMPLE, SYNTHETIC = "daily", "sample", "synthetic"
"""Names that models are published under by default: of the user's prices, the bundled sample, and made prices."""

MODEL_NAME = r"[a-z0-9][a-z0-9_-]{0,63}"


@dataclass(frozen=True)
class BacktestReference:
    """The backtest that stands behind a model: when it was made, its verdict, and its MLflow run.

    Where MLflow did not have the run yet it is the id of its record, which the run is tagged with.
    """

    date: date
    verdict: str
    mlflow_run_id: str


@dataclass(frozen=True)
class VersionReference:
    """The version of a named model that forecasts come from or were published as, and the backtest behind it.

    `takeover` is the sentence on whether the version became the champion when it was published.
    """

    name: str
    number: int
    takeover: str
    backtest: BacktestReference | None

    @property
    def sentence(self) -> str:
        """The version with its backtest, in words."""
        version = f"Version {self.number} of model {self.name}"
        if self.backtest is None:
            return f"{version}, without a backtest."
        found = f"{self.backtest.date} (MLflow run {self.backtest.mlflow_run_id})"
        return f"{version}; its backtest of {found}: {self.backtest.verdict}"


@dataclass(frozen=True)
class Model:
    """A fold's fitted forecasters of one calendar.

    `market_members` are the tickers whose mean makes the market features, `other_tickers` those of the run's other
    calendars; `universe` says when they belonged to it. `backtest` is None where the model was published without one.
    `state` is that of post-processing after the last session of that backtest, `left_out` are the kinds of benchmarks
    that were requested and could not be used. `promise` is the record by session of that backtest.
    """

    experiment: Experiment
    market_members: tuple[str, ...]
    other_tickers: tuple[str, ...]
    universe: Universe | None
    trained_until: str
    fits: tuple[Fitted, ...]
    publication: Publication
    backtest: BacktestReference | None = None
    state: PostprocessingState | None = None
    left_out: tuple[str, ...] = ()
    promise: SessionRecord | None = None

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The tickers that the forecasters were trained on."""
        networks = [fitted for fitted in self.fits if fitted.forecaster.kind == self.fits[0].forecaster.kind]
        return tuple(dict.fromkeys(ticker for fitted in networks for ticker in fitted.tickers))


@dataclass(frozen=True)
class TrainedModel:
    """What a run on one calendar has to publish: the finished fits of its latest fold, and their backtest."""

    calendar: str
    experiment: Experiment
    market_members: tuple[str, ...]
    other_tickers: tuple[str, ...]
    universe: Universe | None
    results: tuple[FitResult, ...]
    publication: Publication
    backtest: BacktestReference | None = None
    state: PostprocessingState | None = None
    left_out: tuple[str, ...] = ()
    promise: SessionRecord | None = None


def model_name(source: SourceSpec) -> str:
    """Return the name that models trained on a source are published under where none is given."""
    return source.kind if source.kind in (SAMPLE, SYNTHETIC) else DAILY


def refuse_unusable_name(name: str, source: SourceSpec | None = None) -> None:
    """Raise UsageError for what is no name of a model, and for a name that belongs to prices of another kind.

    The names of the sample, of made prices and of the user's own are kept apart, so that forecasts of one are never
    taken for those of another.
    """
    if not re.fullmatch(MODEL_NAME, name):
        raise UsageError(
            f"found {name!r} as the name of a model, expected up to 64 lower-case letters, digits, - or _, the first a "
            "letter or digit"
        )
    if source is not None and name in (DAILY, SAMPLE, SYNTHETIC) and name != model_name(source):
        raise UsageError(
            f"found the name {name} for a model of {source.kind} prices, expected {model_name(source)}, which is "
            "theirs, or a name of your own; give one with --model"
        )


def common_source(models: Mapping[str, Model]) -> SourceSpec:
    """Return the source that published models were trained on; raises UsageError where they are of several."""
    sources = {calendar: model.experiment.source for calendar, model in models.items()}
    first = next(iter(sources.values()))
    if any(source != first for source in sources.values()):
        read = ", ".join(f"that of {calendar} {source.kind}" for calendar, source in sources.items())
        raise UsageError(
            f"found published models that read different prices ({read}), expected one source for a forecast; name it "
            "with --source or --path, and the tickers, or publish models of one source by `tapecast run --publish`"
        )
    return first
