"""Translation of the errors of yfinance, curl and peewee into Tapecast's own."""

from enum import StrEnum

import pandas as pd
import peewee
from curl_cffi.curl import CurlError
from curl_cffi.requests.exceptions import HTTPError, InvalidJSONError, RequestException
from yfinance.exceptions import (
    YFException,
    YFNotImplementedError,
    YFPricesMissingError,
    YFRateLimitError,
    YFTickerMissingError,
)

from pipeline.errors import SourceError, SourceUnavailableError


class FailureKind(StrEnum):
    """The cause of an error raised by a library."""

    UNKNOWN = "Yahoo knows nothing of it"
    REFUSED = "Yahoo refuses to answer for now"
    SILENT = "Yahoo did not answer"
    UNREADABLE = "Yahoo's answer cannot be read"


UNREADABLE_KINDS = (
    YFException,
    YFNotImplementedError,
    InvalidJSONError,
    pd.errors.InvalidIndexError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
)
"""What is raised on answers of a shape that yfinance does not know: HTML, half of a JSON text, absent fields."""

SILENT_KINDS = (RequestException, CurlError, OSError, peewee.PeeweeException, peewee.DoesNotExist)
"""No network, no answer in time, or yfinance's own cache file locked by another process."""

ADVICE = {
    FailureKind.UNKNOWN: "check the ticker's spelling on its site",
    FailureKind.REFUSED: "try again in an hour",
    FailureKind.SILENT: "check the network, or try again later",
    FailureKind.UNREADABLE: "try again later, or update yfinance",
}


def failure_kind(error: Exception) -> FailureKind | None:
    """Return the cause of an error raised within yfinance; None for an unexpected kind of error."""
    if isinstance(error, YFRateLimitError) or _status(error) == 429:
        return FailureKind.REFUSED
    if _is_unknown(error):
        return FailureKind.UNKNOWN
    if isinstance(error, UNREADABLE_KINDS) and not _is_network(error):
        return FailureKind.UNREADABLE
    return FailureKind.SILENT if isinstance(error, SILENT_KINDS) else None


def source_error(error: Exception) -> SourceError:
    """Return the error as a SourceError for an unknown ticker, or as a SourceUnavailableError for a passing failure.

    An unexpected kind of error counts as an unreadable answer: one ticker must not stop the others.
    """
    cause = failure_kind(error) or FailureKind.UNREADABLE
    error_type = SourceError if cause is FailureKind.UNKNOWN else SourceUnavailableError
    return error_type(f"{cause}: found {_described(error)}; {ADVICE[cause]}")


def retry_after_seconds(error: Exception) -> float:
    """Return the wait of a refusal's Retry-After header in seconds, 0 where there is none."""
    response = getattr(error.__cause__, "response", None)
    header = str(response.headers.get("Retry-After", "")) if response is not None else ""
    return float(header) if header.isdecimal() else 0.0


def _is_unknown(error: Exception) -> bool:
    """Return whether Yahoo states that the ticker is unknown; without a reason it may be a passing failure."""
    if isinstance(error, YFPricesMissingError):
        return error.yahoo_reason is not None
    return isinstance(error, YFTickerMissingError) or _status(error) == 404


def _is_network(error: Exception) -> bool:
    """Return whether a request itself failed; some of these errors, and the one about JSON, are ValueErrors too."""
    return isinstance(error, RequestException) and not isinstance(error, InvalidJSONError)


def _status(error: Exception) -> int | None:
    response = error.response if isinstance(error, HTTPError) else None
    return None if response is None else int(response.status_code)


def _described(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__} ({lines[0][:200]})" if lines else type(error).__name__
