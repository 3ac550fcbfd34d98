"""The search for settings: trials on the rows that choose, each recorded, and the best experiment as a file."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from flows.tasks import as_task
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import save_frames
from pipeline.errors import FitError
from pipeline.experiment import Experiment
from pipeline.files import draft_folder
from pipeline.stages import folds_of
from pipeline.tracking.runs import Status, finish
from pipeline.tracking.store import Store, run_url
from pipeline.tracking.trials import continue_run, log_study, log_trials
from pipeline.training.devices import choose_device
from pipeline.training.jobs import FitJob, FitResult
from pipeline.training.schedule import fit_all
from pipeline.tuning.choosing import Choosing, choosing_of, chosen_among, folds_behind
from pipeline.tuning.outcome import Trial, best_of, counts, ranked
from pipeline.tuning.plan import SearchSpec
from pipeline.tuning.search import Fit, judging, search
from pipeline.tuning.space import Space, described, outside, space_of, values_of, with_values
from pipeline.tuning.storage import Storage, storage_for
from pipeline.tuning.study import Study, open_study
from pipeline.tuning.written import write_experiment
from pipeline.wording import count_of
from pipeline.workflow.calendar_bars import Market, markets_of
from pipeline.workflow.context import Job, frames_on, load_stage
from pipeline.workflow.recording import opened
from pipeline.workflow.result import plain
from pipeline.workflow.tickers import spelled

RUN_NOTE = "mlflow_run_id"


@dataclass(frozen=True)
class Task:
    """A search that is ready to begin: what is varied around which experiment, and on which rows it is judged."""

    job: Job
    plan: SearchSpec
    experiment: Experiment
    market: Market
    folds: tuple[Fold, ...]
    choosing: Choosing
    space: Space
    storage: Storage

    @property
    def base(self) -> Experiment:
        """The experiment as a trial makes it: with a trial's number of seeds."""
        return self.experiment.model_copy(update={"seeds": self.plan.seeds})

    @property
    def terms(self) -> dict[str, str]:
        """What the trials of the study have in common, digested: only then can they be compared."""
        free = {"tickers", "universe", "source", "device", "workers", "trials", "folds", "seeds"}
        return {
            "settings": digest(self.base.model_dump(mode="json", exclude=free)),
            "prices": self.choosing.digest,
            "folds": digest([str(fold.ranges[:2]) for fold in self.choosing.folds]),
            "seeds": digest(self.base.seeds),
            "search space": digest(described(self.space)),
        }

    @property
    def study_name(self) -> str:
        """The name asked for, or one that stands for what is searched: the same search finds it again."""
        return self.plan.study or f"{self.experiment.source.kind}-{digest(self.terms)[:8]}"

    @property
    def rounds(self) -> int:
        """The fits of a trial that is not given up."""
        return len(self.choosing.folds) * self.plan.seeds

    @property
    def outside(self) -> dict[str, object]:
        """The experiment's own settings that lie outside the space; with any of them it is no trial."""
        return outside(self.experiment, self.space)

    def chosen_among(self, tried: int) -> int:
        """Return how many specifications were tried in all, former searches included."""
        return chosen_among(self.experiment, tried, base_is_tried=not self.outside)


def digest(values: object) -> str:
    """Return the digest of plain JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def tune_experiment(job: Job, experiment: Experiment, plan: SearchSpec, out: Path | None) -> Tuned:
    """Search an experiment's settings on validation alone, and write the best one as a TOML file.

    Of several exchange calendars the one with most tickers chooses. Raises FitError where no trial was completed.
    """
    job = job.looking_at(experiment.source)
    experiment = experiment.model_copy(update={"tickers": spelled(experiment.source, experiment.tickers)})
    device = as_task(choose_device, "device")(experiment.device)
    task = prepared(job, experiment, plan)
    settings = job.settings
    store = opened(settings)
    first = values_of(task.experiment, task.space)
    with open_study(task.storage, task.study_name, task.space, task.terms, first, experiment.seed) as study:
        run_id = continue_run(store, experiment, study.note(RUN_NOTE))
        study.keep_note(RUN_NOTE, run_id)
        with closing(store, run_id), job.clock.stage("search"):
            tuned = as_task(searched, "search")(Searching(task, study, store, run_id, device), out)
    return replace(tuned, seconds=dict(job.clock.seconds))


def prepared(job: Job, experiment: Experiment, plan: SearchSpec) -> Task:
    """Return the search on the bars of the experiment, with everything checked that it needs."""
    space = space_of(plan.space, experiment)
    markets = markets_of(load_stage(job, experiment))
    market = markets[0]
    if len(markets) > 1:
        job.clock.watch.says(f"Calendar {market.calendar} chooses, as the one with most tickers.")
    with job.clock.stage("features"):
        frames = as_task(frames_on, "features")(market, experiment)
        folds = folds_of(frames, experiment)
        choosing = choosing_of(frames, folds, plan.folds)
    storage = storage_for(job.settings.mlflow_uri, job.settings.root)
    task = Task(job, plan, experiment, market, folds, choosing, space, storage)
    job.clock.watch.says(
        f"Study {task.study_name}: the validation of {count_of(len(choosing.folds), 'fold')} chooses, nothing from "
        f"{choosing.until} on is looked at."
    )
    return task


@contextmanager
def closing(store: Store, run_id: str) -> Iterator[None]:
    """Return a context in which the study's run goes on: FINISHED, FAILED or, after an interrupt, KILLED at its end."""
    try:
        yield
    except BaseException as error:
        status: Status = "FAILED" if isinstance(error, Exception) else "KILLED"
        finish(store, run_id, status, str(error) or type(error).__name__)
        raise
    finish(store, run_id, "FINISHED")


@dataclass(frozen=True)
class Searching:
    """A search under way: its study, and the run that it is recorded in."""

    task: Task
    study: Study
    store: Store
    run_id: str
    device: str


def searched(one: Searching, out: Path | None) -> Tuned:
    """Make the trials that are missing, record each group of them, and return what the study has found."""
    task, job = one.task, one.task.job
    trials = one.study.trials()
    with draft_folder(job.settings.work) as folder:  # where worker processes open the frames, for as long as they run
        save_frames(task.choosing.frames, folder)
        judge = judging(task.base, task.choosing, one.device, fitting(task, folder, len(trials)))
        recorded(one, trials)
        for trials in search(one.study, judge, task.plan.trials):
            recorded(one, trials)
            job.clock.watch.says(progress(trials))
    best = best_of(trials)
    if best is None:
        raise FitError(f"no trial of study {one.study.name} was completed: {trials[0].error or 'all were given up'}")
    path = out or job.settings.root / "tuned" / f"{one.study.name}.toml"
    tuned = tuned_of(one, trials, best, judge.reference, path)
    write_experiment(path, chosen(task, best, len(trials)), note_of(tuned))
    files = {"best.toml": path.read_text(encoding="utf-8"), "trials.csv": trials_csv(trials)}
    log_study(one.store, one.run_id, trials, "\n\n".join(note_of(tuned)), tags_of(one), files)
    return tuned


def recorded(one: Searching, trials: Sequence[Trial]) -> None:
    """Write what there is until now: a search that is killed later shows it."""
    log_trials(one.store, one.run_id, trials)
    log_study(one.store, one.run_id, trials, f"Study {one.study.name} is under way.", tags_of(one), {})


def tags_of(one: Searching) -> dict[str, str]:
    """Return the tags of the study's run."""
    task = one.task
    return {
        "tapecast.study": one.study.name,
        "tapecast.storage": task.storage.shown,
        "tapecast.tickers": " ".join(task.choosing.frames.tickers),
        "tapecast.calendar": task.market.calendar,
        "tapecast.looked_until": str(task.choosing.until),
    }


def fitting(task: Task, folder: Path, made: int) -> Fit:
    """Return the function that fits jobs on the frames of a folder, told to the watch; `made` trials are there."""
    done, most = count(1), (task.plan.trials - made) * task.rounds + len(task.choosing.folds)

    def fit(jobs: Sequence[FitJob]) -> list[FitResult]:
        results = []
        for result in fit_all(jobs, folder, task.job.kept, task.experiment.worker_count):
            results.append(result)
            task.job.clock.watch.fitted(result, next(done), most)
        return results

    return fit


def progress(trials: Sequence[Trial]) -> str:
    """Return how the search stands in a sentence."""
    found, best = counts(trials), best_of(trials)
    said = ", ".join(f"{number} {state}" for state, number in found.items() if number)
    loss = f"; best validation pinball x1e4 {1e4 * best.loss:.3f} (trial {best.number})" if best and best.loss else ""
    return f"{count_of(len(trials), 'trial')}: {said}{loss}"


def chosen(task: Task, best: Trial, tried: int) -> Experiment:
    """Return the experiment of the best trial: it says among how many it was chosen, and tests behind what chose."""
    experiment = with_values(task.experiment, best.values)
    changed = {"trials": task.chosen_among(tried), "folds": folds_behind(experiment.folds, task.choosing)}
    return experiment.model_copy(update=changed)


def tuned_of(one: Searching, trials: Sequence[Trial], best: Trial, reference: Sequence[float], path: Path) -> Tuned:
    """Return the summary of a search."""
    task = one.task
    return Tuned(
        status="partial" if task.market.left_out or task.market.stale else "ok",
        study=one.study.name,
        storage=task.storage.shown,
        tried=len(trials),
        states={str(state): number for state, number in counts(trials).items()},
        chosen_among=task.chosen_among(len(trials)),
        untried=task.outside,
        best=Best(best.number, float(best.loss or 0.0), dict(best.values)),
        reference_pinball=sum(reference) / len(reference),
        trials=described_trials(trials),
        choosing=[f"{fold.validation.first} to {fold.validation.until}" for fold in task.choosing.folds],
        looked_until=str(task.choosing.until),
        experiment=str(path),
        calendar=task.market.calendar,
        left_out=[asdict(out) for out in task.market.left_out],
        stale=[asdict(old) for old in task.market.stale],
        note=task.market.note,
        mlflow_run_id=one.run_id,
        mlflow_url=run_url(one.store, one.run_id),
    )


Row = dict[str, Any]


@dataclass(frozen=True)
class Best:
    """The best trial."""

    trial: int
    validation_pinball: float
    values: Row


@dataclass(frozen=True)
class Tuned:
    """A finished search as plain JSON values; `trials` begin with the best."""

    status: str
    study: str
    storage: str
    tried: int  # over the study's life
    states: dict[str, int]
    chosen_among: int  # with those that were tried before the experiment was given to this search
    untried: Row  # settings of the experiment as given that lie outside the space: with any of them it is no trial
    best: Best
    reference_pinball: float  # of the last close with its volatility, on the same rows
    trials: list[Row]
    choosing: list[str]
    looked_until: str
    experiment: str
    calendar: str
    left_out: list[Row]
    stale: list[Row]
    note: str
    mlflow_run_id: str
    mlflow_url: str
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> Row:
        """Return the object that --json prints."""
        return asdict(self)


def described_trials(trials: Sequence[Trial]) -> list[Row]:
    """Return a row per trial, the best first."""
    return [
        {
            "trial": one.number,
            "state": one.state,
            "validation_pinball": None if one.loss is None else plain(one.loss),
            "by_fold": list(one.losses),
            "error": one.error or None,
            "values": dict(one.values),
        }
        for one in ranked(trials)
    ]


def trials_csv(trials: Sequence[Trial]) -> str:
    """Return a line per trial by number: state, losses and values."""
    names = sorted({name for one in trials for name in one.values})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "validation_pinball", "by_fold", "error", *names])
    for one in trials:
        by_fold = " ".join(map(repr, one.losses))
        writer.writerow([one.number, one.state, one.loss, by_fold, one.error, *(one.values.get(n) for n in names)])
    return text.getvalue()


def note_of(tuned: Tuned) -> tuple[str, ...]:
    """Return what was found in sentences."""
    best, gain = tuned.best, 1 - tuned.best.validation_pinball / tuned.reference_pinball
    states = ", ".join(f"{number} {state}" for state, number in tuned.states.items())
    return (
        f"Study {tuned.study}: trial {best.trial} is the best of {tuned.tried} ({states}), with a validation pinball "
        f"x1e4 of {1e4 * best.validation_pinball:.3f}; the last close has {1e4 * tuned.reference_pinball:.3f} there "
        f"({gain:+.2%} skill).",
        f"Chosen on {'; '.join(tuned.choosing)}. Nothing from {tuned.looked_until} on was looked at; a run of this "
        "experiment tests from there on.",
        "The best of many trials looks better on validation than it is: only the test of a run says how good.",
        *untried_in_words(tuned.untried),
    )


def untried_in_words(untried: Row) -> tuple[str, ...]:
    """Return a sentence where the experiment as it was given is no trial."""
    if not untried:
        return ()
    settings = ", ".join(f"{name} = {value}" for name, value in sorted(untried.items()))
    return (
        f"The experiment as it was given ({settings}) lies outside the search space: it is no trial of this study.",
    )
