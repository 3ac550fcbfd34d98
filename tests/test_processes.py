"""Which process is at work: itself, another, one that ended, and one of the same number that began later."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from pipeline.processes import SAME_SECONDS, is_another_at_work, is_gone, this_process


@pytest.fixture
def other() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(timeout=10)


def noted(process: "subprocess.Popen[bytes]", **changes: Any) -> dict[str, Any]:
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
