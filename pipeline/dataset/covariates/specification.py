"""Specifications of series from files: past ones, known only afterwards, and known-future ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag

from pipeline.errors import UsageError

CalendarCovariate = Literal["day_of_week", "month_end", "days_since_previous", "days_to_next", "half_day"]
Transform = Literal["change", "log_change", "level", "log_level"]

NAME = r"^[a-z][a-z0-9_]{0,31}$"
SECTOR_FEATURES = ("sector_return", "sector_log_range")
INDEX_FEATURES = ("index_return", "index_log_range")

SeriesName = Annotated[str, Field(pattern=NAME, description="The name of the series")]
SeriesPath = Annotated[Path, Field(description="CSV (.csv, .csv.gz) or Parquet file with a row per date, oldest first")]
ValueColumn = Annotated[str, Field(min_length=1, description="The column that holds the values")]
DateColumn = Annotated[str, Field(min_length=1, description="The column of dates such as 2024-11-29")]


class PastSeriesSpec(BaseModel, frozen=True, extra="forbid"):
    """A series whose values are known some time after their dates: a feature of every ticker."""

    name: SeriesName
    path: SeriesPath
    column: ValueColumn
    date_column: DateColumn = "date"
    publication_lag_days: float = Field(
        ge=0.0,
        le=3650.0,
        description="Calendar days from the end of a value's date (UTC; from its time where one is given) until the "
        "value may be used",
    )
    transform: Transform = Field(
        "change", description="What is read: the change since the previous session, or the level"
    )
    max_age_days: float = Field(
        14.0, gt=0.0, le=3650.0, description="How long a value may be used while there is no later one"
    )

    @property
    def warm_up(self) -> int:
        """A ticker's first sessions without a value: a change needs a previous session."""
        return 1 if self.transform.endswith("change") else 0


class KnownFutureSeriesSpec(BaseModel, frozen=True, extra="forbid"):
    """A series whose values are known long before their dates, such as planned events: read at the target session."""

    name: SeriesName
    path: SeriesPath
    column: ValueColumn
    date_column: DateColumn = "date"
    known_in_advance: Literal[True]


def _kind_of(value: Any) -> str | None:
    """Return the tag of a specification or table; None where the table holds neither or both of the two keys."""
    if isinstance(value, PastSeriesSpec):
        return "past"
    if isinstance(value, KnownFutureSeriesSpec):
        return "known_future"
    tags = {"publication_lag_days": "past", "known_in_advance": "known_future"}
    matching = [tag for key, tag in tags.items() if isinstance(value, dict) and key in value]
    return matching[0] if len(matching) == 1 else None


SeriesSpec = PastSeriesSpec | KnownFutureSeriesSpec
CovariateSpec = Annotated[
    Annotated[PastSeriesSpec, Tag("past")] | Annotated[KnownFutureSeriesSpec, Tag("known_future")],
    Discriminator(
        _kind_of,
        custom_error_type="covariate_kind",
        custom_error_message="expected a table with one of publication_lag_days = DAYS (known only afterwards) and "
        "known_in_advance = true",
    ),
]


def past_specs(covariates: Sequence[SeriesSpec]) -> tuple[PastSeriesSpec, ...]:
    """Return the series that are known only afterwards, in their order."""
    return tuple(spec for spec in covariates if isinstance(spec, PastSeriesSpec))


def known_future_specs(covariates: Sequence[SeriesSpec]) -> tuple[KnownFutureSeriesSpec, ...]:
    """Return the series that are known in advance, in their order."""
    return tuple(spec for spec in covariates if isinstance(spec, KnownFutureSeriesSpec))


def refuse_duplicate_names(names: Sequence[str], taken: Sequence[str]) -> None:
    """Raise UsageError where two series share a name, or one has the name of a feature or calendar covariate."""
    for position, name in enumerate(names):
        if name in taken or name in names[:position]:
            other = "a feature or calendar covariate" if name in taken else "another series"
            raise UsageError(f"found a series called {name}, as {other} is; give it another name")


def refuse_missing_sources(features: Sequence[str], sectors: Path | None, index: str | None) -> None:
    """Raise UsageError where a feature needs sectors or an index and there is none."""
    for group, source, key in ((SECTOR_FEATURES, sectors, "sectors = FILE"), (INDEX_FEATURES, index, "index = TICKER")):
        dependent = [name for name in features if name in group]
        if dependent and not source:
            raise UsageError(
                f"the feature {dependent[0]} needs {key}, found none; give it, or leave {dependent[0]} out"
            )
