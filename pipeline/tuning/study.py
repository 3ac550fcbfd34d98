"""The study: it proposes values, takes the losses of trials, and stores both in a database; optuna is imported here.

Trials are requested in groups of `TRIALS_AT_ONCE`, so that their fits can run in parallel; the group's size does not
depend on the number of workers, and so neither do the trials. A trial's values depend on the seed, on its number and on
the trials before its group: a study that was killed and continued makes the same trials as one that was not. A trial
that was under way is marked as interrupted in the database and proposed again under its old number and values.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from pipeline.errors import TrackingError, UsageError
from pipeline.processes import is_another_at_work, this_process
from pipeline.tuning.space import Choices, Dimension, Space, Value
from pipeline.tuning.storage import Storage, translate_errors
from pipeline.tuning.trial import Trial, TrialStatus

TRIALS_AT_ONCE = 5
TRIALS_BEFORE_PRUNING = 5

# Attributes of a trial or a study in the database.
NUMBER, INTERRUPTED, LOSSES, ERROR = "tapecast_number", "tapecast_interrupted", "tapecast_losses", "tapecast_error"
SHARED_SETTINGS, WORKER = "tapecast_terms", "tapecast_worker"

STATUSES: Mapping[TrialState, TrialStatus] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class PendingTrial:
    """A trial under way: its number and values, and optuna's handle of it."""

    number: int
    values: Mapping[str, Value]
    handle: optuna.Trial


class Study:
    """A study opened by `open_study`."""

    def __init__(self, study: optuna.Study, storage: Storage, space: Space, seed: int) -> None:
        self._study, self._storage, self._seed = study, storage, seed
        self._distributions = {name: _distribution(dimension) for name, dimension in sorted(space.items())}

    @property
    def name(self) -> str:
        """The study's name."""
        return self._study.study_name

    def ask(self, total: int) -> list[PendingTrial]:
        """Return the trials to run next, at most a group; empty where the study has `total` trials."""
        with self._translated("ask for trials"):
            tried = {trial.number for trial in self.trials()}
            missing = [number for number in range(total) if number not in tried]
            group = [number for number in missing if number // TRIALS_AT_ONCE == missing[0] // TRIALS_AT_ONCE]
            waiting = self._waiting()
            new = [number for number in group if number not in waiting]
            return [self._ask(number) for number in (*waiting, *new)]

    def report(self, pending: PendingTrial, step: int, losses: Sequence[float], estimate: float) -> bool:
        """Report the losses by fold so far and the estimate at a step; return whether to prune the trial.

        It is pruned where its estimate is above the median of the complete trials' at the same step (the median
        stopping rule, Golovin et al. 2017, section 3.2.2).
        """
        with self._translated("report a loss"):
            pending.handle.set_user_attr(LOSSES, list(losses))
            pending.handle.report(estimate, step)
            return pending.handle.should_prune()

    def complete(self, pending: PendingTrial, loss: float) -> None:
        """End a trial with its loss."""
        with self._translated("complete a trial"):
            self._study.tell(pending.handle, loss)

    def prune(self, pending: PendingTrial) -> None:
        """End a trial for its losses."""
        with self._translated("prune a trial"):
            self._study.tell(pending.handle, state=TrialState.PRUNED)

    def fail(self, pending: PendingTrial, error: str) -> None:
        """End a trial that gave no loss, with the reason."""
        with self._translated("fail a trial"):
            pending.handle.set_user_attr(ERROR, error)
            self._study.tell(pending.handle, state=TrialState.FAIL)

    def trials(self) -> tuple[Trial, ...]:
        """Return every trial that has ended, by number, interrupted ones excluded."""
        with self._translated("read the trials"):
            ended = self._study.get_trials(deepcopy=False, states=tuple(STATUSES))
        counted = (_trial(it) for it in ended if NUMBER in it.user_attrs and INTERRUPTED not in it.user_attrs)
        return tuple(sorted(counted, key=lambda trial: trial.number))

    def note(self, name: str) -> str | None:
        """Return the note of this name, None where there is none."""
        with self._translated("read a note"):
            return self._study.user_attrs.get(name)

    def set_note(self, name: str, text: str) -> None:
        """Store a note in the study."""
        with self._translated("write a note"):
            self._study.set_user_attr(name, text)

    def begin(self, first: Mapping[str, Value]) -> None:
        """Prepare the study: a new one begins with the values `first`, trials under way are proposed again."""
        with self._translated("begin the study"):
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            for trial in running:
                self._interrupt(trial)
            if not self._study.get_trials(deepcopy=False):
                self._study.enqueue_trial(dict(first), {NUMBER: 0})

    def _waiting(self) -> list[int]:
        """Return the numbers of the trials that will be proposed again, in that order."""
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return [trial.user_attrs[NUMBER] for trial in waiting]

    def _ask(self, number: int) -> PendingTrial:
        state = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=state)
        handle = self._study.ask(self._distributions)
        handle.set_user_attr(NUMBER, number)
        return PendingTrial(number, dict(handle.params), handle)

    def _interrupt(self, trial: FrozenTrial) -> None:
        """Mark a trial under way as interrupted; where it had all its values, enqueue them to be proposed again.

        A trial that was killed while its values were drawn will get the same values again. A kill between two of these
        steps is harmless: they are repeated, except the one that was completed.
        """
        begun = NUMBER in trial.user_attrs and trial.params.keys() == self._distributions.keys()
        if begun and not self._is_enqueued_again(trial):
            self._study.enqueue_trial(dict(trial.params), {NUMBER: trial.user_attrs[NUMBER]})
        optuna.Trial(self._study, trial._trial_id).set_user_attr(INTERRUPTED, True)
        self._study.tell(trial.number, state=TrialState.FAIL)

    def _is_enqueued_again(self, trial: FrozenTrial) -> bool:
        later = self._study.get_trials(deepcopy=False)[trial.number + 1 :]
        return any(enqueued.user_attrs.get(NUMBER) == trial.user_attrs[NUMBER] for enqueued in later)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with translate_errors(self._storage, f"{doing} of study {self.name}"), _quiet():
            yield


@contextmanager
def open_study(
    storage: Storage, name: str, space: Space, shared: Mapping[str, str], first: Mapping[str, Value], seed: int
) -> Iterator[Study]:
    """Return a context with the study of a name, created where there is none; its first trial has the values `first`.

    Trials that were under way when the study was left are proposed again. `shared` are digests of what the
    trials of a study have in common, by a readable name. Raises UsageError where the study was begun with other shared
    settings or another process works on it, TrackingError where its database fails.
    """
    storage.make_ready()
    with translate_errors(storage, f"open study {name}"), _quiet():
        backend = _backend(storage)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING)
        study = optuna.create_study(storage=backend, study_name=name, pruner=pruner, load_if_exists=True)
    try:
        with translate_errors(storage, f"take study {name}"), _quiet():
            _refuse_other_settings(study, shared)
            _take(study)
        opened = Study(study, storage, space, seed)
        opened.begin(first)
        yield opened
        with translate_errors(storage, f"leave study {name}"), _quiet():
            study.set_user_attr(WORKER, None)
    finally:
        backend.remove_session()
        backend.engine.dispose()


def _backend(storage: Storage) -> optuna.storages.RDBStorage:
    template = storage.uri.replace("{", "{{").replace("}", "}}")  # optuna formats the address as a template
    try:
        return optuna.storages.RDBStorage(template, engine_kwargs=storage.engine_options)
    except (RuntimeError, ImportError, AssertionError) as error:
        raise TrackingError(
            f"cannot store a study in {storage.display_uri}: {error}; expected a database with Optuna's tables of this "
            "version, or none yet, and its driver installed"
        ) from error


def _refuse_other_settings(study: optuna.Study, shared: Mapping[str, str]) -> None:
    """Store the shared settings in a new study; raise UsageError where an existing one has others."""
    former = study.user_attrs.get(SHARED_SETTINGS)
    if former is None:
        study.set_user_attr(SHARED_SETTINGS, dict(shared))
        return
    changed = [name for name in shared if former.get(name) != shared[name]]
    if changed:
        raise UsageError(
            f"study {study.study_name} was begun with other {' and '.join(changed)}, so that its trials cannot be "
            "compared with new ones; expected the same, or a new name: give another --study"
        )


def _take(study: optuna.Study) -> None:
    """Store that this process works on the study; raise UsageError where another one of this machine does."""
    worker = study.user_attrs.get(WORKER)
    if worker and is_another_at_work(worker):
        raise UsageError(
            f"process {worker['process']} works on study {study.study_name}; wait until it has ended, or give another "
            "--study"
        )
    study.set_user_attr(WORKER, this_process())


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    low, high, log, step = dimension.low, dimension.high, dimension.log, dimension.step
    if dimension.whole:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(low, high, log=log, step=step)


def _trial(frozen: FrozenTrial) -> Trial:
    now = datetime.now(UTC)
    return Trial(
        number=frozen.user_attrs[NUMBER],
        state=STATUSES[frozen.state],
        values=dict(frozen.params),
        losses=tuple(frozen.user_attrs.get(LOSSES, ())),
        loss=frozen.value,
        error=frozen.user_attrs.get(ERROR, ""),
        began=frozen.datetime_start.astimezone(UTC) if frozen.datetime_start else now,
        ended=frozen.datetime_complete.astimezone(UTC) if frozen.datetime_complete else now,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Return a context in which optuna logs nothing to standard error: errors come as exceptions."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
