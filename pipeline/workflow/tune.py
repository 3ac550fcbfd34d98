"""Tune: trials judged on validation rows alone, each recorded in MLflow, and the best experiment as a TOML file."""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

from pipeline.dataset.frames import save_frames
from pipeline.errors import FitError
from pipeline.experiment import Experiment, write_experiment
from pipeline.files import draft_folder
from pipeline.stages import folds_of
from pipeline.tracking.runs import start_run
from pipeline.tracking.studies import log_study, log_trials
from pipeline.training.devices import choose_device
from pipeline.training.jobs import FitJob, FitResult
from pipeline.training.schedule import fit_all
from pipeline.tuning.search import FitFunction, search, search_inputs
from pipeline.tuning.space import Space, describe_space, space_of, values_of, values_outside, with_values
from pipeline.tuning.storage import Storage, storage_for
from pipeline.tuning.study import Study, open_study
from pipeline.tuning.trial import SearchSpec, Trial, best_trial, count_statuses
from pipeline.tuning.tuning_data import TuningData, folds_after_tuning, total_trials, tuning_data_of
from pipeline.wording import count_of
from pipeline.workflow.calendar_bars import CalendarBars, by_calendar, frames_on
from pipeline.workflow.loading import load
from pipeline.workflow.recording import Recording, recorded, whole_record
from pipeline.workflow.run_context import RunContext
from pipeline.workflow.tickers import spelled
from pipeline.workflow.tune_result import BestTrial, TuneResult, trial_rows, trials_csv
from pipeline.workflow.validation import mismatch_rows

RECORD_NOTE = "record"


@dataclass(frozen=True)
class SearchTask:
    """A search that is ready to start: what is varied around which experiment, and on which rows it is judged."""

    context: RunContext
    spec: SearchSpec
    experiment: Experiment
    bars: CalendarBars
    tuning_data: TuningData
    space: Space
    storage: Storage

    @property
    def base(self) -> Experiment:
        """The experiment as a trial makes it: with a trial's number of seeds."""
        return self.experiment.model_copy(update={"seeds": self.spec.seeds})

    @property
    def terms(self) -> dict[str, str]:
        """What the trials of the study have in common, digested: only then can they be compared."""
        free = {"tickers", "universe", "source", "device", "workers", "trials", "folds", "seeds"}
        return {
            "settings": digest(self.base.model_dump(mode="json", exclude=free)),
            "prices": self.tuning_data.digest,
            "folds": digest([str(fold.ranges[:2]) for fold in self.tuning_data.folds]),
            "seeds": digest(self.base.seeds),
            "search space": digest(describe_space(self.space)),
        }

    @property
    def study_name(self) -> str:
        """The requested name, or one derived from what is searched: the same search finds its study again."""
        return self.spec.study or f"{self.experiment.source.kind}-{digest(self.terms)[:8]}"

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where a ticker was excluded, or bars are stale or do not fit the calendar."""
        return "partial" if self.bars.excluded or self.bars.stale or self.bars.calendar_mismatches else "ok"

    @property
    def rounds(self) -> int:
        """The fits of a trial that is not pruned."""
        return len(self.tuning_data.folds) * self.spec.seeds

    @property
    def outside(self) -> dict[str, object]:
        """The experiment's own settings that lie outside the space; with any of them it is no trial."""
        return values_outside(self.experiment, self.space)

    def total_trials(self, tried: int) -> int:
        """Return how many specifications were tried in all, earlier searches included."""
        return total_trials(self.experiment, tried, base_is_tried=not self.outside)


@dataclass(frozen=True)
class OngoingSearch:
    """A search under way: its study, and the run that it is recorded in."""

    task: SearchTask
    study: Study
    recording: Recording
    device: str


def digest(values: object) -> str:
    """Return the digest of plain JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def tune(context: RunContext, experiment: Experiment, spec: SearchSpec, out: Path | None) -> TuneResult:
    """Search an experiment's settings on validation alone, and write the best one as a TOML file.

    Of several exchange calendars the one with most tickers chooses. Raises FitError where no trial was completed.
    """
    context = context.as_of(experiment.source)
    experiment = experiment.model_copy(update={"tickers": spelled(experiment.source, experiment.tickers)})
    device = context.step(choose_device, "device")(experiment.device)
    task = prepared(context, experiment, spec)
    first = values_of(task.experiment, task.space)
    with open_study(task.storage, task.study_name, task.space, task.terms, first, experiment.seed) as study:
        record_id = study.note(RECORD_NOTE) or uuid.uuid4().hex
        study.set_note(RECORD_NOTE, record_id)
        start = partial(start_run, kind="tune", experiment=experiment)
        with (
            recorded(context.settings, f"tune {record_id}", start, record_id) as recording,
            context.timer.stage("search"),
        ):
            result = context.step(searched, "search")(OngoingSearch(task, study, recording, device), out)
    return replace(result, seconds=dict(context.timer.seconds))


def prepared(context: RunContext, experiment: Experiment, spec: SearchSpec) -> SearchTask:
    """Return the search on the bars of the experiment, with everything checked that it needs."""
    space = space_of(spec.space, experiment)
    calendars = by_calendar(load(context, experiment))
    bars = calendars[0]
    if len(calendars) > 1:
        context.progress.message(f"Calendar {bars.calendar} chooses, as the one with most tickers.")
    with context.timer.stage("features"):
        frames = context.step(frames_on, "features")(bars, experiment)
        tuning_data = tuning_data_of(frames, folds_of(frames, experiment), spec.folds)
    storage = storage_for(context.settings.mlflow_uri, context.settings.root)
    task = SearchTask(context, spec, experiment, bars, tuning_data, space, storage)
    context.progress.message(
        f"Study {task.study_name}: the validation of {count_of(len(tuning_data.folds), 'fold')} chooses; no session "
        f"from {tuning_data.until} on is used."
    )
    return task


def searched(ongoing: OngoingSearch, out: Path | None) -> TuneResult:
    """Make the trials that are missing, record each group of them, and return what the study has found."""
    task, context = ongoing.task, ongoing.task.context
    trials = ongoing.study.trials()
    with draft_folder(
        context.settings.work
    ) as folder:  # where worker processes open the frames, for as long as they run
        save_frames(task.tuning_data.frames, folder)
        judge = search_inputs(task.base, task.tuning_data, ongoing.device, _fitting(task, folder, len(trials)))
        _record(ongoing, trials, ())
        former = trials
        for trials in search(ongoing.study, judge, task.spec.trials):
            _record(ongoing, trials, former)
            former = trials
            context.progress.message(progress_sentence(trials))
    best = best_trial(trials)
    if best is None:
        raise FitError(f"no trial of study {ongoing.study.name} was completed: {trials[0].error or 'all were pruned'}")
    path = out or context.settings.root / "tuned" / f"{ongoing.study.name}.toml"
    result = _result_of(ongoing, trials, best, judge.reference, path)
    write_experiment(path, best_experiment(task, best, len(trials)), result.sentences)
    files = {"best.toml": path.read_text(encoding="utf-8"), "trials.csv": trials_csv(trials)}
    log_study(ongoing.recording.record, trials, "\n\n".join(result.sentences), study_tags(ongoing), files)
    return with_record(ongoing, result)


def with_record(ongoing: OngoingSearch, result: TuneResult) -> TuneResult:
    """Return a result with where it is in MLflow."""
    recording = ongoing.recording
    whole = whole_record(ongoing.task.context, recording)
    return replace(result, mlflow_run_id=recording.run_id, mlflow_url=recording.url, recorded=whole)


def _record(ongoing: OngoingSearch, trials: Sequence[Trial], former: Sequence[Trial]) -> None:
    """Write what there is until now, the former trials aside: a search that is killed later shows it."""
    written = {trial.number for trial in former}
    log_trials(ongoing.recording.record, [trial for trial in trials if trial.number not in written])
    note = f"Study {ongoing.study.name} is under way."
    log_study(ongoing.recording.record, trials, note, study_tags(ongoing), {})
    ongoing.recording.delivery.begin()


def study_tags(ongoing: OngoingSearch) -> dict[str, str]:
    """Return the tags of the study's run."""
    task = ongoing.task
    return {
        "tapecast.study": ongoing.study.name,
        "tapecast.storage": task.storage.display_uri,
        "tapecast.tickers": " ".join(task.tuning_data.frames.tickers),
        "tapecast.calendar": task.bars.calendar,
        "tapecast.tuning_data_until": str(task.tuning_data.until),
    }


def _fitting(task: SearchTask, folder: Path, made: int) -> FitFunction:
    """Return the function that fits jobs on the frames of a folder and reports each; `made` trials exist already."""
    done, total = count(1), (task.spec.trials - made) * task.rounds + len(task.tuning_data.folds)

    def fit(jobs: Sequence[FitJob]) -> list[FitResult]:
        results = []
        workers, notes = task.experiment.worker_count, task.context.settings.processes
        for result in fit_all(jobs, folder, task.context.fit_cache, workers, notes):
            results.append(result)
            task.context.progress.fit_finished(result, next(done), total)
        return results

    return fit


def progress_sentence(trials: Sequence[Trial]) -> str:
    """Return the state of the search in a sentence."""
    states, best = count_statuses(trials), best_trial(trials)
    listed = ", ".join(f"{number} {state}" for state, number in states.items() if number)
    loss = f"; best validation pinball x1e4 {1e4 * best.loss:.3f} (trial {best.number})" if best and best.loss else ""
    return f"{count_of(len(trials), 'trial')}: {listed}{loss}"


def best_experiment(task: SearchTask, best: Trial, tried: int) -> Experiment:
    """Return the experiment of the best trial: it states the number of trials, and tests later rows."""
    experiment = with_values(task.experiment, best.values)
    changed = {"trials": task.total_trials(tried), "folds": folds_after_tuning(experiment.folds, task.tuning_data)}
    return experiment.model_copy(update=changed)


def _result_of(
    ongoing: OngoingSearch, trials: Sequence[Trial], best: Trial, reference: Sequence[float], path: Path
) -> TuneResult:
    task = ongoing.task
    return TuneResult(
        status=task.status,
        study=ongoing.study.name,
        storage=task.storage.display_uri,
        tried=len(trials),
        states={str(state): number for state, number in count_statuses(trials).items()},
        total_trials=task.total_trials(len(trials)),
        untried=task.outside,
        best=BestTrial(best.number, float(best.loss or 0.0), dict(best.values)),
        reference_pinball=sum(reference) / len(reference),
        trials=trial_rows(trials),
        validation_ranges=[f"{fold.validation.first} to {fold.validation.until}" for fold in task.tuning_data.folds],
        tuning_data_until=str(task.tuning_data.until),
        experiment=str(path),
        calendar=task.bars.calendar,
        calendar_mismatches=mismatch_rows(task.bars.calendar_mismatches),
        excluded=[asdict(out) for out in task.bars.excluded],
        stale=[asdict(old) for old in task.bars.stale],
        note=task.bars.note,
        mlflow_run_id=None,
        mlflow_url=None,
        recorded=False,
    )
