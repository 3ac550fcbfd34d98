"""Lists of tickers: read from what people write, refused with the line where they cannot be, and when each belonged."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.market.listings import is_ticker
from pipeline.market.universe import (
    MembershipPeriod,
    Universe,
    members_on,
    membership_mask,
    read_universe,
    survivorship_warning,
)


def written(folder: Path, content: str | bytes, name: str = "list.txt") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def days(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[D]")


@pytest.mark.parametrize(
    "content",
    [
        "AAPL\nBRK-B\n^GSPC\n",
        '# my "list\n\n  AAPL\t\nBRK-B  # two classes, this is the second\n\n^GSPC',
        "\ufeffAAPL\r\nBRK-B\r\n^GSPC\r\n",
        "Symbol\nAAPL\nBRK-B\n^GSPC\n",
        '"AAPL"\n"BRK-B"\n"^GSPC"\n',
        "ticker,name\nAAPL,Apple\nBRK-B,Berkshire\n^GSPC,S&P 500\n",
        'name,ticker\n"Apple, Inc. # 1",AAPL\nBerkshire,BRK-B\nS&P 500,^GSPC\n',
        "ticker,from,until\nAAPL,,\nBRK-B,,\n^GSPC,,\n",
    ],
)
def test_a_list_without_dates_is_read_as_people_write_it(tmp_path: Path, content: str) -> None:
    assert read_universe(written(tmp_path, content), tmp_path) == Universe("list", ("AAPL", "BRK-B", "^GSPC"))


SPELLS = (
    MembershipPeriod("AAPL", None, None),
    MembershipPeriod("GM", date(1998, 1, 2), date(2009, 6, 8)),
    MembershipPeriod("GM", date(2013, 6, 7), None),
    MembershipPeriod("FB", None, date(2022, 6, 8)),
)


@pytest.mark.parametrize(
    "header",
    ["ticker,member_from,member_until", "Symbol, From ,UNTIL", "symbol,start,end", "Ticker,Start Date,End Date"],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_dates_of_membership_are_read_under_any_usual_header(tmp_path: Path, header: str, ending: str) -> None:
    lines = [
        f"\ufeff{header}",
        "AAPL,,",
        'GM, 1998-01-02 ,"2009-06-08"',
        "",
        "# back after its bankruptcy",
        "GM,2013-06-07,",
        "FB,,2022-06-08",
    ]
    universe = read_universe(written(tmp_path, ending.join(lines), "members.csv"), tmp_path)
    assert universe == Universe("members", ("AAPL", "GM", "FB"), SPELLS)


def test_one_date_column_is_enough(tmp_path: Path) -> None:
    universe = read_universe(written(tmp_path, "ticker,since,name\nAAPL,1998-01-02,Apple\n"), tmp_path)
    assert universe.memberships == (MembershipPeriod("AAPL", date(1998, 1, 2), None),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("AAPL\n../../x\n", r"line 2 of .*list\.txt: found '../../x', expected a ticker: 1 to 32 letters"),
        ("AAPL\n\nMSFT\nAAPL\n", r"line 4 of .*found 'AAPL', expected it once.*on line 1 too"),
        ("AAPL\naapl\n", r"line 2 of .*found 'aapl', expected it once"),
        ("AAPL,MSFT\n", r"line 1 of .*expected one ticker per line, or a header ticker,member_from"),
        ("AAPL,2001-01-01,2002-01-01\n", r"line 1 of .*or a header ticker,member_from,member_until"),
        ("ticker;from;until\nAAPL;;\n", r"line 1 of .*found 'ticker;from;until', expected a ticker"),
        ("ticker,symbol\nAAPL,AAPL\n", r"line 1 of .*expected one column that means ticker"),
        ("ticker,from,start\nAAPL,,\n", r"line 1 of .*expected one column that means member_from"),
        ("ticker,from\nAAPL\n", r"line 2 of .*expected 2 cells"),
        ("ticker,name,from\nAAPL,No #1,2001-01-01\n", r"line 2 of .*expected 3 cells"),
        ("ticker,from\nAAPL,1/2/2003\n", r"line 2 of .*found '1/2/2003', expected a day such as 2024-11-29"),
        ("ticker,from\nAAPL,2003-02-30\n", r"line 2 of .*found '2003-02-30', expected a day"),
        ("ticker,from\nAAPL,20030102\n", r"line 2 of .*found '20030102', expected a day"),
        ("ticker,from,until\nAAPL,2003-01-02,2003-01-01\n", r"line 2 of .*found '2003-01-02 to 2003-01-01'"),
        (
            "ticker,from,until\nA,2003-01-02,2004-01-01\nA,2004-01-01,\n",
            r"line 3 of .*found 'A', expected .*periods that do not overlap \(it is on line 2 too\)",
        ),
        ("ticker,from,until\nA,2003-01-02,\nA,2005-01-01,\n", r"line 3 of .*do not overlap"),
        ("ticker,from,until\nA,,2003-01-02\nA,,2001-01-01\n", r"line 3 of .*do not overlap"),
        ('"AAPL\n', r"line 1 of .*expected cells with commas between them"),
        ("", r"found no ticker in .*list\.txt, expected one per line"),
        ("# nothing yet\n\n", r"found no ticker in"),
        ("ticker,from\n", r"found no ticker in"),
        (b"\xff\xfeA\x00", r"cannot read .*expected UTF-8 text"),
    ],
)
def test_what_cannot_be_read_is_reported_with_its_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_universe(written(tmp_path, content), tmp_path)


def test_a_path_that_is_no_file_is_reported(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path, Path("a\0b.csv")):
        with pytest.raises(UsageError, match="cannot read"):
            read_universe(path, path.parent)


def test_a_plain_name_is_a_list_of_that_folder_but_a_file_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lists = tmp_path / "universes"
    lists.mkdir()
    written(lists, "ticker,member_from\nAAPL,2001-01-02\n", "mine.csv")
    written(lists, "MSFT\n", "other.txt")
    written(lists, "# not a list\n", "notes.md")
    assert read_universe(Path("mine"), lists) == Universe(
        "mine", ("AAPL",), (MembershipPeriod("AAPL", date(2001, 1, 2), None),)
    )
    assert read_universe(Path("other"), lists).tickers == ("MSFT",)
    written(tmp_path, "IBM\n", "mine")
    assert read_universe(Path("mine"), lists).tickers == ("IBM",)


def test_a_name_that_is_no_list_is_reported_with_those_there_are(tmp_path: Path) -> None:
    for name in ("mine.csv", "twice.csv", "twice.txt"):
        written(tmp_path, "AAPL\n", name)
    with pytest.raises(UsageError, match=r"no file and no list named 'mein'.*it holds mine, twice"):
        read_universe(Path("mein"), tmp_path)
    with pytest.raises(UsageError, match=r"found 2 lists named 'twice'"):
        read_universe(Path("twice"), tmp_path)
    with pytest.raises(UsageError, match=r"it holds none"):
        read_universe(Path("mine"), tmp_path / "nothing")


PIECES = st.sampled_from(
    ["AAPL", "msft", "A.B", "ticker", "symbol", "from", "until", "2001-01-01", "2009-06-08", ",", ",", '"', "#", "\n"]
) | st.text(max_size=4)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(content=st.lists(PIECES, max_size=25).map("".join) | st.binary(max_size=60))
def test_any_file_is_a_universe_or_refused(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    path = written(tmp_path_factory.getbasetemp(), raw, "any.csv")
    try:
        universe = read_universe(path, path.parent)
    except UsageError:
        return
    assert universe.tickers
    assert len(set(universe.tickers)) == len(universe.tickers)
    assert all(is_ticker(ticker) for ticker in universe.tickers)
    assert {period.ticker for period in universe.memberships} in (set(), set(universe.tickers))


def test_both_ends_of_a_spell_belong_to_it() -> None:
    sessions = days("2009-06-05", "2009-06-08", "2009-06-09", "2013-06-06", "2013-06-07", "2013-06-10")
    mask = membership_mask(Universe("u", ("AAPL", "GM", "FB"), SPELLS), ("GM", "AAPL", "XYZ"), sessions)
    assert mask.tolist() == [[True, True, False, False, True, True], [True] * 6, [False] * 6]


def test_a_list_without_dates_always_belongs() -> None:
    mask = membership_mask(Universe("u", ("A",)), ("A", "B"), days("2009-06-05", "2009-06-08"))
    assert mask.dtype == np.dtype(bool)
    assert mask.tolist() == [[True, True], [True, True]]


DAYS = st.dates(date(2000, 1, 1), date(2001, 12, 31))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(DAYS, min_size=0, max_size=8, unique=True), st.lists(DAYS, min_size=1, max_size=20, unique=True))
def test_the_mask_is_what_a_plain_loop_says(borders: list[date], sessions: list[date]) -> None:
    ordered = sorted(borders)
    periods = [MembershipPeriod("A", begin, end) for begin, end in zip(ordered[::2], ordered[1::2], strict=False)]
    periods += [MembershipPeriod("A", ordered[-1], None)] if len(ordered) % 2 else []
    universe = Universe("u", ("A", "B"), (*periods, MembershipPeriod("B", None, date(2001, 1, 1))))
    at = sorted(sessions)
    found = membership_mask(universe, ("A", "B"), np.array(at, "datetime64[D]"))
    for row, ticker in enumerate(("A", "B")):
        for column, day in enumerate(at):
            member_periods = [period for period in universe.memberships if period.ticker == ticker]
            inside = any(
                (not s.member_from or s.member_from <= day) and (not s.member_until or day <= s.member_until)
                for s in member_periods
            )
            assert found[row, column] == inside


def test_today_s_list_on_the_past_is_warned_of_and_a_dated_one_is_not() -> None:
    plain, dated = (
        Universe("u", ("A", "B")),
        Universe("u", ("A", "B"), (MembershipPeriod("A", date(2001, 1, 1), None),)),
    )
    warning = survivorship_warning(
        plain, ("A", "B", "C", "D", "E"), np.datetime64("2004-01-05"), np.datetime64("2013-01-31")
    )
    assert warning == (
        "These 5 tickers were chosen today and are tested on 2004 to 2013: companies that failed since are missing, so "
        "results look better than they were (survivorship). A list with membership dates avoids that."
    )
    assert warning == survivorship_warning(None, tuple("ABCDE"), date(2004, 1, 5), date(2013, 1, 31))
    assert survivorship_warning(dated, ("A", "B"), date(2004, 1, 5), date(2013, 1, 31)) is None
    alone = survivorship_warning(None, ("A",), date(2004, 1, 5), date(2005, 1, 5))
    assert alone is not None
    assert alone.startswith("This ticker was chosen today and is tested on 2004 to 2005:")


def test_less_than_a_year_is_not_warned_of() -> None:
    assert survivorship_warning(None, ("A",), date(2004, 1, 5), date(2005, 1, 3)) is None
    assert survivorship_warning(None, ("A",), date(2004, 1, 5), date(2005, 1, 4)) is not None


@pytest.mark.parametrize(
    ("day", "expected"),
    [(date(2023, 12, 29), ("AAA",)), (date(2024, 1, 2), ("AAA", "BBB")), (date(2024, 3, 1), ("CCC", "AAA"))],
)
def test_members_on_a_day_are_those_whose_dates_include_it(day: date, expected: tuple[str, ...]) -> None:
    periods = (
        MembershipPeriod("CCC", date(2024, 3, 1), None),
        MembershipPeriod("AAA", None, date(2024, 1, 2)),
        MembershipPeriod("AAA", date(2024, 2, 1), date(2024, 3, 1)),
        MembershipPeriod("BBB", date(2024, 1, 2), date(2024, 1, 2)),
    )
    dated = Universe("mine", ("CCC", "AAA", "BBB"), periods)
    assert members_on(dated, day) == expected
    assert members_on(replace(dated, memberships=()), day) == dated.tickers
    with pytest.raises(UsageError, match="found no member of the universe mine on 2024-01-20"):
        members_on(dated, date(2024, 1, 20))
