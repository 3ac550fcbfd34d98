"""Covariates from files: each series becomes a past or a known-future covariate, as its specification states."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from pipeline.arrays import Floats, Sessions
from pipeline.dataset.covariates.known_future import KnownFutureCovariate
from pipeline.dataset.covariates.past import DAY_SECONDS, PastCovariate
from pipeline.dataset.covariates.sectors import Sectors, read_sectors
from pipeline.dataset.covariates.specification import (
    KnownFutureSeriesSpec,
    PastSeriesSpec,
    SeriesSpec,
    known_future_specs,
    past_specs,
)
from pipeline.errors import TapecastError, UsageError
from pipeline.market.files import UNREADABLE
from pipeline.market.listings import printable, shortened


@dataclass(frozen=True)
class FileCovariates:
    """What the files of a run hold: sectors, series known only afterwards and series known in advance."""

    sectors: Sectors | None = None
    past: tuple[PastCovariate, ...] = ()
    known_future: tuple[KnownFutureCovariate, ...] = ()


NO_FILE_COVARIATES = FileCovariates()


def read_file_covariates(sectors: Path | None, covariates: Sequence[SeriesSpec]) -> FileCovariates:
    """Return the sectors and series read from a run's files; raises UsageError where one cannot be used."""
    return FileCovariates(
        sectors=read_sectors(sectors) if sectors else None,
        past=tuple(read_past_covariate(spec) for spec in past_specs(covariates)),
        known_future=tuple(read_known_future_covariate(spec) for spec in known_future_specs(covariates)),
    )


def refuse_mismatched_files(
    file_covariates: FileCovariates, sectors: Path | None, covariates: Sequence[SeriesSpec]
) -> None:
    """Raise TapecastError where other files were read than those specified: an error of the caller, not of the user."""
    found = (
        [covariate.name for covariate in file_covariates.past],
        [covariate.name for covariate in file_covariates.known_future],
        file_covariates.sectors is not None,
    )
    expected = (
        [spec.name for spec in past_specs(covariates)],
        [spec.name for spec in known_future_specs(covariates)],
        sectors is not None,
    )
    if found != expected:
        raise TapecastError(
            f"found {found} (past, known-future, sectors), expected {expected}; read them with read_file_covariates"
        )


def read_past_covariate(spec: PastSeriesSpec) -> PastCovariate:
    """Return the series of a file, each value usable from its publication on.

    That is `publication_lag_days` after the end of its date (24:00 in UTC, or in the offset of the file), or after its
    time where one is given. Raises UsageError as read_dated_values does, and where the transform takes the logarithm of
    a value that is not positive.
    """
    dated = read_dated_values(spec.path, spec.date_column, spec.column)
    day_seconds = DAY_SECONDS if dated.whole_days else 0
    lag_seconds = int(np.ceil(spec.publication_lag_days * DAY_SECONDS))
    values = dated.numbers
    if spec.transform in ("log_change", "log_level"):
        refuse_bad_rows(
            dated.path, dated.dates, values <= 0, values.tolist(), f"a number above 0 for a {spec.transform}"
        )
        values = np.log(values)
    return PastCovariate(
        name=spec.name,
        known_from=dated.moments + np.timedelta64(day_seconds + lag_seconds, "s"),
        values=values,
        changes=spec.transform in ("change", "log_change"),
        max_age_days=spec.max_age_days,
        source_name=str(spec.path),
    )


def read_known_future_covariate(spec: KnownFutureSeriesSpec) -> KnownFutureCovariate:
    """Return the series of a file with a value per day, known in advance.

    Raises UsageError as read_dated_values does, and where a day is given twice or with a time.
    """
    dated = read_dated_values(spec.path, spec.date_column, spec.column)
    if not dated.whole_days:
        raise UsageError(
            f"{spec.name} from {spec.path}: found times such as {dated.dates[0]}, expected days such as 2024-11-29: "
            "values known in advance are read at whole sessions; leave the times out"
        )
    days = np.array([text[: len("2024-11-29")] for text in dated.dates], "datetime64[D]")
    repeated = np.append(False, np.diff(days).astype(np.int64) <= 0)  # the same day in two offsets
    refuse_bad_rows(dated.path, dated.dates, repeated, dated.dates, "each day once")
    return KnownFutureCovariate(spec.name, days, dated.numbers, str(spec.path))


# --- A date column and a column of numbers, row by row, nothing guessed ---

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?")


@dataclass(frozen=True)
class DatedValues:
    """The dates and values of a file, oldest first."""

    path: Path
    dates: tuple[str, ...]  # as written
    moments: Sessions  # [value] datetime64[s], UTC: the time given, or the beginning of the date; ascending
    whole_days: bool  # whether the dates are days, without a time
    numbers: Floats  # [value], finite


def read_dated_values(path: Path, date_column: str, column: str) -> DatedValues:
    """Return the two columns of a .csv, .csv.gz, .parquet or .pq file.

    Dates are ISO days, or days with a time, in UTC where no other offset is given; a column in which every time is
    midnight holds days. Raises UsageError where the file or a column is missing, and, naming the row, where a date
    cannot be read or is not later than the previous one, or a value is not a finite number.
    """
    dates, numbers = _read_texts(path, date_column, column)
    moments = [_moment(path, row, text) for row, text in enumerate(dates)]
    parsed = pd.to_numeric(pd.Series(numbers, dtype="str"), errors="coerce").to_numpy(dtype=np.float64)
    refuse_bad_rows(path, dates, ~np.isfinite(parsed), numbers, f"a finite number in column {column}")
    seconds = _seconds(moments)
    refuse_bad_rows(
        path, dates, np.diff(seconds, prepend=seconds[:1] - 1) <= 0, dates, "a later date than in the row before"
    )
    return DatedValues(path, tuple(dates), seconds.astype("datetime64[s]"), _are_days(moments), parsed)


def refuse_bad_rows(path: Path, dates: Sequence[str], bad: np.ndarray, found: Sequence[object], expected: str) -> None:
    """Raise UsageError about the first row marked as bad [row], if there is one."""
    if bad.any():
        row = int(np.argmax(bad))
        raise _row_error(path, row, f"{printable(str(found[row]))!r} at {printable(dates[row])}", expected)


def _row_error(path: Path, row: int, found: str, expected: str) -> UsageError:
    return UsageError(f"row {row + 1} of {path}: found {found}, expected {expected}; correct the row or leave it out")


def _moment(path: Path, row: int, text: str) -> datetime:
    try:
        if _ISO.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass  # such as February 30: reported below like any other text
    raise _row_error(path, row, repr(printable(text)), "a date such as 2024-11-29 or 2024-11-29T16:00+00:00")


def _are_days(moments: Sequence[datetime]) -> bool:
    return all(moment.time() == time(0) for moment in moments)


def _seconds(moments: Sequence[datetime]) -> np.ndarray:
    """Return the UTC seconds since 1970, rounded up, so that no value is known too early."""
    aware = (moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in moments)
    return np.array([-int(-moment.timestamp() // 1) for moment in aware], dtype=np.int64)


def _read_texts(path: Path, date_column: str, column: str) -> tuple[list[str], list[str]]:
    """Return both columns as texts without surrounding blanks."""
    if not path.is_file():
        raise UsageError(f"found no file {path}, expected a series there; check the path")
    try:
        table = _texts_of_parquet(path) if path.suffix in (".parquet", ".pq") else _texts_of_csv(path)
        names = [_column(path, list(table), wanted) for wanted in (date_column, column)]
        dates, numbers = ([str(cell).strip() for cell in table[name]] for name in names)
    except pd.errors.EmptyDataError as error:
        raise UsageError(f"found an empty file {path}, expected {date_column} and {column}; fill it") from error
    except UNREADABLE as error:
        first = (str(error).strip().splitlines() or ["no detail"])[0]
        raise UsageError(
            f"cannot read {path}: found {first[:200]}; expected CSV or Parquet, export it again"
        ) from error
    if not dates:
        raise UsageError(f"found no rows in {path}, only column names; expected dates and values below them")
    return dates, numbers


def _texts_of_csv(path: Path) -> dict[str, list[object]]:
    with warnings.catch_warnings():
        # otherwise a row with more cells than the header is cut with a mere warning
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(path, dtype="str", keep_default_na=False, index_col=False, encoding="utf-8-sig")
    return {str(name): values.to_list() for name, values in frame.items()}


def _texts_of_parquet(path: Path) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = pq.read_table(path).to_pydict()
    return columns


def _column(path: Path, names: Sequence[str], wanted: str) -> str:
    """Return the name of the wanted column as the file writes it, in any case."""
    matching = [name for name in names if name.strip().lower() == wanted.lower()]
    if wanted in names or len(matching) == 1:
        return wanted if wanted in names else matching[0]
    count = f"{len(matching)} columns" if matching else "no column"
    raise UsageError(
        f"found {count} {wanted} in {path} (it has {shortened(names)}), expected one; name it in the experiment "
        "(column, date_column) as the file does"
    )
