"""Sectors: which ticker belongs to which, from a file, and the mean of a session over the members of one."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.arrays import Booleans, Floats
from pipeline.dataset.market import session_mean
from pipeline.errors import UsageError
from pipeline.market.tickers import EXPECTED_NAME, is_ticker, printable, shortened

COLUMNS = ["ticker", "sector"]


@dataclass(frozen=True)
class Sectors:
    """The sector of each ticker, whose name counts in any case; a ticker that is not listed has none."""

    told_by: str  # the file, for messages
    by_ticker: Mapping[str, str]  # upper case -> sector

    def of(self, tickers: Iterable[str]) -> tuple[str | None, ...]:
        """Return the sector of each ticker, None where it has none."""
        return tuple(self.by_ticker.get(ticker.upper()) for ticker in tickers)


def sector_mean(values: Floats, members: Booleans, sectors: Sequence[str | None]) -> Floats:
    """Return the session's mean over the members of a ticker's sector, itself among them [ticker, session].

    `values` and `members` are [ticker, session], `sectors` one per ticker. The mean of the whole market stands in where
    a ticker has no sector, or no member of the sector has a value; NaN where the ticker has no value itself.
    """
    market = session_mean(values, members)
    means = np.tile(market, (len(values), 1))
    for sector in dict.fromkeys(one for one in sectors if one is not None):
        rows = np.array([one == sector for one in sectors])
        own = session_mean(values[rows], members[rows])
        means[rows] = np.where(np.isfinite(own), own, market)
    return np.where(np.isfinite(values), means, np.nan)


def refuse_strangers(sectors: Sectors | None, tickers: Sequence[str]) -> None:
    """Raise UsageError where there are sectors, and none of them is that of one of the run's tickers."""
    if sectors is not None and not any(sectors.of(tickers)):
        raise UsageError(
            f"found no sector of {shortened(tickers)} in {sectors.told_by} (it has {shortened(sectors.by_ticker)}), "
            "expected one of some ticker at least; use the names that the run has"
        )


def read_sectors(path: Path) -> Sectors:
    """Return the sectors of a CSV with the columns ticker and sector; an empty cell is no sector.

    Raises UsageError where it cannot be read, and, naming the line, where it is not as expected.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        cells = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(lines), 1)]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"cannot read sectors from {path}: {error}; expected CSV with ticker,sector") from error
    rows = [(number, row) for number, row in cells if any(row)]
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    if any(header.count(name) != 1 for name in COLUMNS):
        raise UsageError(
            f"found the columns {shortened(header)} in {path}, expected ticker and sector, each once, on line 1"
        )
    return Sectors(str(path), _by_ticker(path, header, rows[1:]))


def _by_ticker(path: Path, header: list[str], rows: list[tuple[int, list[str]]]) -> dict[str, str]:
    found: dict[str, str] = {}
    seen: dict[str, int] = {}
    for line, cells in rows:
        ticker, sector = _cells(path, line, header, cells)
        if ticker in seen:
            raise _told(path, line, ticker, f"each ticker once (it is on line {seen[ticker]} too)")
        seen[ticker] = line
        if sector:
            found[ticker] = sector
    return found


def _cells(path: Path, line: int, header: list[str], cells: list[str]) -> tuple[str, str]:
    if len(cells) != len(header):
        raise _told(path, line, ",".join(cells), f"{len(header)} cells with commas between them, as in the header")
    ticker = cells[header.index("ticker")]
    if not is_ticker(ticker):
        raise _told(path, line, ticker, f"a ticker: {EXPECTED_NAME}")
    return ticker.upper(), cells[header.index("sector")]


def _told(path: Path, line: int, found: str, expected: str) -> UsageError:
    return UsageError(f"line {line} of {path}: found {printable(found)!r}, expected {expected}; correct the file")
