"""The latest model: per calendar the fits of one fold, with what is needed to forecast from new bars."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import FitError, UsageError
from pipeline.experiment import Experiment
from pipeline.files import write_whole
from pipeline.market.universe import Universe
from pipeline.operation.publication import Publication
from pipeline.training.jobs import FitResult, Fitted
from pipeline.training.kept import KeptFits, read_fitted

LATEST = "latest.json"

_PUBLICATION: TypeAdapter[Publication] = TypeAdapter(Publication)
_UNIVERSE: TypeAdapter[Universe | None] = TypeAdapter(Universe | None)


@dataclass(frozen=True)
class Model:
    """A fold's fitted forecasters of one calendar.

    `market` are the tickers whose mean makes the market features, `beside` those of the run's other calendars;
    `universe` says when they belonged to it.
    """

    experiment: Experiment
    market: tuple[str, ...]
    beside: tuple[str, ...]
    universe: Universe | None
    trained_until: str
    fits: tuple[Fitted, ...]
    publication: Publication

    @property
    def seen(self) -> tuple[str, ...]:
        """The tickers the forecasters were trained on."""
        networks = [fitted for fitted in self.fits if fitted.forecaster.kind == self.fits[0].forecaster.kind]
        return tuple(dict.fromkeys(ticker for fitted in networks for ticker in fitted.tickers))


@dataclass(frozen=True)
class Trained:
    """What one calendar's part of a run has to publish: kept fits of its latest fold."""

    calendar: str
    experiment: Experiment
    market: tuple[str, ...]
    beside: tuple[str, ...]
    universe: Universe | None
    results: tuple[FitResult, ...]
    publication: Publication


def publish(folder: Path, trained: Sequence[Trained]) -> None:
    """Make these the latest model, one per calendar; the former stays the latest until this one is written."""
    content = {one.calendar: _description(one) for one in trained}
    write_whole(folder / LATEST, json.dumps(content, indent=1).encode())


def _description(one: Trained) -> dict[str, object]:
    return {
        "experiment": one.experiment.model_dump(mode="json"),
        "market": list(one.market),
        "beside": list(one.beside),
        "universe": _UNIVERSE.dump_python(one.universe, mode="json"),
        "trained_until": str(one.results[0].job.fold.validation.until),
        "fits": [result.job.key for result in one.results],
        "publication": _PUBLICATION.dump_python(one.publication, mode="json"),
    }


def latest_models(folder: Path, kept: KeptFits) -> dict[str, Model]:
    """Return calendar -> latest model; raises UsageError where there is none, FitError where it cannot be read."""
    path = folder / LATEST
    if not path.is_file():
        raise UsageError(f"no fitted model under {folder}; run `tapecast run` first")
    try:
        content = json.loads(path.read_text())
        return {str(calendar): _model(described, kept) for calendar, described in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError) as error:
        raise FitError(f"cannot read the latest model in {path}: {error}; run `tapecast run` again") from error


def _model(described: Mapping[str, object], kept: KeptFits) -> Model:
    keys = _texts(described["fits"])
    gone = [key for key in keys if not (kept.folder / key).is_dir()]
    if gone:
        raise UsageError(f"the latest model's fits were removed from {kept.folder}; run `tapecast run` again")
    return Model(
        experiment=Experiment.model_validate(described["experiment"]),
        market=_texts(described["market"]),
        beside=_texts(described["beside"]),
        universe=_UNIVERSE.validate_python(described["universe"]),
        trained_until=str(described["trained_until"]),
        fits=tuple(read_fitted(kept.folder / key) for key in keys),
        publication=_PUBLICATION.validate_python(described.get("publication", {})),
    )


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"found {value!r}, expected a list of texts")
    return tuple(value)
