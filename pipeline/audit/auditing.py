"""The audit: a run on the bars as they are, a run on tampered ones for each origin, compared stage by stage."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import pandas as pd

from pipeline.audit.comparing import Difference, compared
from pipeline.audit.handed import STAGES
from pipeline.audit.origins import Origin, chosen_origins
from pipeline.audit.run import Run
from pipeline.audit.specification import AuditSpec
from pipeline.audit.steps import Found, Setting, Steps, rows_found
from pipeline.audit.tampering import (
    TAMPERINGS,
    Cut,
    Tampering,
    days_of,
    held_copy,
    tampered,
    tampered_given,
    with_holes,
)
from pipeline.audit.verdict import Verdict
from pipeline.errors import NothingUsableError, UsageError
from pipeline.experiment import Experiment
from pipeline.forecasting.calibration import CalibrationSpec
from pipeline.market.bars import Admitted
from pipeline.market.door import Terms, admit
from pipeline.market.held import HeldPrices
from pipeline.market.source import Source

LOOKS = 4
DEFAULT = AuditSpec()
REAL = Steps()

Told = Callable[[int, int], None]
"""Is told how many of how many comparisons are done."""


def calendars_of(source: Source, tickers: Iterable[str], terms: Terms) -> tuple[str, ...]:
    """Return the calendars of the tickers that the door lets in; raises NothingUsableError where there is none."""
    admitted = admit(rows_found(source, tickers), terms)
    if not admitted.bars.listings:
        raise nothing_left(admitted)
    return admitted.bars.calendars


def nothing_left(admitted: Admitted) -> NothingUsableError:
    """Return the error that says why no ticker is left."""
    reasons = "; ".join(f"{out.ticker}: {out.reason}" for out in admitted.left_out)
    return NothingUsableError(f"no usable ticker is left to audit: {reasons}", admitted.left_out)


def audited(experiment: Experiment, spec: AuditSpec) -> Experiment:
    """Return the experiment as it is audited: one short network per fold, and with a calibration."""
    steps, calibration = spec.training_steps, experiment.calibration
    short = {"min_steps": steps, "max_steps": steps, "validation_checks": LOOKS, "patience_checks": LOOKS}
    training = experiment.training.model_copy(update=short)
    if calibration.method == "none":
        calibration = CalibrationSpec(method="adaptive")
    return experiment.model_copy(
        update={"training": training, "seeds": 1, "device": "cpu", "workers": 1, "calibration": calibration}
    )


def audit(
    source: Source,
    setting: Setting,
    spec: AuditSpec = DEFAULT,
    steps: Steps = REAL,
    told: Told = lambda done, of: None,  # noqa: ARG005  nobody listens
) -> Verdict:
    """Return the verdict on the pipeline over the rows of a source.

    Every later bar and action is replaced at each origin, by valid garbage and by a shuffled copy, and all stages run
    again; what they hand on of what was known at the origin must keep every bit. Raises NothingUsableError where there
    is no ticker or no fold to look at, and UsageError where a step `load` of one's own does not read the source given.
    """
    began = time.perf_counter()
    terms = replace(setting.terms, most_age_sessions=None)
    setting = replace(setting, experiment=audited(setting.experiment, spec), terms=terms)
    held = held_copy(source, setting.tickers)
    origins = _origins(Run(held, steps, setting), spec)
    held = with_holes(held, [origin.session for origin in origins if origin.holed])
    search = _Search(Run(held, steps, setting, spec.every_forecaster), spec.seed)
    pairs = [(origin, how) for origin in origins for how in TAMPERINGS]
    for done, (origin, how) in enumerate(pairs, 1):
        search.look(origin, how)
        told(done, len(pairs))
    return Verdict(
        calendar=setting.calendar,
        origins=origins,
        forecasters=tuple(dict.fromkeys(job.forecaster.kind for job in search.original.jobs)),
        training_steps=spec.training_steps,
        counts=search.counts,
        differences=tuple(search.first[stage] for stage in STAGES if stage in search.first),
        seconds=time.perf_counter() - began,
    )


def _origins(run: Run, spec: AuditSpec) -> tuple[Origin, ...]:
    if not run.bars.listings:
        raise nothing_left(run.admitted)
    folds = run.steps.fold(run.frames, run.setting.experiment)
    return chosen_origins(folds, run.frames.sessions, run.setting.experiment.horizons, spec)


@dataclass
class _Search:
    """The original run, and the first difference of each stage that was seen so far."""

    original: Run
    seed: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    first: dict[str, Difference] = field(default_factory=dict)

    def look(self, origin: Origin, how: Tampering) -> None:
        """Compare a tampered run at one origin, stage by stage, up to the first that differs."""
        cut = Cut(self.original.setting.calendar, origin.session)
        copy = self._tampered(cut, how)
        for stage in self._open():
            hands = STAGES[stage]
            result = compared(hands(self.original, cut), hands(copy, cut))
            self.counts[stage] += result.count
            if result.first is not None:
                found = result.first
                self.first[stage] = Difference(
                    stage, found.what, found.ticker, found.session, str(origin), how, found.before, found.after
                )
                return

    def _open(self) -> Iterator[str]:
        """Yield the stages before the first that is known to leak: what comes after it differs for that reason."""
        for stage in STAGES:
            if stage in self.first:
                return
            yield stage

    def _tampered(self, cut: Cut, how: Tampering) -> Run:
        setting, source = self.original.setting, self.original.source
        if not isinstance(source, HeldPrices):
            raise UsageError("found a source that is not held in memory, expected one; make it with held_copy")
        other = tampered(source, how, cut, self.seed)
        given = tampered_given(setting.given, cut, setting.experiment.horizons, self.seed)
        run = Run(other, self.original.steps, replace(setting, given=given), self.original.every_forecaster)
        _refuse_untouched(self.original, run, cut)
        return run


def _refuse_untouched(original: Run, copy: Run, cut: Cut) -> None:
    """Raise UsageError where the loaded later rows are the same: nothing was tampered with, and nothing could show."""
    if not any(_later_differs(original.found, copy.found, ticker, cut) for ticker in original.setting.tickers):
        raise UsageError(
            f"found the same rows after {cut.origin} though its source was replaced, expected others; a step `load` of "
            "your own has to read the source that it is given"
        )


def _later_differs(one: Found, other: Found, ticker: str, cut: Cut) -> bool:
    rows, spoilt = one.get(ticker), other.get(ticker)
    if not isinstance(rows, pd.DataFrame) or not isinstance(spoilt, pd.DataFrame):
        return False
    later, spoilt_later = (found[days_of(found) > cut.last_kept(ticker)] for found in (rows, spoilt))
    return len(later) > 0 and not later.equals(spoilt_later)
