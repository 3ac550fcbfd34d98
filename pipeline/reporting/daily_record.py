"""Tables of the live record next to what the backtest promised, from the JSON of operation.monitoring.live_record."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.reporting.labels import REGIME_LABELS
from pipeline.reporting.tables import NOTHING, Cell, Column, ReportTable, Row, report_table
from pipeline.wording import count_of, percent, plus_minus, sessions_ahead, signed_percent

JsonRow = Mapping[str, Any]
Record = Mapping[str, Sequence[JsonRow]]
"""The tables of a live record by name, each a list of rows."""
NAN = float("nan")
NOT_LIVE: Record = dict.fromkeys(("skill", "coverage", "regimes", "pit", "evidence"), ())


def main_tables(live: Record | None, promise: Record | None) -> tuple[ReportTable, ...]:
    """Return what is read every day: coverage of the 80 % band by horizon, and skill at the first horizon."""
    both = live or NOT_LIVE, promise or NOT_LIVE
    return tuple(table for table in (_coverage(both, 80), _skill(both, 1)) if table.rows)


def further_tables(live: Record | None, promise: Record | None) -> tuple[ReportTable, ...]:
    """Return the other bands, regimes of the first and the PIT of the first horizon, and skill at later horizons."""
    both = live or NOT_LIVE, promise or NOT_LIVE
    later = sorted({row["horizon"] for record in both for row in record["skill"]} - {1})
    tables = (_coverage(both, 50), _coverage(both, 90), _regimes(both), _pit(both), *(_skill(both, h) for h in later))
    return tuple(table for table in tables if table.rows)


def live_sessions(live: Record | None) -> int:
    """Return how many sessions the longest window of a live record counts."""
    return max((row["sessions"] for row in (live or NOT_LIVE)["coverage"]), default=0)


def latest_coverage(record: Record | None) -> float | None:
    """Return the coverage of the next session's 80 % band in the shortest window, None where there is none."""
    rows = [row for row in (record or NOT_LIVE)["coverage"] if row["band"] == 80 and row["horizon"] == 1]
    return min(rows, key=lambda row: row["window_sessions"])["coverage"] if rows else None


# --- One table ---

Both = tuple[Record, Record]


def _coverage(both: Both, band: int) -> ReportTable:
    found = _of(both, "coverage", lambda row: row["band"] == band)
    caption = f"Share of closes within the {band} % band, live and in the backtest."
    return _side_by_side(found, Column("Horizon"), caption, lambda row: sessions_ahead(row["horizon"]), _covered)


def _covered(row: JsonRow) -> Cell:
    return Cell(percent(_number(row["coverage"])), (plus_minus(row["coverage_error"], ".1f", 100),))


def _skill(both: Both, horizon: int) -> ReportTable:
    """Return the skill against each baseline at a horizon, with the evidence of the sequential test."""
    found = _of(both, "skill", lambda row: row["horizon"] == horizon)
    caption = f"Skill against each baseline {sessions_ahead(horizon)}: 1 − loss / loss of the baseline."
    evidence = {row["baseline"]: row for row in both[0]["evidence"] if row["horizon"] == horizon and row["sessions"]}
    further = (Column("Evidence", "e-value"), lambda name: _evidence(evidence.get(name))) if evidence else None
    return _side_by_side(found, Column("Baseline"), caption, lambda row: row["baseline"], _skill_cell, further)


def _skill_cell(row: JsonRow) -> Cell:
    return Cell(signed_percent(_number(row["skill"])), (plus_minus(row["skill_error"], ".2f", 100),))


def _evidence(row: JsonRow | None) -> Cell:
    """Return the larger of the two e-values, and whether it is enough over all baselines and horizons."""
    if row is None:
        return NOTHING
    way = "worse" if row["worse"] > row["better"] else "better"
    shown = f"{way} {row[way]:.1f}" if row[way] < 1000 else f"{way} over 1,000"
    enough = bool(row[f"is_{way}"])
    return Cell(shown, ("established" if enough else "not established",), way if enough else "")


def _regimes(both: Both) -> ReportTable:
    found = _of(both, "regimes", lambda row: row["horizon"] == 1)
    caption = "Share of closes within the 80 % band of the next session, by fifth of the ticker's relative volatility."
    return _side_by_side(
        found,
        Column("Volatility"),
        caption,
        lambda row: REGIME_LABELS[row["regime"]],
        lambda row: Cell(percent(_number(row["coverage_80"])), (f"{row['rows']:,} rows",)),
    )


def _pit(both: Both) -> ReportTable:
    found = _of(both, "pit", lambda row: row["horizon"] == 1)
    caption = "Where closes fell between the quantiles of the next session (PIT); expected is in the name of the row."
    return _side_by_side(
        found,
        Column("Quantiles"),
        caption,
        lambda row: f"{100 * row['low']:.0f} to {100 * row['high']:.0f} %: {percent(row['expected'], 0)}",
        lambda row: Cell(percent(_number(row["observed"]))),
    )


def _of(both: Both, name: str, wanted: Callable[[JsonRow], bool]) -> tuple[list[JsonRow], list[JsonRow]]:
    live, promise = ([row for row in record[name] if wanted(row)] for record in both)
    return live, promise


Further = tuple[Column, Callable[[str], Cell]] | None


def _side_by_side(
    found: tuple[list[JsonRow], list[JsonRow]],
    first: Column,
    caption: str,
    name_of: Callable[[JsonRow], str],
    cell_of: Callable[[JsonRow], Cell],
    further: Further = None,
) -> ReportTable:
    """Return a table with a row per name, a column per live window and one of the promise."""
    live, promise = found
    parts = [*_windows(live), *([("Promised", promise)] if promise else [])]
    columns = [Column(label, _sessions(rows)) for label, rows in parts]
    cells = [{name_of(row): cell_of(row) for row in rows} for _, rows in parts]
    names = list(dict.fromkeys(name_of(row) for row in (*promise, *live)))
    rows = [Row(name, tuple(of_part.get(name, NOTHING) for of_part in cells)) for name in names]
    if further:
        columns, rows = [*columns, further[0]], [Row(it.name, (*it.cells, further[1](it.name))) for it in rows]
    return report_table(caption, first.label, columns, rows, caption)


def _windows(live: Sequence[JsonRow]) -> list[tuple[str, list[JsonRow]]]:
    """Return the live rows by window, the shortest first; a longer one only where it counts more sessions."""
    parts: list[tuple[str, list[JsonRow]]] = []
    for window in sorted({row["window_sessions"] for row in live}):
        rows = [row for row in live if row["window_sessions"] == window]
        if not parts or _longest(rows) > _longest(parts[-1][1]):
            parts.append(("Live", rows))
    return parts


def _longest(rows: Sequence[JsonRow]) -> int:
    return max(int(row["sessions"]) for row in rows)


def _sessions(rows: Sequence[JsonRow]) -> str:
    return count_of(_longest(rows), "session")


def _number(value: float | None) -> float:
    return NAN if value is None else value
