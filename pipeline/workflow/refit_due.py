"""Whether a model is due to be refitted: by the folds of its calendar, the experiment, and the versions there are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.dataset.frames import Frames
from pipeline.errors import NothingUsableError
from pipeline.experiment import Experiment
from pipeline.operation.model import Model
from pipeline.operation.takeover import same_experiment
from pipeline.operation.version_files import ModelDescription, ModelVersion, VersionDescription
from pipeline.stages import folds_of
from pipeline.wording import count_of


@dataclass(frozen=True)
class RefitReason:
    """Why a model is due to be refitted, in words, and whether a person requested that by another experiment."""

    sentence: str
    requested: bool


ANOTHER_EXPERIMENT = RefitReason("the experiment is another one than the champion's", requested=True)


def refit_reasons(
    version: ModelVersion,
    known: Sequence[VersionDescription],
    experiment: Experiment,
    frames: Mapping[str, Frames],
    lost: int | None,
) -> list[RefitReason]:
    """Return why a version is due to be refitted, by the frames of its calendars; none where it is not.

    `known` are all versions of the name, `lost` is the champion's number where that cannot be read and `version` stands
    in for it.
    """
    reasons: list[RefitReason | None] = [] if lost is None else [replacement_reason(lost, known)]
    for calendar, of_calendar in frames.items():
        stored = [it.calendars[calendar] for it in known if calendar in it.calendars]
        reasons.append(refit_reason(version.models[calendar], stored, experiment, of_calendar))
    return [reason for reason in reasons if reason]


def refit_reason(
    model: Model, stored: Iterable[ModelDescription], experiment: Experiment, frames: Frames
) -> RefitReason | None:
    """Return why the model of a calendar is due to be refitted, None where it is not.

    `stored` are the models of the calendar in all versions of the name. One of them with the experiment and the latest
    fold is enough, whether it became the champion or was refused: a refit of the same fold would be decided in the same
    way every day, and a person who promoted another version since chose that one until the next fold.
    """
    requested = not _is_of(model, experiment)
    fitted = [it for it in stored if _is_of(it, experiment)]
    if requested and not fitted:
        return ANOTHER_EXPERIMENT
    try:
        latest = folds_of(_of_members(frames, model), experiment)[-1].validation.until
    except NothingUsableError:
        return None
    if any(_has_fold(it, latest) for it in fitted):
        return None
    return RefitReason(f"the fold of {latest} has begun", requested)


def replacement_reason(champion: int, known: Iterable[VersionDescription]) -> RefitReason | None:
    """Return why a refit has to replace a champion that cannot be read, None where one was made and failed its checks.

    Such a one is newer than the champion and was refused without another to compare it with; the next would fail too.
    """
    tried = any(it.number > champion and not (it.takeover.accepted or it.takeover.compared) for it in known)
    return None if tried else RefitReason(f"version {champion}, the champion, cannot be read", requested=False)


def experiment_of_another(version: ModelVersion, known: Iterable[VersionDescription], experiment: Experiment) -> str:
    """Return which version has the experiment in words, empty where none has, or the one that forecasts."""
    if any(_is_of(model, experiment) for model in version.models.values()):
        return ""
    having = [it.number for it in known if any(_is_of(model, experiment) for model in it.calendars.values())]
    if not having:
        return ""
    return (
        f"The experiment is another one than that of version {version.number}, which forecasts. Version {having[-1]} "
        f"has it: `tapecast model promote {having[-1]} --model {version.name}` lets it forecast before the next refit."
    )


def next_refit_sentence(calendar: str, model: Model) -> str:
    """Return when the model of a calendar is refitted next, as refit_reason decides it."""
    folds = model.experiment.folds
    if folds.train_end:
        return f"The model of {calendar} has one fixed split and is not refitted by itself."
    following = np.datetime64(model.trained_until, "M") + np.timedelta64(folds.refit_months, "M")
    return (
        f"The model of {calendar} was trained until {model.trained_until} and is refitted every "
        f"{count_of(folds.refit_months, 'month')}: next when the fold of {following} has begun."
    )


def _is_of(model: Model | ModelDescription, experiment: Experiment) -> bool:
    """Return whether a model has this experiment, but for benchmarks that could not be scored or fitted."""
    usable = tuple(spec for spec in experiment.benchmarks if spec.kind not in model.left_out)
    return same_experiment(experiment.model_copy(update={"benchmarks": usable}), model.experiment)


def _has_fold(stored: ModelDescription, latest: np.datetime64) -> bool:
    """Return whether a model was fitted until the latest fold, or less than the interval of refits before.

    Borders are counted from where the history of the tickers begins: those of a version of other tickers may lie some
    quarters apart from the champion's, and it has no later fold yet either.
    """
    next_fold = np.datetime64(stored.trained_until, "M") + np.timedelta64(stored.experiment.folds.refit_months, "M")
    return bool(latest < next_fold)


def _of_members(frames: Frames, model: Model) -> Frames:
    """Return the frames of the tickers that the model was trained with, whose history its folds are counted from."""
    members = tuple(ticker for ticker in frames.tickers if ticker in {*model.market_members})
    return frames.of(members or frames.tickers)
