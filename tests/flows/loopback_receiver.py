"""Servers on loopback that keep what they are sent: a webhook over HTTP, and mail over SMTP."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .servers import wait_for


@dataclass
class Received:
    """What a server was sent: the paths and bodies of requests, or mails; `status` is what it answers."""

    port: int = 0
    status: int = 200
    paths: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def wait_for_text(self, *words: str, seconds: float = 20) -> str:
        """Return the first text that has all the words; fails where none came within some seconds."""
        wait_for(lambda: any(all(word in text for word in words) for text in self.texts), seconds)
        found = [text for text in self.texts if all(word in text for word in words)]
        assert found, (words, self.texts)
        return found[0]


@contextmanager
def webhook() -> Iterator[Received]:
    """Run an HTTP server that keeps what is sent to it."""
    received = Received()

    class Keeping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            received.paths.append(self.path)
            received.texts.append(body.decode())
            self.send_response(received.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with _running(ThreadingHTTPServer(("127.0.0.1", 0), Keeping), received):
        yield received


@contextmanager
def mail_server() -> Iterator[Received]:
    """Run an SMTP server that keeps the mails it is sent, and asks for no password."""
    received = Received()

    class Keeping(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                command = line[:4].upper()
                if command == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    received.texts.append(self._mail())
                self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")

        def _mail(self) -> str:
            lines = list(iter(self.rfile.readline, b".\r\n"))
            return b"".join(lines).decode()

    with _running(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Keeping), received):
        yield received


@contextmanager
def _running(server: socketserver.TCPServer, received: Received) -> Iterator[None]:
    received.port = int(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
