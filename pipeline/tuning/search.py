"""The search: each group of trials is fitted a round at a time, by the same jobs as any run, and judged in between.

A round is one seed on one choosing fold: all folds with the first seed, then all with the next one. After each round a
trial may be given up, so that its further rounds cost nothing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.arrays import Floats32
from pipeline.dataset.folds import Fold
from pipeline.errors import FitError, UsageError
from pipeline.experiment import Experiment
from pipeline.forecasters.last_close import LastCloseSpec
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.stages import jobs_of
from pipeline.training.jobs import FitJob, FitResult
from pipeline.training.schedule import raise_failures
from pipeline.tuning.choosing import Choosing, estimate, loss_on, refuse_unfair, said
from pipeline.tuning.outcome import Trial
from pipeline.tuning.space import with_values
from pipeline.tuning.study import Asked, Study

NETWORK = RecurrentSpec().kind
REFERENCE = LastCloseSpec().kind
"""The baseline that trials' losses are seen in relation to: it learns nothing, so its fits cost nothing."""

Fit = Callable[[Sequence[FitJob]], Sequence[FitResult]]


@dataclass(frozen=True)
class Judging:
    """What every trial of a search shares: the base, the rows that choose, and how jobs are fitted."""

    base: Experiment
    choosing: Choosing
    device: str
    fit: Fit
    reference: tuple[float, ...]  # the baseline's loss by choosing fold


@dataclass
class Attempt:
    """One trial on its way: its experiment, and what its fits have said by fold, a value per seed."""

    asked: Asked
    experiment: Experiment
    said: list[list[Floats32]] = field(default_factory=list)

    def losses(self, choosing: Choosing) -> list[float | None]:
        """Return the loss by fold with the seeds that have been fitted, None where there is none yet."""
        return [
            loss_on(values, choosing, fold) if values else None
            for values, fold in zip(self.said, choosing.folds, strict=True)
        ]


def judging(base: Experiment, choosing: Choosing, device: str, fit: Fit) -> Judging:
    """Return what a search needs, the baseline fitted; raises FitError or UsageError where that cannot be done."""
    refuse_unfair(base)
    jobs = [_job(base, choosing, fold, REFERENCE, base.seed, device) for fold in choosing.folds]
    results = {result.job.key: result for result in fit(jobs)}
    raise_failures(list(results.values()))
    fits = [results[job.key].fitted for job in jobs]
    pairs = zip(fits, choosing.folds, strict=True)
    losses = [loss_on([said(fitted, choosing, fold)], choosing, fold) for fitted, fold in pairs if fitted]
    return Judging(base, choosing, device, fit, tuple(losses))


def search(study: Study, judging: Judging, total: int) -> Iterator[tuple[Trial, ...]]:
    """Make trials until the study has `total`, and yield all that have ended after each group of them."""
    while asked := study.ask(total):
        attempts = [attempt for one in asked if (attempt := _attempt(study, judging, one))]
        for step in range(len(judging.choosing.folds) * judging.base.seeds):
            attempts = _round(study, judging, attempts, step)
        yield study.trials()


def _attempt(study: Study, judging: Judging, asked: Asked) -> Attempt | None:
    """Return a trial's attempt; None where its values do not go together, which ends it."""
    try:
        experiment = with_values(judging.base, asked.values)
        refuse_unfair(experiment)
    except UsageError as error:
        study.fail(asked, str(error))
        return None
    return Attempt(asked, experiment, [[] for _ in judging.choosing.folds])


def _round(study: Study, judging: Judging, attempts: Sequence[Attempt], step: int) -> list[Attempt]:
    """Return the attempts that go on after one more round of fits."""
    seed, at = divmod(step, len(judging.choosing.folds))
    fold, first = judging.choosing.folds[at], judging.base.seed
    jobs = [_job(one.experiment, judging.choosing, fold, NETWORK, first + seed, judging.device) for one in attempts]
    results = {result.job.key: result for result in judging.fit(list({job.key: job for job in jobs}.values()))}
    return [
        attempt
        for attempt, job in zip(attempts, jobs, strict=True)
        if _goes_on(study, judging, attempt, results[job.key], step)
    ]


def _goes_on(study: Study, judging: Judging, attempt: Attempt, result: FitResult, step: int) -> bool:
    """Take a fit into its attempt; return whether that goes on, or end the trial with what it has found."""
    if result.fitted is None:
        study.fail(attempt.asked, result.error or "the fit gave no reason")
        return False
    choosing = judging.choosing
    at = step % len(choosing.folds)
    attempt.said[at].append(said(result.fitted, choosing, choosing.folds[at]))
    losses = attempt.losses(choosing)
    known, expected = [loss for loss in losses if loss is not None], estimate(losses, judging.reference)
    if not math.isfinite(expected):  # some horizon has no known label, or the network no number
        study.fail(attempt.asked, "the validation loss is not a number")
        return False
    give_up = study.report(attempt.asked, step, known, expected)
    if step + 1 == len(choosing.folds) * judging.base.seeds:
        study.complete(attempt.asked, expected)
    elif give_up:
        study.prune(attempt.asked)
        return False
    return True


def _job(experiment: Experiment, choosing: Choosing, fold: Fold, kind: str, seed: int, device: str) -> FitJob:
    """Return the one job of a kind of forecaster and a seed on a fold, as a run of the experiment would make it."""
    for job in jobs_of(choosing.frames, (fold,), experiment, device):
        if job.forecaster.kind == kind and job.seed == seed:
            return job
    raise FitError(f"found no {kind} job with seed {seed} on fold {fold.name}, expected one")
