"""The study: it proposes values, hears how trials go, and remembers them in a database; the only importer of optuna.

Trials are asked for in groups of `TRIALS_AT_ONCE`, so that their fits can run beside each other; the group's size
does not depend on the number of workers, and so neither do the trials. What a trial is given depends on the seed, on
its number and on the trials before its group: a study that was killed and goes on makes the trials that it would have
made. A trial that was under way is given up in the database and asked for again under its old number and values.
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
from pipeline.tuning.outcome import State, Trial
from pipeline.tuning.space import Choices, Dimension, Space, Value
from pipeline.tuning.storage import Storage, translated

TRIALS_AT_ONCE = 5
TRIALS_BEFORE_PRUNING = 5

# What a trial or a study is marked with in the database.
NUMBER, INTERRUPTED, LOSSES, ERROR = "tapecast_number", "tapecast_interrupted", "tapecast_losses", "tapecast_error"
TERMS, WORKER = "tapecast_terms", "tapecast_worker"

STATES: Mapping[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class Asked:
    """A trial under way: its number and values, and the handle by which the study knows it."""

    number: int
    values: Mapping[str, Value]
    handle: optuna.Trial


class Study:
    """A study that was opened by `open_study`."""

    def __init__(self, study: optuna.Study, storage: Storage, space: Space, seed: int) -> None:
        self._study, self._storage, self._seed = study, storage, seed
        self._distributions = {name: _distribution(one) for name, one in sorted(space.items())}

    @property
    def name(self) -> str:
        """The study's name."""
        return self._study.study_name

    def ask(self, total: int) -> list[Asked]:
        """Return the trials to make next, a group at most; none where the study has `total` trials."""
        with self._told("ask for trials"):
            tried = {trial.number for trial in self.trials()}
            missing = [number for number in range(total) if number not in tried]
            group = [number for number in missing if number // TRIALS_AT_ONCE == missing[0] // TRIALS_AT_ONCE]
            waiting = self._waiting()
            fresh = [number for number in group if number not in waiting]
            return [self._ask(number) for number in (*waiting, *fresh)]

    def report(self, asked: Asked, step: int, losses: Sequence[float], estimate: float) -> bool:
        """Hear the losses by fold so far and the estimate at a step; return whether the trial is to be given up.

        It is where its estimate is above the median of the complete trials' at the same step (a median stopping
        rule, Golovin et al. 2017, section 3.2.2).
        """
        with self._told("report a loss"):
            asked.handle.set_user_attr(LOSSES, list(losses))
            asked.handle.report(estimate, step)
            return asked.handle.should_prune()

    def complete(self, asked: Asked, loss: float) -> None:
        """End a trial with its loss."""
        with self._told("complete a trial"):
            self._study.tell(asked.handle, loss)

    def prune(self, asked: Asked) -> None:
        """Give a trial up for its losses."""
        with self._told("prune a trial"):
            self._study.tell(asked.handle, state=TrialState.PRUNED)

    def fail(self, asked: Asked, error: str) -> None:
        """End a trial that gave no loss, with the reason."""
        with self._told("fail a trial"):
            asked.handle.set_user_attr(ERROR, error)
            self._study.tell(asked.handle, state=TrialState.FAIL)

    def trials(self) -> tuple[Trial, ...]:
        """Return every trial that has ended, by number; those that were interrupted are not among them."""
        with self._told("read the trials"):
            ended = self._study.get_trials(deepcopy=False, states=tuple(STATES))
        found = (_trial(one) for one in ended if NUMBER in one.user_attrs and INTERRUPTED not in one.user_attrs)
        return tuple(sorted(found, key=lambda trial: trial.number))

    def note(self, name: str) -> str | None:
        """Return what was noted in the study under a name."""
        with self._told("read a note"):
            return self._study.user_attrs.get(name)

    def keep_note(self, name: str, text: str) -> None:
        """Note something in the study."""
        with self._told("write a note"):
            self._study.set_user_attr(name, text)

    def begin(self, first: Mapping[str, Value]) -> None:
        """Make ready to ask: a new study begins with the values `first`, trials under way are asked for again."""
        with self._told("begin the study"):
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            for trial in running:
                self._interrupt(trial)
            if not self._study.get_trials(deepcopy=False):
                self._study.enqueue_trial(dict(first), {NUMBER: 0})

    def _waiting(self) -> list[int]:
        """Return the numbers of the trials that are to be asked for again, in the order in which they will be."""
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return [trial.user_attrs[NUMBER] for trial in waiting]

    def _ask(self, number: int) -> Asked:
        state = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=state)
        handle = self._study.ask(self._distributions)
        handle.set_user_attr(NUMBER, number)
        return Asked(number, dict(handle.params), handle)

    def _interrupt(self, trial: FrozenTrial) -> None:
        """Give up a trial that was under way; where it had all its values, they wait to be asked for again.

        One that was killed while it was given its values will be given the same again. A kill between two of these
        steps is no harm either: they are done again, but for the one that is found done.
        """
        begun = NUMBER in trial.user_attrs and trial.params.keys() == self._distributions.keys()
        if begun and not self._asked_again(trial):
            self._study.enqueue_trial(dict(trial.params), {NUMBER: trial.user_attrs[NUMBER]})
        optuna.Trial(self._study, trial._trial_id).set_user_attr(INTERRUPTED, True)
        self._study.tell(trial.number, state=TrialState.FAIL)

    def _asked_again(self, trial: FrozenTrial) -> bool:
        later = self._study.get_trials(deepcopy=False)[trial.number + 1 :]
        return any(one.user_attrs.get(NUMBER) == trial.user_attrs[NUMBER] for one in later)

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        with translated(self._storage, f"{doing} of study {self.name}"), _quiet():
            yield


@contextmanager
def open_study(
    storage: Storage, name: str, space: Space, terms: Mapping[str, str], first: Mapping[str, Value], seed: int
) -> Iterator[Study]:
    """Return a context with the study of a name, made where there is none; its first trial has the values `first`.

    Trials that were under way when it was left are asked for again. `terms` say what the trials of a study have in
    common, each under a word for people. Raises UsageError where the study was begun on other terms or another
    process works on it, TrackingError where its database does not serve.
    """
    storage.make_ready()
    with translated(storage, f"open study {name}"), _quiet():
        backend = _backend(storage)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING)
        study = optuna.create_study(storage=backend, study_name=name, pruner=pruner, load_if_exists=True)
    try:
        with translated(storage, f"take study {name}"), _quiet():
            _refuse_other_terms(study, terms)
            _take(study)
        opened = Study(study, storage, space, seed)
        opened.begin(first)
        yield opened
        with translated(storage, f"leave study {name}"), _quiet():
            study.set_user_attr(WORKER, None)
    finally:
        backend.remove_session()
        backend.engine.dispose()


def _backend(storage: Storage) -> optuna.storages.RDBStorage:
    template = storage.uri.replace("{", "{{").replace("}", "}}")  # optuna fills the address in as one
    try:
        return optuna.storages.RDBStorage(template, engine_kwargs=storage.engine_options)
    except (RuntimeError, ImportError, AssertionError) as error:
        raise TrackingError(
            f"cannot keep a study in {storage.shown}: {error}; expected a database with Optuna's tables of this "
            "version, or none yet, and its driver installed"
        ) from error


def _refuse_other_terms(study: optuna.Study, terms: Mapping[str, str]) -> None:
    """Note the terms in a new study; raise UsageError where an old one has others."""
    former = study.user_attrs.get(TERMS)
    if former is None:
        study.set_user_attr(TERMS, dict(terms))
        return
    other = [word for word in terms if former.get(word) != terms[word]]
    if other:
        raise UsageError(
            f"study {study.study_name} was begun with other {' and '.join(other)}, so that its trials cannot be "
            "compared with new ones; expected the same, or a new name: give another --study"
        )


def _take(study: optuna.Study) -> None:
    """Note that this process works on the study; raise UsageError where another one of this machine does."""
    other = study.user_attrs.get(WORKER)
    if other and is_another_at_work(other):
        raise UsageError(
            f"process {other['process']} works on study {study.study_name}; wait until it has ended, or give another "
            "--study"
        )
    study.set_user_attr(WORKER, this_process())


def _distribution(one: Dimension) -> BaseDistribution:
    if isinstance(one, Choices):
        return CategoricalDistribution(one.values)
    if one.whole:
        return IntDistribution(int(one.low), int(one.high), log=one.log, step=int(one.step or 1))
    return FloatDistribution(one.low, one.high, log=one.log, step=one.step)


def _trial(found: FrozenTrial) -> Trial:
    now = datetime.now(UTC)
    return Trial(
        number=found.user_attrs[NUMBER],
        state=STATES[found.state],
        values=dict(found.params),
        losses=tuple(found.user_attrs.get(LOSSES, ())),
        loss=found.value,
        error=found.user_attrs.get(ERROR, ""),
        began=found.datetime_start.astimezone(UTC) if found.datetime_start else now,
        ended=found.datetime_complete.astimezone(UTC) if found.datetime_complete else now,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Return a context in which optuna tells nothing of its own on standard error: errors come as exceptions."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
