"""A command's use case and what Prefect shows of it: nothing of the server delays, changes or costs what it returns."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.exceptions import PrefectException

from flows.mirror import Mirror
from pipeline.errors import NothingUsableError, TapecastError

LONG = 60.0


@dataclass(frozen=True)
class Outcome:
    status: str


@pytest.fixture
def said() -> list[str]:
    return []


def at_once() -> None: ...


def no_answer() -> None:
    raise TapecastError("no Prefect server answered")


def called(mirror: Mirror, function: Callable[[], Any], name: str = "a-use-case") -> Any:
    return mirror.engine.flow(name, "a run")(function)()


@pytest.fixture
def silence() -> Iterator[threading.Event]:
    silence = threading.Event()
    yield silence
    silence.set()


def test_a_use_case_waits_for_no_server(said: list[str], silence: threading.Event) -> None:
    mirror = Mirror(lambda: silence.wait(LONG) and None, said.append)
    began = time.monotonic()
    assert called(mirror, lambda: "result") == "result"
    assert time.monotonic() - began < 1
    assert not said
    mirror.end(0.2)
    assert time.monotonic() - began < 2
    assert mirror.abandoned
    (sentence,) = said
    assert "did not answer within 0 s: the command does without Prefect" in sentence


def test_the_time_that_a_server_was_silent_meanwhile_counts(said: list[str], silence: threading.Event) -> None:
    mirror = Mirror(lambda: silence.wait(LONG) and None, said.append)
    called(mirror, lambda: time.sleep(2.1))
    began = time.monotonic()
    mirror.end(2)
    assert time.monotonic() - began < 1
    assert mirror.abandoned


@pytest.mark.usefixtures("prefect_server")
def test_the_time_that_the_use_case_takes_does_not_count(said: list[str]) -> None:
    mirror = Mirror(at_once, said.append)
    called(mirror, lambda: time.sleep(6), "long")
    mirror.end(5)
    assert (mirror.abandoned, said) == (False, [])
    assert len(runs_of("long")) == 1


def test_a_server_that_is_not_there_is_said_once(said: list[str]) -> None:
    mirror = Mirror(no_answer, said.append)
    assert called(mirror, lambda: "result") == "result"
    mirror.end(LONG)
    assert (mirror.abandoned, mirror.fault) == (True, None)
    assert said == [
        "no Prefect server answered: the command does without Prefect, whose pages do not show how it ended"
    ]


@pytest.mark.parametrize("connect", [at_once, no_answer])
@pytest.mark.parametrize("error", [NothingUsableError("no ticker"), ZeroDivisionError("a bug"), KeyboardInterrupt()])
@pytest.mark.usefixtures("prefect_server")
def test_the_error_of_the_use_case_is_what_is_raised(
    error: BaseException, connect: Callable[[], None], said: list[str]
) -> None:
    def use_case() -> str:
        raise error

    mirror = Mirror(connect, said.append)
    with pytest.raises(type(error)) as raised:
        called(mirror, use_case)
    assert raised.value is error
    mirror.end(LONG)
    assert mirror.fault is None


def runs_of(name: str) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        return list(client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[name]))))


def tasks_of(run: FlowRun) -> list[TaskRun]:
    """Return the tasks once the server has recorded their end, which it does by and by."""
    end = time.monotonic() + 20
    with get_client(sync_client=True) as client:
        while True:
            found = client.read_task_runs(
                task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run.id]))
            )
            if (found and all(task.state and task.state.is_final() for task in found)) or time.monotonic() > end:
                return sorted(found, key=lambda task: str(task.start_time))
            time.sleep(0.2)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("result", "state", "message"),
    [
        (Outcome("ok"), "Completed", "Took "),
        (Outcome("partial"), "Partial", "Something could not be done: see the artifacts. Took "),
        (NothingUsableError("no ticker"), "Failed", "NothingUsableError: no ticker Took "),
        (KeyboardInterrupt(), "Crashed", "The command was interrupted. "),
    ],
)
def test_prefect_shows_how_a_use_case_ended(result: Any, state: str, message: str, said: list[str]) -> None:
    def use_case() -> Any:
        if isinstance(result, BaseException):
            raise result
        return result

    name = f"ends-{state.lower()}"
    mirror = Mirror(at_once, said.append)
    with suppress(NothingUsableError, KeyboardInterrupt):
        called(mirror, use_case, name)
    mirror.end(LONG)
    (run,) = runs_of(name)
    assert run.state is not None
    assert run.state.name == state
    assert str(run.state.message).startswith(message)
    assert run.name == "a run"
    assert (mirror.abandoned, mirror.fault, said) == (False, None, [])


@pytest.mark.usefixtures("prefect_server")
def test_prefect_shows_steps_with_those_within_them_and_artifacts(said: list[str]) -> None:
    mirror = Mirror(at_once, said.append)
    step, show = mirror.engine.step, mirror.engine.show

    def fails() -> None:
        raise NothingUsableError("in a step")

    def outer() -> int:
        return step(lambda: 2, "inner")() + 1

    def use_case(text: str) -> str:
        """Do some steps."""
        found = step(outer, "outer")()
        show(create_markdown_artifact, text, "a-key")
        with pytest.raises(NothingUsableError):
            step(fails, "fails")()
        return f"{text} {found}"

    assert mirror.engine.flow("with-steps", "steps of {text}")(use_case)("a text") == "a text 3"
    mirror.end(LONG)
    (run,) = runs_of("with-steps")
    assert (run.name, run.parameters) == ("steps of a text", {"text": "a text"})
    tasks = [(task.name.partition("-")[0], task.state and task.state.name) for task in tasks_of(run)]
    assert tasks == [("outer", "Completed"), ("inner", "Completed"), ("fails", "Failed")]
    with get_client(sync_client=True) as client:
        kept = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        (artifact,) = client.read_artifacts(artifact_filter=kept)
    assert (artifact.key, artifact.data) == ("a-key", "a text")


@pytest.mark.usefixtures("prefect_server")
def test_what_is_concluded_from_a_result_belongs_to_the_run_that_prefect_shows(said: list[str]) -> None:
    mirror = Mirror(at_once, said.append)

    def conclude(found: object) -> None:
        mirror.engine.show(create_markdown_artifact, f"from {found}", "concluded")

    assert mirror.engine.flow("command-concluding", "a run", conclude)(lambda: "a result")() == "a result"
    mirror.end(LONG)
    (run,) = runs_of("command-concluding")
    with get_client(sync_client=True) as client:
        kept = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        assert [it.data for it in client.read_artifacts(artifact_filter=kept)] == ["from a result"]


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_began_before_its_server_says_so(said: list[str]) -> None:
    mirror = Mirror(lambda: time.sleep(1.5), said.append)
    called(mirror, lambda: Outcome("ok"), "early")
    mirror.end(LONG)
    (run,) = runs_of("early")
    assert run.state is not None
    assert "before this server answered." in str(run.state.message)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), PrefectException("500")])
def test_a_server_that_fails_meanwhile_costs_nothing(error: Exception, said: list[str]) -> None:
    def fails(*_: Any) -> None:
        raise error

    mirror = Mirror(at_once, said.append)

    def use_case() -> str:
        mirror.engine.show(fails)
        return "result"

    assert called(mirror, use_case, "fails-meanwhile") == "result"
    mirror.end(LONG)
    assert (mirror.abandoned, mirror.fault) == (True, None)
    (sentence,) = said
    assert f"failed ({error})" in sentence


@pytest.mark.usefixtures("prefect_server")
def test_a_fault_of_ours_in_what_is_shown_is_not_hidden(said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def wrong() -> None:
        raise ZeroDivisionError("an error of our own code")

    mirror = Mirror(at_once, said.append)

    def use_case() -> str:
        mirror.engine.show(wrong)
        return "result"

    assert called(mirror, use_case, "wrong") == "result"
    mirror.end(LONG)
    assert isinstance(mirror.fault, ZeroDivisionError)
    assert "an error of our own code" in capsys.readouterr().err


def test_without_a_use_case_nothing_is_shown(said: list[str]) -> None:
    mirror = Mirror(no_answer, said.append)
    mirror.end(LONG)
    assert len(said) == 1
