"""The one error tree: every error that reaches a user is one of these, and each knows its exit status."""

from collections.abc import Sequence
from enum import IntEnum


class ExitStatus(IntEnum):
    """What the command line returns to the shell."""

    OK = 0
    OUR_FAULT = 1
    USAGE = 2
    PARTIAL = 3
    NOTHING_USABLE = 4


class TapecastError(Exception):
    """Says what was found, what was expected and what to do; a bare one is our own fault."""

    exit_status = ExitStatus.OUR_FAULT


class UsageError(TapecastError):
    """A command, file or configuration that cannot be used as given."""

    exit_status = ExitStatus.USAGE


class SourceError(TapecastError):
    """One ticker's bars could not be had from its source; the other tickers go on."""

    exit_status = ExitStatus.NOTHING_USABLE


class SourceUnavailableError(SourceError):
    """The source itself did not answer (network, rate limit); trying again later may help."""


class NothingUsableError(TapecastError):
    """No ticker, no fold or no model is left to work with; `excluded` says which tickers and why."""

    exit_status = ExitStatus.NOTHING_USABLE

    def __init__(self, message: str, excluded: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.excluded = tuple(excluded)


class FitError(TapecastError):
    """A fit failed or its cached result cannot be read."""


class TrackingError(TapecastError):
    """The MLflow store could not be written or read."""


class LedgerError(TapecastError):
    """The ledger could not be written or read, or what was to be written may not be."""


class LedgerConflictError(LedgerError):
    """A forecast or grade was to be written that the ledger has with another value; nothing was written."""


class SanityError(TapecastError):
    """A sanity flow missed its stated mark: the pipeline cannot be trusted as it is."""
