"""SIGINT and SIGTERM: both interrupt a command, which has some seconds to clear away before it is ended."""

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import NoReturn

INTERRUPTED_STATUS = 130
"""As the shell has it: 128 + SIGINT."""
CLEARING_SECONDS = 4.0
"""How long a command may take to close its runs and end its processes; after five seconds nothing of it is left."""
AGAIN_SECONDS = 0.01
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LATE = "interrupted, and ended before all was closed: the next command closes the rest\n"


def interrupt_on_signals() -> None:
    """Let both signals raise KeyboardInterrupt, once, and end this process where it goes on for some seconds.

    A service manager ends us with SIGTERM: like an interrupt, it must leave no worker, server or open run behind. A
    script's background job starts with SIGINT ignored, and so would the processes that it starts. A second signal is
    ignored, since it would stop the clearing away. Python calls its handlers between two instructions of the main
    thread, which may be in a library for long; the number of a signal is sent to our thread at once.
    """
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    sys.unraisablehook = _raise_again
    numbers, sent = socket.socketpair()
    sent.setblocking(False)
    signal.set_wakeup_fd(sent.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_end_late, args=(numbers, sent), daemon=True).start()


def exit_now(status: int) -> NoReturn:
    """End this process without waiting for what runs in other threads, such as a call to a server that is gone."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  as Python calls it
    for each in SIGNALS:
        signal.signal(each, _ignore)
    raise KeyboardInterrupt


def _raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Interrupt again a moment later where the interrupt fell into a callback or destructor, which Python ignores."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        return
    sys.__unraisablehook__(unraisable)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing; other than SIG_IGN, a process that is started does not inherit it."""


def _end_late(numbers: socket.socket, sent: socket.socket) -> None:  # noqa: ARG001  `sent` lives as long as this does
    while numbers.recv(1)[0] not in SIGNALS:
        pass
    import psutil  # noqa: PLC0415  the first lines of a command import nothing that takes time

    time.sleep(CLEARING_SECONDS)
    with suppress(OSError):
        os.write(2, LATE.encode())
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os._exit(INTERRUPTED_STATUS)
