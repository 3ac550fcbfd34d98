"""The audit: one run on the bars as they are, one on tampered bars per origin and tampering, compared by stage."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import pandas as pd

from pipeline.audit.origins import AuditOrigin, AuditSpec, audit_origins
from pipeline.audit.result import AuditResult, Difference, compare_outputs
from pipeline.audit.stage_outputs import STAGES
from pipeline.audit.steps import PipelineRun, RowsByTicker, RunInputs, Steps, load_rows
from pipeline.audit.tampering import (
    TAMPERINGS,
    Cut,
    Tampering,
    days_of,
    in_memory_copy,
    tampered,
    tampered_covariates,
    with_holes,
)
from pipeline.errors import NothingUsableError, UsageError
from pipeline.experiment import Experiment
from pipeline.forecasting.specification import CalibrationSpec
from pipeline.market.bars import ValidatedBars
from pipeline.market.in_memory import InMemoryPrices
from pipeline.market.sources import Source
from pipeline.market.validation.validate import ValidationTerms, validate

N_VALIDATION_CHECKS = 4
DEFAULT_SPEC = AuditSpec()
DEFAULT_STEPS = Steps()

OnProgress = Callable[[int, int], None]
"""A callback with the number of comparisons done and their total."""


def validated_bars(source: Source, tickers: Iterable[str], terms: ValidationTerms) -> ValidatedBars:
    """Return the bars that are audited, after validation; raises NothingUsableError where no ticker is left."""
    validated = validate(load_rows(source, tickers), terms)
    if not validated.bars.listings:
        raise no_ticker_error(validated)
    return validated


def no_ticker_error(validated: ValidatedBars) -> NothingUsableError:
    """Return the error that lists why each ticker was excluded."""
    reasons = "; ".join(map(str, validated.excluded))
    return NothingUsableError(f"no usable ticker is left to audit: {reasons}", validated.excluded)


def audit_experiment(experiment: Experiment, spec: AuditSpec) -> Experiment:
    """Return the experiment as it is audited: one briefly trained network per fold, and with a calibration."""
    steps, calibration = spec.training_steps, experiment.calibration
    short = {
        "min_steps": steps,
        "max_steps": steps,
        "validation_checks": N_VALIDATION_CHECKS,
        "patience_checks": N_VALIDATION_CHECKS,
    }
    training = experiment.training.model_copy(update=short)
    if calibration.method == "none":
        calibration = CalibrationSpec(method="adaptive")
    return experiment.model_copy(
        update={"training": training, "seeds": 1, "device": "cpu", "workers": 1, "calibration": calibration}
    )


def audit_source(
    source: Source,
    inputs: RunInputs,
    spec: AuditSpec = DEFAULT_SPEC,
    steps: Steps = DEFAULT_STEPS,
    on_progress: OnProgress = lambda done, of: None,  # noqa: ARG005  ignored by default
) -> AuditResult:
    """Return the result of auditing the pipeline over the rows of a source.

    At each origin every later bar and action is replaced, by valid garbage and by a shuffled copy, and all stages run
    again; the part of their outputs that was known at the origin must be identical bit by bit. Raises
    NothingUsableError where no ticker or no fold is left to audit, and UsageError where a custom step `load` does not
    read the source that it is given.
    """
    began = time.perf_counter()
    terms = replace(inputs.validation_terms, max_age_sessions=None)
    inputs = replace(inputs, experiment=audit_experiment(inputs.experiment, spec), validation_terms=terms)
    prices = in_memory_copy(source, inputs.tickers)
    origins = _origins(PipelineRun(prices, steps, inputs), spec)
    prices = with_holes(prices, [origin.session for origin in origins if origin.holed])
    search = _LeakSearch(PipelineRun(prices, steps, inputs, spec.every_forecaster), spec.seed)
    pairs = [(origin, tampering) for origin in origins for tampering in TAMPERINGS]
    for done, (origin, tampering) in enumerate(pairs, 1):
        search.compare(origin, tampering)
        on_progress(done, len(pairs))
    return AuditResult(
        calendar=inputs.calendar,
        origins=origins,
        forecasters=tuple(dict.fromkeys(job.forecaster.kind for job in search.original.jobs)),
        training_steps=spec.training_steps,
        counts=search.counts,
        differences=tuple(search.differences[stage] for stage in STAGES if stage in search.differences),
        seconds=time.perf_counter() - began,
    )


def _origins(run: PipelineRun, spec: AuditSpec) -> tuple[AuditOrigin, ...]:
    if not run.bars.listings:
        raise no_ticker_error(run.validated)
    folds = run.steps.fold(run.frames, run.inputs.experiment)
    return audit_origins(folds, run.frames.sessions, run.inputs.experiment.horizons, spec)


@dataclass
class _LeakSearch:
    """The original run, the number of values compared per stage, and each stage's first difference so far."""

    original: PipelineRun
    seed: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    differences: dict[str, Difference] = field(default_factory=dict)

    def compare(self, origin: AuditOrigin, tampering: Tampering) -> None:
        """Compare a tampered run at one origin, stage by stage, up to the first that differs."""
        inputs = self.original.inputs
        cut = Cut(inputs.calendar, origin.session, inputs.validation_terms.listings)
        tampered_run = self._tampered_run(cut, tampering)
        for stage in self._stages_before_leak():
            outputs = STAGES[stage]
            comparison = compare_outputs(outputs(self.original, cut), outputs(tampered_run, cut))
            self.counts[stage] += comparison.count
            if (first := comparison.first) is not None:
                self.differences[stage] = Difference(
                    stage, first.what, first.ticker, first.session, str(origin), tampering, first.before, first.after
                )
                return

    def _stages_before_leak(self) -> Iterator[str]:
        """Yield the stages before the first that is known to leak: the later ones differ for that reason."""
        for stage in STAGES:
            if stage in self.differences:
                return
            yield stage

    def _tampered_run(self, cut: Cut, tampering: Tampering) -> PipelineRun:
        inputs, source = self.original.inputs, self.original.source
        if not isinstance(source, InMemoryPrices):
            raise UsageError("found a source that is not held in memory, expected one; make it with in_memory_copy")
        tampered_source = tampered(source, tampering, cut, self.seed)
        covariates = tampered_covariates(inputs.file_covariates, cut, inputs.experiment.horizons, self.seed)
        tampered_inputs = replace(inputs, file_covariates=covariates)
        run = PipelineRun(tampered_source, self.original.steps, tampered_inputs, self.original.every_forecaster)
        _refuse_untouched(self.original, run, cut)
        return run


def _refuse_untouched(original: PipelineRun, tampered_run: PipelineRun, cut: Cut) -> None:
    """Raise UsageError where the later rows were loaded unchanged: then no leak could be found."""
    if not any(_later_differs(original.rows, tampered_run.rows, ticker, cut) for ticker in original.inputs.tickers):
        raise UsageError(
            f"found the same rows after {cut.origin} though its source was replaced, expected others; a step `load` of "
            "your own has to read the source that it is given"
        )


def _later_differs(original: RowsByTicker, tampered_rows: RowsByTicker, ticker: str, cut: Cut) -> bool:
    before, after = original.get(ticker), tampered_rows.get(ticker)
    if not isinstance(before, pd.DataFrame) or not isinstance(after, pd.DataFrame):
        return False
    later_before, later_after = (rows[days_of(rows) > cut.last_kept(ticker)] for rows in (before, after))
    return len(later_before) > 0 and not later_before.equals(later_after)
