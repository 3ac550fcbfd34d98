"""Properties of validation over spoilt frames: never a crash, never accepted rows that break a rule, and causal."""

import numpy as np
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.market.bars import COLUMNS, ReturnsFrom, Severity, ValidatedBars
from pipeline.market.calendars import sessions_between
from pipeline.market.validation.validate import ValidationTerms, validate
from tests.market.rows import NOW, good_rows

COUNT = 40
PRICES = ["open", "high", "low", "close"]
CELLS = st.one_of(
    st.sampled_from([None, np.nan, np.inf, -np.inf, 0, -1, 1e-320, 1e308, "", "abc", "1,5", "12.5", "1e400", True]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(90, 110),  # a plausible price in a wrong place
    st.sampled_from([0.1, 0.25, 0.5, 2.0, 3.0, 4.0, 100.0]),  # a plausible split in a wrong place
    st.integers(),
    st.text(max_size=5),
    st.just([1]),
    st.just(10**400),
)
DATES = st.one_of(
    st.sampled_from(
        [None, "", "2024-02-30", "2024-02-15", "2024-02-15 00:00:00-05:00", "2024-02-15T00:00Z", "9999-12-31"]
    ),
    st.builds("2024-02-{:02d} 00:00:00{:+03d}:00".format, st.integers(1, 29), st.integers(-8, 8)),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.text(max_size=12),
)
ROW = st.integers(0, COUNT - 1)
CELL = st.tuples(st.sampled_from(COLUMNS[2:]), ROW, CELLS)
DATE = st.tuples(st.just("session"), ROW, DATES)
SCALE = st.tuples(st.just("scale"), ROW, st.sampled_from([100.0, 0.01, 2.0, 0.5, 0.25, 10.0]))
BLANK = st.tuples(st.just("blank"), ROW, st.none())
FLAT = st.tuples(st.just("flat"), st.integers(0, COUNT - 15), st.just(14))
SHIFT = st.tuples(st.just("shift"), ROW, st.sampled_from([-1, 1]))
MUTATION = st.one_of(CELL, DATE, SCALE, BLANK, FLAT, SHIFT)
MUTATIONS = st.lists(MUTATION, max_size=4)
ORDERS = st.one_of(
    st.just(list(range(COUNT))),
    st.just(list(range(COUNT))[::-1]),
    st.lists(ROW, max_size=COUNT + 10),
    st.permutations(range(COUNT)),
)
WRITTEN = st.sampled_from([None, "%Y-%m-%d", "%Y-%m-%d 00:00:00-05:00"])
Mutations = list[tuple[str, int, object]]


def _mutated(mutations: Mutations, order: list[int], written: str | None) -> pd.DataFrame:
    rows = good_rows(COUNT)
    cells = [mutation for mutation in mutations if mutation[0] in (*COLUMNS[2:], "session")]
    for kind, row, value in mutations:
        rows = _whole_rows(rows, kind, row, value)
    if written:
        rows = rows.assign(session=rows["session"].dt.strftime(written))
    for name, row, value in cells:
        column = rows[name].astype(object)
        column.at[row] = value
        rows[name] = column
    return rows.iloc[order].reset_index(drop=True)


def _whole_rows(rows: pd.DataFrame, kind: str, row: int, value: object) -> pd.DataFrame:
    match kind:
        case "scale":
            rows.loc[row:, PRICES] *= value
        case "blank":
            rows.loc[row, PRICES] = np.nan
        case "flat":
            rows.loc[row : row + int(str(value)), PRICES] = rows.loc[row, "close"]
        case "shift":
            rows.loc[row:, "session"] += pd.Timedelta(days=int(str(value)))
    return rows


ACTIONS = ValidationTerms("actions", True, NOW, 1)
FRAMES = st.builds(_mutated, MUTATIONS, ORDERS, WRITTEN)
TERMS = st.builds(
    ValidationTerms,
    returns_from=st.sampled_from(["actions", "adj_close", "close"]),
    has_actions=st.booleans(),
    now=st.just(NOW),
    minimum_sessions=st.just(1),
)


def _validate(rows: pd.DataFrame, terms: ValidationTerms) -> ValidatedBars:
    return validate({"AAPL": rows}, terms)


def _check_contract(frame: pd.DataFrame, returns_from: ReturnsFrom) -> None:
    """The rules once more, row by row and slowly."""
    sessions = set(sessions_between("XNYS", np.datetime64("1990-01-02"), np.datetime64("2024-12-30")).tolist())
    previous, same = None, 0
    for row in frame.itertuples():
        day = row.session.date()
        assert day in sessions or day < min(sessions)
        assert previous is None or previous.session < row.session
        for name in ("open", "high", "low", "close", "split", *(["adj_close"] if returns_from == "adj_close" else [])):
            assert 1e-12 * (1 - 1e-6) <= getattr(row, name) <= 1e12 * (1 + 1e-6)
        assert 0 <= row.volume < np.inf
        assert 0 <= row.dividend < np.inf
        assert row.high >= max(row.open, row.close, row.low) * (1 - 1e-6)
        assert row.low <= min(row.open, row.close, row.high) * (1 + 1e-6)
        now = (row.open, row.high, row.low, row.close)
        flat = previous is not None and len({*now, previous.open, previous.high, previous.low, previous.close}) == 1
        same = same + 1 if flat else 0
        assert same < 10
        previous = row


@settings(max_examples=150, deadline=None, derandomize=True)
@given(FRAMES, TERMS)
def test_no_frame_crashes_validation_or_passes_with_a_broken_contract(
    rows: pd.DataFrame, terms: ValidationTerms
) -> None:
    validated = _validate(rows, terms)
    assert tuple(validated.bars.frame.columns) == COLUMNS
    _check_contract(validated.bars.frame, terms.returns_from)
    fatal = [problem for problem in validated.problems if problem.fatal]
    assert bool(fatal) <= bool(validated.excluded)
    assert all(str(problem) and problem.rows > 0 for problem in validated.problems)
    rules = [problem.rule for problem in validated.problems]
    assert len(rules) == len(set(rules))


def _replaced(rows: pd.DataFrame, other: pd.DataFrame, known: pd.Timestamp, front: bool) -> pd.DataFrame:
    """The rows up to a session as they are, with other rows of later sessions in the place of the later ones."""
    mine, others = _days(rows), _days(other)
    kept, later = rows[(mine <= known).to_numpy()], other[(others > known).to_numpy()]
    return pd.concat([later, kept] if front else [kept, later], ignore_index=True)


def _days(rows: pd.DataFrame) -> pd.Series:
    """Each row's own day as it is written, NaT where there is none."""
    return pd.Series([_day(cell) for cell in rows["session"]], dtype="datetime64[s]")


def _day(cell: object) -> object:
    text = "" if cell is None or cell is pd.NaT else str(cell)
    return pd.to_datetime(text[:10].strip(), format="%Y-%m-%d", errors="coerce")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(FRAMES, FRAMES, TERMS, st.integers(0, COUNT - 1), st.booleans())
@example(
    _mutated([("session", 9, "2024-02-14 00:00:00+05:30")], list(range(40)), "%Y-%m-%d 00:00:00-05:00"),
    _mutated([("scale", 20, 100.0)], list(range(40)), None),
    ACTIONS,
    15,
    True,
)
@example(
    _mutated([("scale", 18, 0.5)], list(range(40)), None),
    _mutated([("flat", 10, 14)], list(range(40)), None),
    ACTIONS,
    19,
    False,
)
@example(_mutated([("scale", 5, 100.0)], list(range(20)), None), _mutated([], list(range(20)), None), ACTIONS, 7, False)
@example(
    _mutated([("blank", 13, None), ("blank", 20, None)], list(range(40)), None),
    _mutated([], list(range(40)), None),
    ACTIONS,
    15,
    True,
)
@example(
    _mutated([("volume", 10, np.nan), ("volume", 30, np.nan)], list(range(40)), None),
    _mutated([], list(range(40)), None),
    ACTIONS,
    15,
    False,
)
def test_later_sessions_change_nothing_that_was_said_of_earlier_ones(
    rows: pd.DataFrame, other: pd.DataFrame, terms: ValidationTerms, known: int, front: bool
) -> None:
    session = good_rows(COUNT)["session"][known]
    now, then = _validate(rows, terms), _validate(_replaced(rows, other, session, front), terms)
    pd.testing.assert_frame_equal(_until(now, session), _until(then, session), check_exact=True)
    assert _said(now, session) == _said(then, session)


def _until(validated: ValidatedBars, session: pd.Timestamp) -> pd.DataFrame:
    frame = validated.bars.frame
    return frame[frame["session"] <= session]


def _said(validated: ValidatedBars, session: pd.Timestamp) -> set[tuple[str, str, str]]:
    """What was decided about sessions so far; notes sum up the whole, and the order of a file is not of a session."""
    return {
        (problem.rule, problem.session, problem.found)
        for problem in validated.problems
        if problem.severity is not Severity.NOTE
        and problem.rule != "unsorted"
        and problem.session <= str(session.date())
        and not problem.session.startswith("row")
    }


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.dictionaries(st.text(max_size=40), st.just(good_rows(20)), max_size=5))
def test_no_ticker_name_crashes_validation(rows: dict[str, pd.DataFrame]) -> None:
    validated = validate(dict(rows), ValidationTerms("close", True, NOW, 1))
    assert len(validated.bars.tickers) + len(validated.excluded) == len(rows)
    assert all(out.ticker.isprintable() for out in validated.excluded)
