"""Interrupted and killed runs: no process stays, and no finished fit is lost."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from pipeline.processes import note_child, this_process

from .command import SMALL_TOML, TAPECAST, Command
from .servers import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def tapecast(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """One home for all signals: Prefect's and MLflow's databases are laid out once."""
    return Command(tmp_path_factory.mktemp("interrupted"))


def long_experiment(folder: Path, seed: int) -> Path:
    """Return an experiment of many fits, on prices of their own."""
    path = folder / "long.toml"
    text = (
        SMALL_TOML.replace("[source]", f"[source]\nseed = {seed}")
        .replace("seeds = 1", "seeds = 8")
        .replace("workers = 1", "workers = 2")
    )
    text = text.replace("max_steps = 8", "max_steps = 60").replace("min_steps = 4", "min_steps = 60")
    path.write_text(text.replace("batch_chunks = 4", "batch_chunks = 64"))
    return path


def let_interrupts_through() -> None:
    """A shell's background job ignores interrupts, and so would everything that it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def started(
    tapecast: Command, experiment: Path, output: Path, ignored: bool = False, command: str = "backtest"
) -> "subprocess.Popen[bytes]":
    """Start a command as a shell does, or as a script's background job, where interrupts are ignored."""
    with output.open("wb") as file:
        return subprocess.Popen(
            [TAPECAST, command, "--experiment", experiment], env=tapecast.environment,
            stdout=file, stderr=file, start_new_session=True,
            preexec_fn=ignore_interrupts if ignored else let_interrupts_through,  # noqa: PLW1509  no thread runs yet
        )  # fmt: skip


def fits(tapecast: Command) -> int:
    folder = tapecast.home / "fits"
    return len([path for path in folder.iterdir() if not path.name.startswith(".")]) if folder.is_dir() else 0


def statuses(tapecast: Command) -> "Counter[str]":
    """Return how many jobs have each status in MLflow's database; their children are of the folds."""
    if not (path := tapecast.home / "mlflow" / "mlflow.db").exists():
        return Counter()
    with contextlib.closing(sqlite3.connect(path)) as database:
        children = "SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId'"
        rows = database.execute(f"SELECT status FROM runs WHERE run_uuid NOT IN ({children})")  # noqa: S608
        return Counter(status for (status,) in rows)


def flow_states(tapecast: Command) -> "Counter[str]":
    """Return how many flow runs have each state in Prefect's database."""
    if not (path := tapecast.home / "prefect" / "prefect.db").exists():
        return Counter()
    with contextlib.closing(sqlite3.connect(path)) as database:
        return Counter(name for (name,) in database.execute("SELECT state_name FROM flow_run"))


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def has_server(process: "subprocess.Popen[bytes]") -> bool:
    """Return whether a command has started its temporary server, which does not answer yet."""
    with contextlib.suppress(psutil.Error):
        return any("flows.temporary_server" in child.cmdline() for child in psutil.Process(process.pid).children())
    return False


def ended(run: "subprocess.Popen[bytes]", sign: signal.Signals, group: bool) -> tuple[int, float]:
    """Return the exit status of a command after a signal, and the seconds that it took."""
    began = time.monotonic()
    os.killpg(run.pid, sign) if group else run.send_signal(sign)
    return run.wait(timeout=60), time.monotonic() - began


SERVER, FITS, RECORD = "while Prefect's server starts", "in the fits", "at the end"


@pytest.mark.parametrize(
    ("phase", "sign", "group", "ignored"),
    [
        (SERVER, signal.SIGTERM, True, False),
        (FITS, signal.SIGTERM, True, False),  # what a service manager does
        (FITS, signal.SIGTERM, False, True),  # what a script does with its background job
        (RECORD, signal.SIGINT, True, False),  # what a terminal does
    ],
)
def test_a_signal_ends_a_command_within_five_seconds_in_every_phase(
    phase: str, sign: signal.Signals, group: bool, ignored: bool, tapecast: Command, tmp_path: Path
) -> None:
    experiment, log = long_experiment(tmp_path, seed=100 + sign + 2 * group), tmp_path / "output"
    found_fits = fits(tapecast)
    if phase == RECORD:
        experiment.write_text(SMALL_TOML.replace("[source]", "[source]\nseed = 99"))
    run = started(tapecast, experiment, log, ignored)
    children: list[psutil.Process] = []
    reached = {
        SERVER: lambda: has_server(run),
        FITS: lambda: fits(tapecast) > found_fits,
        RECORD: lambda: "evaluate" in log.read_text(),
    }
    try:
        assert wait_for(reached[phase], 100), log.read_text()
        children = psutil.Process(run.pid).children(recursive=True)
        status, seconds = ended(run, sign, group)
        assert (status, alive(children)) == (130, []), log.read_text()
        assert seconds < 5
    finally:
        run.kill()
        for process in alive(children):
            process.kill()
        run.wait(timeout=20)
    assert "Traceback" not in log.read_text()
    assert not list((tapecast.home / "processes").iterdir())
    assert set(statuses(tapecast)) <= {"KILLED"}
    assert set(flow_states(tapecast)) <= {"Crashed"}


def test_a_killed_run_leaves_no_process_and_is_closed_and_continued_by_the_next(
    tapecast: Command, tmp_path: Path
) -> None:
    experiment, log = long_experiment(tmp_path, seed=9), tmp_path / "output"
    found_fits, found_statuses, found_states = fits(tapecast), statuses(tapecast), flow_states(tapecast)
    run = started(tapecast, experiment, log)
    children: list[psutil.Process] = []
    try:
        assert wait_for(lambda: fits(tapecast) >= found_fits + 3, 100), log.read_text()
        children = psutil.Process(run.pid).children(recursive=True)
        assert len(children) >= 3
        run.kill()
        run.wait(timeout=20)
        assert wait_for(lambda: not alive(children), 20), alive(children)
    finally:
        run.kill()
        for process in alive(children):
            process.kill()
        run.wait(timeout=20)
    assert flow_states(tapecast) - found_states == {"Running": 1}
    kept = fits(tapecast)
    # As one that hangs, and did not see that its parent was gone.
    hanging = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    note = note_child(tapecast.home / "processes", hanging.pid)
    assert note is not None
    note.write_text(json.dumps(json.loads(note.read_text()) | {"parent": {**this_process(), "began": 1.0}}))
    try:
        status, found = tapecast.json("backtest", "--experiment", experiment)
        assert hanging.wait(timeout=10) == -signal.SIGKILL
    finally:
        hanging.kill()
        hanging.communicate(timeout=10)
    assert status == 0
    assert found["scores"]["1"]["network"]["pinball"] > 0
    assert fits(tapecast) > kept >= found_fits + 3
    assert not list((tapecast.home / "work").iterdir())
    assert not list((tapecast.home / "processes").iterdir())
    assert flow_states(tapecast) - found_states == {"Crashed": 1, "Completed": 1}
    made = statuses(tapecast) - found_statuses
    assert made == {"FINISHED": 1}  # the same command continues the run of one that was killed
