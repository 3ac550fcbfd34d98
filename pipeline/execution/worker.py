"""A worker process: runs the calls that come through its connection, one at a time, until that is closed.

Started as `python -m pipeline.execution.worker FD PARENT` by the pool. It never imports the module that the user
started, so that a script without `if __name__ == "__main__":` works like any other.
"""

import os
import sys
import threading
import time
from multiprocessing.connection import Connection

from pipeline.processes import spare_the_collector

ORPHAN_CHECK_SECONDS = 1.0


def serve(connection: "Connection[object, tuple[object, ...]]") -> None:
    """Send back the result of every call received, until the other end is closed."""
    while True:
        try:
            function, *arguments = connection.recv()
        except (EOFError, ConnectionResetError):  # reset: it was closed before a result was read
            return
        connection.send(function(*arguments))  # type: ignore[operator]


def _exit_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(ORPHAN_CHECK_SECONDS)
    os._exit(1)


def main() -> None:
    """Serve the connection whose file descriptor is the first argument; exit with the parent, the second one."""
    descriptor, parent = map(int, sys.argv[1:])
    spare_the_collector()
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()
    serve(Connection(descriptor))


if __name__ == "__main__":
    main()
