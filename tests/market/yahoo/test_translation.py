"""Every exception that yfinance can raise is translated into one of Tapecast's errors."""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

import curl_cffi.curl
import curl_cffi.requests.exceptions
import pandas as pd
import peewee
import pytest
import yfinance
import yfinance.exceptions as yf

from pipeline.errors import SourceError, SourceUnavailableError
from pipeline.market.yahoo.translation import FailureKind, failure_kind, retry_after_seconds, source_error

YFINANCE = {
    "YFException": FailureKind.UNREADABLE,
    "YFDataException": FailureKind.UNREADABLE,
    "YFNotImplementedError": FailureKind.UNREADABLE,
    "YFTickerMissingError": FailureKind.UNKNOWN,
    "YFTzMissingError": FailureKind.UNKNOWN,
    "YFPricesMissingError": FailureKind.UNREADABLE,
    "YFEarningsDateMissing": FailureKind.UNKNOWN,
    "YFInvalidPeriodError": FailureKind.UNREADABLE,
    "YFRateLimitError": FailureKind.REFUSED,
}
KEPT_WITHIN = {"_TzCacheException", "_CookieCacheException", "_ISINCacheException"}
"""Caught by yfinance itself where its cache folder cannot be used."""


def modules_of(package: ModuleType) -> list[ModuleType]:
    names = [found.name for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
    return [package, *(importlib.import_module(name) for name in names)]


def defined_in(modules: list[ModuleType], kind: type = Exception) -> dict[str, type[Exception]]:
    """All exception types that the modules define themselves, classes within classes left out."""
    return {
        name: thing
        for module in modules
        for name, thing in vars(module).items()
        if isinstance(thing, type) and issubclass(thing, kind) and thing.__module__ == module.__name__
    }


def made(kind: type[Exception]) -> Exception:
    """An instance without its constructor, whose arguments differ from kind to kind."""
    error = kind.__new__(kind)
    for name in ("yahoo_reason", "response"):
        if not hasattr(error, name):
            error.__dict__[name] = None
    return error


def test_yfinance_defines_the_exceptions_that_are_mapped_and_no_other() -> None:
    assert set(defined_in(modules_of(yfinance))) == set(YFINANCE) | KEPT_WITHIN


@pytest.mark.parametrize("name", YFINANCE)
def test_an_exception_of_yfinance_is_mapped(name: str) -> None:
    error = made(getattr(yf, name))
    assert failure_kind(error) is YFINANCE[name]
    assert isinstance(source_error(error), SourceError)
    assert isinstance(source_error(error), SourceUnavailableError) == (YFINANCE[name] is not FailureKind.UNKNOWN)


CURL = defined_in([curl_cffi.requests.exceptions, curl_cffi.curl])
PEEWEE = defined_in([peewee], peewee.PeeweeException) | {"DoesNotExist": peewee.DoesNotExist}


@pytest.mark.parametrize("name", [name for name, kind in CURL.items() if not issubclass(kind, Warning)])
def test_an_exception_of_curl_is_a_silence_unless_it_is_about_json(name: str) -> None:
    error = made(CURL[name])
    assert failure_kind(error) is (FailureKind.UNREADABLE if "JSON" in name else FailureKind.SILENT)
    assert type(source_error(error)) is SourceUnavailableError


@pytest.mark.parametrize("name", PEEWEE)
def test_an_exception_of_the_cache_file_is_a_silence(name: str) -> None:
    assert failure_kind(made(PEEWEE[name])) is FailureKind.SILENT


@pytest.mark.parametrize("kind", [OSError, ConnectionResetError, TimeoutError])
def test_a_fault_of_the_system_is_a_silence(kind: type[Exception]) -> None:
    assert failure_kind(kind()) is FailureKind.SILENT


@pytest.mark.parametrize(
    "kind", [ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, pd.errors.InvalidIndexError]
)
def test_what_python_raises_on_strange_answers_is_unreadable(kind: type[Exception]) -> None:
    assert failure_kind(kind("x")) is FailureKind.UNREADABLE


def test_what_nobody_has_thought_of_is_unreadable_and_no_known_fault() -> None:
    class NewError(Exception):
        pass

    assert failure_kind(NewError()) is None
    assert type(source_error(NewError("what"))) is SourceUnavailableError


class Response:
    def __init__(self, status_code: int, **headers: str) -> None:
        self.status_code, self.headers = status_code, headers


def refused(response: Any) -> Exception:
    return curl_cffi.requests.exceptions.HTTPError("HTTP status", 0, response)


@pytest.mark.parametrize(
    ("status", "fault"), [(404, FailureKind.UNKNOWN), (429, FailureKind.REFUSED), (500, FailureKind.SILENT)]
)
def test_a_status_says_what_stands_behind_it(status: int, fault: FailureKind) -> None:
    assert failure_kind(refused(Response(status))) is fault


def test_a_reason_that_yahoo_gives_is_believed() -> None:
    error = yf.YFPricesMissingError("AAPL", "", yahoo_reason="No data found, symbol may be delisted")
    assert type(source_error(error)) is SourceError
    assert "symbol may be delisted" in str(source_error(error))


@pytest.mark.parametrize(
    ("headers", "seconds"), [({"Retry-After": "30"}, 30.0), ({}, 0.0), ({"Retry-After": "Wed"}, 0.0)]
)
def test_the_wait_stated_by_a_refusal_is_read(headers: dict[str, str], seconds: float) -> None:
    error = yf.YFRateLimitError()
    error.__cause__ = refused(Response(429, **headers))
    assert retry_after_seconds(error) == seconds
    assert retry_after_seconds(yf.YFRateLimitError()) == 0.0
