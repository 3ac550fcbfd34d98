"""A ticker's history: every row ever reported with the time in which it was current, and the list of versions."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import pandas as pd
from pydantic import AwareDatetime, BaseModel, Field

from pipeline.errors import SourceError, UsageError
from pipeline.market.bars import Problem
from pipeline.market.store.columns import INSTANT, Columns, bar_rows, is_current, taken
from pipeline.market.store.restatement import Restatement


class Version(BaseModel, frozen=True, extra="forbid", populate_by_name=True):
    """The changes of one fetch. `rows` were current after it; of them `added` are new and `restated` replaced others.

    `since` is the first day that this fetch requested, `requested_from` the first that any fetch up to it requested;
    None: the whole history. `exchange` is the calendar of the exchange that was named for the ticker; None: none was.
    """

    known_at: AwareDatetime
    currency: str
    first_session: date
    last_session: date
    rows: int
    since: date | None = None
    requested_from: date | None = Field(None, alias="asked_from")  # the key on disk
    added: int = 0
    restated: int = 0
    removed: int = 0
    restatements: tuple[Restatement, ...] = ()
    problems: tuple[Problem, ...] = ()
    exchange: str | None = None


class Facts(BaseModel, frozen=True, extra="forbid", populate_by_name=True):
    """Facts of a ticker that are read without its rows: those of the last version, and the number of versions.

    `requested_from` is the first day that any fetch requested; None: the whole history.
    """

    first_session: date
    last_session: date
    rows: int
    versions: int
    known_at: AwareDatetime
    currency: str
    requested_from: date | None = Field(alias="asked_from")  # the key on disk
    exchange: str | None = None


@dataclass(frozen=True, eq=False)
class History:
    """All rows, sorted by session and then by the time of their report, and the versions in order of time."""

    columns: Columns
    versions: tuple[Version, ...]

    def __post_init__(self) -> None:
        times = [version.known_at for version in self.versions]
        if not times or any(later <= earlier for earlier, later in pairwise(times)):
            raise ValueError("versions without one, or not in the order of their times")
        if int(is_current(self.columns).sum()) != self.versions[-1].rows:
            raise ValueError(f"other than {self.versions[-1].rows} current rows")

    @property
    def latest(self) -> Version:
        """The last version."""
        return self.versions[-1]


def facts_of(history: History) -> Facts:
    """Return the facts that are stored in the footer."""
    latest = history.latest
    return Facts(
        first_session=latest.first_session,
        last_session=latest.last_session,
        rows=latest.rows,
        versions=len(history.versions),
        known_at=latest.known_at,
        currency=latest.currency,
        requested_from=latest.requested_from,
        exchange=latest.exchange,
    )


def as_known(history: History, at: datetime | None = None) -> pd.DataFrame:
    """Return the rows known at an instant (aware; None: the current ones), as plain_rows does.

    Raises SourceError where nothing was known by then.
    """
    if at is None:
        return current_rows_of(history.columns)
    version_at(history, at)
    instant = np.datetime64(in_utc(at), "us")
    begun, ended = history.columns["known_from"] <= instant, history.columns["known_until"] <= instant
    return bar_rows(taken(history.columns, begun & ~ended))  # a comparison with NaT, still current, is False


def current_rows_of(columns: Columns) -> pd.DataFrame:
    """Return the rows that are not superseded, as plain_rows does."""
    current = is_current(columns)
    return bar_rows(columns if current.all() else taken(columns, current))


def version_at(history: History, at: datetime) -> Version:
    """Return the last version at an instant (aware); raises SourceError where there was none yet."""
    in_utc(at)
    known = [version for version in history.versions if version.known_at <= at]
    if not known:
        first = history.versions[0].known_at
        raise SourceError(
            f"nothing is known of it on {at:%Y-%m-%d %H:%M %Z}: the store knows it from {first:%Y-%m-%d %H:%M:%S} UTC "
            "on; ask for a later time"
        )
    return known[-1]


def in_utc(at: datetime) -> datetime:
    """Return the instant as a naive datetime in UTC, for numpy; raises UsageError for one without a time zone."""
    if at.tzinfo is None:
        raise UsageError(f"found the time {at} without a time zone, expected one; add UTC")
    return at.astimezone(UTC).replace(tzinfo=None)


def instants(at: datetime, count: int) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    """Return an instant, repeated [count]."""
    return np.full(count, np.datetime64(in_utc(at), "us"), dtype=INSTANT)
