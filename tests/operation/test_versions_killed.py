"""Killed with -9 before or after every call that makes a file durable or visible: each version is whole."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import FrameType

import pytest

from pipeline.operation.aliases import Aliases, read_aliases
from pipeline.operation.model import DAILY, TrainedModel
from pipeline.operation.model_versions import prune, publish, read_version, rollback, versions
from pipeline.operation.version_files import VersionDescription

from .fitted_models import NOW, small_fits, trained

FILE_CALLS = {"fsync", "replace", "rename", "rmdir"}
MAX_MOMENTS = 100


def killed_at(moment: int, action: Callable[..., object], *arguments: object) -> None:
    """Call, and be killed at the n-th moment before or after one of these calls; if there are fewer, end."""
    left = [moment]

    def kill(_: FrameType, event: str, called: object) -> None:
        if event in ("c_call", "c_return") and getattr(called, "__name__", "") in FILE_CALLS:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(kill)
    action(*arguments)
    sys.setprofile(None)


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """New processes from one that has imported all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.operation.model_versions"])
    return context


@pytest.fixture
def models(tmp_path: Path) -> list[TrainedModel]:
    results = small_fits(tmp_path, ("climatology",))
    return [trained((f"T{k}",), results) for k in range(MAX_MOMENTS)]


def check_whole(folder: Path) -> int:
    """Return how many versions there are, after reading the last ones and the aliases."""
    found = versions(folder, DAILY)
    assert all(isinstance(it, VersionDescription) for it in found)
    for it in found[-3:]:
        read_version(folder, DAILY, it.number)
    assert {*read_aliases(folder / DAILY).numbers} <= {it.number for it in found}
    return len(found)


def drafts(folder: Path) -> list[str]:
    return [path.name for path in (folder / DAILY).iterdir() if path.name.startswith(".draft")]


@pytest.mark.slow
def test_a_killed_publication_leaves_whole_versions_and_is_continued(
    processes: ForkServerContext, models: list[TrainedModel], tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    publish(folder, DAILY, [models[0]], NOW)
    states, count = [], 1
    for moment in range(1, MAX_MOMENTS):
        model, before = models[moment], read_aliases(folder / DAILY)
        child = processes.Process(target=killed_at, args=(moment, publish, folder, DAILY, [model], NOW))
        child.start()
        child.join()
        states.append((child.exitcode, check_whole(folder) - count, read_aliases(folder / DAILY) != before))
        assert publish(folder, DAILY, [model], NOW).number == count + 1, "it goes on where it was killed"
        assert read_version(folder, DAILY).models["XNYS"].market_members == model.market_members
        count += 1
        if child.exitcode == 0:
            break
    assert states[-1] == (0, 1, True)
    assert {code for code, _, _ in states[:-1]} == {-9}
    assert {state[1:] for state in states} == {(0, False), (1, False), (1, True)}, "before, between and after"
    assert drafts(folder) == []


@pytest.mark.slow
def test_a_killed_prune_and_a_killed_rollback_leave_whole_versions(
    processes: ForkServerContext, models: list[TrainedModel], tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    for model in models[:4]:
        publish(folder, DAILY, [model], NOW)
    for action, arguments in ((rollback, ()), (prune, (1,))):
        for moment in range(1, MAX_MOMENTS):
            child = processes.Process(target=killed_at, args=(moment, action, folder, DAILY, *arguments))
            child.start()
            child.join()
            check_whole(folder)
            if child.exitcode == 0:
                break
        assert child.exitcode == 0
    assert read_aliases(folder / DAILY) in (Aliases(3, 4), Aliases(4, 3))
    assert check_whole(folder) == 2
    publish(folder, DAILY, [models[9]], NOW)
    assert drafts(folder) == []
