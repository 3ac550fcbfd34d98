"""The rows that choose: no test row is read, the loss is the one said, and a run tests behind what chose."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.folds import FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import LEVELS
from pipeline.stages import folds_of
from pipeline.training.cache import FitCache
from pipeline.training.jobs import FitJob, FitResult
from pipeline.training.schedule import fit_all
from pipeline.tuning.choosing import choosing_of, chosen_among, estimate, folds_behind, loss_on, said
from pipeline.tuning.search import Judging, search
from pipeline.tuning.space import Interval
from pipeline.tuning.study import open_study
from tests.panels import TINY, changed, fit_jobs, frames_from, jobs_for, random_market

from .made import TERMS, really_searched, storage_in, told

ROWS = random_market()
EXPERIMENT = changed(TINY, folds=FoldSpec(refit_months=3, validation_months=3), seeds=2)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(ROWS, EXPERIMENT)


def after(day: np.datetime64) -> dict[str, object]:
    """The market with every row from a day on replaced by valid garbage."""
    draws = np.random.default_rng(99)
    changed_rows = {}
    for ticker, rows in ROWS.items():
        late = rows["session"].to_numpy().astype("datetime64[D]") >= day
        noise = np.exp(np.cumsum(draws.normal(0, 0.05, late.sum())))
        other = rows.copy()
        for name in ("open", "high", "low", "close", "adj_close"):
            other.loc[late, name] = rows.loc[late, name] * noise
        other.loc[late, "volume"] = np.round(rows.loc[late, "volume"] * draws.uniform(0.2, 5.0, late.sum()))
        changed_rows[ticker] = other
    return changed_rows


def test_no_row_that_a_run_tests_is_read(tmp_path: Path) -> None:
    plain, one_seed = frames_from(ROWS, EXPERIMENT, "adj_close"), changed(EXPERIMENT, seeds=1)
    trials, choosing = really_searched(plain, tmp_path / "plain", 6, folds=3, base=one_seed)
    first_test = folds_of(plain, changed(EXPERIMENT, folds=folds_behind(EXPERIMENT.folds, choosing)))[0].test.first
    assert choosing.until <= first_test
    other = frames_from(after(first_test), EXPERIMENT, "adj_close")
    assert not np.array_equal(other.log_return, plain.log_return, equal_nan=True)
    again, rows = really_searched(other, tmp_path / "other", 6, folds=3, base=one_seed)
    assert told(again) == told(trials)
    assert rows.digest == choosing.digest
    # the check sees something: one day earlier the rows do choose
    earlier = frames_from(after(first_test - np.timedelta64(7, "D")), EXPERIMENT, "adj_close")
    unlike, _ = really_searched(earlier, tmp_path / "earlier", 1, folds=3, base=one_seed)
    assert told(unlike)[0] != told(trials)[0]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_run_tests_behind_what_chose_on_the_same_borders(count: int, frames: Frames) -> None:
    folds = folds_of(frames, EXPERIMENT)
    assert len(folds) > 3
    choosing = choosing_of(frames, folds, count)
    behind = folds_of(frames, changed(EXPERIMENT, folds=folds_behind(EXPERIMENT.folds, choosing)))
    assert behind == folds[count - 1 :]
    assert all(fold.test.first >= choosing.until for fold in behind)


def test_a_fixed_split_stays_as_it_is(frames: Frames) -> None:
    fixed = FoldSpec(train_end="2022-06-30", valid_end="2022-12-31")
    choosing = choosing_of(frames, folds_of(frames, changed(EXPERIMENT, folds=fixed)), 3)
    assert len(choosing.folds) == 1
    assert folds_behind(fixed, choosing) == fixed


@pytest.mark.parametrize("at", [0, 1])  # of the first fold, later labels are there and must not count
def test_the_loss_equals_a_slow_twin(at: int, frames: Frames, tmp_path: Path) -> None:
    jobs, folds = jobs_for(frames, EXPERIMENT, folds=slice(0, 2))
    results = fit_jobs(jobs, frames, tmp_path)
    choosing, fold = choosing_of(frames, folds, 2), folds[at]
    fits = [result.fitted for result in results if result.job.fold == fold and result.fitted]
    assert len(fits) == 2
    by_seed = [said(fitted, choosing, fold) for fitted in fits]
    part, by_horizon = fold.validation, []
    for h in range(frames.horizons):
        losses = []
        for ticker in range(len(frames.tickers)):
            for origin in range(part.start, part.stop):
                if not frames.usable[ticker, origin] or origin + h + 1 >= part.stop:
                    continue
                outcome = float(frames.future_return[ticker, origin, h])
                if np.isnan(outcome):  # a gap of the ticker
                    continue
                for k, level in enumerate(LEVELS):
                    value = float(sum(one[ticker, origin - part.start, h, k] for one in by_seed)) / len(by_seed)
                    losses.append(max(level * (outcome - value), (level - 1) * (outcome - value)))
        by_horizon.append(np.mean(losses))
    assert loss_on(by_seed, choosing, fold) == pytest.approx(float(np.mean(by_horizon)), rel=1e-6)


def test_a_loss_without_a_known_label_is_not_a_number(frames: Frames) -> None:
    folds = folds_of(frames, EXPERIMENT)
    choosing = choosing_of(replace(frames, usable=np.zeros_like(frames.usable)), folds, 1)
    origins = len(folds[0].validation)
    values = np.zeros((len(frames.tickers), origins, frames.horizons, len(LEVELS)), np.float32)
    assert np.isnan(loss_on([values], choosing, folds[0]))


def test_the_estimate_is_in_relation_to_the_baseline() -> None:
    reference = (1.0, 4.0, 1.0)
    assert estimate([0.9, None, None], reference) == pytest.approx(0.9 * 2.0), "10 % below the baseline everywhere"
    assert estimate([None, 3.6, None], reference) == pytest.approx(0.9 * 2.0)
    assert estimate([0.9, 3.6, None], reference) == pytest.approx(0.9 * 2.0)
    assert estimate([0.9, 3.0, 1.2], reference) == pytest.approx(5.1 / 3), "once all are known, their mean"


def test_trials_before_this_search_are_counted() -> None:
    assert chosen_among(TINY, 30, base_is_tried=True) == 30
    assert chosen_among(changed(TINY, trials=30), 30, base_is_tried=True) == 59, "the base was tried in both searches"


def test_a_base_outside_the_space_counts_only_where_a_former_search_tried_it() -> None:
    assert chosen_among(TINY, 30, base_is_tried=False) == 30
    assert chosen_among(changed(TINY, trials=30), 30, base_is_tried=False) == 60


def test_the_fits_are_those_of_a_run(frames: Frames, tmp_path: Path) -> None:
    one_seed = changed(EXPERIMENT, seeds=1)
    really_searched(frames, tmp_path, 2, folds=2, base=one_seed)
    jobs, _ = jobs_for(frames, one_seed, ("network", "last_close"), slice(0, 2))
    kept = FitCache(tmp_path / "kept")
    assert all(result.kept for result in fit_all(jobs, tmp_path / "none", kept, 1)), "a run finds them again"


def test_trials_of_which_the_values_do_not_go_together_fail_and_are_counted(tmp_path: Path, frames: Frames) -> None:
    space = {"training.min_steps": Interval(7, 9, whole=True), "network.hidden_size": Interval(2, 4, whole=True)}

    def broken(jobs: list[FitJob]) -> list[FitResult]:
        return [FitResult(job, None, f"no memory for {job.forecaster.kind}") for job in jobs]

    choosing = choosing_of(frames, folds_of(frames, EXPERIMENT), 2)
    judge = Judging(EXPERIMENT, choosing, "cpu", broken, (1.0, 1.0))  # type: ignore[arg-type]
    first = {"training.min_steps": 9, "network.hidden_size": 4}
    with open_study(storage_in(tmp_path), "s", space, TERMS, first, 0) as study:
        *_, trials = search(study, judge, 6)
    assert len(trials) == 6
    assert {one.state for one in trials} == {"failed"}
    assert "min_steps 9 must not exceed max_steps 8" in trials[0].error
    assert {one.error for one in trials if one.values["training.min_steps"] < 9} == {"no memory for network"}
