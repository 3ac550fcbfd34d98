"""The state of the combination: what was learned of each forecaster, and the forecasts whose outcomes are awaited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.arrays import Array, Floats, Floats32
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import LEVELS

NEVER = np.datetime64("NaT", "D")
SMALLEST = 1e-6
"""What E begins with: a regret below this, in units of the volatility, is rounding."""

LEARNED = ("regret", "variance", "largest")
AWAITED = ("away", "combined", "unit")


@dataclass(frozen=True, eq=False)
class CombinationState:
    """What the combination has learned up to the close of a session, and the forecasts whose outcomes it waits for.

    The first three arrays are R, V and E of combination.py [horizon, copy, level, forecaster]; a horizon of h sessions
    uses h copies. The others are of the last H sessions, the newest first: how far the combination was from each
    forecaster, zero where one was silent; what was combined, unsorted, NaN where nothing was; and the unit of the
    regret, zero where nothing is learned. `count` is the number of sessions, `session` the last of them.
    """

    forecasters: tuple[str, ...]
    tickers: tuple[str, ...]
    regret: Floats  # [horizon, copy, level, forecaster]
    variance: Floats  # [horizon, copy, level, forecaster]
    largest: Floats  # [horizon, copy, level, forecaster]
    away: Floats32  # [session back, horizon, level, forecaster, ticker]
    combined: Floats32  # [session back, horizon, level, ticker]
    unit: Floats32  # [session back, horizon, ticker]
    count: int = 0
    session: np.datetime64 = NEVER

    @property
    def horizons(self) -> int:
        """H, the number of horizons."""
        return len(self.regret)

    @property
    def issued(self) -> Floats32:
        """The combined quantiles of the last H sessions [ticker, session back, horizon, level], NaN for none."""
        return np.sort(self.combined, axis=2).transpose(3, 0, 1, 2)

    @property
    def awaited(self) -> tuple[str, ...]:
        """The tickers with a forecast whose outcome is awaited."""
        return tuple(self.tickers[row] for row in np.flatnonzero(np.isfinite(self.combined).any(axis=(0, 1, 2))))

    def of(self, tickers: Sequence[str], forecasters: Sequence[str]) -> "CombinationState":
        """Return the same state for these tickers and forecasters, as if new ones had been silent so far."""
        if (tuple(tickers), tuple(forecasters)) == (self.tickers, self.forecasters):
            return self
        new = new_combination(forecasters, tickers, self.horizons)
        mine, row = _common(self.forecasters, new.forecasters), _common(self.tickers, new.tickers)
        # What is new is not shared with anyone: its arrays are filled in place.
        for name in LEARNED:
            getattr(new, name)[..., mine[1]] = getattr(self, name)[..., mine[0]]
        for name in ("combined", "unit"):
            getattr(new, name)[..., row[1]] = getattr(self, name)[..., row[0]]
        new.away[..., np.array(mine[1], int)[:, None], row[1]] = self.away[..., np.array(mine[0], int)[:, None], row[0]]
        return replace(new, count=self.count, session=self.session)


def _common(mine: Sequence[str], others: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the places, in both, of the names that both have."""
    pairs = [(mine.index(name), at) for at, name in enumerate(others) if name in mine]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def new_combination(forecasters: Sequence[str], tickers: Sequence[str], horizons: int) -> CombinationState:
    """Return the state before any session: every forecaster has the same weight."""
    learned = (horizons, horizons, len(LEVELS), len(forecasters))
    awaited = (horizons, horizons, len(LEVELS), len(tickers))
    return CombinationState(
        forecasters=tuple(forecasters),
        tickers=tuple(tickers),
        regret=np.zeros(learned),
        variance=np.zeros(learned),
        largest=np.full(learned, SMALLEST),
        away=np.zeros((*learned, len(tickers)), dtype=np.float32),
        combined=np.full(awaited, np.nan, dtype=np.float32),
        unit=np.zeros((horizons, horizons, len(tickers)), dtype=np.float32),
    )


def combination_as_arrays(state: CombinationState) -> dict[str, Array]:
    """Return the state as named arrays; names are UTF-8, separated by line feeds."""
    return {
        **{name: getattr(state, name) for name in (*LEARNED, *AWAITED)},
        "forecasters": names_as_array(state.forecasters),
        "tickers": names_as_array(state.tickers),
        "count": np.array([state.count]),
        "session": np.array([state.session.astype("datetime64[D]").astype(np.int64)]),
    }


def combination_from_arrays(arrays: Mapping[str, Array]) -> CombinationState:
    """Return the state of named arrays; raises FitError where they are not those of one."""
    try:
        forecasters, tickers = (names_from_array(arrays[name]) for name in ("forecasters", "tickers"))
        found = {name: arrays[name] for name in (*LEARNED, *AWAITED)}
        count, session = int(arrays["count"][0]), np.datetime64(int(arrays["session"][0]), "D")
        state = CombinationState(forecasters, tickers, **found, count=count, session=session)
        new = new_combination(forecasters, tickers, state.horizons)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise FitError(
            f"found no combination state ({error!r}), expected its arrays; publish the model again"
        ) from error
    shapes, expected = ([getattr(it, name).shape for name in (*LEARNED, *AWAITED)] for it in (state, new))
    if shapes != expected:
        raise FitError(f"found a combination state of shapes {shapes}, expected {expected}; publish the model again")
    return state


def names_as_array(names: Sequence[str]) -> Array:
    """Return names as UTF-8 bytes, separated by line feeds."""
    return np.frombuffer("\n".join(names).encode(), dtype=np.uint8)


def names_from_array(array: Array) -> tuple[str, ...]:
    """Return the names of an array that names_as_array made; raises ValueError where it is not UTF-8."""
    return tuple(array.tobytes().decode().split("\n")) if len(array) else ()
