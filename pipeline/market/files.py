"""Prices from files and to files: one long CSV or Parquet, or a folder with one CSV per ticker."""

import io
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import SourceError, TapecastError, UsageError
from pipeline.files import write_whole
from pipeline.market.adjustment import View, adjusted, as_traded, plain_actions
from pipeline.market.bars import Bars, Listing, ReturnsFrom
from pipeline.market.exchanges import calendar_named
from pipeline.market.in_memory import InMemoryPrices, by_ticker
from pipeline.market.listings import calendar_of, listing_of, printable, shortened, states_exchange
from pipeline.market.parsing import REQUIRED_COLUMNS, ambiguous_columns, bars_column, missing_columns, with_bars_columns
from pipeline.market.specification import PriceBasis

EXCHANGE = "exchange"
TEXT_COLUMNS = ("ticker", "session", EXCHANGE)
BLANKS = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "none"]

UNREADABLE = (OSError, EOFError, zlib.error, ValueError, pa.ArrowException, pd.errors.ParserWarning)
"""What pandas and pyarrow raise on files that are not what their names say (parser and Unicode errors: ValueError)."""


@dataclass(frozen=True, eq=False)
class _Read:
    """Rows per ticker under a bars frame's column names, and the reasons of unreadable tickers."""

    frames: Mapping[str, pd.DataFrame]
    refused: Mapping[str, str]


def open_files(path: Path, price_basis: PriceBasis | None = None, exchange: str | None = None) -> InMemoryPrices:
    """Return the file's or folder's prices as a source, all read at once; raises UsageError for unusable ones.

    A column `exchange` names each ticker's exchange; `exchange` is that of the tickers for which neither the column nor
    the name says one.
    """
    try:
        source = _opened(path, price_basis)
        return source if exchange is None else _with_exchange(source, calendar_named(exchange))
    except OSError as error:
        raise UsageError(
            f"cannot open {path}: found {_first_line(error)}; check the path and its permissions"
        ) from error


def _opened(path: Path, price_basis: PriceBasis | None) -> InMemoryPrices:
    if path.is_dir():
        return _source(path, _read_folder(path), price_basis or "split_adjusted")
    if not path.exists():
        raise UsageError(f"found no file {path}, expected prices there; check the path (or use another source)")
    return _source(path, _Read(by_ticker(_read_long(path)), {}), price_basis or "as_traded")


def _source(path: Path, read: _Read, basis: PriceBasis) -> InMemoryPrices:
    delivered = {name for frame in read.frames.values() for name in frame.columns}
    actions = {"dividend", "split"} <= delivered
    returns_from: ReturnsFrom = "adj_close" if "adj_close" in delivered else "actions" if actions else "close"
    read, exchanges = _with_exchanges(read) if EXCHANGE in delivered else (read, {})
    whole = _without_incomplete(read, delivered & {"adj_close", "dividend", "split"})
    frames = {ticker: _traded(plain_actions(rows), basis) for ticker, rows in whole.frames.items()}
    returned_basis: PriceBasis = "as_traded" if "split" in delivered else basis
    note = f"Prices from {path.name}, as delivered; they may not be up to date."
    return InMemoryPrices(frames, returned_basis, actions, returns_from, note, whole.refused, exchanges)


def _with_exchange(source: InMemoryPrices, calendar: str) -> InMemoryPrices:
    """Return the source with the exchange of those tickers that have none yet, and whose names say none."""
    others = {ticker: calendar for ticker in source.frames if not states_exchange(ticker)}
    return replace(source, exchanges={**others, **source.exchanges})


def _with_exchanges(read: _Read) -> tuple[_Read, dict[str, str]]:
    """Return the rows without the column `exchange`, and the calendars that it names by ticker.

    A ticker with several exchanges, an unknown one, or another than its name says is refused.
    """
    frames, refused, exchanges = {}, dict(read.refused), {}
    for ticker, rows in read.frames.items():
        try:
            named = _named_exchange(ticker, rows[EXCHANGE]) if EXCHANGE in rows else None
        except TapecastError as error:
            refused[ticker] = str(error)
            continue
        frames[ticker] = rows.drop(columns=EXCHANGE, errors="ignore")
        if named is not None:
            exchanges[ticker] = named
    return _Read(frames, refused), exchanges


def _named_exchange(ticker: str, column: pd.Series) -> str | None:
    """Return the calendar of the exchange that a ticker's rows name, blank ones aside; None where all are."""
    names = [str(name) for name in column.dropna().unique()]
    calendars = {calendar_named(name): name for name in names if name.strip()}
    if len(calendars) > 1:
        raise SourceError(
            f"found the exchanges {' and '.join(sorted(calendars.values()))} for {printable(ticker)} in one file, "
            "expected one; write one ticker per listing, such as INFY.NS and INFY"
        )
    return next((listing_of(ticker, calendar).calendar for calendar in calendars), None)


def _traded(rows: pd.DataFrame, basis: PriceBasis) -> pd.DataFrame:
    return as_traded(rows) if basis == "split_adjusted" and "split" in rows else rows


def _without_incomplete(read: _Read, expected: set[str]) -> _Read:
    """Return the same without tickers that lack a column which others have: a fill value would change its meaning."""
    lacking = {ticker: sorted(expected - set(rows.columns)) for ticker, rows in read.frames.items()}
    reasons = {
        ticker: f"its file has no column {', '.join(names)}, which other files of the folder have; add it"
        for ticker, names in lacking.items()
        if names
    }
    frames = {ticker: rows for ticker, rows in read.frames.items() if ticker not in reasons}
    return replace(read, frames=frames, refused={**read.refused, **reasons})


def _read_long(path: Path) -> pd.DataFrame:
    frame = _read_table(path, ("ticker", *REQUIRED_COLUMNS))
    return frame if frame["ticker"].dtype == "str" else frame.assign(ticker=frame["ticker"].astype("str"))


def _read_folder(path: Path) -> _Read:
    """Return one frame per CSV; an unusable file excludes its ticker. Raises UsageError where none is usable."""
    read = {ticker: _frame_or_reason(files) for ticker, files in _csv_files(path).items()}
    frames = {ticker: rows for ticker, rows in read.items() if isinstance(rows, pd.DataFrame)}
    refused = {ticker: reason for ticker, reason in read.items() if isinstance(reason, str)}
    if not frames:
        raise UsageError(f"found no usable file in {path}; the first: {next(iter(refused.values()))}")
    return _Read(frames, refused)


def _frame_or_reason(files: list[Path]) -> pd.DataFrame | str:
    if len(files) > 1:
        return (
            f"found {len(files)} files of it, {shortened(file.name for file in files)}; expected one: remove the others"
        )
    try:
        return _read_table(files[0], REQUIRED_COLUMNS)
    except UsageError as error:
        return str(error)


def _csv_files(folder: Path) -> dict[str, list[Path]]:
    visible = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    files = [file for file in visible if _kind(file) == "csv" and file.is_file()]
    if not files:
        raise UsageError(
            f"found no CSV in the folder {folder} (it holds {shortened(file.name for file in visible)}); "
            "expected one TICKER.csv per ticker"
        )
    stems = dict.fromkeys(_stem(file) for file in files)
    return {stem: [file for file in files if _stem(file) == stem] for stem in stems}


def _stem(file: Path) -> str:
    return file.name[: file.name.lower().index(".csv")]


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        return "csv"
    return "parquet" if name.endswith((".parquet", ".pq")) else "other"


def _read_table(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    """Return the file's rows under a bars frame's column names; raises UsageError for an unusable file."""
    try:
        frame = _read_parquet(path, required) if _kind(path) == "parquet" else _read_csv(path, required)
    except pd.errors.EmptyDataError as error:
        raise UsageError(f"found an empty file {path}, expected columns {', '.join(required)}; fill it") from error
    except UNREADABLE as error:
        raise UsageError(f"cannot read {path}: found {_first_line(error)}; {_expected_format(path)}") from error
    if frame.empty:
        raise UsageError(f"found no rows in {path}, only column names; expected daily prices below them")
    return frame


def _read_csv(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    if _kind(path) == "other":
        raise UsageError(f"found {path}, expected a .csv, .csv.gz or .parquet file, or a folder; convert it")
    names = [str(name) for name in pd.read_csv(path, nrows=0, skipinitialspace=True, encoding="utf-8-sig").columns]
    _check_columns(path, names, required)
    with warnings.catch_warnings():
        # a row with more cells than the header is cut with only a warning otherwise
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return with_bars_columns(
            pd.read_csv(
                path,
                dtype={name: "str" for name in names if bars_column(name) in TEXT_COLUMNS},
                keep_default_na=False,  # a ticker may be called NA or NULL
                na_values={name: BLANKS for name in names if bars_column(name) != "ticker"},
                index_col=False,
                low_memory=False,
                skipinitialspace=True,
                encoding="utf-8-sig",
            )
        )


def _read_parquet(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    table = pq.read_table(path)
    _check_columns(path, table.column_names, required)
    return with_bars_columns(table.to_pandas(ignore_metadata=True))


def _check_columns(path: Path, names: list[str], required: tuple[str, ...]) -> None:
    found = shortened(names)
    if twice := ambiguous_columns(names):
        raise UsageError(f"found several columns for {', '.join(twice)} in {path} ({found}); leave only one of each")
    if lacking := missing_columns(names, required):
        hint = "" if lacking != ["ticker"] else ", or name the file TICKER.csv and give its folder"
        expected = ", ".join(required)
        raise UsageError(f"found no column {', '.join(lacking)} in {path} ({found}), expected {expected}; add it{hint}")


def _expected_format(path: Path) -> str:
    wanted = "a Parquet file" if _kind(path) == "parquet" else "UTF-8 text with a header line and comma-separated rows"
    return f"expected {wanted}; export it again"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__} ({str(error).strip().splitlines()[0][:200] if str(error).strip() else 'no detail'})"


def write_prices(bars: Bars, view: View, path: Path) -> None:
    """Write the bars in an adjusted view as CSV or Parquet, by the file's suffix; whole or not at all.

    adj_close is written only where it is the source of returns, and the column `exchange` only where the name of a
    ticker does not tell its own. Raises UsageError for another suffix, or where the
    file cannot be written.
    """
    frame = adjusted(bars.frame, view)
    if bars.returns_from != "adj_close":
        frame = frame.drop(columns="adj_close")
    frame = _with_unstated_exchanges(frame, bars.listings).rename(columns={"session": "date"})
    suffix = path.suffix.lower()
    if suffix == ".csv":
        content = frame.to_csv(index=False, date_format="%Y-%m-%d").encode()
    elif suffix == ".parquet":
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False, compression="zstd")
        content = buffer.getvalue()
    else:
        raise UsageError(f"found {path.name} as the file to write, expected a name that ends in .csv or .parquet")
    write_whole(path, content)


def _with_unstated_exchanges(frame: pd.DataFrame, listings: Sequence[Listing]) -> pd.DataFrame:
    """Return the rows with the column `exchange`, unchanged where every ticker's name tells its own."""
    calendars = {listing.ticker: listing.calendar for listing in listings}
    if all(_name_states_it(listing) for listing in listings):
        return frame
    return frame.assign(**{EXCHANGE: frame["ticker"].map(calendars)})


def _name_states_it(listing: Listing) -> bool:
    """Return whether the ticker's name alone stands for its calendar."""
    try:
        return calendar_of(listing.ticker) == listing.calendar
    except SourceError:
        return False
