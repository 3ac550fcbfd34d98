"""The page that reads as the whole pipeline: bars to frames, frames to folds, folds to fits.

Bars come from market.door, fits from training.executors, backtests from evaluation.backtest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pipeline.arrays import Booleans
from pipeline.dataset.abroad import MarketReturns, Surroundings, market_returns
from pipeline.dataset.covariates.calendar import calendar_covariates
from pipeline.dataset.covariates.exogenous import NOTHING, Given, refuse_unlike
from pipeline.dataset.covariates.index import index_among
from pipeline.dataset.covariates.sectors import refuse_strangers
from pipeline.dataset.features import select_features
from pipeline.dataset.folds import Fold, walk_forward
from pipeline.dataset.frames import Frames, build_frames
from pipeline.dataset.market import members_of
from pipeline.dataset.panel import Panel, build_panel
from pipeline.errors import NothingUsableError
from pipeline.evaluation.evaluation import Asked
from pipeline.evaluation.luck import Luck
from pipeline.evaluation.money.opens import opens_of
from pipeline.experiment import Experiment
from pipeline.market.bars import Bars
from pipeline.market.universe import Universe, membership_mask
from pipeline.models.rivals import PretrainedSpec
from pipeline.models.specification import DirectionHeadSpec, ForecasterSpec, PointHeadSpec, RecurrentSpec
from pipeline.training.jobs import FitJob, digest_of_rows
from pipeline.training.labels import label_mask, supervised_from
from pipeline.training.pretrained import weights_digest, what_silence_costs, why_not_scored
from pipeline.training.specification import TrainingSpec


def frames_of(
    bars: Bars,
    experiment: Experiment,
    market: tuple[str, ...] | None = None,
    others: Sequence[Bars] = (),
    universe: Universe | None = None,
    given: Given = NOTHING,
) -> Frames:
    """Return what fits and forecasts may read of the bars of one calendar.

    `market` names the tickers that make the market features (default: all). `others` are the bars of the run's other
    calendars, of which those named in `market` count, or all where it names none of them; they are read only where
    a feature asks for them. A ticker outside its membership of the universe is no origin and does not count.
    `given` is what read_given read of the experiment's files.
    """
    refuse_unlike(given, experiment.sectors, experiment.covariates)
    refuse_strangers(given.sectors, [ticker for some in (bars, *others) for ticker in some.tickers])
    features = select_features(experiment.all_features, experiment.given_features)
    panel, least = build_panel(bars), experiment.minimum_sessions
    abroad = [_returns_of(other, market, universe, least) for other in others if any(one.abroad for one in features)]
    around = Surroundings(
        belongs=_membership(universe, panel),
        abroad=tuple(abroad),
        sectors=given.sectors,
        index=index_among((bars, *others), experiment.index, least) if experiment.index else None,
        past=given.past,
        known=(*calendar_covariates(experiment.calendar_covariates, panel.calendar), *given.known),
    )
    members = bars.tickers if market is None else market
    return build_frames(panel, features, members, experiment.horizons, least, around)


def _returns_of(
    bars: Bars, market: tuple[str, ...] | None, universe: Universe | None, minimum_sessions: int
) -> MarketReturns:
    panel = build_panel(bars)
    named = tuple(ticker for ticker in bars.tickers if ticker in (market or ())) or bars.tickers
    return market_returns(panel, members_of(panel, named, minimum_sessions, _membership(universe, panel)))


def _membership(universe: Universe | None, panel: Panel) -> Booleans | None:
    return membership_mask(universe, panel.tickers, panel.sessions) if universe else None


def folds_of(frames: Frames, experiment: Experiment) -> tuple[Fold, ...]:
    """Return the folds of the experiment, oldest first; raises NothingUsableError when history is too short.

    Where each ticker has a network of its own, a fold in which none could be trained is left out.
    """
    folds = walk_forward(frames.sessions, frames.usable, experiment.folds)
    network, training = experiment.network, experiment.training
    if network.scope == "universe":
        return folds
    trained = tuple(fold for fold in folds if any(True for _ in trained_together(frames, fold, network, training)))
    if not trained:
        raise NothingUsableError(
            f"found no ticker with enough history for a network of its own in any of {len(folds)} folds, expected one; "
            'give more bars, or set scope = "universe"'
        )
    return trained


def with_scorable_rivals(
    experiment: Experiment, frames: Frames, folds: Sequence[Fold]
) -> tuple[Experiment, tuple[str, ...]]:
    """Return the experiment without the rivals that could not be scored on these folds, and what is to be said of it.

    That is a sentence for each that is left out, and for each that stays and is silent at some test origins.
    """
    pretrained = [rival for rival in experiment.rivals if isinstance(rival, PretrainedSpec)]
    reasons: dict[str, str] = {rival.kind: why_not_scored(rival, frames, folds) for rival in pretrained}
    kept = tuple(rival for rival in experiment.rivals if not reasons.get(rival.kind))
    said = (reasons[rival.kind] or what_silence_costs(rival, frames, folds) for rival in pretrained)
    return experiment.model_copy(update={"rivals": kept}), tuple(sentence for sentence in said if sentence)


def asked_of(bars: Bars, experiment: Experiment, luck: Luck | None = None) -> Asked:
    """Return what an evaluation is to know beside the backtest: where trades are filled, their costs, what was claimed.

    `luck` counts what was tried on these prices before (default: nothing).
    """
    sold = isinstance(experiment.network.head, PointHeadSpec | DirectionHeadSpec)
    return Asked(opens_of(build_panel(bars)), experiment.money, luck or Luck(), sold)


def jobs_of(frames: Frames, folds: tuple[Fold, ...], experiment: Experiment, device: str) -> Iterator[FitJob]:
    """Yield every fit of the experiment: each forecaster and seed on each fold, in the folds' order.

    A network per ticker is a fit per ticker. With a warm start a network's fit names that of the former fold.
    """
    former: dict[tuple[str, int], str] = {}
    for fold in folds:
        for forecaster in experiment.forecasters:
            for trained_on in trained_together(frames, fold, forecaster, experiment.training):
                for seed in experiment.seeds_of(forecaster):
                    job = _job(experiment, forecaster, trained_on, fold, seed)
                    if not isinstance(forecaster, RecurrentSpec):
                        yield job
                        continue
                    who = (trained_on.tickers[0] if forecaster.scope == "ticker" else "", seed)
                    begins_from = former.get(who) if experiment.training.warm_start else None
                    job = replace(job, device=device, begins_from=begins_from)
                    former[who] = job.key
                    yield job


def trained_together(
    frames: Frames, fold: Fold, forecaster: ForecasterSpec, training: TrainingSpec
) -> Iterator[Frames]:
    """Yield what each fit of a fold may see: all tickers with a usable origin, or each by itself."""
    seen = frames.until(fold.validation.stop)
    learning = np.any(seen.usable[:, fold.train.start : fold.validation.stop], axis=1)
    if isinstance(forecaster, RecurrentSpec) and forecaster.scope == "ticker":
        can = learning & can_learn_alone(seen, fold, supervised_from(forecaster, training))
        yield from (seen.at(np.array([row])) for row in np.flatnonzero(can))
    else:
        yield seen.at(np.flatnonzero(learning))


def can_learn_alone(frames: Frames, fold: Fold, supervised_from: int) -> Booleans:
    """Return whether each ticker has what a network of its own needs [ticker].

    That is a known label of every horizon to validate with, and one to train on with enough sessions before it.
    """
    reached = np.arange(len(frames.sessions)) >= (frames.first + supervised_from)[:, None]  # [ticker, session]
    trains = (label_mask(frames, fold.train) & reached[..., None]).any(axis=(1, 2))
    validates = np.all(np.any(label_mask(frames, fold.validation), axis=1), axis=1)
    can: Booleans = trains & validates
    return can


def _job(experiment: Experiment, forecaster: ForecasterSpec, trained_on: Frames, fold: Fold, seed: int) -> FitJob:
    features, ahead = experiment.features_of(forecaster), experiment.ahead_of(forecaster)
    digest = digest_of_rows(trained_on.with_features(features).with_ahead(ahead))
    if isinstance(forecaster, PretrainedSpec):  # other weights in that folder are another forecaster
        digest += weights_digest(forecaster.weights).tobytes().hex()
    return FitJob(
        forecaster=forecaster,
        training=experiment.training,
        features=features,
        tickers=trained_on.tickers,
        fold=fold,
        seed=seed,
        data_digest=digest,
        ahead=ahead,
    )
