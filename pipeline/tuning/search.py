"""The search: each group of trials is fitted in rounds, by the same jobs as any run, and validated after each round.

A round is one seed on one tuning fold: all folds with the first seed, then all with the next one. After each round a
trial may be pruned, so that its further rounds cost nothing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.arrays import Floats32
from pipeline.dataset.folds import Fold
from pipeline.errors import FitError, UsageError
from pipeline.experiment import Experiment
from pipeline.forecasters.last_close import LastCloseSpec
from pipeline.forecasting.forecasts import NETWORK
from pipeline.stages import jobs_of
from pipeline.training.jobs import FitJob, FitResult
from pipeline.training.schedule import raise_failures
from pipeline.tuning.space import with_values
from pipeline.tuning.study import PendingTrial, Study
from pipeline.tuning.trial import Trial
from pipeline.tuning.tuning_data import (
    TuningData,
    expected_loss,
    mean_validation_pinball,
    refuse_unfair,
    validation_quantiles,
)

REFERENCE = LastCloseSpec().kind
"""The baseline to which trials' losses are related: it learns nothing, so its fits cost nothing."""

FitFunction = Callable[[Sequence[FitJob]], Sequence[FitResult]]


@dataclass(frozen=True)
class SearchInputs:
    """The inputs that all trials of a search share: the base experiment, the tuning data, and how jobs are fitted."""

    base: Experiment
    data: TuningData
    device: str
    fit: FitFunction
    reference: tuple[float, ...]  # the baseline's loss by tuning fold


@dataclass
class TrialRun:
    """A trial under way: its experiment, and the quantiles of its fits by fold, one array per seed."""

    pending: PendingTrial
    experiment: Experiment
    quantiles: list[list[Floats32]] = field(default_factory=list)

    def losses(self, data: TuningData) -> list[float | None]:
        """Return the loss by fold with the seeds fitted so far, None for a fold without any."""
        return [
            mean_validation_pinball(values, data, fold) if values else None
            for values, fold in zip(self.quantiles, data.folds, strict=True)
        ]


def search_inputs(base: Experiment, data: TuningData, device: str, fit: FitFunction) -> SearchInputs:
    """Return the inputs of a search, with the baseline fitted; raises FitError or UsageError where that fails."""
    refuse_unfair(base)
    jobs = [_job(base, data, fold, REFERENCE, base.seed, device) for fold in data.folds]
    results = {result.job.key: result for result in fit(jobs)}
    raise_failures(list(results.values()))
    fits = [results[job.key].fitted for job in jobs]
    losses = [
        mean_validation_pinball([validation_quantiles(fitted, data, fold)], data, fold)
        for fitted, fold in zip(fits, data.folds, strict=True)
        if fitted
    ]
    return SearchInputs(base, data, device, fit, tuple(losses))


def search(study: Study, inputs: SearchInputs, total: int) -> Iterator[tuple[Trial, ...]]:
    """Run trials until the study has `total`, and yield all that have ended after each group of them."""
    while pending := study.ask(total):
        runs = [run for trial in pending if (run := _trial_run(study, inputs, trial))]
        for step in range(len(inputs.data.folds) * inputs.base.seeds):
            runs = _round(study, inputs, runs, step)
        yield study.trials()


def _trial_run(study: Study, inputs: SearchInputs, pending: PendingTrial) -> TrialRun | None:
    """Return the run of a trial; None where its values are incompatible, which ends the trial."""
    try:
        experiment = with_values(inputs.base, pending.values)
        refuse_unfair(experiment)
    except UsageError as error:
        study.fail(pending, str(error))
        return None
    return TrialRun(pending, experiment, [[] for _ in inputs.data.folds])


def _round(study: Study, inputs: SearchInputs, runs: Sequence[TrialRun], step: int) -> list[TrialRun]:
    """Return the trials that continue after one more round of fits."""
    seed, at = divmod(step, len(inputs.data.folds))
    fold, first = inputs.data.folds[at], inputs.base.seed
    jobs = [_job(run.experiment, inputs.data, fold, NETWORK, first + seed, inputs.device) for run in runs]
    results = {result.job.key: result for result in inputs.fit(list({job.key: job for job in jobs}.values()))}
    return [run for run, job in zip(runs, jobs, strict=True) if _continues(study, inputs, run, results[job.key], step)]


def _continues(study: Study, inputs: SearchInputs, run: TrialRun, result: FitResult, step: int) -> bool:
    """Add a fit to its trial; return whether the trial continues, else end it with its result."""
    if result.fitted is None:
        study.fail(run.pending, result.error or "the fit gave no reason")
        return False
    data = inputs.data
    at = step % len(data.folds)
    run.quantiles[at].append(validation_quantiles(result.fitted, data, data.folds[at]))
    losses = run.losses(data)
    known, expected = [loss for loss in losses if loss is not None], expected_loss(losses, inputs.reference)
    if not math.isfinite(expected):  # some horizon has no known label, or the network's output is not finite
        study.fail(run.pending, "the validation loss is not a number")
        return False
    prune = study.report(run.pending, step, known, expected)
    if step + 1 == len(data.folds) * inputs.base.seeds:
        study.complete(run.pending, expected)
    elif prune:
        study.prune(run.pending)
        return False
    return True


def _job(experiment: Experiment, data: TuningData, fold: Fold, kind: str, seed: int, device: str) -> FitJob:
    """Return the job of one kind of forecaster and one seed on a fold, as a run of the experiment makes it."""
    for job in jobs_of(data.frames, (fold,), experiment, device, (kind,)):
        if job.seed == seed:
            return job
    raise FitError(f"found no {kind} job with seed {seed} on fold {fold.name}, expected one")
