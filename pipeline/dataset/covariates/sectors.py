"""Sectors: the sector of each ticker, from a file."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.market.listings import EXPECTED_NAME, is_ticker, printable, shortened

SECTOR_COLUMNS = ["ticker", "sector"]


@dataclass(frozen=True)
class Sectors:
    """The sector of each ticker, matched without regard to case; a ticker that is not listed has none."""

    source_name: str  # the file, for messages
    by_ticker: Mapping[str, str]  # upper case -> sector

    def of(self, tickers: Iterable[str]) -> tuple[str | None, ...]:
        """Return the sector of each ticker, None where it has none."""
        return tuple(self.by_ticker.get(ticker.upper()) for ticker in tickers)


def refuse_unmatched_sectors(sectors: Sectors | None, tickers: Sequence[str]) -> None:
    """Raise UsageError where there are sectors, but none for any of the run's tickers."""
    if sectors is not None and not any(sectors.of(tickers)):
        raise UsageError(
            f"found no sector of {shortened(tickers)} in {sectors.source_name} (it has "
            f"{shortened(sectors.by_ticker)}), expected one for at least one ticker; use the tickers of the run"
        )


def read_sectors(path: Path) -> Sectors:
    """Return the sectors of a CSV with the columns ticker and sector; an empty cell is no sector.

    Raises UsageError where the file cannot be read, and, naming the line, where it is not as expected.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        numbered = [(line, [cell.strip() for cell in row]) for line, row in enumerate(csv.reader(lines), 1)]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"cannot read sectors from {path}: {error}; expected CSV with ticker,sector") from error
    rows = [(line, row) for line, row in numbered if any(row)]
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    if any(header.count(name) != 1 for name in SECTOR_COLUMNS):
        raise UsageError(
            f"found the columns {shortened(header)} in {path}, expected ticker and sector, each once, on line 1"
        )
    return Sectors(str(path), _by_ticker(path, header, rows[1:]))


def _by_ticker(path: Path, header: list[str], rows: list[tuple[int, list[str]]]) -> dict[str, str]:
    sectors: dict[str, str] = {}
    line_of: dict[str, int] = {}
    for line, cells in rows:
        ticker, sector = _cells(path, line, header, cells)
        if ticker in line_of:
            raise _line_error(path, line, ticker, f"each ticker once (it is on line {line_of[ticker]} too)")
        line_of[ticker] = line
        if sector:
            sectors[ticker] = sector
    return sectors


def _cells(path: Path, line: int, header: list[str], cells: list[str]) -> tuple[str, str]:
    if len(cells) != len(header):
        raise _line_error(
            path, line, ",".join(cells), f"{len(header)} cells with commas between them, as in the header"
        )
    ticker = cells[header.index("ticker")]
    if not is_ticker(ticker):
        raise _line_error(path, line, ticker, f"a ticker: {EXPECTED_NAME}")
    return ticker.upper(), cells[header.index("sector")]


def _line_error(path: Path, line: int, found: str, expected: str) -> UsageError:
    return UsageError(f"line {line} of {path}: found {printable(found)!r}, expected {expected}; correct the file")
