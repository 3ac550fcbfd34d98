"""A ticker's history: every row ever told with the time in which it was current, and the list of the versions."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import pandas as pd
from pydantic import AwareDatetime, BaseModel

from pipeline.errors import SourceError, UsageError
from pipeline.market.bars import Problem
from pipeline.market.store.columns import INSTANT, KNOWN, Columns, is_current, plain_rows, taken
from pipeline.market.store.restatement import Restatement


class Version(BaseModel, frozen=True, extra="forbid"):
    """What one fetch changed. `rows` were current after it; of them `added` are new and `restated` told anew.

    `since` is the first day that this fetch asked for, `asked_from` the first that any fetch up to it asked for;
    None: the whole history.
    """

    known_at: AwareDatetime
    currency: str
    first_session: date
    last_session: date
    rows: int
    since: date | None = None
    asked_from: date | None = None
    added: int = 0
    restated: int = 0
    removed: int = 0
    restatements: tuple[Restatement, ...] = ()
    problems: tuple[Problem, ...] = ()


class Facts(BaseModel, frozen=True, extra="forbid"):
    """What is known of a ticker without reading its rows: those of the last version, and how many versions there are.

    `asked_from` is the first day that any fetch asked for; None: the whole history.
    """

    first_session: date
    last_session: date
    rows: int
    versions: int
    known_at: AwareDatetime
    currency: str
    asked_from: date | None


@dataclass(frozen=True, eq=False)
class History:
    """All rows, by session and then by the time they were told, and the versions in the order of their times."""

    columns: Columns
    versions: tuple[Version, ...]

    def __post_init__(self) -> None:
        times = [version.known_at for version in self.versions]
        if not times or any(later <= earlier for earlier, later in pairwise(times)):
            raise ValueError("versions without one, or not in the order of their times")
        if int(is_current(self.columns).sum()) != self.versions[-1].rows:
            raise ValueError(f"other than {self.versions[-1].rows} current rows")

    @property
    def head(self) -> Version:
        """The last version."""
        return self.versions[-1]


def facts_of(history: History) -> Facts:
    """The facts that are kept beside the rows."""
    head = history.head
    return Facts(
        first_session=head.first_session,
        last_session=head.last_session,
        rows=head.rows,
        versions=len(history.versions),
        known_at=head.known_at,
        currency=head.currency,
        asked_from=head.asked_from,
    )


def as_known(history: History, at: datetime | None = None) -> pd.DataFrame:
    """The rows known at an instant (aware; None: the current ones), as plain_rows.

    Raises SourceError where nothing was known by then.
    """
    if at is None:
        return current_rows_of(history.columns)
    version_at(history, at)
    instant = np.datetime64(in_utc(at), "us")
    begun, ended = history.columns["known_from"] <= instant, history.columns["known_until"] <= instant
    return plain_rows(taken(history.columns, begun & ~ended))  # a comparison with NaT, still current, is False


def current_rows_of(columns: Columns) -> pd.DataFrame:
    """The rows that are not superseded, as plain_rows."""
    current = is_current(columns)
    return plain_rows(columns if current.all() else taken(columns, current))


def version_at(history: History, at: datetime) -> Version:
    """The last version at an instant (aware); raises SourceError where there was none yet."""
    in_utc(at)
    known = [version for version in history.versions if version.known_at <= at]
    if not known:
        first = history.versions[0].known_at
        raise SourceError(
            f"nothing is known of it on {at:%Y-%m-%d %H:%M %Z}: the store knows it from {first:%Y-%m-%d %H:%M:%S} UTC "
            "on; ask for a later time"
        )
    return known[-1]


def all_rows(history: History) -> pd.DataFrame:
    """Every row, superseded ones too, with known_from and known_until as UTC times (NaT: still current)."""
    times = {name: pd.DatetimeIndex(history.columns[name]).tz_localize("UTC") for name in KNOWN}
    return plain_rows(history.columns).assign(**times)


def in_utc(at: datetime) -> datetime:
    """The instant as a naive datetime in UTC, as numpy takes it; raises UsageError for one without a time zone."""
    if at.tzinfo is None:
        raise UsageError(f"found the time {at} without a time zone, expected one; add UTC")
    return at.astimezone(UTC).replace(tzinfo=None)


def instants(at: datetime, count: int) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    """An instant, repeated."""
    return np.full(count, np.datetime64(in_utc(at), "us"), dtype=INSTANT)
