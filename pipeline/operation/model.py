"""Published models: per name and calendar the fits of one fold, with what is needed to forecast from new bars."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from pipeline.errors import FitError, UsageError
from pipeline.experiment import Experiment
from pipeline.files import write_whole
from pipeline.forecasters.forecaster import Fitted
from pipeline.market.specification import SourceSpec
from pipeline.market.universe import Universe
from pipeline.operation.publication import Publication
from pipeline.training.cache import FitCache, read_fitted
from pipeline.training.jobs import FORMAT_VERSION, FitResult

LATEST, SAMPLE = "latest", "sample"
"""Names of published models: that of the user's own runs, and that of the bundled sample, which no other run reads."""


@dataclass(frozen=True)
class Model:
    """A fold's fitted forecasters of one calendar.

    `market_members` are the tickers whose mean makes the market features, `other_tickers` those of the run's other
    calendars; `universe` says when they belonged to it.
    """

    experiment: Experiment
    market_members: tuple[str, ...]
    other_tickers: tuple[str, ...]
    universe: Universe | None
    trained_until: str
    fits: tuple[Fitted, ...]
    publication: Publication

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The tickers that the forecasters were trained on."""
        networks = [fitted for fitted in self.fits if fitted.forecaster.kind == self.fits[0].forecaster.kind]
        return tuple(dict.fromkeys(ticker for fitted in networks for ticker in fitted.tickers))


@dataclass(frozen=True)
class TrainedModel:
    """What a run on one calendar has to publish: cached fits of its latest fold."""

    calendar: str
    experiment: Experiment
    market_members: tuple[str, ...]
    other_tickers: tuple[str, ...]
    universe: Universe | None
    results: tuple[FitResult, ...]
    publication: Publication


def model_name(source: SourceSpec) -> str:
    """Return the name that models trained on a source are published under."""
    return SAMPLE if source.kind == "sample" else LATEST


def publish(folder: Path, name: str, models: Sequence[TrainedModel]) -> None:
    """Publish models under a name, one per calendar; those of other calendars and other names stay as they are.

    Calendars whose model was written by another version are dropped: they could not be read. The file is replaced as a
    whole, so that the previous models stay until these are written.
    """
    content = {calendar: model for calendar, model in _published(folder, name).items() if _is_current(model)}
    content |= {model.calendar: _described(model).model_dump(mode="json") for model in models}
    write_whole(folder / f"{name}.json", json.dumps(content, indent=1).encode())


def _published(folder: Path, name: str) -> dict[str, object]:
    try:
        content = json.loads((folder / f"{name}.json").read_text())
    except (OSError, ValueError):
        return {}  # none yet, or a damaged file: this run's models take its place
    return content if isinstance(content, dict) else {}


def _is_current(content: object) -> bool:
    return isinstance(content, dict) and content.get("format") == FORMAT_VERSION


class _Described(BaseModel, frozen=True):
    """A model as the file has it: its fits are named by the keys under which the cache has them."""

    format: int
    experiment: Experiment
    market_members: tuple[str, ...]
    other_tickers: tuple[str, ...]
    universe: Universe | None
    trained_until: str
    fits: tuple[str, ...]
    publication: Publication = Publication()


def _described(model: TrainedModel) -> _Described:
    return _Described(
        format=FORMAT_VERSION,
        experiment=model.experiment,
        market_members=model.market_members,
        other_tickers=model.other_tickers,
        universe=model.universe,
        trained_until=str(model.results[0].job.fold.validation.until),
        fits=tuple(result.job.key for result in model.results),
        publication=model.publication,
    )


def published_models(folder: Path, name: str, cache: FitCache) -> dict[str, Model]:
    """Return calendar -> published model; raises UsageError where there is none, FitError where it cannot be read."""
    path = folder / f"{name}.json"
    if not path.is_file():
        raise UsageError(f"found no published model under {folder}, expected one; run `tapecast run --publish` first")
    try:
        content = json.loads(path.read_text())
        return {str(calendar): _model(path, described, cache) for calendar, described in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError) as error:
        raise FitError(f"cannot read the model in {path}: {error}; run `tapecast run --publish` again") from error


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


def name_to_forecast_with(folder: Path, source: SourceSpec | None) -> str:
    """Return the name of the model to use: that of the requested source, else the user's own, else the sample's."""
    if source is not None:
        return model_name(source)
    return SAMPLE if not (folder / f"{LATEST}.json").is_file() and (folder / f"{SAMPLE}.json").is_file() else LATEST


def _model(path: Path, content: object, cache: FitCache) -> Model:
    if not _is_current(content):
        raise UsageError(
            f"the model in {path} was written by another version of tapecast; run `tapecast run --publish` again"
        )
    described = _Described.model_validate(content)
    missing = [key for key in described.fits if not (cache.folder / key).is_dir()]
    if missing:
        raise UsageError(f"the model's fits were removed from {cache.folder}; run `tapecast run --publish` again")
    return Model(
        experiment=described.experiment,
        market_members=described.market_members,
        other_tickers=described.other_tickers,
        universe=described.universe,
        trained_until=described.trained_until,
        fits=tuple(read_fitted(cache.folder / key) for key in described.fits),
        publication=described.publication,
    )
