"""The main job: train and test the network and its baselines on every market of a universe, then forecast."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import pandas as pd

from flows.job import Finished, Job, forecastable, frames_on, load_stage, record_results, unseen
from flows.markets import Market, markets_of
from flows.naming import spelled
from flows.parts import Parts, over_markets
from flows.recording import Recording
from flows.tasks import as_task
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames, save_frames
from pipeline.errors import NothingUsableError
from pipeline.evaluation.backtest import IN_ORDER, build_backtest
from pipeline.evaluation.direction import direction_table
from pipeline.evaluation.evaluation import Asked, Evaluation
from pipeline.evaluation.evaluation import evaluate as evaluated
from pipeline.experiment import Experiment
from pipeline.files import draft_folder
from pipeline.market.specification import SyntheticSource
from pipeline.market.universe import survivorship_warning
from pipeline.operation.live import latest_forecasts, left_behind
from pipeline.operation.model import Trained, publish
from pipeline.operation.outcome import Outcome
from pipeline.operation.publication import Publication, marked, publication
from pipeline.stages import asked_of, folds_of, jobs_of, with_scorable_rivals
from pipeline.tracking.history import Attempt, prices_of, specification_of
from pipeline.training.devices import choose_device
from pipeline.training.executors import fit_all, raise_failures
from pipeline.training.jobs import FitResult
from pipeline.wording import count_of


def train_and_forecast(
    job: Job, experiment: Experiment, *, live: bool, check: Callable[[Outcome], None] | None = None
) -> Parts:
    """Run the main job on every market of the universe: bars, frames, fits, backtest; if live, also forecast.

    A live run publishes its fits as the latest model. `check` may raise on a recorded outcome: the run is then closed
    as failed, and nothing is published.
    """
    job = job.looking_at(experiment.source)
    experiment = experiment.model_copy(update={"tickers": spelled(experiment.source, experiment.tickers)})
    with Recording(job.settings, job.kind, experiment) as recording:
        device = as_task(choose_device, "device")(experiment.device)
        loaded = load_stage(job, experiment)
        recording.where()  # a store that cannot be written is known before hours of training
        work = TrainingOn(job, experiment, device, live, check)
        parts = over_markets(job, recording, markets_of(loaded), work)
        if live:
            publish(job.settings.models, [one.trained for one in parts.finished if one.trained])
        return parts


@dataclass(frozen=True)
class TrainingOn:
    """What a run that trains does on each market."""

    job: Job
    experiment: Experiment
    device: str
    live: bool
    check: Callable[[Outcome], None] | None

    def narrowed(self, job: Job, market: Market) -> "TrainingOn":
        """Return the same work on one market of several."""
        return replace(self, job=job, experiment=on_one(self.experiment, market))

    def __call__(self, market: Market, recording: Recording) -> Finished:
        """Return the finished part of the run on one market."""
        clock, experiment = self.job.clock, self.experiment
        with clock.stage("features"):
            frames = as_task(frames_on, "features")(market, experiment)
            folds = folds_of(frames, experiment)
            experiment, of_rivals = with_scorable_rivals(experiment, frames, folds)
        for sentence in (f"{count_of(len(folds), 'fold')}: {experiment.folds.describe()}.", *of_rivals):
            clock.watch.says(sentence)
        with clock.stage("fit"):
            results = as_task(fit_folds, "fit")(self.job, frames, folds, experiment, self.device)
        with clock.stage("evaluate"):
            luck = recording.counted(attempt_of(market, experiment, frames, folds), experiment.trials)
            asked = asked_of(market.bars, experiment, luck)
            evaluation = as_task(evaluate, "evaluate")(results, folds, frames, experiment, asked)
        outcome = self._outcome(market, frames, folds, results, evaluation)
        outcome = replace(outcome, warnings=(*outcome.warnings, *of_rivals))
        finished = record_results(self.job, recording, outcome)
        if self.check:
            self.check(outcome)
        latest = tuple(of_latest_fold(results, folds))
        described = on_one(experiment, market)
        trained = Trained(
            calendar=market.calendar,
            experiment=described,
            market=market.bars.tickers,
            beside=market.beside,
            universe=market.universe,
            results=latest,
            publication=outcome.publication,
        )
        return replace(finished, trained=trained)

    def _outcome(
        self, market: Market, frames: Frames, folds: tuple[Fold, ...], results: list[FitResult], evaluation: Evaluation
    ) -> Outcome:
        chosen = publication(evaluation, self.experiment.abstain)
        forecasts = self._forecasts(results, frames, market, chosen) if self.live else None
        behind = left_behind(forecastable(frames, market)) if self.live else ()
        return Outcome(
            experiment=self.experiment,
            source_note=market.note,
            known_at=market.known_at,
            listings=market.bars.listings,
            frames=frames,
            folds=folds,
            results=tuple(results),
            problems=market.problems,
            left_out=(*market.left_out, *behind),
            stale=market.stale,
            unseen=unseen(trained_on(of_latest_fold(results, folds)), forecasts),
            warnings=warnings_of(market, self.experiment, evaluation),
            evaluation=evaluation,
            forecasts=forecasts,
            publication=chosen,
        )

    def _forecasts(
        self, results: Sequence[FitResult], frames: Frames, market: Market, chosen: Publication
    ) -> pd.DataFrame:
        """Return the live forecasts of the latest fold's fits, its tail held out exactly as in the backtest."""
        tickers, calibration = forecastable(frames, market).tickers, self.experiment.calibration
        with self.job.clock.stage("forecast"):
            forecast = as_task(latest_forecasts, "forecast")
            found = forecast(results, frames, calibration, market.calendar, self.job.now, tickers)
        return marked(found, chosen)


def on_one(experiment: Experiment, market: Market) -> Experiment:
    """Return the experiment as it is on one market: its tickers by name."""
    return experiment.model_copy(update={"tickers": market.bars.tickers, "universe": None})


def warnings_of(market: Market, experiment: Experiment, evaluation: Evaluation) -> tuple[str, ...]:
    """Return what belongs beside every number of a backtest on this market; made-up prices have no survivors."""
    if isinstance(experiment.source, SyntheticSource):
        return ()
    tested = evaluation.backtest.sessions
    warning = survivorship_warning(market.universe, market.bars.tickers, tested[0], tested[-1])
    said = (warning or "", experiment.look_back(date.fromisoformat(str(tested[0]))))
    return tuple(sentence for sentence in said if sentence)


def trained_on(results: Sequence[FitResult]) -> tuple[str, ...]:
    """Return the tickers that the first kind of forecaster among the results was trained on, by one fit or several."""
    first = [result.job.tickers for result in results if result.job.forecaster.kind == results[0].job.forecaster.kind]
    return tuple(dict.fromkeys(ticker for tickers in first for ticker in tickers))


def of_latest_fold(results: Sequence[FitResult], folds: Sequence[Fold]) -> list[FitResult]:
    """Return the results of the latest fold, in one order."""
    own = [result for result in results if result.job.fold.name == folds[-1].name]
    return sorted(own, key=lambda one: (IN_ORDER.index(one.job.forecaster.kind), one.job.seed, one.job.tickers))


def fit_folds(
    job: Job, frames: Frames, folds: tuple[Fold, ...], experiment: Experiment, device: str
) -> list[FitResult]:
    """Return the results of every fit, as many at once as there are workers; raises FitError naming failed ones."""
    jobs = list(jobs_of(frames, folds, experiment, device))
    results = []
    with draft_folder(job.settings.work) as folder:  # where worker processes open the frames, for as long as they run
        save_frames(frames, folder)
        for result in fit_all(jobs, folder, job.kept, experiment.worker_count):
            results.append(result)
            job.clock.watch.fitted(result, len(results), len(jobs))
    raise_failures(results)
    return results


def attempt_of(market: Market, experiment: Experiment, frames: Frames, folds: Sequence[Fold]) -> Attempt:
    """Return what is about to be tested on whose prices."""
    asked = (*market.bars.tickers, *(out.ticker for out in market.left_out))
    return Attempt(
        specification=specification_of(experiment),
        prices=prices_of(experiment.source, market.calendar),
        tickers=asked,
        first=frames.sessions[folds[0].test.start],
        last=frames.sessions[-1],
    )


def evaluate(
    results: list[FitResult], folds: tuple[Fold, ...], frames: Frames, experiment: Experiment, asked: Asked
) -> Evaluation:
    """Return the backtest of the fits with everything that it shows."""
    backtest = build_backtest(results, folds, frames, experiment.calibration)
    if not backtest.scored.any():
        raise NothingUsableError(
            f"nothing to score: no outcome is known yet after {folds[0].test.first}, expected some sessions to test; "
            "end the validation earlier or bring newer bars"
        )
    return evaluated(backtest, asked, direction_table(results, folds, frames))
