"""Folds: purged at every border, anchored to the calendar, and an error that states the minimum."""

from datetime import date

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.arrays import Booleans, Sessions
from pipeline.dataset.folds import Fold, FoldSpec, fold_sessions, walk_forward
from pipeline.errors import NothingUsableError, UsageError
from tests.panels import sessions_to

QUARTERS = st.integers(1, 6).map(lambda k: 3 * k)
SPECS = st.builds(
    FoldSpec,
    refit_months=QUARTERS,
    validation_months=QUARTERS,
    calibration_months=st.integers(0, 3).map(lambda k: 3 * k),
    train_years=st.one_of(st.none(), st.integers(1, 3)),
    minimum_train_sessions=st.integers(50, 300),
)


@st.composite
def calendars(draw: st.DrawFn) -> tuple[Sessions, Booleans]:
    """Weekdays with holes from some day on, and the usable origins of two tickers."""
    first = np.datetime64(draw(st.dates(date(1999, 1, 1), date(2003, 12, 31))))
    days = first + np.arange(draw(st.integers(80, 1500)))
    days = days[np.is_busday(days)]
    draws = np.random.default_rng(draw(st.integers(0, 10_000)))
    sessions = days[draws.uniform(size=len(days)) > draw(st.sampled_from([0.0, 0.05, 0.5]))]
    assume(len(sessions) > 60)
    usable = draws.uniform(size=(2, len(sessions))) > draw(st.sampled_from([0.0, 0.3]))
    usable[:, : draw(st.integers(0, 120))] = False
    return sessions, usable


def folds_or_none(sessions: Sessions, usable: Booleans, spec: FoldSpec) -> tuple[Fold, ...]:
    try:
        return walk_forward(sessions, usable, spec)
    except NothingUsableError:
        return ()


@settings(max_examples=120, deadline=None, derandomize=True)
@given(calendars(), SPECS, st.integers(1, 20))
def test_every_label_is_known_before_the_next_range_begins(
    calendar: tuple[Sessions, Booleans], spec: FoldSpec, horizons: int
) -> None:
    sessions, usable = calendar
    for fold in folds_or_none(sessions, usable, spec):
        for part, following in zip(fold.ranges, fold.ranges[1:], strict=False):
            known = part.label_known(horizons)
            assert known.shape == (len(part), horizons)
            for row, origin in enumerate(range(part.start, part.stop)):
                for h in range(1, horizons + 1):
                    target = origin + h  # the label is known at the close of this session
                    assert known[row, h - 1] == (target < following.start)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(calendars(), SPECS)
def test_ranges_are_ordered_disjoint_contiguous_and_dated_by_their_borders(
    calendar: tuple[Sessions, Booleans], spec: FoldSpec
) -> None:
    sessions, usable = calendar
    folds = folds_or_none(sessions, usable, spec)
    for fold in folds:
        assert [
            a.stop == b.start and a.until == b.first for a, b in zip(fold.ranges, fold.ranges[1:], strict=False)
        ] == [True] * 3
        for part in fold.ranges:
            inside = [k for k, day in enumerate(sessions) if part.first <= day < part.until]
            assert inside == list(range(part.start, part.stop))
        assert len(fold.train) > 0
        assert len(fold.validation) > 0
        assert len(fold.test) > 0
        assert (len(fold.calibration) == 0) or spec.calibration_months > 0
        assert fold.name == str(fold.test.first)
        months = [part.first.astype("datetime64[M]").astype(int) for part in fold.ranges[1:]]
        assert all(month % 3 == 0 for month in months)
        assert months[2] - months[0] == spec.validation_months + spec.calibration_months
        if spec.train_years:
            assert len(fold.train) <= 262 * spec.train_years
    tests = [part for fold in folds for part in range(fold.test.start, fold.test.stop)]
    assert tests == sorted(set(tests))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(calendars(), SPECS)
def test_the_first_fold_trains_on_enough_usable_sessions(calendar: tuple[Sessions, Booleans], spec: FoldSpec) -> None:
    sessions, usable = calendar
    folds = folds_or_none(sessions, usable, spec)
    if folds:
        assert usable[:, : folds[0].train.stop].any(axis=0).sum() >= spec.minimum_train_sessions


@settings(max_examples=120, deadline=None, derandomize=True)
@given(calendars(), SPECS, st.integers(1, 400))
@example((sessions_to(np.datetime64("2023-09-29"), 700), np.ones((2, 700), bool)), FoldSpec(), 1)
def test_later_sessions_move_no_fold(calendar: tuple[Sessions, Booleans], spec: FoldSpec, cut: int) -> None:
    sessions, usable = calendar
    whole = folds_or_none(sessions, usable, spec)
    before = folds_or_none(sessions[:-cut], usable[:, :-cut], spec) if cut < len(sessions) - 1 else ()
    assert [fold.name for fold in before] == [fold.name for fold in whole[: len(before)]]
    for old, new in zip(before, whole, strict=False):
        assert old.ranges[:3] == new.ranges[:3]
        assert (old.test.first, old.test.until, old.test.start) == (new.test.first, new.test.until, new.test.start)
        finished = new.test.stop < len(sessions) - cut
        assert not finished or old == new


def test_the_default_folds_by_hand() -> None:
    sessions = sessions_to(np.datetime64("2023-12-29"), 1000)  # from 2020-01-10
    usable = np.ones((1, 1000), bool)
    usable[:, :99] = False
    folds = walk_forward(sessions, usable, FoldSpec())
    assert sessions[99 + 150] == np.datetime64("2021-01-06")  # the next quarter begins on 2021-04-01
    borders = [[str(part.first) for part in fold.ranges] + [str(fold.test.until)] for fold in folds]
    assert borders == [
        [str(sessions[0]), "2021-04-01", "2021-10-01", "2021-10-01", "2022-10-01"],
        [str(sessions[0]), "2022-04-01", "2022-10-01", "2022-10-01", "2023-10-01"],
        [str(sessions[0]), "2023-04-01", "2023-10-01", "2023-10-01", "2024-10-01"],
    ]


def test_a_fixed_split_is_at_its_two_dates() -> None:
    sessions = sessions_to(np.datetime64("2023-12-29"), 500)
    spec = FoldSpec(train_end=date(2022, 12, 30), valid_end=date(2023, 6, 30))
    (fold,) = walk_forward(sessions, np.ones((1, 500), bool), spec)
    days = [
        [str(sessions[part.start]), str(sessions[part.stop - 1])] for part in (fold.train, fold.validation, fold.test)
    ]
    assert days == [[str(sessions[0]), "2022-12-30"], ["2023-01-03", "2023-06-30"], ["2023-07-03", "2023-12-29"]]
    assert len(fold.calibration) == 0
    (later,) = walk_forward(sessions_to(np.datetime64("2024-02-01"), 522), np.ones((1, 522), bool), spec)
    assert later.ranges[:3] == fold.ranges[:3]
    with pytest.raises(UsageError, match="2023-12-29 leaves nothing to test: the last session is 2023-12-29"):
        walk_forward(
            sessions, np.ones((1, 500), bool), FoldSpec(train_end=date(2022, 1, 1), valid_end=date(2023, 12, 29))
        )


def test_too_short_a_history_names_the_minimum() -> None:
    sessions = sessions_to(np.datetime64("2023-12-29"), 120)
    with pytest.raises(
        NothingUsableError, match=r"120 sessions .* 21 of them usable; expected 150 usable ones, then 6"
    ):
        walk_forward(sessions, np.arange(120)[None] >= 99, FoldSpec())
    with pytest.raises(UsageError, match="expected some to train to 2001-01-01"):
        walk_forward(
            sessions, np.ones((1, 120), bool), FoldSpec(train_end=date(2001, 1, 1), valid_end=date(2002, 1, 1))
        )


def test_a_fold_whose_validation_falls_into_a_gap_is_left_out_and_the_others_stand() -> None:
    sessions = sessions_to(np.datetime64("2023-12-29"), 1200)
    whole = np.ones((1, 1200), bool)
    whole[:, :99] = False
    folds = walk_forward(sessions, whole, FoldSpec())
    middle = folds[1].validation
    gap = whole.copy()
    gap[:, middle.start : middle.stop] = False
    assert walk_forward(sessions, gap, FoldSpec()) == (folds[0], *folds[2:])
    assert len(folds) > 2


@pytest.mark.parametrize(
    "values",
    [
        {"train_end": date(2020, 1, 1)},
        {"valid_end": date(2020, 1, 1)},
        {"train_end": date(2020, 1, 2), "valid_end": date(2020, 1, 2)},
        {"refit_months": 4},
        {"validation_months": 0},
        {"refit": 12},
    ],
)
def test_what_makes_no_folds_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FoldSpec.model_validate(values)


def test_the_folds_are_described_in_one_sentence() -> None:
    assert FoldSpec().describe().startswith("refit every 12 months on all history, the 6 months")
    assert "the last 3 years" in FoldSpec(train_years=3).describe()
    fixed = FoldSpec(train_end=date(2020, 1, 1), valid_end=date(2021, 1, 1))
    assert fixed.describe() == "one split: train to 2020-01-01, validate to 2021-01-01, test all after it"


def test_the_table_of_folds_names_first_and_last_sessions() -> None:
    sessions = sessions_to(np.datetime64("2023-12-29"), 1000)
    usable = np.ones((1, len(sessions)), dtype=bool)
    for months in (0, 3):
        folds = walk_forward(sessions, usable, FoldSpec(calibration_months=months))
        table = fold_sessions(folds, sessions)
        names = ["train", "validation", "calibration", "test"] if months else ["train", "validation", "test"]
        assert list(table.columns) == [(name, edge) for name in names for edge in ("first", "last")]
        assert list(table.index) == [fold.name for fold in folds]
        for fold in folds:
            for name in names:
                inside = [day for day in sessions if getattr(fold, name).first <= day < getattr(fold, name).until]
                found = [table.loc[fold.name, (name, edge)].to_datetime64() for edge in ("first", "last")]
                assert found == [inside[0], inside[-1]]
