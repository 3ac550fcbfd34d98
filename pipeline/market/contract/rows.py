"""One ticker's rows as arrays, and how rows are put aside without losing their actions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.market.adjustment import LARGEST_SPLIT
from pipeline.market.bars import COLUMNS
from pipeline.market.contract.rules import Finding

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

HIGHEST = 1e12
LOWEST = 1e-12
"""Prices beyond these bounds are no prices; those of all currencies and coins lie well between."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in ascending order of session (datetime64[s], each once) with float64 columns of the same length.

    open, high, low, close, volume, dividend and split are always there, adj_close where it was delivered.
    """

    session: NDArray[np.datetime64]
    columns: Mapping[str, Numbers]

    def __getitem__(self, name: str) -> Numbers:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.session)

    def at(self, chosen: slice | Mask) -> "Rows":
        """The chosen rows."""
        return Rows(self.session[chosen], {name: values[chosen] for name, values in self.columns.items()})

    def changed(self, **columns: Numbers) -> "Rows":
        """The rows with other columns."""
        return Rows(self.session, {**self.columns, **columns})

    def before(self, row: int) -> "Rows":
        """The rows before a row."""
        return self.at(slice(0, row))


Judged = tuple[Rows, list[Finding]]
"""What a step of the gate hands on: the rows that stay, and what was found."""


def rows_of(frame: pd.DataFrame) -> Rows:
    """The rows of a frame in canonical form; no action where none is delivered."""
    delivered = {name: frame[name].to_numpy() for name in COLUMNS[2:] if name in frame}
    count = len(frame)
    no_actions = {} if "split" in delivered and "dividend" in delivered else _no_actions(count)
    return Rows(frame["session"].to_numpy(), {**no_actions, **delivered})


def _no_actions(count: int) -> dict[str, Numbers]:
    return {"dividend": np.zeros(count), "split": np.ones(count)}


def found_at(rows: Rows, rule: str, broken: Mask, shown: Callable[[int], str]) -> list[Finding]:
    """The finding that these rows break a rule, with how the first one is shown; none where no row does."""
    return [Finding(rule, rows.session[broken], shown(int(broken.argmax())))] if broken.any() else []


def without(rows: Rows, aside: Mask) -> Judged:
    """The rows that are not put aside; an action on one that is moves to the next row that stays.

    With a total return of (close * split + dividend) / former close, rows a and b in one are
    split = split_a * split_b and dividend = dividend_a + split_a * dividend_b.
    """
    if not aside.any():
        return rows, []
    acting = aside & ((rows["dividend"] > 0) | (rows["split"] != 1))
    carried, receiving = _carried(rows, acting, np.flatnonzero(~aside)) if acting.any() else (rows, aside & False)
    kept = carried.at(~aside)
    return kept, found_at(kept, "carried_action", receiving[~aside], partial(_actions, kept))


def _carried(rows: Rows, acting: Mask, staying: NDArray[np.intp]) -> tuple[Rows, Mask]:
    dividend, split = rows["dividend"].copy(), rows["split"].copy()
    receiving = np.zeros(len(rows), bool)
    for a in np.flatnonzero(acting)[::-1]:
        after = staying.searchsorted(a)
        own_dividend, own_split = usable_action(float(dividend[a]), float(split[a]))
        if after == len(staying) or (own_dividend, own_split) == (0.0, 1.0):
            continue
        b = staying[after]
        joined = own_dividend + own_split * dividend[b], own_split * split[b]
        if usable_action(*joined) == joined:
            dividend[b], split[b] = joined
            receiving[b] = True
    return rows.changed(dividend=dividend, split=split), receiving


def usable_action(dividend: float, split: float) -> tuple[float, float]:
    """The action, without what cannot be one."""
    return (
        dividend if 0.0 <= dividend < HIGHEST else 0.0,
        split if 1.0 / LARGEST_SPLIT <= split <= LARGEST_SPLIT else 1.0,
    )


def _actions(rows: Rows, row: int) -> str:
    return f"dividend {rows['dividend'][row]:g} and split {rows['split'][row]:g} with those of rows put aside before it"
