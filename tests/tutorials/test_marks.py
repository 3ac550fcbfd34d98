"""Each mark is reached by the whole network and missed by broken ones.

tests/benchmarks/tutorials.py shows the same over five seeds, with all steps.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pipeline.errors import SanityError
from pipeline.training.jobs import FitResult
from pipeline.tutorials.data import Tutorial
from pipeline.tutorials.ohlc import OhlcSpec
from pipeline.tutorials.presets import tutorials
from pipeline.tutorials.run import (
    TutorialFit,
    TutorialResult,
    evaluate_fit,
    fit_result,
    fit_tutorial,
    refuse_missed_marks,
    run_tutorial,
    tutorial_job,
    tutorial_table,
)

from .broken import forgetful, shuffled, without_recurrence

ALL = {tutorial.name: tutorial for tutorial in tutorials("all", OhlcSpec())}
RECURRENT = [name for name in ALL if name != "ohlc one to one"]  # which has no recurrence
# For prices the last close is nearly all the information: a network that reads it alone does almost as well.
NEEDING_MEMORY = [name for name in ALL if not name.startswith("ohlc")]


@cache
def whole(name: str) -> TutorialFit:
    """One seed of a tutorial."""
    return fit_tutorial(once(ALL[name]), ALL[name].data(0), 0)


def once(tutorial: Tutorial) -> Tutorial:
    """The same with one start, the first: a broken network gains nothing from others."""
    return replace(tutorial, starts=1)


def halved(tutorial: Tutorial) -> Tutorial:
    """The same with half the steps, after which the whole network has long reached its mark."""
    training = tutorial.training
    steps = {name: max(getattr(training, name) // 2, 1) for name in ("epochs", "min_steps", "max_steps")}
    return shortened(once(tutorial), **steps)


def shortened(tutorial: Tutorial, **training: object) -> Tutorial:
    """The same with other training settings."""
    return replace(tutorial, training=tutorial.training.model_copy(update=training))


@pytest.mark.parametrize("name", ALL)
def test_the_whole_network_reaches_the_mark(name: str) -> None:
    assert whole(name).score.found <= ALL[name].mark


@pytest.mark.parametrize("name", ALL)
def test_nothing_falls_below_the_floor_by_more_than_chance(name: str) -> None:
    floor = ALL[name].data(0).floor
    assert np.isnan(floor) or whole(name).score.found > 0.9 * floor - 0.002


@pytest.mark.parametrize("name", RECURRENT)
def test_without_its_recurrent_weights_the_network_misses_it(name: str) -> None:
    fitted = whole(name)
    broken = evaluate_fit(ALL[name], fitted.data, forgetful(FitResult(fitted.job, fitted.network)), 0)
    assert broken.score.found > ALL[name].mark


@pytest.mark.parametrize("name", NEEDING_MEMORY)
def test_trained_without_recurrence_it_misses_it(name: str) -> None:
    with without_recurrence():
        broken = fit_tutorial(halved(ALL[name]), ALL[name].data(0), 0)
    assert broken.score.found > ALL[name].mark


@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("ohlc ")])
def test_trained_on_shuffled_targets_it_misses_it(name: str) -> None:
    broken = fit_tutorial(halved(ALL[name]), shuffled(ALL[name].data(0), 1), 0)
    assert broken.score.found > ALL[name].mark


def test_recurrence_held_at_zero_is_a_network_that_reads_one_session() -> None:
    """The broken network equals one whose specification has no recurrence: the same numbers result."""
    short = shortened(ALL["ohlc many to many"], min_steps=40, max_steps=40)
    with without_recurrence():
        held = fit_tutorial(short, short.data(0), 0)
    alone = replace(short, network=short.network.model_copy(update={"shape": "one_to_one"}))
    assert held.score.found == pytest.approx(fit_tutorial(alone, alone.data(0), 0).score.found, rel=1e-4)
    assert held.score.found != pytest.approx(fit_tutorial(short, short.data(0), 0).score.found, rel=1e-2)


def test_found_is_the_median_of_the_seeds_and_the_same_seed_finds_the_same() -> None:
    quick = replace(shortened(ALL["noisy-sine"], epochs=3, validation_checks=3), mark=1e-9)
    result = run_tutorial(quick, 5)
    each = [fit.score.found for fit in result.fits]
    assert [fit.job.seed for fit in result.fits] == [5, 6, 7]
    assert result.found == sorted(each)[1] == result.median_fit.score.found
    assert len(set(each)) == 3
    assert run_tutorial(quick, 5).found == result.found
    assert not result.passed
    with pytest.raises(SanityError, match=r"1 of 1 tutorials missed their mark \(noisy-sine: mse found .*1e-09"):
        refuse_missed_marks((result,))


def test_of_several_starts_the_one_with_the_smallest_loss_is_kept() -> None:
    tutorial = replace(shortened(ALL["seq2seq-toy"], epochs=100, max_steps=100, validation_checks=2), starts=3)
    kept = fit_tutorial(tutorial, tutorial.data(0), 2)
    each = [fit_result(tutorial_job(tutorial, kept.data, tutorial.network, start), kept.data) for start in (6, 7, 8)]
    losses = [min(check.valid_loss for check in result.fitted.checks) for result in each if result.fitted]
    assert len(set(losses)) == 3
    assert kept.job.seed == 6 + losses.index(min(losses))


def test_the_table_has_a_row_for_each_tutorial() -> None:
    results = tuple(TutorialResult(ALL[name], (whole(name),), 1.25) for name in ("elman", "ohlc"))
    rows = tutorial_table(results)
    assert list(rows.columns) == ["tutorial", "measure", "found", "mark", "floor", "seconds", "passed"]
    assert rows["tutorial"].tolist() == ["elman", "ohlc"]
    assert rows["passed"].tolist() == [True, True]
    assert rows["floor"].isna().tolist() == [False, True]
    refuse_missed_marks(results)


def test_nan_is_a_miss() -> None:
    fit = whole("elman")
    without_score = replace(fit, score=replace(fit.score, found=float("nan")))
    assert not TutorialResult(ALL["elman"], (without_score,), 0.0).passed
