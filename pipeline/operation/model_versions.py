"""Versions of named models: published whole and numbered, read with every digest compared, aliased, and pruned."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pipeline.errors import FitError, TapecastError, UsageError
from pipeline.files import draft_folder, remove_whole
from pipeline.market.specification import SourceSpec
from pipeline.market.store.writing import sync_folder
from pipeline.operation.aliases import Aliases, one_publisher, read_aliases, write_aliases
from pipeline.operation.champion import UnreadableVersion, read_or_reason
from pipeline.operation.model import DAILY, SAMPLE, SYNTHETIC, TrainedModel, model_name, refuse_unusable_name
from pipeline.operation.takeover import FIRST, Takeover
from pipeline.operation.version_files import (
    ModelVersion,
    VersionDescription,
    folder_of,
    numbers_in,
    read_description,
    read_files,
    write_description,
    write_draft,
)

KEPT_VERSIONS = 10
"""How many of the last versions pruning leaves, those with an alias aside."""

Alias = Literal["champion", "previous"]

EARLIER_FILES = {DAILY: "latest.json", SAMPLE: "sample.json"}
"""Where models were before they had versions."""


@dataclass(frozen=True)
class Pruned:
    """The versions that pruning removed, and the disk space that they took."""

    numbers: tuple[int, ...]
    freed_bytes: int


def publish(
    folder: Path, name: str, trained: Sequence[TrainedModel], now: datetime, decision: Takeover = FIRST
) -> ModelVersion:
    """Publish trained models as the next version of a name and return it, as read back from disk.

    Calendars that were not trained are carried over from the champion, unless that cannot be read. The version appears
    whole, then the alias moves to it if the decision says so: a process killed between the two leaves a version without
    an alias, which the same call finds again. Other names are not touched. Raises FitError where the aliases are
    damaged, UsageError where the folder cannot be written.
    """
    refuse_unusable_name(name)
    place = folder / name
    with one_publisher(place):
        aliases = read_aliases(place)
        champion = None if aliases.champion is None else read_or_reason(place, aliases.champion)
        former = champion if isinstance(champion, ModelVersion) else None
        facts = {"name": name, "created_at": now.astimezone(UTC), "takeover": decision}
        try:
            number = _placed(place, trained, former, facts)
        except OSError as error:
            raise UsageError(
                f"cannot write a version of model {name} in {place}: {error}; expected a folder that you may write in, "
                "with free space"
            ) from error
        if decision.accepted:
            known = aliases if former else Aliases(previous=aliases.previous)
            write_aliases(place, known.promoted(number))
        return read_files(place, number)


def _placed(place: Path, trained: Sequence[TrainedModel], former: ModelVersion | None, facts: dict[str, object]) -> int:
    """Return the number of the version with these models: the last one where it has just them, else a new one."""
    numbers = numbers_in(place)
    number = numbers[-1] + 1 if numbers else 1
    with draft_folder(place) as draft:
        description = write_draft(draft, trained, former, {**facts, "number": number})
        if numbers and _has_content(place, numbers[-1], description):
            return numbers[-1]
        write_description(draft, description)
        draft.rename(folder_of(place, number))
    sync_folder(place)
    return number


def _has_content(place: Path, number: int, description: VersionDescription) -> bool:
    found = read_or_reason(place, number)  # where it cannot be read a new version takes its place
    return isinstance(found, ModelVersion) and found.description.same_content(description)


def read_version(folder: Path, name: str, which: int | Alias = "champion") -> ModelVersion:
    """Return a version of a named model, by number or alias, after comparing every file with its digest.

    Raises UsageError where there is none, FitError where any file of it is missing or was changed.
    """
    place, numbers = folder / name, _numbers(folder, name)
    number = which if isinstance(which, int) else _aliased(place, numbers, which)
    if number not in numbers:
        raise UsageError(
            f"found no version {number} of model {name}, expected one of {_spans(numbers)}: it was pruned, or never "
            "published"
        )
    return read_files(place, number)


def versions(folder: Path, name: str) -> tuple[VersionDescription | UnreadableVersion, ...]:
    """Return the description of every version of a name, oldest first; the files of their fits are not read."""
    return tuple(_description_or_reason(folder / name, number) for number in _numbers(folder, name))


def model_names(folder: Path) -> tuple[str, ...]:
    """Return the names that have versions."""
    return tuple(sorted(path.name for path in folder.iterdir() if numbers_in(path))) if folder.is_dir() else ()


def promote(folder: Path, name: str, number: int) -> Aliases:
    """Make a version the champion and return the aliases; the champion before becomes `previous`.

    Raises as read_version does. Damaged aliases are replaced: a person says here which version forecasts.
    """
    read_version(folder, name, number)
    with one_publisher(folder / name):
        try:
            aliases = read_aliases(folder / name).promoted(number)
        except FitError:
            aliases = Aliases(number)
        write_aliases(folder / name, aliases)
        return aliases


def rollback(folder: Path, name: str) -> Aliases:
    """Exchange champion and previous and return the aliases; raises as read_version does."""
    _numbers(folder, name)
    with one_publisher(folder / name):
        number = read_version(folder, name, "previous").number
        aliases = read_aliases(folder / name).promoted(number)
        write_aliases(folder / name, aliases)
        return aliases


def prune(
    folder: Path,
    name: str,
    keep: int = KEPT_VERSIONS,
    needed: Collection[int] = (),
    made_before: datetime | None = None,
) -> Pruned:
    """Remove the versions of a name that `prunable` returns, each as a whole; return what went.

    Raises UsageError where there are none, FitError where the aliases are damaged.
    """
    place = folder / name
    _numbers(folder, name)
    with one_publisher(place):
        removed = prunable(folder, name, keep, needed, made_before)
        try:
            return Pruned(removed, sum(remove_whole(folder_of(place, number)) for number in removed))
        except OSError as error:
            raise UsageError(f"cannot remove a version in {place}: {error}; expected a folder that is yours") from error


def prunable(
    folder: Path,
    name: str,
    keep: int = KEPT_VERSIONS,
    needed: Collection[int] = (),
    made_before: datetime | None = None,
) -> tuple[int, ...]:
    """Return the versions of a name but the last ones, those with an alias, and those needed, oldest first.

    Where an instant is given, a version that was made later stays too, and one that cannot be read: its age is unknown.
    Raises FitError where the aliases are damaged.
    """
    place = folder / name
    numbers = numbers_in(place)
    kept = {*numbers[-keep:], *read_aliases(place).numbers, *needed}
    old = [number for number in numbers if number not in kept]
    return tuple(number for number in old if made_before is None or _made_before(place, number, made_before))


def _made_before(place: Path, number: int, instant: datetime) -> bool:
    found = _description_or_reason(place, number)
    return isinstance(found, VersionDescription) and found.created_at < instant


def name_to_forecast_with(folder: Path, source: SourceSpec | None) -> str:
    """Return the name of the model to use: that of the source, else the first of the default names that has one."""
    if source is not None:
        return model_name(source)
    present = (name for name in (DAILY, SAMPLE, SYNTHETIC) if numbers_in(folder / name) or _earlier(folder, name))
    return next(present, DAILY)


def _numbers(folder: Path, name: str) -> list[int]:
    """Return the numbers of a name's versions; raises UsageError where it has none."""
    refuse_unusable_name(name)
    numbers = numbers_in(folder / name)
    if not numbers:
        raise _no_model(folder, name)
    return numbers


def _aliased(place: Path, numbers: Sequence[int], alias: Alias) -> int:
    number: int | None = getattr(read_aliases(place), alias)
    if number is None:
        raise UsageError(
            f"model {place.name} has no {alias} among {_spans(numbers)}; name one with `tapecast model promote VERSION "
            f"--model {place.name}`"
        )
    return number


def _spans(numbers: Sequence[int]) -> str:
    return f"version {numbers[0]}" if len(numbers) == 1 else f"versions {numbers[0]} to {numbers[-1]}"


def _description_or_reason(place: Path, number: int) -> VersionDescription | UnreadableVersion:
    try:
        return read_description(place, number)
    except TapecastError as error:
        return UnreadableVersion(number, str(error))


def _earlier(folder: Path, name: str) -> Path | None:
    """Return the file that earlier versions of tapecast kept the model of a name in, None where there is none."""
    path = folder / EARLIER_FILES.get(name, "")
    return path if path.is_file() else None


def _no_model(folder: Path, name: str) -> UsageError:
    option = "" if name in (DAILY, SAMPLE, SYNTHETIC) else f" --model {name}"
    if earlier := _earlier(folder, name):
        return UsageError(
            f"found {earlier}, where an earlier tapecast kept a model without versions, expected versions of model "
            f"{name}; run `tapecast run --publish{option}` (finished fits are found again), then delete that file"
        )
    return UsageError(
        f"found no published model {name} under {folder}, expected one; run `tapecast run --publish{option}` first"
    )
