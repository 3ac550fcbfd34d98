"""SIGINT and SIGTERM to a process of the command line: from its first lines on, and where it does not end by itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from .servers import wait_for

CLEARING = """
import sys, time
from pathlib import Path
from flows.cli.signals import INTERRUPTED_STATUS, exit_now, interrupt_on_signals
interrupt_on_signals()
try:
    Path(sys.argv[1], "ready").touch()
    time.sleep(60)
except KeyboardInterrupt:
    Path(sys.argv[1], "clearing").touch()
    time.sleep(1)
    Path(sys.argv[1], "cleared").touch()
    exit_now(INTERRUPTED_STATUS)
"""
STUCK = """
import subprocess, sys, time
from pathlib import Path
from flows.cli.signals import interrupt_on_signals
interrupt_on_signals()
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
Path(sys.argv[1], "ready").touch()
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        continue
"""
IGNORED = """
import sys, time
from pathlib import Path
from flows.cli.signals import INTERRUPTED_STATUS, exit_now, interrupt_on_signals
interrupt_on_signals()
class Held:
    def __del__(self):
        Path(sys.argv[1], "ready").touch()
        time.sleep(60)
try:
    held = Held()
    del held
    time.sleep(60)
except KeyboardInterrupt:
    exit_now(INTERRUPTED_STATUS)
"""


@contextmanager
def started(code: str, folder: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is at work, started as a script's background job, where SIGINT is ignored."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), *arguments], start_new_session=True, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509  no thread runs yet
    )  # fmt: skip
    try:
        assert wait_for((folder / "ready").exists, 30)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_stop_the_clearing_away(sign: signal.Signals, tmp_path: Path) -> None:
    with started(CLEARING, tmp_path) as process:
        process.send_signal(sign)
        assert wait_for((tmp_path / "clearing").exists, 10)
        for again in (signal.SIGINT, signal.SIGTERM):
            process.send_signal(again)
        assert process.wait(timeout=10) == 130
    assert (tmp_path / "cleared").exists()


def test_an_interrupt_that_python_ignores_is_raised_again(tmp_path: Path) -> None:
    with started(IGNORED, tmp_path) as process:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 130
        assert time.monotonic() - began < 2
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_what_does_not_end_by_itself_is_ended_with_its_children_within_five_seconds(tmp_path: Path) -> None:
    with started(STUCK, tmp_path) as process:
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 1
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 130
        assert 3 < time.monotonic() - began < 5
        assert process.stderr is not None
        assert b"ended before all was closed" in process.stderr.read()
    assert not psutil.wait_procs(children, 5)[1]


def test_a_command_is_interrupted_from_its_first_lines_on(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['tapecast', 'sanity', '--json']; from flows.cli.__main__ import main; main()"
    environment = {**os.environ, "TAPECAST_HOME": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE) as process:
        assert wait_for(lambda: catches_sigterm(process.pid), 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def catches_sigterm(process_id: int) -> bool:
    """Return whether a process of Linux has a handler for SIGTERM; elsewhere, that some time has passed."""
    if not (path := Path(f"/proc/{process_id}/status")).exists():
        time.sleep(1)
        return True
    (line,) = (line for line in path.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
