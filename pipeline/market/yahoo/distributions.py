"""Dividends of funds: whether what Yahoo tells as capital gains is already within what it tells as dividends."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def whole_dividend(
    close: NDArray[np.float64], dividend: NDArray[np.float64], gains: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What a share was paid per row: dividend and capital gains, the gains counted once.

    Yahoo has begun to tell the gains a second time within the dividends. That is so on a day on which the price fell
    by about the dividend alone rather than by both; a dividend smaller than the gains of its day cannot contain them.
    Each day is judged by itself, so that what is told later changes nothing that was said of it.
    """
    told = np.nan_to_num(gains, nan=0.0)
    paid = np.nan_to_num(dividend, nan=0.0)
    can_contain = (told > 0) & (paid >= told)
    contained = can_contain & _nearer_to_first(_fall(close), paid, paid + told)
    return np.where(contained, paid, paid + told)


def _fall(close: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(pd.Series(close).ffill().shift(), np.float64) - close


def _nearer_to_first(
    found: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.bool_]:
    nearer: NDArray[np.bool_] = np.abs(found - first) < np.abs(found - second)
    return nearer
