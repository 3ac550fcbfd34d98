"""Foreign errors brought to the project's own: what yfinance, curl and peewee raise when Yahoo does not answer well."""

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


class Fault(StrEnum):
    """What stands behind a foreign error."""

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
    Fault.UNKNOWN: "check the ticker's spelling on its site",
    Fault.REFUSED: "try again in an hour",
    Fault.SILENT: "check the network, or try again later",
    Fault.UNREADABLE: "try again later, or update yfinance",
}


def fault_of(error: Exception) -> Fault | None:
    """What stands behind an error that came out of yfinance; None for a kind that nobody has thought of."""
    if isinstance(error, YFRateLimitError) or _status(error) == 429:
        return Fault.REFUSED
    if _is_unknown(error):
        return Fault.UNKNOWN
    if isinstance(error, UNREADABLE_KINDS) and not _is_network(error):
        return Fault.UNREADABLE
    return Fault.SILENT if isinstance(error, SILENT_KINDS) else None


def translated(error: Exception) -> SourceError:
    """The error as one of ours: nothing known of the ticker, or an answer that may come another time.

    A kind that nobody has thought of counts as an unreadable answer: one ticker must not stop the others.
    """
    fault = fault_of(error) or Fault.UNREADABLE
    kind = SourceError if fault is Fault.UNKNOWN else SourceUnavailableError
    return kind(f"{fault}: found {_described(error)}; {ADVICE[fault]}")


def told_wait_seconds(error: Exception) -> float:
    """The wait that a refusal's Retry-After header asks for in seconds, 0 where it does not say."""
    response = getattr(error.__cause__, "response", None)
    told = str(response.headers.get("Retry-After", "")) if response is not None else ""
    return float(told) if told.isdecimal() else 0.0


def _is_unknown(error: Exception) -> bool:
    """Whether Yahoo says so itself: an answer with neither prices nor a reason may just be a bad moment of Yahoo."""
    if isinstance(error, YFPricesMissingError):
        return error.yahoo_reason is not None
    return isinstance(error, YFTickerMissingError) or _status(error) == 404


def _is_network(error: Exception) -> bool:
    """Whether a request itself failed; some such errors are ValueErrors too, and so is one about JSON."""
    return isinstance(error, RequestException) and not isinstance(error, InvalidJSONError)


def _status(error: Exception) -> int | None:
    response = error.response if isinstance(error, HTTPError) else None
    return None if response is None else int(response.status_code)


def _described(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__} ({lines[0][:200]})" if lines else type(error).__name__
