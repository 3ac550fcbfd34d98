"""The whole pipeline on one page: bars to frames, frames to folds, folds to fits, fits to backtest and forecasts.

Every user of the pipeline composes these stages: runs, the audit, the sanity suite, tuning and the notebook. Bars come
from market.validation, fits of the jobs from training.schedule (in processes, cached) or training.fits.fit_each.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from pipeline.arrays import Booleans
from pipeline.dataset.context import Context, MarketReturns, index_among, market_member_mask, market_returns
from pipeline.dataset.covariates.from_files import NO_FILE_COVARIATES, FileCovariates, refuse_mismatched_files
from pipeline.dataset.covariates.known_future import calendar_covariates
from pipeline.dataset.covariates.sectors import refuse_unmatched_sectors
from pipeline.dataset.features import select_features
from pipeline.dataset.folds import Fold, walk_forward
from pipeline.dataset.frames import Frames, build_frames
from pipeline.dataset.panel import Panel, build_panel
from pipeline.errors import NothingUsableError
from pipeline.evaluation.direction import direction_table
from pipeline.evaluation.evaluation import Evaluation, EvaluationInputs, evaluate
from pipeline.evaluation.money.account import opens_of
from pipeline.evaluation.trials import Trials
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import Specification
from pipeline.forecasters.registry import forecaster_of
from pipeline.forecasting.backtest import Backtest, build_backtest
from pipeline.forecasting.forecasts import fits_of
from pipeline.forecasting.live import LiveForecasts, live_forecasts
from pipeline.forecasting.postprocessing import Postprocessing
from pipeline.market.bars import Bars
from pipeline.market.universe import Universe, membership_mask
from pipeline.training.jobs import FitJob, FitResult, digest_of_rows


def frames_of(
    bars: Bars,
    experiment: Experiment,
    market_members: tuple[str, ...] | None = None,
    others: Sequence[Bars] = (),
    universe: Universe | None = None,
    file_covariates: FileCovariates = NO_FILE_COVARIATES,
) -> Frames:
    """Return what fits and forecasts may read of the bars of one calendar.

    `market_members` names the tickers whose mean makes the market features (default: all). `others` are the bars of the
    run's other calendars, of which those named in `market_members` count, or all where it names none of them; they are
    read only where a feature needs them. A ticker is no origin and does not count outside its universe membership.
    `file_covariates` is what read_file_covariates read of the experiment's files.
    """
    refuse_mismatched_files(file_covariates, experiment.sectors, experiment.covariates)
    refuse_unmatched_sectors(file_covariates.sectors, [ticker for some in (bars, *others) for ticker in some.tickers])
    features = select_features(experiment.all_features, experiment.file_features)
    panel, least = build_panel(bars), experiment.minimum_sessions
    cross_market = [
        _returns_of(other, market_members, universe, least)
        for other in others
        if any(feature.cross_market for feature in features)
    ]
    context = Context(
        membership=_membership(universe, panel),
        cross_market=tuple(cross_market),
        sectors=file_covariates.sectors,
        index=index_among((bars, *others), experiment.index, least) if experiment.index else None,
        past=file_covariates.past,
        known_future=(
            *calendar_covariates(experiment.calendar_covariates, panel.calendar),
            *file_covariates.known_future,
        ),
    )
    members = bars.tickers if market_members is None else market_members
    return build_frames(panel, features, members, experiment.horizons, least, context)


def folds_of(frames: Frames, experiment: Experiment) -> tuple[Fold, ...]:
    """Return the folds of the experiment, oldest first; raises NothingUsableError when history is too short.

    Where each ticker has a network of its own, a fold in which none could be trained is excluded.
    """
    folds = walk_forward(frames.sessions, frames.usable, experiment.folds)
    trained = tuple(fold for fold in folds if any(True for _ in _split(frames, fold, experiment.network, experiment)))
    if not trained:
        raise NothingUsableError(
            f"found no ticker with enough history for a network of its own in any of {len(folds)} folds, expected one; "
            'give more bars, or set scope = "universe"'
        )
    return trained


def without_unscorable(
    experiment: Experiment, frames: Frames, folds: Sequence[Fold]
) -> tuple[Experiment, tuple[str, ...]]:
    """Return the experiment without the benchmarks that cannot be scored on these folds, and why."""
    reasons = {spec.kind: forecaster_of(spec).why_not_scored(spec, frames, folds) for spec in experiment.benchmarks}
    scorable = tuple(spec for spec in experiment.benchmarks if not reasons[spec.kind])
    return experiment.model_copy(update={"benchmarks": scorable}), tuple(filter(None, reasons.values()))


def without_unfitted(
    experiment: Experiment, results: Sequence[FitResult]
) -> tuple[Experiment, list[FitResult], tuple[str, ...]]:
    """Return the experiment and the results without fits of benchmarks that found nothing to learn from, and why.

    A benchmark stays on the folds that it could be fitted on, so that no later fold decides about an earlier one; where
    there is none it leaves the experiment. Neither the network nor a baseline is left out so, nor a fit that ended in
    any other way.
    """
    benchmarks = {spec.kind for spec in experiment.benchmarks}
    refused = [it for it in results if it.refused and it.job.forecaster.kind in benchmarks]
    kept = [it for it in results if it not in refused]
    fitted = {it.job.forecaster.kind for it in kept}
    left = tuple(spec for spec in experiment.benchmarks if spec.kind in fitted)
    return experiment.model_copy(update={"benchmarks": left}), kept, tuple(map(_unfitted_sentence, refused))


def _unfitted_sentence(result: FitResult) -> str:
    return (
        f"The benchmark {result.job.forecaster.kind} could not be fitted on fold {result.job.fold.name}, is left out "
        f"there and compared nowhere: {result.error}"
    )


def jobs_of(
    frames: Frames, folds: Sequence[Fold], experiment: Experiment, device: str, kinds: Collection[str] | None = None
) -> Iterator[FitJob]:
    """Yield every fit of the experiment: each forecaster and seed on each fold, in the folds' order.

    `kinds` are those of the forecasters to fit (default: all). A network per ticker is a fit per ticker. With a warm
    start a network's fit names that of the previous fold.
    """
    fitted = [spec for spec in experiment.forecasters if kinds is None or spec.kind in kinds]
    previous: dict[tuple[str, int], str] = {}
    for fold in folds:
        for spec in fitted:
            for fit_frames in _split(frames, fold, spec, experiment):
                for seed in experiment.seeds_of(spec):
                    job = _job(experiment, spec, fit_frames, fold, seed)
                    if forecaster_of(spec).role != "network":
                        yield job
                        continue
                    network = (fit_frames.tickers[0] if forecaster_of(spec).per_ticker(spec) else "", seed)
                    starts_from = previous.get(network) if experiment.training.warm_start else None
                    job = replace(job, device=device, starts_from=starts_from)
                    previous[network] = job.key
                    yield job


def backtest_of(
    results: Sequence[FitResult], folds: Sequence[Fold], frames: Frames, experiment: Experiment
) -> Backtest:
    """Return the backtest of finished fits; raises NothingUsableError where no outcome is known yet."""
    backtest = build_backtest(results, folds, frames, experiment.postprocessing)
    if not backtest.scored.any():
        raise NothingUsableError(
            f"nothing to score: no outcome is known yet after {folds[0].test.first}, expected some sessions to test; "
            "end the validation earlier or bring newer bars"
        )
    return backtest


def evaluation_of(
    backtest: Backtest,
    fits: tuple[Sequence[FitResult], Sequence[Fold], Frames],
    bars: Bars,
    experiment: Experiment,
    trials: Trials | None = None,
) -> Evaluation:
    """Return everything that a backtest shows; `fits` are the results, folds and frames that it was made from.

    `trials` counts the specifications that were tested on these prices before (default: none).
    """
    return evaluate(backtest, evaluation_inputs(bars, experiment, trials), direction_table(*fits))


def evaluation_inputs(bars: Bars, experiment: Experiment, trials: Trials | None = None) -> EvaluationInputs:
    """Return what an evaluation needs besides the backtest: fill prices, costs, and what the network claims.

    `trials` counts the specifications that were tested on these prices before (default: none).
    """
    claims = experiment.network.claims_level_or_direction
    return EvaluationInputs(opens_of(build_panel(bars)), experiment.money, trials or Trials(), claims)


def forecasts_of(
    results: Sequence[FitResult],
    frames: Frames,
    rule: Postprocessing | None,
    calendar: str,
    now: datetime,
    tickers: Sequence[str] | None = None,
) -> LiveForecasts:
    """Return the live forecasts of the latest fold's fits for these tickers (default: all).

    They are combined and calibrated from where the backtest ended, whose post-processing is the `rule`. Raises
    NothingUsableError where no ticker has a recent origin.
    """
    fold = max((result.job.fold for result in results), key=lambda candidate: candidate.test.start)
    return live_forecasts(fits_of(results, fold), frames, calendar, now, rule, tickers)


# --- What the stages above need of the experiment ---


def _returns_of(
    bars: Bars, market_members: tuple[str, ...] | None, universe: Universe | None, minimum_sessions: int
) -> MarketReturns:
    panel = build_panel(bars)
    named = tuple(ticker for ticker in bars.tickers if ticker in (market_members or ())) or bars.tickers
    return market_returns(panel, market_member_mask(panel, named, minimum_sessions, _membership(universe, panel)))


def _membership(universe: Universe | None, panel: Panel) -> Booleans | None:
    return membership_mask(universe, panel.tickers, panel.sessions) if universe else None


def _split(frames: Frames, fold: Fold, spec: Specification, experiment: Experiment) -> Iterator[Frames]:
    """Yield the frames of each fit of a fold, cut at the end of its validation range."""
    yield from forecaster_of(spec).split(spec, experiment.training, frames.until(fold.validation.stop), fold)


def _job(experiment: Experiment, spec: Specification, fit_frames: Frames, fold: Fold, seed: int) -> FitJob:
    features, known_future = experiment.features_of(spec), experiment.known_future_of(spec)
    rows = digest_of_rows(fit_frames.with_features(features).with_known_future(known_future))
    return FitJob(
        forecaster=spec,
        training=experiment.training,
        features=features,
        tickers=fit_frames.tickers,
        fold=fold,
        seed=seed,
        data_digest=rows + forecaster_of(spec).files_digest(spec),
        known_future=known_future,
    )
