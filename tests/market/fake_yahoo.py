"""A fake Yahoo Finance on a loopback socket, for the real yfinance client to talk to.

It is an HTTP proxy: the client keeps Yahoo's addresses, host names, cookies and TLS, and CONNECT leads to a server
with a certificate of a temporary authority that the session trusts.
"""

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pandas as pd
from curl_cffi import requests

from .fake_certificates import certificates

CHART = "/v8/finance/chart/"
COOKIE = "A3=d=fake; Expires=Fri, 01 Jan 2038 00:00:00 GMT; Domain=.yahoo.com; Path=/; Secure; HttpOnly"
BODIES: dict[str, bytes] = {
    "html": b"<html>Will be right back...</html>",
    "page": b"<html><title>Yahoo</title></html>",
    "half": b'{"chart":{"result":[{"meta"',
    "empty": b'{"chart":{"result":[],"error":null}}',
    "nothing": b"",
    "list": b"[]",
}
LINE_FAULTS = ("cut", "reset", "slow")

Chart = dict[str, Any]
Spoil = Callable[[Chart], Chart]
Fault = int | str | Spoil
"""An HTTP status; a name in BODIES; "cut" (the connection ends within the answer), "reset" (before it) or "slow" (after
`slow_seconds`); or a function from the chart's sound result to the one that is sent."""


@dataclass(frozen=True)
class Quote:
    """How Yahoo describes a ticker: zone and opening time of its exchange, currency, kind, and faults of these."""

    zone: str = "America/New_York"
    opens: str = "09:30"
    currency: str | None = "USD"
    kind: str = "EQUITY"
    reported_zone: str | None = None
    reported_offset_seconds: int | None = None


@dataclass
class Request:
    """One request: host, path, query, and when it came and was answered on the fake's clock."""

    host: str
    path: str
    query: dict[str, str]
    began: float
    ended: float = float("inf")
    status: int | str = 0


@dataclass
class Play:
    """What the fake answers. Everything may be changed while it runs.

    `faults` hold per ticker one fault that stays, or a list of faults that are used up; `everything` is a fault of all
    tickers; after `refuse_after` charts all are refused with 429, each with the header `retry_after`.
    """

    frames: dict[str, pd.DataFrame]
    quotes: dict[str, Quote] = field(default_factory=dict)
    faults: dict[str, Fault | list[Fault]] = field(default_factory=dict)
    everything: Fault | None = None
    refuse_after: int | None = None
    retry_after: str | None = None
    crumb: str = "fAkEcRuMb"
    slow_seconds: float = 30.0
    answer_seconds: float = 0.0


class FakeYahoo:
    """Answers from frames in Yahoo's shape (see rows.as_yahoo_exports), as its play says; keeps a log of requests."""

    def __init__(
        self, frames: dict[str, pd.DataFrame], folder: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.play = Play(frames)
        self.clock = clock
        self.log: list[Request] = []
        self.charts_sent = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.authority, certificate = certificates(folder)
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.fake = self
        self.server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.tls.load_cert_chain(certificate)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.closing.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        return self.play.frames

    @property
    def faults(self) -> dict[str, Fault | list[Fault]]:
        return self.play.faults

    @property
    def charts(self) -> list[Request]:
        """The requests for prices."""
        return [request for request in self.log if request.path.startswith(CHART)]

    @property
    def requested(self) -> list[str]:
        """The tickers of the requests for prices."""
        return [ticker_of(chart.path) for chart in self.charts]

    @property
    def most_at_once(self) -> int:
        """The largest number of requests for prices that were under way at one moment."""
        edges = sorted([(chart.began, 1) for chart in self.charts] + [(chart.ended, -1) for chart in self.charts])
        return max((sum(step for _, step in edges[: at + 1]) for at in range(len(edges))), default=0)

    def session(self) -> requests.Session:
        proxy = f"http://127.0.0.1:{self.server.server_address[1]}"
        return requests.Session(
            impersonate="chrome", verify=str(self.authority), proxies={"https": proxy, "http": proxy}
        )

    def answer(self, request: Request, cookie: str) -> tuple[int | str, bytes]:
        """Status and body; instead of a status the name of what happens to the connection."""
        if request.path == "/v1/test/getcrumb":
            return (200, self.play.crumb.encode()) if "A3=" in cookie else (401, b"")
        if not request.path.startswith(CHART):
            return 404, b""
        self.closing.wait(self.play.answer_seconds)
        fault = self._fault(ticker_of(request.path))
        if isinstance(fault, int):
            return fault, b"Too Many Requests" if fault == 429 else b"oops"
        if "A3=" not in cookie or request.query.get("crumb") != self.play.crumb:
            return 401, b'{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}'
        return self._chart_or_fault(request, fault)

    def _chart_or_fault(self, request: Request, fault: str | Spoil | None) -> tuple[int | str, bytes]:
        if isinstance(fault, str) and fault in BODIES:
            return 200, BODIES[fault]
        status, body = self._chart(ticker_of(request.path), request.query, fault if callable(fault) else None)
        return (fault, body) if isinstance(fault, str) else (status, body)

    def _fault(self, ticker: str) -> Fault | None:
        with self.lock:
            if self.play.refuse_after is not None and self.charts_sent >= self.play.refuse_after:
                return 429
            fault = self.play.faults.get(ticker, self.play.everything)
            if isinstance(fault, list):
                fault = fault.pop(0) if fault else None
            self.charts_sent += fault is None
        return fault

    def _chart(self, ticker: str, query: dict[str, str], spoil: Spoil | None) -> tuple[int, bytes]:
        if ticker not in self.frames:
            return 404, b'{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found"}}}'
        frame, quote = self.frames[ticker], self.play.quotes.get(ticker, Quote())
        opens = pd.to_datetime(frame["Date"]) + pd.Timedelta(quote.opens + ":00")
        stamps = opens.dt.tz_localize(quote.zone).dt.as_unit("s").astype("int64")
        first, last = int(query.get("period1", stamps.iloc[-1])), int(query.get("period2", 2**40))
        requested = (stamps >= first) & (stamps < last)
        result = _result(ticker, quote, frame[requested], stamps[requested])
        return 200, json.dumps({"chart": {"result": [spoil(result) if spoil else result], "error": None}}).encode()


def ticker_of(path: str) -> str:
    return unquote(path.rsplit("/", 1)[1])


def _result(ticker: str, quote: Quote, frame: pd.DataFrame, stamps: pd.Series) -> Chart:
    zone = quote.reported_zone or quote.zone
    now = pd.Timestamp(stamps.iloc[-1] if len(stamps) else 0, unit="s", tz=quote.zone)
    offset = now.utcoffset().total_seconds() if quote.reported_offset_seconds is None else quote.reported_offset_seconds
    meta = {
        "currency": quote.currency,
        "symbol": ticker,
        "exchangeTimezoneName": zone,
        "gmtoffset": int(offset),
        "instrumentType": quote.kind,
        "regularMarketTime": int(now.timestamp()),
        "dataGranularity": "1d",
        "validRanges": ["1d", "max"],
    }
    if frame.empty:
        return {"meta": meta, "indicators": {"quote": [{}], "adjclose": [{}]}}
    prices = {name.lower(): _cells(frame[name]) for name in ("Open", "High", "Low", "Close", "Volume")}
    return {
        "meta": meta,
        "timestamp": stamps.tolist(),
        "indicators": {"quote": [prices], "adjclose": [{"adjclose": _cells(frame["Adj Close"])}]},
        "events": {
            "dividends": _amounts(frame, stamps, "Dividends"),
            "capitalGains": _amounts(frame, stamps, "Capital Gains"),
            "splits": _splits(frame, stamps),
        },
    }


def _cells(column: pd.Series) -> list[float | None]:
    return [None if pd.isna(value) else float(value) for value in column]


def _amounts(frame: pd.DataFrame, stamps: pd.Series, name: str) -> dict[str, object]:
    paid = zip(stamps, frame[name], strict=True) if name in frame else ()
    return {str(at): {"amount": amount, "date": at} for at, amount in paid if amount > 0}


def _splits(frame: pd.DataFrame, stamps: pd.Series) -> dict[str, object]:
    made = zip(stamps, frame["Stock Splits"], strict=True)
    return {str(at): {"date": at, "numerator": ratio, "denominator": 1.0} for at, ratio in made if ratio > 0}


class _Server(ThreadingHTTPServer):
    fake: FakeYahoo
    tls: ssl.SSLContext
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    disable_nagle_algorithm = True

    def do_CONNECT(self) -> None:
        self.send_response(200, "Connection established")
        self.end_headers()
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)

    def do_GET(self) -> None:
        fake, url = self.server.fake, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        request = Request(self.headers.get("Host", ""), url.path, query, fake.clock())
        with fake.lock:
            fake.log.append(request)
        request.status, body = fake.answer(request, self.headers.get("Cookie", ""))
        if request.status == "slow":
            fake.closing.wait(fake.play.slow_seconds)
        request.ended = fake.clock()
        if request.status == "reset":
            self._reset()
        else:
            self._send(request, body)

    def _send(self, request: Request, body: bytes) -> None:
        fake, cut = self.server.fake, request.status == "cut"
        self.send_response(request.status if isinstance(request.status, int) else 200)
        self.send_header("Content-Length", str(len(body)))
        if request.path == "/":
            self.send_header("Set-Cookie", COOKIE)
        if request.status == 429 and fake.play.retry_after:
            self.send_header("Retry-After", fake.play.retry_after)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the parent's name
        pass

    def finish(self) -> None:
        super().finish()
        self.connection.close()
