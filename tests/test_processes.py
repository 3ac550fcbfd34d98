"""Which process is at work, and which are ended as leftovers: those noted whose parent is gone, and no others."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.processes import (
    SAME_SECONDS,
    end_leftovers,
    is_another_at_work,
    is_gone,
    note_child,
    this_process,
    without_signals,
)


@pytest.fixture
def other() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(timeout=10)


def noted(process: "subprocess.Popen[bytes] | psutil.Process", **changes: Any) -> dict[str, Any]:
    began = psutil.Process(process.pid).create_time() - psutil.boot_time()
    return {**this_process(), "process": process.pid, "began": began, **changes}


def test_this_process_is_neither_another_nor_gone() -> None:
    mine = this_process()
    assert 0 < mine["began"] < time.time() - psutil.boot_time()
    assert not is_another_at_work(mine)
    assert not is_gone(mine)


def test_another_is_at_work_until_it_ends(other: "subprocess.Popen[bytes]") -> None:
    process = noted(other)
    assert is_another_at_work(process)
    assert not is_gone(process)
    other.communicate(timeout=10)
    assert not is_another_at_work(process)
    assert is_gone(process)


@pytest.mark.parametrize(("shift", "same"), [(SAME_SECONDS / 2, True), (-2 * SAME_SECONDS, False)])
def test_a_later_process_of_the_same_number_is_another(
    shift: float, same: bool, other: "subprocess.Popen[bytes]"
) -> None:
    process = noted(other)
    process["began"] += shift
    assert is_another_at_work(process) == same
    assert is_gone(process) != same


def test_one_on_another_machine_is_neither_at_work_nor_gone(other: "subprocess.Popen[bytes]") -> None:
    process = noted(other, host="elsewhere")
    assert not is_another_at_work(process)
    assert not is_gone(process)


def note_of_a_gone_parent(
    folder: Path, child: "subprocess.Popen[bytes]", leads_group: bool = False, **changes: Any
) -> Path:
    """Return the note on a process whose parent was another one, which has ended."""
    path = note_child(folder, child.pid, leads_group)
    assert path is not None
    note = json.loads(path.read_text())
    note["parent"]["began"] -= 1
    note["child"] |= changes
    path.write_text(json.dumps(note))
    return path


def test_a_noted_process_is_ended_once_the_one_that_started_it_is_gone(
    other: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    noted_before, path = noted(other), note_child(tmp_path / "notes", other.pid)
    assert path is not None
    assert end_leftovers(tmp_path / "notes") == 0
    assert (other.poll(), path.exists()) == (None, True), "the one that started it still lives"
    note_of_a_gone_parent(tmp_path / "notes", other)
    assert end_leftovers(tmp_path / "notes") == 1
    assert is_gone(noted_before)
    assert not path.exists()
    assert end_leftovers(tmp_path / "notes") == 0


@pytest.mark.parametrize("leads_group", [True, False])
def test_a_noted_leader_is_ended_with_its_group(leads_group: bool, tmp_path: Path) -> None:
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60'], stdout=-3).pid, flush=True); input()"
    leader = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert leader.stdout is not None
    below = psutil.Process(int(leader.stdout.readline()))
    try:
        noted_before, noted_below = noted(leader), noted(below)
        note_of_a_gone_parent(tmp_path, leader, leads_group)
        assert end_leftovers(tmp_path) == 1
        assert is_gone(noted_before)
        until = time.monotonic() + (10 if leads_group else 0.3)
        while not is_gone(noted_below) and time.monotonic() < until:
            time.sleep(0.05)
        assert is_gone(noted_below) == leads_group
    finally:
        if below.is_running():
            below.kill()
        leader.communicate(timeout=10)


@pytest.mark.parametrize("leads_group", [True, False])
def test_one_that_leads_no_group_is_ended_alone(
    other: "subprocess.Popen[bytes]", leads_group: bool, tmp_path: Path
) -> None:
    noted_before = noted(other)
    note_of_a_gone_parent(tmp_path, other, leads_group)  # it is in the group of this process
    assert end_leftovers(tmp_path) == 1
    assert is_gone(noted_before)


@pytest.mark.parametrize("changes", [{"began": 1.0}, {"host": "elsewhere"}])
def test_what_is_not_certainly_the_noted_process_is_left_alone(
    changes: dict[str, Any], other: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    path = note_of_a_gone_parent(tmp_path, other, **changes)
    assert end_leftovers(tmp_path) == 0
    assert other.poll() is None
    assert not path.exists()


@pytest.mark.parametrize("content", ["", '{"parent": {}}', "[]", "\0\0"])
def test_a_damaged_note_is_deleted(content: str, tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(content)
    assert end_leftovers(tmp_path) == 0
    assert not list(tmp_path.iterdir())


def test_where_no_note_can_be_written_nothing_is_lost(other: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert note_child(tmp_path / "file", other.pid) is None
    assert end_leftovers(tmp_path / "file") == end_leftovers(tmp_path / "no folder") == 0


def test_a_process_started_without_signals_leaves_them_to_this_one() -> None:
    with without_signals():
        started = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            started.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            started.wait(timeout=0.3)
    finally:
        started.kill()
        started.communicate(timeout=10)
    assert started.returncode == -signal.SIGKILL
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}
