"""Interrupted and killed runs: no process stays, and no finished fit is lost."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from .command import SMALL_TOML, TAPECAST, Command

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


def started(tapecast: Command, experiment: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [TAPECAST, "backtest", "--experiment", experiment], env=tapecast.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=let_interrupts_through,  # noqa: PLW1509  no thread runs yet
    )  # fmt: skip


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.2)
    return condition()


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


def alive(children: list[psutil.Process]) -> list[psutil.Process]:
    return [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_no_process_and_continues_where_it_was(
    sign: signal.Signals, tapecast: Command, tmp_path: Path
) -> None:
    experiment = long_experiment(tmp_path, seed=sign)
    found_fits, found_statuses = fits(tapecast), statuses(tapecast)
    run = started(tapecast, experiment)
    children: list[psutil.Process] = []
    try:
        assert wait_for(lambda: fits(tapecast) >= found_fits + 3, 100)
        children = psutil.Process(run.pid).children(recursive=True)
        servers = [child for child in children if "uvicorn" in child.cmdline()]
        assert len(children) - len(servers) >= 2
        if sign != signal.SIGKILL:
            # A terminal interrupts the whole group, a service manager ends the one process that it knows.
            os.killpg(run.pid, sign) if sign == signal.SIGINT else run.send_signal(sign)
            _, output = run.communicate(timeout=60)
            assert run.returncode == 130
            assert b"interrupted: finished fits are cached" in output
            assert b"Traceback" not in output
            assert not list((tapecast.home / "work").iterdir())
        else:
            run.kill()
            run.wait(timeout=20)
        # Prefect's temporary server does not see that its parent was killed; our workers do.
        ours = children if sign != signal.SIGKILL else [child for child in children if child not in servers]
        assert wait_for(lambda: not alive(ours), 20), alive(ours)
    finally:
        run.kill()
        for process in alive(children):
            process.kill()
        run.communicate(timeout=20)
    kept = fits(tapecast)
    status, found = tapecast.json("backtest", "--experiment", experiment)
    assert status == 0
    assert found["scores"]["1"]["network"]["pinball"] > 0
    assert fits(tapecast) > kept >= found_fits + 3
    assert not list((tapecast.home / "work").iterdir())
    made = statuses(tapecast) - found_statuses
    # After a kill -9 the same command continues its run; one that was interrupted has ended.
    assert made == ({"FINISHED": 1} if sign == signal.SIGKILL else {"KILLED": 1, "FINISHED": 1})
