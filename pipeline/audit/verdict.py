"""What an audit found, in a table and in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.audit.comparing import Difference
from pipeline.audit.origins import Origin
from pipeline.audit.tampering import TAMPERINGS
from pipeline.errors import SanityError

HANDED_ON: Mapping[str, str] = {
    "load": "rows as found",
    "door": "rows kept",
    "adjust": "bars and total returns",
    "features": "features, volatilities, usable origins",
    "labels": "known labels, usable origins",
    "fold": "borders, and the labels each range may use",
    "scale": "means and standard deviations",
    "early stop": "losses at each look, chosen step",
    "fit": "weights and whatever else was learned",
    "predict": "quantiles of every forecaster",
    "calibrate": "corrected quantiles",
}
"""What is compared of each stage, in its order."""

NOT_SHOWN = (
    "Not shown by any audit of this kind: what was known already when the prices were collected (tickers chosen "
    "because they survived, figures that the vendor restated), settings or features that were chosen on test ranges, "
    "and leaks at origins that were not looked from."
)


@dataclass(frozen=True)
class Verdict:
    """The result of an audit: what was compared, and the first difference of each stage that had one."""

    calendar: str
    origins: tuple[Origin, ...]
    forecasters: tuple[str, ...]
    training_steps: int
    counts: Mapping[str, int]  # stage -> values compared
    differences: tuple[Difference, ...]  # in the stages' order, at most one of each
    seconds: float

    @property
    def passed(self) -> bool:
        """True where nothing differed."""
        return not self.differences

    @property
    def leak(self) -> Difference | None:
        """The difference at the earliest stage; None without any."""
        return self.differences[0] if self.differences else None

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.leak:
            return f"Leak in stage `{self.leak.stage}`: {self.leak}."
        stages = [stage for stage, count in self.counts.items() if count]
        return (
            f"No leak found: {len(self.origins)} origins x {len(TAMPERINGS)} tamperings, {len(stages)} stages and "
            f"{sum(self.counts.values()):,} values compared bit by bit."
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What has to be said beside the verdict: how it was found, and what it cannot show."""
        idle = [stage for stage, count in self.counts.items() if not count]
        nothing = f"Nothing was compared at {', '.join(idle)}." if idle and self.passed else ""
        holes = sum(origin.holed for origin in self.origins)
        holed = f"At {holes} origins a bar was taken out, so that filling backwards shows." if holes else ""
        how = (
            f"One network per fold, {self.training_steps} steps long: where it looks does not depend on how long it "
            f"learns. Forecasters: {', '.join(self.forecasters)}."
        )
        return tuple(text for text in (nothing, holed, how, NOT_SHOWN) if text)


def table(verdict: Verdict) -> pd.DataFrame:
    """Return a row per stage: what is compared, how many values, the verdict, and the first difference."""
    found = {one.stage: one for one in verdict.differences}
    rows = [
        {
            "stage": stage,
            "hands_on": HANDED_ON[stage],
            "values": count,
            "verdict": "LEAK" if stage in found else "same" if count else "not compared",
            "first_difference": str(found.get(stage, "")),
        }
        for stage, count in verdict.counts.items()
    ]
    return pd.DataFrame(rows)


def refuse_leak(verdict: Verdict) -> None:
    """Raise SanityError where a leak was found."""
    if verdict.leak:
        raise SanityError(
            f"{verdict.sentence} Expected the same bits; make this stage use nothing that is known only later"
        )
