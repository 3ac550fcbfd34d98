"""Whether a refit is due: once for each fold and experiment, whatever came of it, and wherever histories begin."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.frames import Frames
from pipeline.experiment import Experiment
from pipeline.forecasters.boosting import BoostingSpec
from pipeline.operation.model import Model
from pipeline.operation.publication import Publication
from pipeline.operation.takeover import FIRST, Takeover
from pipeline.operation.version_files import VERSION_FORMAT, ModelDescription, ModelVersion, VersionDescription
from pipeline.training.jobs import FORMAT_VERSION
from pipeline.workflow.refit_due import (
    ANOTHER_EXPERIMENT,
    RefitReason,
    experiment_of_another,
    refit_reason,
    replacement_reason,
)
from tests.panels import NOW, TINY, changed, frames_from, random_rows

LONG, SHORT = ("AAA", "BBB"), ("CCC",)
ROWS = {**{name: random_rows(610, seed) for seed, name in enumerate(LONG)}, "CCC": random_rows(420, 7)}
YEARLY = changed(TINY, folds={"refit_months": 12, "validation_months": 3})  # from October, of SHORT July
OTHER = changed(YEARLY, seeds=2)
BEGUN = RefitReason("the fold of 2023-10-01 has begun", requested=False)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(ROWS, YEARLY)


def model(trained_until: str, experiment: Experiment = YEARLY, members: tuple[str, ...] = LONG) -> Model:
    return Model(experiment, members, (), None, trained_until, (), Publication())


def stored(*models: Model) -> list[ModelDescription]:
    """The models as their versions have them."""
    return [
        ModelDescription(
            experiment=it.experiment,
            market_members=it.market_members,
            other_tickers=(),
            universe=None,
            trained_until=it.trained_until,
            fits=(),
            publication=it.publication,
            backtest=None,
            state=None,
            left_out=it.left_out,
        )
        for it in models
    ]


OLD, NEW = model("2022-10-01"), model("2023-10-01")


def test_a_refit_is_due_from_the_first_session_of_a_fold_on(frames: Frames) -> None:
    first = int(np.searchsorted(frames.sessions, np.datetime64("2023-10-01")))
    assert refit_reason(OLD, stored(OLD), YEARLY, frames.until(first)) is None
    assert refit_reason(OLD, stored(OLD), YEARLY, frames.until(first + 1)) == BEGUN
    assert refit_reason(OLD, stored(OLD), YEARLY, frames) == BEGUN
    assert refit_reason(NEW, stored(NEW), YEARLY, frames) is None


def test_one_version_of_the_fold_is_enough_whichever_is_the_champion(frames: Frames) -> None:
    assert refit_reason(OLD, stored(OLD, NEW), YEARLY, frames) is None
    of_another = model("2023-10-01", OTHER)
    assert refit_reason(OLD, stored(OLD, of_another), YEARLY, frames) == BEGUN


def test_another_experiment_is_due_once_a_fold(frames: Frames) -> None:
    assert refit_reason(NEW, stored(OLD, NEW), OTHER, frames) == ANOTHER_EXPERIMENT
    assert refit_reason(NEW, stored(NEW, model("2023-10-01", OTHER)), OTHER, frames) is None
    assert refit_reason(NEW, stored(NEW, model("2022-10-01", OTHER)), OTHER, frames) == replace(BEGUN, requested=True)
    assert refit_reason(NEW, stored(NEW), changed(YEARLY, tickers=SHORT, workers=2), frames) is None


def test_a_benchmark_that_was_dropped_makes_no_other_experiment(frames: Frames) -> None:
    requested = changed(YEARLY, benchmarks=(*YEARLY.benchmarks, BoostingSpec()))
    dropped = replace(NEW, left_out=("boosting",))
    assert refit_reason(dropped, stored(dropped), requested, frames) is None
    assert refit_reason(NEW, stored(NEW), requested, frames) == ANOTHER_EXPERIMENT  # it would be combined


def test_folds_of_other_tickers_that_begin_on_other_days_are_no_earlier_ones(frames: Frames) -> None:
    short = model("2023-07-01", members=SHORT)
    assert refit_reason(OLD, stored(OLD, short), YEARLY, frames) is None
    assert refit_reason(short, stored(OLD, short), YEARLY, frames) is None
    assert refit_reason(short, stored(model("2022-07-01")), YEARLY, frames) == RefitReason(
        "the fold of 2023-07-01 has begun", requested=False
    )


def test_a_history_that_is_too_short_makes_no_refit_due(frames: Frames) -> None:
    assert refit_reason(OLD, stored(OLD), YEARLY, frames.until(60)) is None


def version(number: int, decision: Takeover) -> VersionDescription:
    return VersionDescription(
        format=VERSION_FORMAT,
        fit_format=FORMAT_VERSION,
        name="daily",
        number=number,
        created_at=NOW,
        calendars={},
        takeover=decision,
        files={},
    )


def test_the_version_of_the_experiment_is_found_where_another_one_forecasts() -> None:
    known = [
        version(number, FIRST).model_copy(update={"calendars": {"XNYS": described}})
        for number, described in enumerate(stored(NEW, model("2023-10-01", OTHER), model("2023-10-01", OTHER)), 1)
    ]
    forecasting = ModelVersion(known[0], {"XNYS": NEW}, Path())
    assert experiment_of_another(forecasting, known, OTHER) == (
        "The experiment is another one than that of version 1, which forecasts. Version 3 has it: `tapecast model "
        "promote 3 --model daily` lets it forecast before the next refit."
    )
    assert experiment_of_another(forecasting, known, YEARLY) == ""
    assert experiment_of_another(forecasting, known, changed(YEARLY, seeds=5)) == ""


def test_a_champion_that_cannot_be_read_is_replaced_unless_what_was_to_do_so_failed_a_check() -> None:
    compared = Takeover(False, "It is worse.", {"XNYS/validation_loss": 0.3, "XNYS/champion_validation_loss": 0.2})
    faulty = Takeover(False, "It has crossing quantiles.", {"XNYS/validation_loss": 0.3})
    due = RefitReason("version 2, the champion, cannot be read", requested=False)
    others = [version(1, FIRST), version(3, compared), version(4, FIRST)]
    assert replacement_reason(2, others) == due  # refused as worse than a champion that is gone; rolled back from
    assert replacement_reason(2, [*others, version(1, faulty)]) == due
    assert replacement_reason(2, [*others, version(5, faulty)]) is None
