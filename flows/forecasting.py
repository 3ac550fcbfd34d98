"""Forecasts from the latest model, without training."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from flows.job import Finished, Job, forecastable, frames_on, load_stage, record_results, unseen
from flows.loading import nothing_left
from flows.markets import Market, markets_of
from flows.naming import spelled
from flows.parts import Parts, over_markets
from flows.recording import Recording
from flows.tasks import as_task
from pipeline.errors import UsageError
from pipeline.evaluation.calibration.correction import correction_after
from pipeline.experiment import Experiment
from pipeline.market.bars import LeftOut
from pipeline.market.specification import SourceSpec, known_at
from pipeline.market.universe import Universe
from pipeline.market.universe_file import Spell
from pipeline.operation.live import left_behind, live_forecasts
from pipeline.operation.model import Model, latest_models
from pipeline.operation.outcome import Outcome
from pipeline.operation.publication import marked


def forecast_from_latest(
    job: Job, tickers: tuple[str, ...], source: SourceSpec | None, as_known: datetime | None = None
) -> Parts:
    """Run a forecast from the latest fitted models, of tickers they were trained on or of others.

    Raises UsageError where the models were trained on sessions later than the instant that the run looks from.
    """
    models = latest_models(job.settings.models, job.kept)
    trained_on = tuple(ticker for model in models.values() for ticker in model.market)
    first = next(iter(models.values())).experiment
    asked = source or first.source
    wanted = spelled(asked, tickers) or trained_on
    read_from = known_at(asked, as_known) if as_known else asked
    experiment = first.model_copy(update={"tickers": wanted, "source": read_from})
    job = job.looking_at(experiment.source)
    refuse_later_training(models, job.now)
    beside = tuple(ticker for model in models.values() for ticker in model.beside)
    read = tuple(dict.fromkeys((*trained_on, *beside, *wanted)))
    with Recording(job.settings, job.kind, experiment) as recording:
        loaded = load_stage(job, experiment.model_copy(update={"tickers": read}), wanted)
        asked_for = [market for market in markets_of(loaded) if market.concerns(wanted)]
        return over_markets(job, recording, asked_for, ForecastingOn(job, experiment, models))


@dataclass(frozen=True)
class ForecastingOn:
    """What a run that only forecasts does on each market."""

    job: Job
    experiment: Experiment
    models: Mapping[str, Model]

    def narrowed(self, job: Job, market: Market) -> "ForecastingOn":
        """Return the same work on one market of several."""
        own = tuple(ticker for ticker in self.experiment.tickers if market.concerns((ticker,)))
        return replace(self, job=job, experiment=self.experiment.model_copy(update={"tickers": own}))

    def __call__(self, market: Market, recording: Recording) -> Finished:
        """Return the finished forecast on one market."""
        wanted, model = self.experiment.tickers, self._model(market)
        market = replace(market, universe=belonging(model.universe, wanted))
        described = model.experiment.model_copy(update={"tickers": wanted, "source": self.experiment.source})
        with self.job.clock.stage("features"):
            frames = as_task(frames_on, "features")(market, described, members_of(self.job, model, market))
        shown = forecastable(frames, market, wanted)
        correction = correction_after(np.datetime64(model.trained_until), described.folds, described.calibration)
        with self.job.clock.stage("forecast"):
            forecast = as_task(live_forecasts, "forecast")
            found = forecast(model.fits, frames, market.calendar, self.job.now, correction, shown.tickers)
        forecasts = marked(found, model.publication)
        outcome = Outcome(
            experiment=described,
            source_note=market.note,
            known_at=market.known_at,
            listings=market.bars.listings,
            frames=shown,
            folds=(),
            results=(),
            problems=tuple(one for one in market.problems if one.ticker in wanted),
            left_out=(*(out for out in market.left_out if out.ticker in wanted), *left_behind(shown)),
            stale=tuple(one for one in market.stale if one.ticker in wanted),
            unseen=unseen(model.seen, forecasts),
            warnings=(),
            evaluation=None,
            forecasts=forecasts,
            publication=model.publication,
        )
        return record_results(self.job, recording, outcome)

    def _model(self, market: Market) -> Model:
        if market.calendar not in self.models:
            own = [ticker for ticker in market.bars.tickers if ticker in self.experiment.tickers]
            reason = f"no model was trained on calendar {market.calendar}; run `tapecast run` with tickers of it"
            raise nothing_left([*market.left_out, *(LeftOut(ticker, reason) for ticker in own)])
        return self.models[market.calendar]


def refuse_later_training(models: Mapping[str, Model], now: datetime) -> None:
    """Raise UsageError where a model knows more than could be known at the instant."""
    latest = max(model.trained_until for model in models.values())
    if latest > now.date().isoformat():
        raise UsageError(
            f"the latest model was trained on sessions until {latest}, after {now:%Y-%m-%d}; use `tapecast run "
            "--as-known`, which trains on what was known then (finished fits are found again)"
        )


def belonging(universe: Universe | None, wanted: Collection[str]) -> Universe | None:
    """Return the model's universe with the tickers that it did not know: those asked for belong to it always."""
    if universe is None or not universe.memberships:
        return universe
    new = tuple(Spell(ticker, None, None) for ticker in wanted if ticker not in universe.tickers)
    return replace(universe, memberships=(*universe.memberships, *new))


def members_of(job: Job, model: Model, market: Market) -> tuple[str, ...]:
    """Return the tickers whose mean is the market, and that of other calendars: the model's.

    Where the source has none of the model's own, the ones asked for stand in for them.
    """
    members = tuple(ticker for ticker in model.market if ticker in market.bars.tickers)
    if not members:
        job.clock.watch.says("The source has none of the model's tickers: those asked for stand in for the market.")
    return (*(members or market.bars.tickers), *model.beside)
