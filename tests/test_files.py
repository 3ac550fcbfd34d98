"""Files and folders that are removed as a whole, and drafts of processes that are no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files import disk_bytes, drafts_in, is_abandoned, remove_whole

DAYS_AGO = 3 * 86_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run" / "sub").mkdir(parents=True)
    (tmp_path / "run" / "a").write_bytes(b"x" * 100)
    (tmp_path / "run" / "sub" / "b").write_bytes(b"x" * 11)
    return tmp_path


def test_what_is_removed_is_measured_and_gone(folder: Path) -> None:
    assert disk_bytes(folder / "run") == remove_whole(folder / "run") == 111
    (folder / "file").write_bytes(b"12345")
    assert disk_bytes(folder / "file") == remove_whole(folder / "file") == 5
    assert list(folder.iterdir()) == []


def test_a_kill_while_a_folder_is_removed_leaves_none_of_it_in_its_place(folder: Path) -> None:
    script = (
        "import os, shutil, sys; from pathlib import Path\n"
        "from pipeline import files\n"
        "files.shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), 9)\n"
        f"files.remove_whole(Path({str(folder / 'run')!r}))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=False).returncode == -9
    assert [path.name.partition("-")[0] for path in folder.iterdir()] == [".draft"]
    (left,) = drafts_in(folder)
    assert is_abandoned(left)
    (folder / "other").mkdir()
    remove_whole(folder / "other")
    assert list(folder.iterdir()) == []


def test_the_draft_of_a_living_process_is_not_abandoned(tmp_path: Path) -> None:
    draft = tmp_path / "deep" / f".draft-{os.getpid()}-x"
    draft.mkdir(parents=True)
    assert drafts_in(tmp_path) == [draft]
    assert not is_abandoned(draft)
    began = draft.stat().st_mtime - DAYS_AGO
    os.utime(draft, (began, began))
    assert is_abandoned(draft), "this process began days later: it has only got the number"
    assert not is_abandoned(tmp_path / "no draft")
