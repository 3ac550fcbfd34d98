"""Prefect's temporary server for commands where none is named: a process that ends with the one that started it."""

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx

from pipeline.errors import TapecastError
from pipeline.processes import note_child, without_signals

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
END_SECONDS = 5.0
ASK_EVERY_SECONDS = 0.1
ANSWER_SECONDS = 5.0


@dataclass(frozen=True, eq=False)
class TemporaryServer:
    """A server on the home's own database, alone with the process that started it."""

    process: "subprocess.Popen[bytes]"
    api_url: str
    note: Path | None

    @classmethod
    def started(cls, notes: Path) -> Self:
        """Return a server that has just been started, and is noted in a folder while it lives; see `wait`.

        It reads its standard input, and ends when that is closed: at the latest when this process has ended, even
        by a kill -9.
        """
        with socket.socket() as listening:
            listening.bind((HOST, 0))
            with without_signals():
                process = subprocess.Popen(  # noqa: S603  our own module
                    [sys.executable, "-P", "-m", "flows.temporary_server", str(listening.fileno())],
                    env=_environment(), stdin=subprocess.PIPE, pass_fds=[listening.fileno()],
                )  # fmt: skip
            port = listening.getsockname()[1]
        server = cls(process, f"http://{HOST}:{port}/api", note_child(notes, process.pid))
        atexit.register(server.end)  # after Prefect's own last words, which are registered later
        return server

    def wait(self, seconds: float) -> None:
        """Return once the server answers; raises TapecastError where it does not within some time."""
        end = time.monotonic() + seconds
        while not answers(self.api_url):
            if (status := self.process.poll()) is not None:
                raise TapecastError(f"Prefect's temporary server ended with exit status {status} in place of answering")
            if time.monotonic() > end:
                raise TapecastError(f"Prefect's temporary server did not answer within {seconds:.0f} s")
            time.sleep(ASK_EVERY_SECONDS)

    def end(self, seconds: float = END_SECONDS) -> None:
        """End the server, by a kill where it has not ended after some seconds; its database bears that."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.note is not None:
            self.note.unlink(missing_ok=True)


def answers(api_url: str, seconds: float = ANSWER_SECONDS) -> bool:
    """Return whether Prefect's server, or a service in its place that knows who may ask, answers at an address."""
    try:
        answer = httpx.get(f"{api_url.rstrip('/')}/health", timeout=seconds)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR


def _environment() -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"},
        # The same modules as here, whatever lies in the folder that this process was started in.
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }


def main() -> None:
    """Serve on the socket whose file descriptor is the first argument, until standard input is closed."""
    import uvicorn  # noqa: PLC0415  the process that starts this one needs none of it

    config = uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, lifespan="on", log_level="error",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


def _end_with_input(server: "uvicorn.Server") -> None:
    sys.stdin.buffer.read()
    server.should_exit = True
    time.sleep(END_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
