"""A fake Yahoo Finance on a loopback socket, for the real yfinance client to talk to.

It is an HTTP proxy: the client keeps Yahoo's addresses, host names, cookies and TLS, and CONNECT leads to a server
with a certificate of a throw-away authority that the session is told to trust.
"""

import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

import pandas as pd
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from curl_cffi import requests

HOSTS = ("yahoo.com", "*.yahoo.com", "*.finance.yahoo.com")
COOKIE = "A3=d=fake; Expires=Fri, 01 Jan 2038 00:00:00 GMT; Domain=.yahoo.com; Path=/; Secure; HttpOnly"
ZONE = "America/New_York"
BODIES: dict[int | str | None, bytes] = {
    "html": b"<html>Will be right back...</html>",
    "half": b'{"chart":{"result":[{"meta"',
    "empty": b'{"chart":{"result":[],"error":null}}',
}


class FakeYahoo:
    """Answers from frames in Yahoo's shape (see rows.as_yahoo_exports), or per ticker with a fault until it is removed.

    A fault is an HTTP status, or "empty", "html", "half" (half a JSON text) or "cut" (the connection ends early).
    """

    def __init__(self, frames: dict[str, pd.DataFrame], folder: Path):
        self.frames = frames
        self.faults: dict[str, int | str] = {}
        self.asked: list[str] = []
        self.authority, certificate = _certificates(folder)
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.fake = self
        self.server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.tls.load_cert_chain(certificate)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def session(self) -> requests.Session:
        proxy = f"http://127.0.0.1:{self.server.server_address[1]}"
        return requests.Session(
            impersonate="chrome", verify=str(self.authority), proxies={"https": proxy, "http": proxy}
        )

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        if path == "/v1/test/getcrumb":
            return 200, b"fAkEcRuMb"
        if not path.startswith("/v8/finance/chart/"):
            return 404, b""
        ticker = unquote(path.rsplit("/", 1)[1])
        self.asked.append(ticker)
        fault = self.faults.get(ticker)
        if isinstance(fault, int):
            return fault, b"Too Many Requests" if fault == 429 else b"oops"
        return (200, BODIES[fault]) if fault in BODIES else self._chart(ticker, query)

    def _chart(self, ticker: str, query: dict[str, str]) -> tuple[int, bytes]:
        if ticker not in self.frames:
            return 404, b'{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found"}}}'
        frame = self.frames[ticker]
        opens = pd.to_datetime(frame["Date"]).dt.tz_localize(ZONE) + pd.Timedelta(hours=9, minutes=30)
        stamps = opens.dt.as_unit("s").astype("int64")
        first, last = int(query.get("period1", stamps.iloc[-1])), int(query.get("period2", 2**40))
        asked = (stamps >= first) & (stamps < last)
        chart = {"result": [_result(ticker, frame[asked], stamps[asked])], "error": None}
        return 200, json.dumps({"chart": chart}).encode()


def _result(ticker: str, frame: pd.DataFrame, stamps: pd.Series) -> dict[str, object]:
    meta = {
        "currency": "USD",
        "symbol": ticker,
        "exchangeTimezoneName": ZONE,
        "instrumentType": "EQUITY",
        "dataGranularity": "1d",
        "validRanges": ["1d", "max"],
    }
    if frame.empty:
        return {"meta": meta, "indicators": {"quote": [{}], "adjclose": [{}]}}
    quote = {name.lower(): _cells(frame[name]) for name in ("Open", "High", "Low", "Close", "Volume")}
    return {
        "meta": meta,
        "timestamp": stamps.tolist(),
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": _cells(frame["Adj Close"])}]},
        "events": {"dividends": _dividends(frame, stamps), "splits": _splits(frame, stamps)},
    }


def _cells(column: pd.Series) -> list[float | None]:
    return [None if pd.isna(value) else float(value) for value in column]


def _dividends(frame: pd.DataFrame, stamps: pd.Series) -> dict[str, object]:
    paid = zip(stamps, frame["Dividends"], strict=True)
    return {str(at): {"amount": amount, "date": at} for at, amount in paid if amount > 0}


def _splits(frame: pd.DataFrame, stamps: pd.Series) -> dict[str, object]:
    made = zip(stamps, frame["Stock Splits"], strict=True)
    return {str(at): {"date": at, "numerator": ratio, "denominator": 1.0} for at, ratio in made if ratio > 0}


class _Server(ThreadingHTTPServer):
    fake: FakeYahoo
    tls: ssl.SSLContext

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_CONNECT(self) -> None:
        self.send_response(200, "Connection established")
        self.end_headers()
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        status, body = self.server.fake.answer(url.path, query)
        cut = self.server.fake.faults.get(unquote(url.path.rsplit("/", 1)[1])) == "cut"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if url.path == "/":
            self.send_header("Set-Cookie", COOKIE)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the parent's name
        pass

    def finish(self) -> None:
        super().finish()
        self.connection.close()


def _certificates(folder: Path) -> tuple[Path, Path]:
    """Files with a throw-away authority's certificate, and with a server's certificate and key signed by it."""
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    named = _unsigned("authority", authority_key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    authority = named.sign(authority_key, hashes.SHA256())
    hosts = [*map(x509.DNSName, HOSTS), x509.IPAddress(ip_address("127.0.0.1"))]
    server = (
        _unsigned("server", server_key.public_key())
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    key = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    trusted, presented = folder / "authority.pem", folder / "server.pem"
    trusted.write_bytes(authority.public_bytes(pem))
    presented.write_bytes(server.public_bytes(pem) + key)
    return trusted, presented


def _unsigned(subject: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"fake yahoo {name}")])

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named("authority"))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
    )
