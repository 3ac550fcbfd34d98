"""The pages: both servers answer on loopback, and an interrupt ends them with all their children."""

import json
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from .command import TAPECAST, Command
from .servers import free_port, wait_for, wait_until_answering
from .test_interruption import alive, let_interrupts_through


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_both_pages_answer_and_leave_nothing_behind(sign: signal.Signals, tmp_path: Path) -> None:
    mlflow, prefect = free_port(), free_port()
    command = Command(tmp_path / "home")
    pages = begun_pages(command, ("--mlflow-port", str(mlflow), "--prefect-port", str(prefect)), subprocess.PIPE)
    children: list[psutil.Process] = []
    try:
        wait_until_answering(f"http://127.0.0.1:{prefect}/api/health")
        wait_until_answering(f"http://127.0.0.1:{mlflow}/health")
        with urllib.request.urlopen(f"http://127.0.0.1:{prefect}/ui-settings", timeout=30) as answer:
            assert json.load(answer)["api_url"] == f"http://127.0.0.1:{prefect}/api"
        children = psutil.Process(pages.pid).children(recursive=True)
        assert len(children) >= 2
        pages.send_signal(sign)
        output, _ = pages.communicate(timeout=60)
        assert pages.returncode == 0
        assert f"MLflow: http://127.0.0.1:{mlflow}" in output.decode()
        end = time.monotonic() + 15
        while alive(children) and time.monotonic() < end:
            time.sleep(0.2)
        assert not alive(children)
        assert not list((command.home / "processes").iterdir())
    finally:
        pages.kill()
        for child in alive(children):
            child.kill()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_pages_that_were_killed_leave_servers_that_the_next_command_ends(tmp_path: Path) -> None:
    mlflow, prefect, command = free_port(), free_port(), Command(tmp_path / "home")
    ports = ("--mlflow-port", str(mlflow), "--prefect-port", str(prefect))
    pages, children = begun_pages(command, ports), []
    try:
        wait_until_answering(f"http://127.0.0.1:{prefect}/api/health")
        wait_until_answering(f"http://127.0.0.1:{mlflow}/health")
        children = psutil.Process(pages.pid).children(recursive=True)
        assert len(children) >= 2
        pages.kill()
        pages.wait(timeout=20)
        assert len(alive(children)) == len(children), "as the case is meant"
        again = begun_pages(command, ports)  # on the same ports
        try:
            assert wait_for(lambda: not alive(children), 60), alive(children)
            wait_until_answering(f"http://127.0.0.1:{prefect}/api/health")
            children += psutil.Process(again.pid).children(recursive=True)
        finally:
            again.terminate()
            again.wait(timeout=60)
        assert again.returncode == 0
        assert wait_for(lambda: not alive(children), 15)
        assert not list((command.home / "processes").iterdir())
    finally:
        pages.kill()
        for child in alive(children):
            child.kill()


def begun_pages(command: Command, ports: Sequence[str], output: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    """`tapecast ui` on two ports."""
    return subprocess.Popen(
        [TAPECAST, "ui", *ports], env=command.environment, stdout=output, stderr=subprocess.DEVNULL,
        preexec_fn=let_interrupts_through,  # noqa: PLW1509  no thread runs yet
    )  # fmt: skip


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = Command(tmp_path / "home")("ui", "--mlflow-port", str(port), "--prefect-port", str(free_port()))
    assert found.returncode == 2
    assert f"port {port} is taken" in found.stderr
