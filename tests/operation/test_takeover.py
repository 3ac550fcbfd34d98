"""Takeover: a refit takes the champion's place unless it is measured to be worse, or failed a check."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, scaled_target
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.market.specification import SampleSource, StoredSource
from pipeline.operation.model import Model, TrainedModel
from pipeline.operation.publication import Publication
from pipeline.operation.takeover import (
    FIRST,
    MARGIN,
    Measured,
    Takeover,
    measured,
    missing_tickers,
    quantile_faults,
    same_experiment,
    takeover,
    validation_loss,
)
from pipeline.training.fits import quantiles
from pipeline.training.jobs import FitResult
from tests.panels import TINY, changed, fit_jobs, frames_from, jobs_for, random_market

from .fitted_models import BACKTEST

SAME = Measured(same_experiment=True, loss=0.30, champion_loss=0.30)


def decided(found: Measured, requested: bool = False) -> Takeover:
    return takeover({"XNYS": found}, requested)


def test_the_first_version_takes_over() -> None:
    assert decided(Measured(False, 0.3)) == replace(FIRST, numbers={"XNYS/validation_loss": 0.3})
    damaged = Takeover(True, "The champion before, version 2, cannot be read.")
    assert takeover({"XNYS": Measured(False, 0.3)}, requested=False, first=damaged).sentence == damaged.sentence
    assert not takeover({"XNYS": Measured(False, math.nan)}, requested=True, first=damaged).accepted


def test_a_decision_says_whether_there_was_a_champion_to_compare_with() -> None:
    assert decided(SAME).compared
    assert decided(replace(SAME, loss=9.0)).compared
    assert not decided(Measured(False, 0.3)).compared


@pytest.mark.parametrize(("change", "accepted"), [(-0.5, True), (0.0, True), (0.9, True), (1.01, False), (5, False)])
@pytest.mark.parametrize("requested", [False, True])
def test_a_refit_is_refused_only_beyond_the_margin(change: float, accepted: bool, requested: bool) -> None:
    loss = 0.30 * (1 + change * MARGIN)
    found = decided(replace(SAME, loss=loss), requested)
    assert found.accepted is accepted
    assert found.numbers == {"XNYS/validation_loss": loss, "XNYS/champion_validation_loss": 0.30}
    assert f"{loss:.5f}" in found.sentence
    assert "0.30000 on the same sessions" in found.sentence
    assert found.sentence.startswith("Champion: XNYS: " if accepted else "Not the champion: XNYS: ")


@pytest.mark.parametrize("loss", [0.2, 0.9])
def test_another_experiment_takes_over_only_where_a_person_requested_it(loss: float) -> None:
    other = replace(SAME, same_experiment=False, loss=loss)
    assert decided(other, requested=True).accepted
    refused = decided(other)
    assert not refused.accepted
    assert "its experiment is not the champion's, and nobody requested it" in refused.sentence


def test_missing_tickers_refuse_a_refit_but_not_a_person_s_choice() -> None:
    short = replace(SAME, missing=("it was not trained on MSFT, which has bars",))
    assert decided(short).sentence == "Not the champion: XNYS: it was not trained on MSFT, which has bars."
    assert decided(short, requested=True).accepted


@pytest.mark.parametrize("requested", [False, True])
@pytest.mark.parametrize(
    "found", [replace(SAME, faults=("network has crossing quantiles",)), replace(SAME, loss=math.nan)]
)
def test_a_failed_check_is_refused_whoever_requested_it(found: Measured, requested: bool) -> None:
    assert not decided(found, requested).accepted
    assert not decided(replace(found, champion_loss=None), requested).accepted
    assert not decided(replace(found, same_experiment=False), requested).accepted


def test_every_calendar_has_to_pass_and_the_one_that_does_not_is_named() -> None:
    found = takeover({"XNYS": SAME, "XBOM": replace(SAME, loss=0.4)}, False)
    assert not found.accepted
    assert found.sentence.startswith("Not the champion: XBOM: its validation loss 0.40000 is 33.3 % larger")
    assert sorted(found.numbers) == [
        f"{calendar}/{loss}"
        for calendar in ("XBOM", "XNYS")
        for loss in ("champion_validation_loss", "validation_loss")
    ]
    added = takeover({"XNYS": SAME, "24/7": Measured(False, 0.2)}, False)
    assert added.accepted
    assert "24/7: there was none before" in added.sentence


def test_a_refit_may_change_who_takes_part_and_where_it_runs() -> None:
    dated = StoredSource(as_known="2024-01-02T00:00:00Z")  # type: ignore[arg-type]
    assert same_experiment(changed(TINY, tickers=("T0",), workers=2, trials=3), TINY)
    assert same_experiment(changed(TINY, source=dated), changed(TINY, source=StoredSource()))
    for other in (changed(TINY, seed=7), changed(TINY, horizons=3), changed(TINY, source=SampleSource())):
        assert not same_experiment(other, TINY)
    assert not same_experiment(changed(TINY, training=TINY.training.model_copy(update={"max_steps": 9})), TINY)


# --- What is measured ---


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(700, 3))


@pytest.fixture(scope="module")
def refits(frames: Frames, tmp_path_factory: pytest.TempPathFactory) -> list[list[FitResult]]:
    """The fits of the last two folds, oldest first."""
    folder: Path = tmp_path_factory.mktemp("fits")
    jobs, folds = jobs_for(frames, kinds=("network", "climatology"), folds=slice(-2, None))
    results = fit_jobs(jobs, frames, folder)
    return [[result for result in results if result.job.fold.name == fold.name] for fold in folds]


def trained(results: list[FitResult], frames: Frames) -> TrainedModel:
    return TrainedModel("XNYS", TINY, frames.tickers, (), None, tuple(results), Publication(), BACKTEST)


def champion_of(results: list[FitResult], frames: Frames) -> Model:
    fits = tuple(result.fitted for result in results if result.fitted)
    return Model(TINY, frames.tickers, (), None, "2023-01-01", fits, Publication())


def slow_loss(fitted: Fitted, frames: Frames, result: FitResult) -> float:
    """The mean pinball loss of one network by loops over every label of the validation range."""
    part, losses = result.job.fold.validation, []
    forecast = quantiles(fitted, frames, slice(part.start, part.stop))
    known, target = label_mask(frames, part), scaled_target(frames)
    for i in range(len(frames.tickers)):
        for t in range(part.start, part.stop):
            for h in range(frames.horizons):
                if known[i, t, h]:
                    scale = frames.volatility[i, t] * np.sqrt(h + 1)
                    for k, level in enumerate(LEVELS):
                        error = target[i, t, h] - forecast[i, t - part.start, h, k] / scale
                        losses.append(max(level * error, (level - 1) * error))
    return float(np.mean(losses))


def test_both_networks_are_read_on_the_candidate_s_validation_sessions(
    frames: Frames, refits: list[list[FitResult]]
) -> None:
    former, latest = refits
    found = measured(trained(latest, frames), champion_of(former, frames), frames)
    assert found.same_experiment
    assert (found.faults, found.missing) == ((), ())
    for results, loss in ((latest, found.loss), (former, found.champion_loss)):
        fitted = next(result.fitted for result in results if result.job.forecaster.kind == "network")
        assert fitted is not None
        assert loss == pytest.approx(slow_loss(fitted, frames, latest[0]), rel=1e-5)
    assert found.loss != found.champion_loss
    again = measured(trained(latest, frames), champion_of(latest, frames), frames)
    assert again.loss == again.champion_loss


def test_no_later_bar_decides(frames: Frames, refits: list[list[FitResult]]) -> None:
    former, latest = refits
    stop = latest[0].job.fold.validation.stop
    cut = frames.until(stop)
    candidate = measured(trained(latest, cut), champion_of(former, cut), cut)
    whole = measured(trained(latest, frames), champion_of(former, frames), frames)
    assert candidate.loss == pytest.approx(whole.loss, rel=1e-6)
    assert candidate.champion_loss == pytest.approx(whole.champion_loss, rel=1e-6)


def test_a_champion_that_cannot_read_the_frames_is_not_compared(frames: Frames, refits: list[list[FitResult]]) -> None:
    champion = champion_of(refits[0], frames)
    blind = tuple(replace(fitted, features=("not_there",)) for fitted in champion.fits)
    longer = tuple(replace(fitted, horizons=9) for fitted in champion.fits)
    for fits in (blind, longer):
        assert measured(trained(refits[1], frames), replace(champion, fits=fits), frames).champion_loss is None
    assert measured(trained(refits[1], frames), None, frames) == measured(trained(refits[1], frames), None, frames)


def without_numbers(fitted: Fitted) -> Fitted:
    """The fit with NaN in all of its arrays."""
    return replace(fitted, arrays={name: np.full_like(array, math.nan) for name, array in fitted.arrays.items()})


def test_quantiles_that_are_not_finite_are_named_with_their_tickers(
    frames: Frames, refits: list[list[FitResult]]
) -> None:
    network, other = (result.fitted for result in refits[1])
    assert network is not None
    assert other is not None
    assert quantile_faults((network, other), frames) == ()
    (fault,) = quantile_faults((without_numbers(network), other), frames)
    assert fault == "network has quantiles that are not finite at the latest origin of T0, T1, T2"
    assert math.isnan(validation_loss((without_numbers(network),), frames, refits[1][0].job.fold.validation))


def test_crossing_quantiles_are_named(frames: Frames, refits: list[list[FitResult]]) -> None:
    climatology = refits[1][1].fitted
    assert climatology is not None
    crossing = {name: array[..., ::-1].copy() for name, array in climatology.arrays.items()}
    (fault,) = quantile_faults((replace(climatology, arrays=crossing),), frames)
    assert fault == "climatology has crossing quantiles at the latest origin of T0, T1, T2"


def test_a_ticker_with_bars_may_not_be_missing_and_a_delisted_one_may(
    frames: Frames, refits: list[list[FitResult]]
) -> None:
    network = next(result.fitted for result in refits[1] if result.job.forecaster.kind == "network")
    assert network is not None
    champion = champion_of(refits[1], frames)
    with_gone = replace(champion, fits=(replace(champion.fits[0], tickers=("T0", "T1", "T2", "GONE")),))
    assert missing_tickers((network,), with_gone, frames) == ()
    two = replace(network, tickers=("T0", "T1"))
    assert missing_tickers((two,), champion, frames) == ("it was not trained on T2, which has bars",)
    many = replace(champion, fits=(replace(champion.fits[0], tickers=("T0", "A", "B", "C")),))
    assert missing_tickers((network,), many, frames) == ("it was trained on 1 of the champion's 4 tickers",)
