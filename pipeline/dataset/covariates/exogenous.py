"""Series of a user's files: each becomes a past-only covariate or one known in advance, as its description says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.dataset.covariates.known import KnownCovariate
from pipeline.dataset.covariates.past import DAY_SECONDS, PastCovariate
from pipeline.dataset.covariates.sectors import Sectors, read_sectors
from pipeline.dataset.covariates.specification import KnownSeriesSpec, PastSeriesSpec, SeriesSpec, known_of, past_of
from pipeline.dataset.covariates.tables import read_dated, refuse_rows
from pipeline.errors import TapecastError, UsageError


@dataclass(frozen=True)
class Given:
    """What a run was given by files: its sectors, the series known only afterwards and those known in advance."""

    sectors: Sectors | None = None
    past: tuple[PastCovariate, ...] = ()
    known: tuple[KnownCovariate, ...] = ()


NOTHING = Given()


def read_given(sectors: Path | None, covariates: Sequence[SeriesSpec]) -> Given:
    """Return what the files of a run say, each series of its own type; raises UsageError where one cannot be used."""
    return Given(
        sectors=read_sectors(sectors) if sectors else None,
        past=tuple(read_past(spec) for spec in past_of(covariates)),
        known=tuple(read_known(spec) for spec in known_of(covariates)),
    )


def refuse_unlike(given: Given, sectors: Path | None, covariates: Sequence[SeriesSpec]) -> None:
    """Raise TapecastError where what was read is not what is named: a mistake of the caller, not of the user."""
    read = ([one.name for one in given.past], [one.name for one in given.known], given.sectors is not None)
    asked = ([s.name for s in past_of(covariates)], [s.name for s in known_of(covariates)], sectors is not None)
    if read != asked:
        raise TapecastError(f"found {read} read (past, known, sectors), expected {asked}; read them with read_given")


def read_past(spec: PastSeriesSpec) -> PastCovariate:
    """Return the series of a file of which a value may be used from its publication on.

    That is the lag after the end of its date (24:00 UTC, or of the offset told), or after its time where one is told.
    Raises UsageError as read_dated does, and where a logarithm is asked for and a value is not positive.
    """
    dated = read_dated(spec.path, spec.date_column, spec.column)
    own_day_seconds = DAY_SECONDS if dated.whole_days else 0
    lag_seconds = int(np.ceil(spec.publication_lag_days * DAY_SECONDS))
    values = dated.values
    if spec.transform in ("log_change", "log_level"):
        refuse_rows(dated.path, dated.dates, values <= 0, values.tolist(), f"a number above 0 for a {spec.transform}")
        values = np.log(values)
    return PastCovariate(
        name=spec.name,
        known_from=dated.moments + np.timedelta64(own_day_seconds + lag_seconds, "s"),
        values=values,
        changes=spec.transform in ("change", "log_change"),
        most_age_days=spec.most_age_days,
        told_by=str(spec.path),
    )


def read_known(spec: KnownSeriesSpec) -> KnownCovariate:
    """Return the series of a file that has a value per day, known in advance; raises UsageError as read_dated does."""
    dated = read_dated(spec.path, spec.date_column, spec.column)
    if not dated.whole_days:
        raise UsageError(
            f"{spec.name} from {spec.path}: found times such as {dated.dates[0]}, expected days such as 2024-11-29: "
            "what is known in advance is read at whole sessions; leave the times out"
        )
    days = np.array([text[: len("2024-11-29")] for text in dated.dates], "datetime64[D]")
    again = np.append(False, np.diff(days).astype(np.int64) <= 0)  # the same day under two offsets
    refuse_rows(dated.path, dated.dates, again, dated.dates, "each day once")
    return KnownCovariate(spec.name, days, dated.values, str(spec.path))
