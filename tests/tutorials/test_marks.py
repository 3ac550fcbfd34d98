"""Each mark is reached by the whole network and missed by broken ones.

tests/benchmarks/tutorials.py shows the same over five seeds, with all steps.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pipeline.errors import SanityError
from pipeline.training.jobs import FitResult
from pipeline.tutorials.lesson import Tutorial
from pipeline.tutorials.ohlc import OhlcTerms
from pipeline.tutorials.presets import tutorials
from pipeline.tutorials.teaching import (
    Taught,
    Verdict,
    examine,
    fitted,
    job_of,
    refuse_missed_marks,
    table,
    teach,
    teach_once,
)

from .broken import forgetful, shuffled, without_recurrence

ALL = {one.name: one for one in tutorials("all", OhlcTerms())}
REMEMBERING = [name for name in ALL if name != "ohlc one to one"]  # which has nothing to remember with
# Of prices the last close is nearly all there is to know: a network that reads it alone does almost as well.
NEEDING_MEMORY = [name for name in ALL if not name.startswith("ohlc")]


@cache
def whole(name: str) -> Taught:
    """One seed of a tutorial."""
    return teach_once(once(ALL[name]), ALL[name].lesson(0), 0)


def once(tutorial: Tutorial) -> Tutorial:
    """The same with one start, the first: a broken network has no better one."""
    return replace(tutorial, starts=1)


def halved(tutorial: Tutorial) -> Tutorial:
    """The same with half the steps, by which the whole network has reached its mark long since."""
    training = tutorial.training
    steps = {name: max(getattr(training, name) // 2, 1) for name in ("epochs", "min_steps", "max_steps")}
    return shortened(once(tutorial), **steps)


def shortened(tutorial: Tutorial, **training: object) -> Tutorial:
    """The same, trained otherwise."""
    return replace(tutorial, training=tutorial.training.model_copy(update=training))


@pytest.mark.parametrize("name", ALL)
def test_the_whole_network_reaches_the_mark(name: str) -> None:
    assert whole(name).judgement.found <= ALL[name].mark


@pytest.mark.parametrize("name", ALL)
def test_nothing_falls_below_the_floor_by_more_than_luck(name: str) -> None:
    floor = ALL[name].lesson(0).floor
    assert np.isnan(floor) or whole(name).judgement.found > 0.9 * floor - 0.002


@pytest.mark.parametrize("name", REMEMBERING)
def test_without_its_recurrent_weights_the_network_misses_it(name: str) -> None:
    taught = whole(name)
    broken = examine(ALL[name], taught.lesson, forgetful(FitResult(taught.job, taught.network)), 0)
    assert broken.judgement.found > ALL[name].mark


@pytest.mark.parametrize("name", NEEDING_MEMORY)
def test_trained_without_recurrence_it_misses_it(name: str) -> None:
    with without_recurrence():
        broken = teach_once(halved(ALL[name]), ALL[name].lesson(0), 0)
    assert broken.judgement.found > ALL[name].mark


@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("ohlc ")])
def test_trained_on_shuffled_targets_it_misses_it(name: str) -> None:
    broken = teach_once(halved(ALL[name]), shuffled(ALL[name].lesson(0), 1), 0)
    assert broken.judgement.found > ALL[name].mark


def test_recurrence_held_at_zero_is_a_network_that_reads_one_session() -> None:
    """What the broken twin does, told by the specification alone: the same numbers come out."""
    short = shortened(ALL["ohlc many to many"], min_steps=40, max_steps=40)
    with without_recurrence():
        held = teach_once(short, short.lesson(0), 0)
    alone = replace(short, network=short.network.model_copy(update={"shape": "one_to_one"}))
    assert held.judgement.found == pytest.approx(teach_once(alone, alone.lesson(0), 0).judgement.found, rel=1e-4)
    assert held.judgement.found != pytest.approx(teach_once(short, short.lesson(0), 0).judgement.found, rel=1e-2)


def test_found_is_the_median_of_the_seeds_and_the_same_seed_finds_the_same() -> None:
    quick = replace(shortened(ALL["noisy-sine"], epochs=3, validation_checks=3), mark=1e-9)
    verdict = teach(quick, 5)
    each = [one.judgement.found for one in verdict.taught]
    assert [one.job.seed for one in verdict.taught] == [5, 6, 7]
    assert verdict.found == sorted(each)[1] == verdict.median_taught.judgement.found
    assert len(set(each)) == 3
    assert teach(quick, 5).found == verdict.found
    assert not verdict.passed
    with pytest.raises(SanityError, match=r"1 of 1 tutorials missed their mark \(noisy-sine: mse found .*1e-09"):
        refuse_missed_marks((verdict,))


def test_of_several_starts_the_one_with_the_least_loss_is_kept() -> None:
    tutorial = replace(shortened(ALL["seq2seq-toy"], epochs=100, max_steps=100, validation_checks=2), starts=3)
    kept = teach_once(tutorial, tutorial.lesson(0), 2)
    each = [fitted(job_of(tutorial, kept.lesson, tutorial.network, start), kept.lesson) for start in (6, 7, 8)]
    losses = [min(check.valid_loss for check in one.fitted.checks) for one in each if one.fitted]
    assert len(set(losses)) == 3
    assert kept.job.seed == 6 + losses.index(min(losses))


def test_the_table_has_a_row_for_each_with_everything_a_reader_needs() -> None:
    verdicts = tuple(Verdict(ALL[name], (whole(name),), 1.25) for name in ("elman", "ohlc"))
    rows = table(verdicts)
    assert list(rows.columns) == ["tutorial", "measure", "found", "mark", "floor", "seconds", "passed"]
    assert rows["tutorial"].tolist() == ["elman", "ohlc"]
    assert rows["passed"].tolist() == [True, True]
    assert rows["floor"].isna().tolist() == [False, True]
    refuse_missed_marks(verdicts)


def test_not_a_number_is_a_miss() -> None:
    taught = whole("elman")
    nothing = replace(taught, judgement=replace(taught.judgement, found=float("nan")))
    assert not Verdict(ALL["elman"], (nothing,), 0.0).passed
