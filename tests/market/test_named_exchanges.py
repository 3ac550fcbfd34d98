"""The exchange that a file names: read from a column or given as an option, kept in the store, written again."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from pipeline.errors import UsageError
from pipeline.market.adjustment import View
from pipeline.market.bars import Exclusion, Listing
from pipeline.market.calendars import sessions_between
from pipeline.market.files import open_files, write_prices
from pipeline.market.importing import import_prices, terms_of
from pipeline.market.sources import open_source
from pipeline.market.specification import FilesSource, StoredSource
from pipeline.market.store.collection import Collection, facts, open_collection, path_of, read_history
from pipeline.market.store.pruning import prune
from pipeline.market.store.stored import StoredPrices
from pipeline.market.update import UpdateState
from pipeline.market.validation.validate import load_bars

from .rows import NOW, good_rows

COUNT = 300
AT = datetime(2024, 12, 30, 18, tzinfo=UTC)


def rows_on(calendar: str, seed: int = 0) -> pd.DataFrame:
    sessions = sessions_between(calendar, "2023-01-01", "2024-12-27")[-COUNT:]  # type: ignore[arg-type]
    return good_rows(COUNT, seed=seed).assign(session=sessions.astype("M8[s]"))


def saved(path: Path, frames: dict[str, pd.DataFrame]) -> Path:
    frame = pd.concat([rows.assign(ticker=name) for name, rows in frames.items()], ignore_index=True)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def mumbai(**columns: str) -> dict[str, pd.DataFrame]:
    return {name: rows_on("XBOM", seed).assign(**columns) for seed, name in enumerate(("INFY", "TCS", "M&M"))}


def calendars(path: Path, exchange: str | None = None) -> dict[str, str]:
    listings = load_bars(open_files(path, exchange=exchange), (), NOW, 60).bars.listings
    return {listing.ticker: listing.calendar for listing in listings}


def excluded(path: Path, exchange: str | None = None) -> dict[str, str]:
    out = load_bars(open_files(path, exchange=exchange), (), NOW, 60).excluded
    return {one.ticker: one.reason for one in out}


# --- From a file ---


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz", "p.parquet"])
@pytest.mark.parametrize("spelled", ["exchange", "Exchange"])
def test_a_column_names_the_exchange(name: str, spelled: str, tmp_path: Path) -> None:
    source = open_files(saved(tmp_path / name, mumbai(**{spelled: "nse"})))
    validated = load_bars(source, (), NOW, 60)
    assert validated.bars.listings == tuple(Listing(ticker, "XBOM", "INR") for ticker in ("INFY", "M&M", "TCS"))
    assert len(validated.bars.frame) == 3 * COUNT
    assert (validated.calendar_mismatches, validated.problems) == ((), ())
    assert "exchange" not in source.rows("INFY")


def test_an_option_names_the_exchange_of_tickers_that_nothing_else_places(tmp_path: Path) -> None:
    frames = {
        **mumbai(),
        "BTC-USD": rows_on("24/7"),
        "VOD.L": rows_on("XLON"),
        "AAPL": rows_on("XNYS").assign(exchange="NASDAQ"),
    }
    path = saved(tmp_path / "p.csv", frames)
    placed = {"BTC-USD": "24/7", "VOD.L": "XLON", "AAPL": "XNYS"}
    assert calendars(path, "XBOM") == {**placed, "INFY": "XBOM", "TCS": "XBOM", "M&M": "XBOM"}
    assert calendars(path) == {**placed, "INFY": "XNYS", "TCS": "XNYS", "M&M": "XNYS"}


def test_blank_cells_take_the_exchange_of_the_other_rows(tmp_path: Path) -> None:
    frames = mumbai()
    frames["INFY"] = frames["INFY"].assign(exchange=[None, " ", *["XBOM"] * (COUNT - 2)])
    assert calendars(saved(tmp_path / "p.csv", frames)) == {"INFY": "XBOM", "TCS": "XNYS", "M&M": "XNYS"}


def test_a_ticker_with_two_exchanges_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    frames = mumbai(exchange="XBOM")
    frames["TCS"] = frames["TCS"].assign(exchange=["XLON", *["XBOM"] * (COUNT - 1)])
    frames["M&M"] = frames["M&M"].assign(exchange=["NSE", *["BSE"] * (COUNT - 1)])  # on the same sessions
    path = saved(tmp_path / "p.parquet", frames)
    assert calendars(path) == {"INFY": "XBOM", "M&M": "XBOM"}
    assert list(excluded(path)) == ["TCS"]
    assert (
        "found the exchanges XBOM and XLON for TCS in one file, expected one; write one ticker per listing"
        in (excluded(path)["TCS"])
    )


def test_an_unknown_exchange_and_one_against_the_name_are_refused(tmp_path: Path) -> None:
    frames = mumbai(exchange="XBOM")
    frames["TCS"] = frames["TCS"].assign(exchange="XBOB")
    frames["VOD.L"] = rows_on("XLON").assign(exchange="XBOM")
    path = saved(tmp_path / "p.csv", frames)
    assert calendars(path) == {"INFY": "XBOM", "M&M": "XBOM"}
    reasons = excluded(path)
    assert "found 'XBOB' as an exchange, expected one of" in reasons["TCS"]
    assert "did you mean" in reasons["TCS"]
    assert "found the exchange XBOM for VOD.L, whose name stands for XLON" in reasons["VOD.L"]


def test_every_file_of_a_folder_may_name_its_exchange(tmp_path: Path) -> None:
    for name, rows in {"INFY": rows_on("XBOM").assign(exchange="XBOM"), "AAPL": rows_on("XNYS")}.items():
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
    assert calendars(tmp_path) == {"INFY": "XBOM", "AAPL": "XNYS"}
    assert calendars(tmp_path, "XLON") == {"INFY": "XBOM", "AAPL": "XLON"}


def test_the_specification_has_the_exchange_and_refuses_an_unknown_one(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.csv", mumbai())
    spec = FilesSource(path=path, exchange="nse")
    assert spec.exchange == "XBOM"
    assert open_source(spec).listings(["INFY", "NONE"]) == {"INFY": Listing("INFY", "XBOM", "INR")}
    with pytest.raises(ValidationError, match="found 'XXX' as an exchange"):
        FilesSource(path=path, exchange="XXX")
    with pytest.raises(UsageError, match="found 'XXX' as an exchange"):
        open_files(path, exchange="XXX")


# --- Through the store ---


def imported(root: Path, path: Path, exchange: str | None, at: datetime) -> Collection:
    prices = open_files(path, exchange=exchange)
    collection = open_collection(root, "mine", terms_of(prices))
    states = {one.state for one in import_prices(collection, prices, prices.tickers(), at)}
    assert states <= {UpdateState.UPDATED, UpdateState.RESTATED}
    return collection


def from_store(collection: Collection, at: datetime | None = None) -> StoredPrices:
    found = open_source(StoredSource(collection="mine", as_known=at), collection.folder.parent)
    assert isinstance(found, StoredPrices)
    return found


INDIAN = {name: Listing(name, "XBOM", "INR") for name in ("INFY", "TCS", "M&M")}
AMERICAN = {name: Listing(name, "XNYS", "USD") for name in INDIAN}


@pytest.mark.parametrize("by_column", [True, False])
def test_an_import_keeps_the_exchange(by_column: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "p.csv", mumbai(exchange="NSE") if by_column else mumbai())
    collection = imported(tmp_path, path, None if by_column else "XBOM", AT)
    assert from_store(collection).listings(INDIAN) == INDIAN
    assert read_history(collection, "INFY").latest.exchange == "XBOM"
    validated = load_bars(from_store(collection), (), NOW, 60)
    assert len(validated.bars.frame) == 3 * COUNT
    assert (validated.calendar_mismatches, validated.excluded) == ((), ())


def test_a_later_import_that_says_nothing_keeps_it_and_one_that_names_another_changes_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.csv", mumbai())
    collection = imported(tmp_path, path, None, AT)
    assert from_store(collection).listings(INDIAN) == AMERICAN
    (found,) = load_bars(from_store(collection), (), NOW, 60).calendar_mismatches
    assert found.looks_like == "XBOM"
    imported(tmp_path, path, "XBOM", AT + timedelta(hours=1))
    imported(tmp_path, path, None, AT + timedelta(hours=2))
    assert from_store(collection).listings(INDIAN) == INDIAN
    kinds = [[it.kind for it in version.restatements] for version in read_history(collection, "INFY").versions]
    assert kinds == [[], ["currency"], []]
    # as it was known before, it was read on New York's calendar
    assert from_store(collection, AT + timedelta(minutes=1)).listings(INDIAN) == AMERICAN
    assert from_store(collection, AT + timedelta(hours=3)).listings(INDIAN) == INDIAN
    assert prune(collection, AT + timedelta(hours=3)).versions == 6
    assert from_store(collection).listings(INDIAN) == INDIAN
    imported(tmp_path, path, "XLON", AT + timedelta(hours=4))
    assert from_store(collection).listings(["INFY"]) == {"INFY": Listing("INFY", "XLON", "GBp")}


def test_the_last_session_of_an_import_is_that_of_its_exchange(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.csv", {"INFY": rows_on("XBOM")})
    after_mumbai = datetime(2024, 12, 27, 11, tzinfo=UTC)  # New York has not opened
    collection = imported(tmp_path, path, "XBOM", after_mumbai)
    known = facts(collection, "INFY")
    assert known is not None
    assert (str(known.last_session), known.rows) == ("2024-12-27", COUNT)


def test_files_without_an_exchange_are_stored_as_before(tmp_path: Path) -> None:
    collection = imported(tmp_path, saved(tmp_path / "p.csv", {"AAPL": rows_on("XNYS")}), None, AT)
    assert b"exchange" not in path_of(collection, "AAPL").read_bytes()


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
@pytest.mark.parametrize("view", ["as_traded", "total_return"])
def test_an_export_carries_exchanges_that_names_do_not_tell(name: str, view: View, tmp_path: Path) -> None:
    frames = {**mumbai(exchange="XBOM"), "VOD.L": rows_on("XLON").assign(exchange=None)}
    bars = load_bars(open_files(saved(tmp_path / "p.csv", frames)), (), NOW, 60).bars
    write_prices(bars, view, tmp_path / name)
    again = load_bars(open_files(tmp_path / name), (), NOW, 60)
    assert again.bars.listings == bars.listings
    assert len(again.bars.frame) == len(bars.frame)
    plain = load_bars(open_files(saved(tmp_path / "plain.csv", {"AAPL": rows_on("XNYS")})), (), NOW, 60).bars
    write_prices(plain, view, tmp_path / name)
    assert "AAPL" in open_files(tmp_path / name).tickers()
    assert open_files(tmp_path / name).exchanges == {}


def test_a_wrong_name_is_excluded_by_itself(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.csv", {"A.B.LONDON": rows_on("XLON"), "AAPL": rows_on("XNYS")})
    assert list(excluded(path)) == ["A.B.LONDON"]
    assert calendars(path, "XLON") == {"A.B.LONDON": "XLON", "AAPL": "XLON"}
    assert load_bars(open_files(path), ("NONE",), NOW, 60).excluded == (
        Exclusion("NONE", "unknown ticker 'NONE': the source holds A.B.LONDON, AAPL"),
    )
