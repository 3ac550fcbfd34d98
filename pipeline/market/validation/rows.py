"""One ticker's rows as arrays, and how rows are quarantined without losing their actions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import Booleans, Floats, Sessions
from pipeline.market.adjustment import MAX_SPLIT_FACTOR
from pipeline.market.bars import FIELDS
from pipeline.market.validation.rules import Finding

MAX_PRICE = 1e12
MIN_PRICE = 1e-12
"""Bounds of a price; those of all currencies and coins lie well between."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in ascending order of session (datetime64[s], each once) with float64 columns of the same length.

    open, high, low, close, volume, dividend and split are always present, adj_close where it was delivered.
    """

    session: Sessions
    columns: Mapping[str, Floats]

    def __getitem__(self, name: str) -> Floats:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.session)

    def at(self, chosen: slice | Booleans) -> "Rows":
        """Return the chosen rows."""
        return Rows(self.session[chosen], {name: values[chosen] for name, values in self.columns.items()})

    def changed(self, **columns: Floats) -> "Rows":
        """Return the rows with some columns replaced."""
        return Rows(self.session, {**self.columns, **columns})

    def before(self, row: int) -> "Rows":
        """Return the rows before a row."""
        return self.at(slice(0, row))


CheckedRows = tuple[Rows, list[Finding]]
"""The result of a check: the rows that pass, and the findings."""


def rows_of(frame: pd.DataFrame) -> Rows:
    """Return the rows of a normalised frame; where actions are not delivered, no row has one."""
    delivered = {name: frame[name].to_numpy() for name in FIELDS if name in frame}
    count = len(frame)
    no_actions = {"dividend": np.zeros(count), "split": np.ones(count)}
    return Rows(frame["session"].to_numpy(), {**no_actions, **delivered})


def finding_at(rows: Rows, rule: str, broken: Booleans, describe: Callable[[int], str]) -> list[Finding]:
    """Return the finding that the marked rows [row] break a rule, the first one described; none without such rows."""
    return [Finding(rule, rows.session[broken], describe(int(broken.argmax())))] if broken.any() else []


def quarantine_rows(rows: Rows, bad: Booleans) -> CheckedRows:
    """Return the rows without the bad ones [row]; an action on a bad row moves to the next row that stays.

    With a total return of (close * split + dividend) / previous close, rows a and b merged have
    split = split_a * split_b and dividend = dividend_a + split_a * dividend_b.
    """
    if not bad.any():
        return rows, []
    acting = bad & ((rows["dividend"] > 0) | (rows["split"] != 1))
    carried, receiving = _carried(rows, acting, np.flatnonzero(~bad)) if acting.any() else (rows, bad & False)
    kept = carried.at(~bad)
    return kept, finding_at(kept, "carried_action", receiving[~bad], partial(_actions, kept))


def _carried(rows: Rows, acting: Booleans, staying: NDArray[np.intp]) -> tuple[Rows, Booleans]:
    dividend, split = rows["dividend"].copy(), rows["split"].copy()
    receiving = np.zeros(len(rows), bool)
    for a in np.flatnonzero(acting)[::-1]:
        after = staying.searchsorted(a)
        dividend_a, split_a = usable_action(float(dividend[a]), float(split[a]))
        if after == len(staying) or (dividend_a, split_a) == (0.0, 1.0):
            continue
        b = staying[after]
        merged = dividend_a + split_a * dividend[b], split_a * split[b]
        if usable_action(*merged) == merged:
            dividend[b], split[b] = merged
            receiving[b] = True
    return rows.changed(dividend=dividend, split=split), receiving


def usable_action(dividend: float, split: float) -> tuple[float, float]:
    """Return the action, with 0 for an impossible dividend and 1 for an impossible split."""
    return (
        dividend if 0.0 <= dividend < MAX_PRICE else 0.0,
        split if 1.0 / MAX_SPLIT_FACTOR <= split <= MAX_SPLIT_FACTOR else 1.0,
    )


def _actions(rows: Rows, row: int) -> str:
    return (
        f"dividend {rows['dividend'][row]:g} and split {rows['split'][row]:g} with those of quarantined rows before it"
    )
