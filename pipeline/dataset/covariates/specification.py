"""Series that a user gives by file, as typed descriptions: one known only afterwards, one known in advance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag

from pipeline.errors import UsageError

CalendarCovariate = Literal["day_of_week", "month_end", "days_since_former", "days_to_next", "half_day"]
Transform = Literal["change", "log_change", "level", "log_level"]

NAME = r"^[a-z][a-z0-9_]{0,31}$"
SECTOR_FEATURES = ("sector_return", "sector_log_range")
INDEX_FEATURES = ("index_return", "index_log_range")


Name = Annotated[str, Field(pattern=NAME, description="What the series is called")]
SeriesPath = Annotated[Path, Field(description="CSV (.csv, .csv.gz) or Parquet file with a row per date, oldest first")]
Column = Annotated[str, Field(min_length=1, description="The column that holds the values")]
DateColumn = Annotated[str, Field(min_length=1, description="The column of dates such as 2024-11-29")]


class PastSeriesSpec(BaseModel, frozen=True, extra="forbid"):
    """A series of which a value is known some time after its date: a feature of every ticker."""

    name: Name
    path: SeriesPath
    column: Column
    date_column: DateColumn = "date"
    publication_lag_days: float = Field(
        ge=0.0,
        le=3650.0,
        description="Calendar days from the end of its own date (UTC; from its time where one is told) until a value "
        "may be used",
    )
    transform: Transform = Field(
        "change", description="What is read: the change since the former session, or the level"
    )
    most_age_days: float = Field(14.0, gt=0.0, le=3650.0, description="How long a value is held until the next one")

    @property
    def warm_up(self) -> int:
        """A ticker's first sessions without a value: a change needs a former session."""
        return 1 if self.transform.endswith("change") else 0


class KnownSeriesSpec(BaseModel, frozen=True, extra="forbid"):
    """A series whose values are known long before their dates, such as planned events: read at the target session."""

    name: Name
    path: SeriesPath
    column: Column
    date_column: DateColumn = "date"
    known_in_advance: Literal[True]


def _kind_of(given: Any) -> str | None:
    """Return which of the two is given: a table must hold the one key or the other."""
    if isinstance(given, PastSeriesSpec):
        return "past"
    if isinstance(given, KnownSeriesSpec):
        return "known"
    keys = {"publication_lag_days": "past", "known_in_advance": "known"}
    found = [kind for key, kind in keys.items() if isinstance(given, dict) and key in given]
    return found[0] if len(found) == 1 else None


SeriesSpec = PastSeriesSpec | KnownSeriesSpec
CovariateSpec = Annotated[
    Annotated[PastSeriesSpec, Tag("past")] | Annotated[KnownSeriesSpec, Tag("known")],
    Discriminator(
        _kind_of,
        custom_error_type="covariate_kind",
        custom_error_message="expected a table with one of publication_lag_days = DAYS (known only afterwards) and "
        "known_in_advance = true",
    ),
]


def past_of(covariates: Sequence[SeriesSpec]) -> tuple[PastSeriesSpec, ...]:
    """Return those that are known only afterwards, in their order."""
    return tuple(spec for spec in covariates if isinstance(spec, PastSeriesSpec))


def known_of(covariates: Sequence[SeriesSpec]) -> tuple[KnownSeriesSpec, ...]:
    """Return those that are known in advance, in their order."""
    return tuple(spec for spec in covariates if isinstance(spec, KnownSeriesSpec))


def refuse_clashes(names: Sequence[str], taken: Sequence[str]) -> None:
    """Raise UsageError where two series share a name, or one has the name of something that is read already."""
    for place, name in enumerate(names):
        if name in taken or name in names[:place]:
            other = "a feature or calendar covariate" if name in taken else "another series"
            raise UsageError(f"found a series called {name}, as {other} is; give it another name")


def refuse_unfounded(features: Sequence[str], sectors: Path | None, index: str | None) -> None:
    """Raise UsageError where a feature of sectors or of an index is asked for and there is none."""
    for group, given, key in ((SECTOR_FEATURES, sectors, "sectors = FILE"), (INDEX_FEATURES, index, "index = TICKER")):
        asked = [name for name in features if name in group]
        if asked and not given:
            raise UsageError(f"the feature {asked[0]} needs {key}, found none; give it, or leave {asked[0]} out")
