"""Files of a model version: a folder that appears whole, with the digest of every file in it."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import AwareDatetime, BaseModel, ValidationError

from pipeline.errors import FitError, UsageError
from pipeline.evaluation.session_record import UNKNOWN_CUTS, SessionRecord, record_bytes, record_from_bytes
from pipeline.experiment import Experiment
from pipeline.files import write_through
from pipeline.market.universe import Universe
from pipeline.operation.model import BacktestReference, Model, TrainedModel, VersionReference
from pipeline.operation.publication import Publication
from pipeline.operation.sealed_json import digest_of, opened, sealed
from pipeline.operation.states import read_state, state_bytes
from pipeline.operation.takeover import Takeover
from pipeline.training.cache import LARGEST_BYTES, read_fitted, write_fitted
from pipeline.training.jobs import FORMAT_VERSION

VERSION_FORMAT = 2  # raise it when version.json has another layout
DESCRIPTION, FITS, STATE, PROMISE = "version.json", "fits", "state", "promise"
_NUMBER = re.compile(r"[0-9]{4}|[1-9][0-9]{4,}")


class ModelDescription(BaseModel, frozen=True, extra="forbid"):
    """A model of one calendar as version.json has it: its fits are named by their keys, folders in the version.

    `state` is the path of the state of its post-processing in the version, `promise` that of the record of its backtest
    with the bounds of its fifths of relative volatility, None where it has none.
    """

    experiment: Experiment
    market_members: tuple[str, ...]
    other_tickers: tuple[str, ...]
    universe: Universe | None
    trained_until: str
    fits: tuple[str, ...]
    publication: Publication
    backtest: BacktestReference | None
    state: str | None
    left_out: tuple[str, ...] = ()
    promise: str | None = None
    regime_cuts: tuple[float, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the model's files in its version; what is added to a model has its files named here."""
        fits = tuple(f"{FITS}/{key}/{name}" for key in self.fits for name in LARGEST_BYTES)
        return (*fits, *(path for path in (self.state, self.promise) if path is not None))


class VersionDescription(BaseModel, frozen=True, extra="forbid"):
    """The content of version.json; `files` are the digests of all other files of the version by path."""

    format: int
    fit_format: int
    name: str
    number: int
    created_at: AwareDatetime
    calendars: dict[str, ModelDescription]
    takeover: Takeover
    files: dict[str, str]

    def same_content(self, other: "VersionDescription") -> bool:
        """Return whether another version has the same models and files, and as much right to be the champion."""
        mine, others = ((it.calendars, it.files, it.takeover.accepted) for it in (self, other))
        return mine == others

    @property
    def digest(self) -> str:
        """The digest of the version: of everything in version.json, and so of all its files."""
        return digest_of(self.model_dump(mode="json"))


@dataclass(frozen=True)
class ModelVersion:
    """A version of a named model: a model per calendar, read from files that were not changed since."""

    description: VersionDescription
    models: Mapping[str, Model]
    folder: Path

    @property
    def number(self) -> int:
        """Its number; the first version of a name is 1."""
        return self.description.number

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.description.name

    def reference(self, calendar: str) -> VersionReference:
        """Return what names this version and the backtest of its model of a calendar."""
        decision = self.description.takeover.sentence
        return VersionReference(self.name, self.number, decision, self.models[calendar].backtest)


def numbers_in(folder: Path) -> list[int]:
    """Return the numbers of the versions in a model's folder, oldest first."""
    if not folder.is_dir():
        return []
    numbers = (int(path.name) for path in folder.iterdir() if _NUMBER.fullmatch(path.name))
    return sorted(number for number in numbers if folder_of(folder, number).is_dir())


def folder_of(folder: Path, number: int) -> Path:
    """Return the folder of a version within that of its model."""
    return folder / f"{number:04d}"


# --- Writing ---


def write_draft(
    draft: Path, trained: Sequence[TrainedModel], former: ModelVersion | None, facts: Mapping[str, object]
) -> VersionDescription:
    """Write the files of a version into a draft and return its description, which is not written yet.

    Calendars that were not trained are carried over from the former version, files and all. `facts` are name, number,
    created_at and takeover.
    """
    calendars = {model.calendar: _described(model) for model in trained}
    for model in trained:
        _write_fits(draft / FITS, model)
        if model.state:
            _write_file(draft / _state_path(model.calendar), state_bytes(model.state))
        if model.promise:
            _write_file(draft / _promise_path(model.calendar), record_bytes(model.promise.table))
    if former is not None:
        carried = {name: it for name, it in former.description.calendars.items() if name not in calendars}
        _copy(former.folder, draft, [path for it in carried.values() for path in it.paths])
        calendars = {**carried, **calendars}
    return VersionDescription.model_validate(
        {
            "format": VERSION_FORMAT,
            "fit_format": FORMAT_VERSION,
            "calendars": dict(sorted(calendars.items())),
            "files": _digests(draft),
            **facts,
        }
    )


def write_description(folder: Path, description: VersionDescription) -> None:
    """Write version.json, the last file of a version; raises OSError."""
    write_through(folder / DESCRIPTION, sealed(description.model_dump(mode="json")))


def _described(model: TrainedModel) -> ModelDescription:
    return ModelDescription(
        experiment=model.experiment,
        market_members=model.market_members,
        other_tickers=model.other_tickers,
        universe=model.universe,
        trained_until=str(model.results[0].job.fold.validation.until),
        fits=tuple(result.job.key for result in model.results),
        publication=model.publication,
        backtest=model.backtest,
        state=_state_path(model.calendar) if model.state else None,
        left_out=model.left_out,
        promise=_promise_path(model.calendar) if model.promise else None,
        regime_cuts=_known_cuts(model.promise),
    )


def _known_cuts(promise: SessionRecord | None) -> tuple[float, ...]:
    """Return the bounds of the fifths of a promise, none where they are not known: JSON has no NaN."""
    return () if promise is None or np.isnan(promise.cuts).any() else tuple(promise.cuts.tolist())


def _state_path(calendar: str) -> str:
    return f"{STATE}/{calendar.replace('/', '-')}.safetensors"


def _promise_path(calendar: str) -> str:
    return f"{PROMISE}/{calendar.replace('/', '-')}.parquet"


def _write_fits(folder: Path, model: TrainedModel) -> None:
    for result in model.results:
        if result.fitted is None:
            raise FitError(
                f"found a failed fit of {model.calendar} ({result.error}), expected finished ones to publish"
            )
        write_fitted(folder / result.job.key, result.fitted, result.job)


def _copy(former: Path, draft: Path, paths: Iterable[str]) -> None:
    for path in dict.fromkeys(paths):
        _write_file(draft / path, (former / path).read_bytes())


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_through(path, content)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- Reading ---


def read_description(folder: Path, number: int) -> VersionDescription:
    """Return the description of a version in its model's folder, its other files unread.

    Raises FitError where version.json is missing or was changed, UsageError where another version of tapecast wrote it.
    """
    path = folder_of(folder, number) / DESCRIPTION
    try:
        values = opened(path.read_bytes())
        if (values.get("format"), values.get("fit_format")) != (VERSION_FORMAT, FORMAT_VERSION):
            raise UsageError(
                f"version {number} of model {folder.name} in {path.parent} was written by another version of tapecast; "
                "run `tapecast run --publish` again"
            )
        found = VersionDescription.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise _unreadable(folder, number, f"{place} cannot be used here ({first['msg']})") from error
    except (OSError, ValueError) as error:
        raise _unreadable(folder, number, str(error)) from error
    if (found.name, found.number) != (folder.name, number):
        raise _unreadable(folder, number, f"it is version {found.number} of model {found.name}")
    return found


def read_files(folder: Path, number: int) -> ModelVersion:
    """Return a version in its model's folder after comparing every file with its digest; raises as read_description."""
    description, place = read_description(folder, number), folder_of(folder, number)
    try:
        _refuse_changed(place, description)
        models = {calendar: _model(place, it) for calendar, it in description.calendars.items()}
    except (OSError, ValueError, FitError) as error:
        raise _unreadable(folder, number, str(error)) from error
    return ModelVersion(description, models, place)


def _refuse_changed(place: Path, description: VersionDescription) -> None:
    named = {path for it in description.calendars.values() for path in it.paths}
    unlisted = sorted(named - {*description.files})
    if unlisted:
        raise ValueError(f"it has no digest of {unlisted[0]}")
    for name, digest in description.files.items():
        if _digest(place / name) != digest:
            raise ValueError(f"{name} is not what its digest says (truncated or changed)")


def _model(place: Path, description: ModelDescription) -> Model:
    return Model(
        experiment=description.experiment,
        market_members=description.market_members,
        other_tickers=description.other_tickers,
        universe=description.universe,
        trained_until=description.trained_until,
        fits=tuple(read_fitted(place / FITS / key) for key in description.fits),
        publication=description.publication,
        backtest=description.backtest,
        state=read_state(place / description.state) if description.state else None,
        left_out=description.left_out,
        promise=_promise(place, description),
    )


def _promise(place: Path, description: ModelDescription) -> SessionRecord | None:
    if description.promise is None:
        return None
    cuts = np.array(description.regime_cuts) if description.regime_cuts else UNKNOWN_CUTS
    return SessionRecord(record_from_bytes((place / description.promise).read_bytes()), cuts)


def _unreadable(folder: Path, number: int, reason: str) -> FitError:
    return FitError(
        f"cannot read version {number} of model {folder.name} in {folder_of(folder, number)}: {reason}; choose another "
        f"with `tapecast model promote VERSION --model {folder.name}`, or run `tapecast run --publish` again"
    )
