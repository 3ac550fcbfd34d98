"""A command whose named Prefect server is not there, says nothing, or is killed meanwhile: its result all the same."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.reach import FIRST_ANSWER_SECONDS, NAMED_SECONDS, named_server, wait_until_answering
from flows.temporary_server import TemporaryServer, answers
from pipeline.errors import TapecastError

from .command import TAPECAST, Command, small_experiment
from .servers import free_port, wait_for


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/api"


def refusing() -> str:
    return f"http://127.0.0.1:{free_port()}/api"


def test_a_silent_server_is_waited_for_no_longer_than_stated(silent: str) -> None:
    for address, seconds in ((silent, 0.3), (refusing(), 0.3)):
        began = time.monotonic()
        with pytest.raises(TapecastError, match=f"no Prefect server answered at {address}"):
            wait_until_answering(address, seconds)
        assert time.monotonic() - began < 3
    assert FIRST_ANSWER_SECONDS < NAMED_SECONDS == 15
    assert not answers("no address", 0.1)


@pytest.mark.parametrize(
    ("environment", "profiles", "found"),
    [
        ({}, None, None),
        ({"PREFECT_API_URL": "http://named/api"}, None, "http://named/api"),
        ({}, 'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://a/api"\n[profiles.b]', "http://a/api"),
        ({"PREFECT_PROFILE": "b"}, 'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://a/api"\n[profiles.b]', None),
        ({}, "no toml", None),
    ],
)
def test_the_server_is_that_of_the_environment_or_of_prefects_profile(
    environment: dict[str, str],
    profiles: str | None,
    found: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"PREFECT_HOME": str(tmp_path), **environment}.items():
        monkeypatch.setenv(name, value)
    if profiles is not None:
        (tmp_path / "profiles.toml").write_text(profiles)
    assert named_server() == found


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_without_its_server_a_command_runs_plainly_and_says_so(tmp_path: Path) -> None:
    address = refusing()
    result = Command(tmp_path / "home", prefect_api=address)(
        "backtest", "--experiment", small_experiment(tmp_path), "--json"
    )
    assert result.returncode == 0, result.stderr
    assert '"status": "ok"' in result.stdout
    assert f"no Prefect server answered at {address} within 5 s: the command does without" in flat(result.stderr)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_server_that_is_killed_costs_a_command_neither_its_result_nor_more_than_a_quarter_of_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    server = TemporaryServer.started(tmp_path / "notes")
    try:
        server.wait(120)
        environment = Command(tmp_path / "home", prefect_api=server.api_url).environment
        with (log := tmp_path / "output").open("wb") as output:
            run = subprocess.Popen(
                [TAPECAST, "backtest", "--experiment", small_experiment(tmp_path)],
                env=environment, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            assert wait_for(says(log, "features"), 120), log.read_text()
            server.process.kill()
            assert wait_for(says(log, "record"), 120), log.read_text()
            began = time.monotonic()
            assert run.wait(timeout=100) == 0, log.read_text()
            assert time.monotonic() - began < NAMED_SECONDS
        finally:
            run.kill()
            run.wait(timeout=20)
    finally:
        server.end()
    assert "the command does without Prefect, whose pages do not show how it ended" in flat(log.read_text())
    assert "Backtest, one session ahead" in log.read_text()
    assert "Traceback" not in log.read_text()


def says(log: Path, stage: str) -> Callable[[], Any]:
    return lambda: f"✓ {stage}" in log.read_text()


def flat(text: str) -> str:
    """Return a text without the ends of lines, which the terminal's width gives."""
    return " ".join(text.split())
