"""Which version forecasts: the champion, and where it cannot be read the best of the others that can."""

import shutil
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.operation.aliases import Aliases, write_aliases
from pipeline.operation.champion import SoundVersion, UnreadableVersion, find_champion, find_sound_version
from pipeline.operation.model import DAILY
from pipeline.operation.model_versions import promote, publish
from pipeline.operation.takeover import FIRST, Takeover
from pipeline.operation.version_files import DESCRIPTION, folder_of

from .fitted_models import NOW, small_fits, trained

REFUSED = Takeover(False, "Not the champion: XNYS: it is worse.")


@pytest.fixture(scope="module")
def five_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five versions, the fourth refused: 5 is the champion and 3 was it before."""
    folder = tmp_path_factory.mktemp("models")
    results = small_fits(folder / "fits", ("climatology",))
    for k, decision in enumerate((FIRST, FIRST, FIRST, REFUSED, FIRST)):
        publish(folder / "models", DAILY, [trained((f"T{k}",), results)], NOW, decision)
    return folder / "models"


@pytest.fixture
def folder(five_versions: Path, tmp_path: Path) -> Path:
    shutil.copytree(five_versions, tmp_path / "models")
    return tmp_path / "models"


def damage(folder: Path, number: int) -> None:
    """Change the last byte of a fit; the description of the version stays readable."""
    path = next(folder_of(folder / DAILY, number).glob("fits/*/weights.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def numbers(found: SoundVersion) -> tuple[int | None, list[int]]:
    return found.version.number if found.version else None, [it.number for it in found.unreadable]


def test_the_champion_forecasts_else_the_one_before_else_the_newest_that_was_not_refused(folder: Path) -> None:
    assert numbers(find_sound_version(folder, DAILY)) == (5, [])
    assert find_sound_version(folder, DAILY).sentence(DAILY) == ""
    damage(folder, 5)
    found = find_sound_version(folder, DAILY)
    assert numbers(found) == (3, [5])
    sentence = found.sentence(DAILY)
    assert sentence.startswith("Version 3 of model daily forecasts in place of the champion, which cannot be used: ")
    assert "cannot read version 5 of model daily" in sentence
    assert "weights.safetensors is not what its digest says (truncated or changed)" in sentence
    (folder_of(folder / DAILY, 3) / DESCRIPTION).unlink()
    assert numbers(find_sound_version(folder, DAILY)) == (2, [5, 3])
    damage(folder, 2)
    shutil.rmtree(folder_of(folder / DAILY, 1))
    none = find_sound_version(folder, DAILY)
    assert numbers(none) == (None, [5, 3, 2])  # 4 was refused
    assert none.sentence(DAILY).startswith("Model daily is trained and tested first, since none of its versions can be")


def test_a_refused_version_forecasts_where_a_person_promoted_it(folder: Path) -> None:
    promote(folder, DAILY, 4)
    promote(folder, DAILY, 3)
    damage(folder, 3)
    assert numbers(find_sound_version(folder, DAILY)) == (4, [3])


def test_without_a_champion_no_version_forecasts(folder: Path) -> None:
    write_aliases(folder / DAILY, Aliases())
    assert find_sound_version(folder, DAILY) == SoundVersion(None)
    assert (find_champion(folder, DAILY), find_champion(folder, "mine")) == (None, None)
    assert find_sound_version(folder, "mine") == SoundVersion(None)
    with pytest.raises(UsageError, match="as the name of a model"):
        find_sound_version(folder, "../x")


def test_a_champion_that_is_gone_is_one_that_cannot_be_read(folder: Path) -> None:
    shutil.rmtree(folder_of(folder / DAILY, 5))
    champion = find_champion(folder, DAILY)
    assert isinstance(champion, UnreadableVersion)
    assert "version 5 of model daily" in champion.reason
    assert numbers(find_sound_version(folder, DAILY)) == (3, [5])
