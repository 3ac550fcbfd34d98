"""Whether a new version of a model takes the champion's place: a pure decision on measured values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np

from pipeline.arrays import Booleans, Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, origin_scale, scaled_target
from pipeline.evaluation.scores import pinball_of
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasters.registry import forecaster_of
from pipeline.forecasting.forecasts import NETWORK, forecasts_by_forecaster
from pipeline.forecasting.live import recent_sessions
from pipeline.operation.model import Model, TrainedModel
from pipeline.wording import percent

MARGIN = 0.02
"""A refit whose validation loss is larger than the champion's on the same sessions by more than this share is refused.

A sound refit was stopped early on these very sessions and is rarely worse there: each of the bundled sample's 11 refits
was better, by 0.5 to 6.5 % (three seeds), and of their 33 single networks two were worse, by at most 0.7 %. The network
leads EWMA by about 2 %: a refit that loses as much is worth no more than that baseline."""

MIN_SHARE_OF_TICKERS = 0.5
"""A refit on fewer than this share of the champion's tickers is refused: prices are missing on a large scale."""

NOT_THE_MODEL = frozenset({"tickers", "universe", "workers", "device", "trials", "money"})
"""Settings that a refit of an experiment may change: who takes part, where it runs, and how it is judged."""


@dataclass(frozen=True)
class Measured:
    """What speaks for and against a trained model of one calendar; losses are in units of volatility.

    `champion_loss` is None where there is no champion of this calendar, or where it cannot forecast from the frames.
    `faults` are sentences of checks that failed, `missing` those on tickers of the champion that it was not trained on.
    """

    same_experiment: bool
    loss: float
    champion_loss: float | None = None
    faults: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Takeover:
    """Whether a version became the champion, why, and the numbers that this was decided on."""

    accepted: bool
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def compared(self) -> bool:
        """Whether a champion's loss was among what this was decided on."""
        return any(name.endswith(f"/{CHAMPION_LOSS}") for name in self.numbers)


CHAMPION_LOSS = "champion_validation_loss"

FIRST = Takeover(True, "There was no champion before.")


def takeover(measured: Mapping[str, Measured], requested: bool, first: Takeover = FIRST) -> Takeover:
    """Return whether a version with models of these calendars takes the champion's place.

    A refit of the champion's experiment does, unless its loss on the candidate's validation sessions exceeds the
    champion's by more than MARGIN, or unless it lacks tickers. Another experiment, and other tickers, take over where a
    person requested it, whatever the losses say. A model whose quantiles failed a check never does. Of several
    calendars each has to pass. `first` says why there is no champion to compare with.
    """
    reasons = [f"{calendar}: {reason}" for calendar, found in measured.items() for reason in _reasons(found, requested)]
    numbers = {name: value for calendar, found in measured.items() for name, value in _numbers(calendar, found)}
    if reasons:
        return Takeover(False, f"Not the champion: {'; '.join(reasons)}.", numbers)
    if all(found.champion_loss is None for found in measured.values()):
        return Takeover(True, first.sentence, numbers)
    return Takeover(True, f"Champion: {'; '.join(map(_comparison, measured, measured.values()))}.", numbers)


def _reasons(found: Measured, requested: bool) -> list[str]:
    """Return why a model may not take over; none where it may."""
    reasons = [*found.faults, *(() if requested else found.missing)]
    if not math.isfinite(found.loss):
        return [*reasons, "its validation loss is not finite"]
    if found.champion_loss is None:
        return reasons
    if not found.same_experiment:
        return reasons if requested else [*reasons, "its experiment is not the champion's, and nobody requested it"]
    if found.loss > found.champion_loss * (1 + MARGIN):
        reasons.append(f"{_losses(found)}, more than the {percent(MARGIN)} allowed")
    return reasons


def _comparison(calendar: str, found: Measured) -> str:
    return f"{calendar}: {_losses(found) if found.champion_loss is not None else 'there was none before'}"


def _losses(found: Measured) -> str:
    """Return both losses in words; only where there is a champion's."""
    champion = found.champion_loss or math.nan
    change = found.loss / champion - 1
    return (
        f"its validation loss {found.loss:.5f} is {percent(abs(change))} {'larger' if change > 0 else 'smaller'} than "
        f"the champion's {champion:.5f} on the same sessions"
    )


def _numbers(calendar: str, found: Measured) -> list[tuple[str, float]]:
    losses = {"validation_loss": found.loss, CHAMPION_LOSS: found.champion_loss}
    return [
        (f"{calendar}/{name}", value) for name, value in losses.items() if value is not None and math.isfinite(value)
    ]


# --- What is measured ---


def measured(trained: TrainedModel, champion: Model | None, frames: Frames) -> Measured:
    """Return what speaks for and against a trained model, with frames of the run that trained it.

    Both networks are read on the same sessions: those of the candidate's validation range, with the labels known in it.
    """
    fits = [result.fitted for result in trained.results if result.fitted is not None]
    validation = trained.results[0].job.fold.validation
    comparable = champion is not None and _reads(champion.fits, frames)
    return Measured(
        same_experiment=champion is not None and _same_but_left_out(trained, champion),
        loss=validation_loss(fits, frames, validation),
        champion_loss=validation_loss(champion.fits, frames, validation) if champion and comparable else None,
        faults=quantile_faults(fits, frames),
        missing=missing_tickers(fits, champion, frames) if champion else (),
    )


def _same_but_left_out(trained: TrainedModel, champion: Model) -> bool:
    """Return whether both have the same experiment, but for benchmarks that either could not use."""
    left_out = {*trained.left_out, *champion.left_out}
    one, other = (
        it.experiment.model_copy(
            update={"benchmarks": tuple(spec for spec in it.experiment.benchmarks if spec.kind not in left_out)}
        )
        for it in (trained, champion)
    )
    return same_experiment(one, other)


def same_experiment(one: Experiment, other: Experiment) -> bool:
    """Return whether an experiment is a refit of the other: the same settings, on prices of any later instant."""
    return _settings(one) == _settings(other)


def _settings(experiment: Experiment) -> dict[str, object]:
    values = experiment.model_dump(exclude=set(NOT_THE_MODEL))
    values["source"].pop("as_known", None)
    return values


def validation_loss(fits: Sequence[Fitted], frames: Frames, validation: Range) -> float:
    """Return the mean pinball loss of the network, its seeds averaged, in units of volatility, over a range's labels.

    Koenker and Bassett (1978), eq. 2.1, of quantiles and outcomes divided by vol sqrt(h). NaN without any label.
    """
    origins = slice(validation.start, validation.stop)
    network = [fitted for fitted in fits if fitted.forecaster.kind == NETWORK]
    quantiles = forecasts_by_forecaster(network, frames, origins)[NETWORK]  # [ticker, origin, horizon, level]
    scale = origin_scale(frames.volatility, frames.horizons)[:, origins]  # [ticker, origin, horizon]
    known = label_mask(frames, validation)[:, origins]  # [ticker, origin, horizon]
    outcome = scaled_target(frames)[:, origins]
    losses = pinball_of((quantiles / scale[..., None])[known].astype(np.float64), outcome[known].astype(np.float64))
    return float(losses.mean()) if len(losses) else math.nan


def quantile_faults(fits: Sequence[Fitted], frames: Frames) -> tuple[str, ...]:
    """Return a sentence for network and baselines with quantiles that are not finite, or cross, at a latest origin.

    A benchmark that is silent is combined without it. Tickers without an origin among the last sessions are not
    forecast, and not looked at.
    """
    fits = [fitted for fitted in fits if forecaster_of(fitted.forecaster).role != "benchmark"]
    recent = recent_sessions(frames)
    usable = frames.usable[:, recent]  # [ticker, recent session]
    rows = np.flatnonzero(usable.any(axis=1))
    last = [int(np.flatnonzero(usable[row])[-1]) for row in rows]
    return tuple(
        f"{name} has {fault} at the latest origin of {', '.join(tickers)}"
        for name, values in forecasts_by_forecaster(fits, frames, recent).items()
        for fault, tickers in _faulty(values[rows, last], [frames.tickers[row] for row in rows])
    )


def _faulty(values: Floats32, tickers: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return each fault of quantiles [ticker, horizon, level] with the tickers that have it."""
    finite: Booleans = np.all(np.isfinite(values), axis=(1, 2))  # [ticker]
    ordered: Booleans = np.all(np.diff(values, axis=-1) >= 0, axis=(1, 2)) | ~finite
    masks = (("quantiles that are not finite", ~finite), ("crossing quantiles", ~ordered))
    return [(fault, list(compress(tickers, mask))) for fault, mask in masks if mask.any()]


def missing_tickers(fits: Sequence[Fitted], champion: Model, frames: Frames) -> tuple[str, ...]:
    """Return what is wrong with the tickers that a candidate was trained on, compared with the champion's.

    A ticker without bars in this run, such as one that was delisted, may be missing; one with bars may not.
    """
    trained_on = {ticker for fitted in fits if fitted.forecaster.kind == NETWORK for ticker in fitted.tickers}
    missing = [ticker for ticker in champion.trained_on if ticker in frames.tickers and ticker not in trained_on]
    left = [ticker for ticker in champion.trained_on if ticker in trained_on]
    faults = [f"it was not trained on {', '.join(missing)}, which has bars"] if missing else []
    if len(left) < MIN_SHARE_OF_TICKERS * len(champion.trained_on):
        faults.append(f"it was trained on {len(left)} of the champion's {len(champion.trained_on)} tickers")
    return tuple(faults)


def _reads(fits: Sequence[Fitted], frames: Frames) -> bool:
    """Return whether fits can forecast from frames: their features, covariates and horizons are there."""
    return all(
        {*fitted.features} <= {*frames.feature_names}
        and {*fitted.known_future} <= {*frames.known_future_names}
        and fitted.horizons == frames.horizons
        for fitted in fits
        if fitted.forecaster.kind == NETWORK
    )
