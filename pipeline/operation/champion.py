"""The version of a model's name that forecasts: its champion, or another one where that cannot be read."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import FitError, UsageError
from pipeline.operation.aliases import read_aliases
from pipeline.operation.model import refuse_unusable_name
from pipeline.operation.version_files import ModelVersion, numbers_in, read_files


@dataclass(frozen=True)
class UnreadableVersion:
    """A version that cannot be read, and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class SoundVersion:
    """The version to forecast with, None where there is none, and those that would come first but cannot be read."""

    version: ModelVersion | None
    unreadable: tuple[UnreadableVersion, ...] = ()

    def sentence(self, name: str) -> str:
        """Return why another version than the champion of a name forecasts, empty where the champion does."""
        if not self.unreadable:
            return ""
        reasons = "; ".join(it.reason for it in self.unreadable)
        if self.version is None:
            return f"Model {name} is trained and tested first, since none of its versions can be used: {reasons}."
        place = f"Version {self.version.number} of model {name} forecasts in place of the champion"
        return f"{place}, which cannot be used: {reasons}."


def read_or_reason(place: Path, number: int) -> ModelVersion | UnreadableVersion:
    """Return a version in its model's folder, or why it cannot be read: damaged, or of another tapecast."""
    try:
        return read_files(place, number)
    except (FitError, UsageError) as error:
        return UnreadableVersion(number, str(error))


def find_champion(folder: Path, name: str) -> ModelVersion | UnreadableVersion | None:
    """Return the champion of a name, None where there is none; raises FitError where the aliases are damaged."""
    refuse_unusable_name(name)
    number = read_aliases(folder / name).champion
    return None if number is None else read_or_reason(folder / name, number)


def find_sound_version(folder: Path, name: str) -> SoundVersion:
    """Return the champion of a name, else `previous`, else the newest version that had been a champion.

    A version that was refused, and that nobody promoted, never forecasts. Where the name has no champion there is no
    version. Raises FitError where the aliases are damaged.
    """
    refuse_unusable_name(name)
    place = folder / name
    aliases, unreadable = read_aliases(place), list[UnreadableVersion]()
    if aliases.champion is None:
        return SoundVersion(None)
    for number in dict.fromkeys((*aliases.numbers, *reversed(numbers_in(place)))):
        found = read_or_reason(place, number)
        if isinstance(found, UnreadableVersion):
            unreadable.append(found)
        elif number in aliases.numbers or found.description.takeover.accepted:
            return SoundVersion(found, tuple(unreadable))
    return SoundVersion(None, tuple(unreadable))
