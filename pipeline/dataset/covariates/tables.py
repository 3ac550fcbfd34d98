"""Reading a date column and a column of numbers from a CSV or Parquet file, row by row, nothing guessed."""

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
from pipeline.errors import UsageError
from pipeline.market.files import UNREADABLE
from pipeline.market.tickers import printable, shortened

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?")


@dataclass(frozen=True)
class Dated:
    """The dates and values of a file, oldest first."""

    path: Path
    dates: tuple[str, ...]  # as written
    moments: Sessions  # [value] datetime64[s], UTC: the time told, or the beginning of the date; ascending
    whole_days: bool  # whether the dates are days, without a time
    values: Floats  # [value], finite


def read_dated(path: Path, date_column: str, column: str) -> Dated:
    """Return the two columns of a .csv, .csv.gz, .parquet or .pq file.

    Dates are ISO days, or days with a time, in UTC where no other offset is told; a column whose every time is midnight
    holds days. Raises UsageError where the file or a column is missing, and, naming the row, where a date cannot be
    read or does not come after the one before, or a value is no finite number.
    """
    dates, numbers = _read_texts(path, date_column, column)
    moments = [_moment(path, row, text) for row, text in enumerate(dates)]
    values = pd.to_numeric(pd.Series(numbers, dtype="str"), errors="coerce").to_numpy(dtype=np.float64)
    refuse_rows(path, dates, ~np.isfinite(values), numbers, f"a finite number in column {column}")
    seconds = _seconds(moments)
    refuse_rows(
        path, dates, np.diff(seconds, prepend=seconds[:1] - 1) <= 0, dates, "a later date than in the row before"
    )
    return Dated(path, tuple(dates), seconds.astype("datetime64[s]"), _are_days(moments), values)


def refuse_rows(path: Path, dates: Sequence[str], bad: np.ndarray, found: Sequence[object], expected: str) -> None:
    """Raise UsageError about the first of the rows that are bad [row], if there is one."""
    if bad.any():
        row = int(np.argmax(bad))
        raise _told(path, row, f"{printable(str(found[row]))!r} at {printable(dates[row])}", expected)


def _told(path: Path, row: int, found: str, expected: str) -> UsageError:
    return UsageError(f"row {row + 1} of {path}: found {found}, expected {expected}; correct the row or leave it out")


def _moment(path: Path, row: int, text: str) -> datetime:
    try:
        if _ISO.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass  # such as February 30: told below like any other text
    raise _told(path, row, repr(printable(text)), "a date such as 2024-11-29 or 2024-11-29T16:00+00:00")


def _are_days(moments: Sequence[datetime]) -> bool:
    return all(moment.time() == time(0) for moment in moments)


def _seconds(moments: Sequence[datetime]) -> np.ndarray:
    """Return the UTC seconds since 1970; a part of a second counts as a whole one, so that nothing is known early."""
    aware = (moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in moments)
    return np.array([-int(-moment.timestamp() // 1) for moment in aware], dtype=np.int64)


def _read_texts(path: Path, date_column: str, column: str) -> tuple[list[str], list[str]]:
    """Return both columns as texts, blanks around them removed."""
    if not path.is_file():
        raise UsageError(f"found no file {path}, expected a series there; check the path")
    try:
        table = _texts_of_parquet(path) if path.suffix in (".parquet", ".pq") else _texts_of_csv(path)
        named = [_column(path, list(table), wanted) for wanted in (date_column, column)]
        dates, numbers = ([str(one).strip() for one in table[name]] for name in named)
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
        # a row with more cells than the header is cut with a mere warning otherwise
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(path, dtype="str", keep_default_na=False, index_col=False, encoding="utf-8-sig")
    return {str(name): values.to_list() for name, values in frame.items()}


def _texts_of_parquet(path: Path) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = pq.read_table(path).to_pydict()
    return columns


def _column(path: Path, names: Sequence[str], wanted: str) -> str:
    """Return the column of that name, which may be written in another case."""
    found = [name for name in names if name.strip().lower() == wanted.lower()]
    if wanted in names or len(found) == 1:
        return wanted if wanted in names else found[0]
    several = f"{len(found)} columns" if found else "no column"
    raise UsageError(
        f"found {several} {wanted} in {path} (it has {shortened(names)}), expected one; name it in the experiment "
        "(column, date_column) as the file does"
    )
