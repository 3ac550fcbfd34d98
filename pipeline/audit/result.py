"""The comparison of two runs' stage outputs, and the result of an audit as a table and in words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import Booleans
from pipeline.audit.origins import AuditOrigin
from pipeline.audit.stage_outputs import StageOutput
from pipeline.audit.tampering import TAMPERINGS, Tampering
from pipeline.errors import SanityError

OUTPUT_DESCRIPTIONS: Mapping[str, str] = {
    "load": "loaded rows",
    "validation": "accepted rows",
    "adjust": "bars and total returns",
    "features": "features, volatilities, usable origins",
    "labels": "known labels, usable origins",
    "fold": "borders, and the labels each range may use",
    "scale": "means and standard deviations",
    "early stop": "losses at each validation check, chosen step",
    "fit": "weights and all other fitted values",
    "predict": "quantiles of every forecaster",
    "combine": "weights of the forecasters, combined quantiles",
    "calibrate": "calibrated quantiles",
}
"""What is compared of each stage, in the order of the stages."""

LIMITATIONS = (
    "Not shown by any audit of this kind: what was known already when the prices were collected (tickers chosen "
    "because they survived, figures that the vendor restated), settings or features that were chosen on test ranges, "
    "and leaks at origins that were not audited."
)


@dataclass(frozen=True)
class Difference:
    """A value that was known at an origin and changed with later bars."""

    stage: str
    what: str
    ticker: str
    session: str  # the first that differs; empty where the value belongs to no session
    origin: str
    tampering: Tampering
    before: str
    after: str

    def __str__(self) -> str:
        of = f" of {self.ticker}" if self.ticker else ""
        at = f" at {self.session}" if self.session else ""
        return (
            f"`{self.what}`{of}{at} changes when the bars after {self.origin} are replaced ({self.tampering}): "
            f"{self.before} becomes {self.after}"
        )


# --- Comparison of stage outputs ---


@dataclass(frozen=True)
class Mismatch:
    """Where two runs differ: the name of the output, its ticker, the first session, and both values as text."""

    what: str
    ticker: str
    session: str
    before: str
    after: str


@dataclass(frozen=True)
class OutputComparison:
    """The number of values of a stage that were compared, and the first mismatch."""

    count: int
    first: Mismatch | None = None


def compare_outputs(before: Iterable[StageOutput], after: Iterable[StageOutput]) -> OutputComparison:
    """Return the comparison of one stage's outputs in two runs, bit by bit, NaN included."""
    old, new = ({(output.what, output.ticker): output for output in outputs} for outputs in (before, after))
    count = 0
    for key in dict.fromkeys((*old, *new)):
        first, second = old.get(key), new.get(key)
        if first is None or second is None:
            present = first or second
            if present is None or present.optional:
                continue
            return OutputComparison(count, Mismatch(*key, "", _size_text(first), _size_text(second)))
        count += first.array.size
        if mismatch := _mismatch(first, second):
            return OutputComparison(count, mismatch)
    return OutputComparison(count)


def _size_text(output: StageOutput | None) -> str:
    return "nothing" if output is None else f"{output.array.size} values"


def _mismatch(before: StageOutput, after: StageOutput) -> Mismatch | None:
    if before.array.shape != after.array.shape:
        lengths = (f"{len(before.array)} rows", f"{len(after.array)} rows")
        return Mismatch(before.what, before.ticker, _first_unshared_session(before, after), *lengths)
    if before.sessions is not None and after.sessions is not None and (before.sessions != after.sessions).any():
        row = int((before.sessions != after.sessions).argmax())
        session = str(before.sessions[row])
        return Mismatch(before.what, before.ticker, session, session, str(after.sessions[row]))
    differs = _bits_differ(before.array, after.array)
    if not differs.any():
        return None
    at = np.unravel_index(int(differs.argmax()), differs.shape)
    session = "" if before.sessions is None else str(before.sessions[at[0]])
    return Mismatch(before.what, before.ticker, session, _value_text(before.array[at]), _value_text(after.array[at]))


def _first_unshared_session(before: StageOutput, after: StageOutput) -> str:
    if before.sessions is None or after.sessions is None:
        return ""
    unshared = np.setxor1d(before.sessions, after.sessions)
    return str(unshared[0]) if len(unshared) else ""


def _bits_differ(before: NDArray[np.generic], after: NDArray[np.generic]) -> Booleans:
    """Return where two arrays of one shape differ; NaN equals NaN, and 0 is not -0."""
    if before.dtype != after.dtype or before.dtype.kind not in "fiub":
        return np.asarray(before.astype(str) != after.astype(str))
    if before.dtype.kind != "f":
        return np.asarray(before != after)
    unsigned = np.dtype(f"u{before.dtype.itemsize}")
    bits = np.ascontiguousarray(before).view(unsigned) != np.ascontiguousarray(after).view(unsigned)
    differs: Booleans = bits & ~(np.isnan(before) & np.isnan(after))
    return differs


def _value_text(value: np.generic) -> str:
    return f"{value:.6g}" if value.dtype.kind == "f" else str(value)


# --- Result of an audit ---


@dataclass(frozen=True)
class AuditResult:
    """The result of an audit: what was compared, and the first difference of each stage that had one."""

    calendar: str
    origins: tuple[AuditOrigin, ...]
    forecasters: tuple[str, ...]
    training_steps: int
    counts: Mapping[str, int]  # stage -> number of values compared
    differences: tuple[Difference, ...]  # in the order of the stages, at most one of each
    seconds: float

    @property
    def passed(self) -> bool:
        """True where nothing differed."""
        return not self.differences

    @property
    def leak(self) -> Difference | None:
        """The difference at the earliest stage; None where nothing differed."""
        return self.differences[0] if self.differences else None

    @property
    def sentence(self) -> str:
        """The result in words."""
        if self.leak:
            return f"Leak in stage `{self.leak.stage}`: {self.leak}."
        stages = [stage for stage, count in self.counts.items() if count]
        return (
            f"No leak found: {len(self.origins)} origins x {len(TAMPERINGS)} tamperings, {len(stages)} stages and "
            f"{sum(self.counts.values()):,} values compared bit by bit."
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """The remarks to show with the result: how it was found, and what it cannot show."""
        idle = [stage for stage, count in self.counts.items() if not count]
        uncompared = f"Nothing was compared at {', '.join(idle)}." if idle and self.passed else ""
        n_holes = sum(origin.holed for origin in self.origins)
        holes = f"At {n_holes} origins a bar was removed, so that filling backwards shows." if n_holes else ""
        method = (
            f"One network per fold, trained for {self.training_steps} steps: what it reads does not depend on how long "
            f"it is trained. Forecasters: {', '.join(self.forecasters)}."
        )
        return tuple(text for text in (uncompared, holes, method, LIMITATIONS) if text)


def audit_table(result: AuditResult) -> pd.DataFrame:
    """Return a row per stage: stage, output, values (number compared), result, first_difference."""
    differences = {difference.stage: difference for difference in result.differences}
    rows = [
        {
            "stage": stage,
            "output": OUTPUT_DESCRIPTIONS[stage],
            "values": count,
            "result": "LEAK" if stage in differences else "same" if count else "not compared",
            "first_difference": str(differences.get(stage, "")),
        }
        for stage, count in result.counts.items()
    ]
    return pd.DataFrame(rows)


def refuse_leak(result: AuditResult) -> None:
    """Raise SanityError where a leak was found."""
    if result.leak:
        raise SanityError(
            f"{result.sentence} Expected the same bits; make this stage use nothing that is known only later"
        )
