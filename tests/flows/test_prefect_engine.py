"""Use cases as Prefect flows: a partial result has a state of its own, and what may pass is tried again."""

from dataclasses import dataclass
from typing import Any

import pytest
from prefect import flow

from flows import prefect_engine
from flows.deployments import ingest, run
from flows.engine import PLAIN, Engine
from flows.prefect_engine import DEPLOYED, PREFECT, RETRY_SECONDS, TIMEOUT_SECONDS, retrying
from pipeline.errors import NothingUsableError, SourceUnavailableError, UsageError


@dataclass(frozen=True)
class Outcome:
    status: str


def flow_of(result: Any) -> Any:
    def use_case() -> Any:
        """Return what it is for."""
        return result

    return PREFECT.flow("use-case", "a use case")(use_case)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(("status", "name"), [("partial", "Partial"), ("ok", "Completed")])
def test_a_partial_run_is_completed_under_a_name_of_its_own(status: str, name: str) -> None:
    state = flow_of(Outcome(status))(return_state=True)
    assert (state.name, state.is_completed()) == (name, True)
    assert state.result() == Outcome(status)


@pytest.mark.usefixtures("prefect_server")
def test_who_calls_a_flow_gets_the_result_and_not_the_state() -> None:
    assert flow_of(Outcome("partial"))() == Outcome("partial")


def test_the_name_and_the_form_of_a_flow_are_those_of_its_use_case() -> None:
    assert (run.name, run.flow_run_name) == ("run", "run {experiment.source.kind}")  # type: ignore[attr-defined]
    assert set(run.parameters.properties) == {"experiment", "out", "publish", "model"}  # type: ignore[attr-defined]
    assert run.description.startswith("Backtest network and combination")  # type: ignore[attr-defined]


def test_deployments_have_a_time_limit_and_commands_have_none() -> None:
    assert ingest.timeout_seconds == TIMEOUT_SECONDS["ingest"]  # type: ignore[attr-defined]
    assert flow_of(None).timeout_seconds is None


def failing(times: int, error: Exception) -> Any:
    calls: list[int] = []

    def use_case() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return f"after {len(calls)}"

    return use_case


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("error", [SourceUnavailableError("no answer"), NothingUsableError("no prices")])
def test_what_may_pass_is_tried_again_twice(error: Exception) -> None:
    waited: list[float] = []

    @flow
    def tries(times: int) -> str:
        return str(retrying(failing(times, error), waited.append)())

    assert tries(2) == "after 3"
    assert tuple(waited) == RETRY_SECONDS
    with pytest.raises(type(error)):
        tries(3)


@dataclass(frozen=True)
class Unfinished:
    unfinished: str


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(("needed", "calls"), [(0, 1), (1, 2), (9, 3)])
def test_a_result_that_is_unfinished_is_tried_again_and_returned_in_the_end(needed: int, calls: int) -> None:
    waited: list[float] = []
    made: list[Unfinished] = []

    def use_case() -> Unfinished:
        made.append(Unfinished("no bar has come yet" if len(made) < needed else ""))
        return made[-1]

    @flow
    def tries() -> str:
        return str(retrying(use_case, waited.append)().unfinished)

    assert tries() == ("no bar has come yet" if needed == 9 else "")
    assert (len(made), tuple(waited)) == (calls, RETRY_SECONDS[: calls - 1])


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(("engine", "tries"), [(DEPLOYED, 3), (PREFECT, 1), (PLAIN, 1)])
def test_a_conclusion_is_made_once_of_the_last_result(
    engine: Engine, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect_engine, "RETRY_SECONDS", (0.0, 0.0))
    results = iter([Unfinished(f"{number} left") for number in range(tries)][::-1])
    concluded: list[str] = []

    def use_case() -> Any:
        result = next(results)
        return Unfinished("") if result.unfinished == "0 left" else result

    engine.flow("concluding", "a run", lambda result: concluded.append(result.unfinished))(use_case)()
    assert concluded == [""]
    assert next(results, None) is None


@pytest.mark.parametrize("error", [UsageError("wrong"), ZeroDivisionError("a bug")])
def test_what_stays_wrong_fails_at_once(error: Exception) -> None:
    with pytest.raises(type(error)):
        retrying(failing(1, error), lambda _: pytest.fail("it waited"))()


def test_without_prefect_a_use_case_is_called_as_it_is() -> None:
    use_case = failing(0, ValueError())
    assert PLAIN.flow("use-case", "a use case")(use_case) is use_case
    assert PLAIN.step(use_case, "step") is use_case
    PLAIN.show(lambda: pytest.fail("it made an artifact"))
