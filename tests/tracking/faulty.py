"""Servers on loopback that fail: one that accepts and never answers, and one that answers a byte at a time."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BYTE_SECONDS = 0.1


@contextmanager
def silent_server(trickles: bool = False) -> Iterator[str]:
    """The address of a server that accepts connections and answers nothing, or a header without end."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        threading.Thread(target=_accept, args=(listening, trickles, ended), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        ended.set()


def _accept(listening: socket.socket, trickles: bool, ended: threading.Event) -> None:
    connections = []
    while not ended.is_set():
        with suppress(OSError):
            connections.append(listening.accept()[0])
        for connection in connections if trickles else ():
            with suppress(OSError):
                connection.sendall(b"H")
        time.sleep(BYTE_SECONDS)
    for connection in connections:
        connection.close()


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
