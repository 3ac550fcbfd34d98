"""The store as a source: it returns what was fetched, as of now or an earlier instant."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import SourceError, UsageError
from pipeline.market.sources import Source
from pipeline.market.specification import StoredSource
from pipeline.market.store.collection import Collection, path_of
from pipeline.market.store.commits import commit
from pipeline.market.store.stored import StoredPrices, current_rows, open_stored, rows_of_all
from tests.market.rows import good_rows
from tests.market.store.made import TERMS, WITH_ADJ_CLOSE, after, day, fetched_of, opened, repriced

ROWS = good_rows(30)
PLAIN = ROWS.drop(columns="adj_close")


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    collection = opened(tmp_path)
    commit(collection, "AAPL", fetched_of(ROWS.iloc[:25], currency="USD"))
    commit(collection, "AAPL", fetched_of(repriced(ROWS, 1), 24, currency="USd"))
    commit(collection, "MSFT", fetched_of(ROWS, 24))
    return collection


def test_it_has_the_price_basis_and_actions_of_its_terms(collection: Collection, tmp_path: Path) -> None:
    prices: Source = StoredPrices(collection)
    assert (prices.price_basis, prices.has_actions, prices.returns_from) == ("as_traded", True, "actions")
    assert prices.note == TERMS.note
    assert prices.tickers() == ("AAPL", "MSFT")
    assert "2024-06-03 21:30 UTC" in StoredPrices(collection, at=after(0)).note
    other = opened(tmp_path / "other", WITH_ADJ_CLOSE)
    commit(other, "AAPL", fetched_of(ROWS))
    pd.testing.assert_frame_equal(StoredPrices(other).rows("AAPL"), ROWS, check_exact=True)


def test_the_present_and_the_past_are_read(collection: Collection) -> None:
    now = repriced(PLAIN, 1)
    pd.testing.assert_frame_equal(StoredPrices(collection).rows("AAPL"), now, check_exact=True)
    pd.testing.assert_frame_equal(current_rows(collection, "AAPL"), now, check_exact=True)
    past = StoredPrices(collection, at=after(23))
    pd.testing.assert_frame_equal(past.rows("AAPL"), PLAIN.iloc[:25], check_exact=True)
    with pytest.raises(SourceError, match="knows it from"):
        past.rows("MSFT")
    late = StoredPrices(collection, start=day(ROWS, 20))
    pd.testing.assert_frame_equal(late.rows("AAPL"), now.iloc[20:].reset_index(drop=True), check_exact=True)


def currencies(prices: StoredPrices, *tickers: str) -> dict[str, str]:
    listings = prices.listings(tickers)
    assert {ticker: (listing.ticker, listing.calendar) for ticker, listing in listings.items()} == {
        ticker: (ticker, "XNYS") for ticker in listings
    }
    return {ticker: listing.currency for ticker, listing in listings.items()}


def test_currencies_are_those_of_the_version(collection: Collection) -> None:
    assert currencies(StoredPrices(collection), "AAPL", "MSFT") == {"AAPL": "USd", "MSFT": "USD"}
    assert currencies(StoredPrices(collection, at=after(1)), "AAPL") == {"AAPL": "USD"}
    path_of(collection, "MSFT").write_bytes(b"damaged")
    for at in (None, after(48)):
        known = currencies(StoredPrices(collection, at=at), "NONE", "../x", "MSFT", "AAPL")
        assert known == {"AAPL": "USd"}  # of the others rows tells what is wrong


def test_what_was_restated_after_an_instant_is_read_whoever_found_it(collection: Collection) -> None:
    commit(collection, "AAPL", fetched_of(repriced(ROWS, 2), 48, currency="USd"))
    prices = StoredPrices(collection)
    kinds = {hours: [it.kind for it in prices.restatements("AAPL", after(hours))] for hours in (0, 23.9, 24, 48)}
    assert kinds == {0: ["prices", "currency", "prices"], 23.9: kinds[0], 24: ["prices"], 48: []}
    assert [it.kind for it in prices.restatements("AAPL")] == kinds[0]
    assert [it.kind for it in StoredPrices(collection, at=after(47)).restatements("AAPL")] == ["prices", "currency"]
    assert prices.restatements("MSFT") == ()
    path_of(collection, "MSFT").write_bytes(b"damaged")
    for name in ("MSFT", "NONE"):
        with pytest.raises(SourceError, match=f"{name}.parquet"):
            prices.restatements(name)


def test_a_described_source_is_opened(collection: Collection) -> None:
    root = collection.folder.parent
    spec = StoredSource(collection="made", as_known=after(1), start=day(ROWS, 3))
    assert open_stored(root, spec) == StoredPrices(collection, after(1), day(ROWS, 3))
    with pytest.raises(UsageError, match="made"):
        open_stored(root, StoredSource(collection="other"))


def test_many_are_read_and_one_bad_one_is_a_value(collection: Collection) -> None:
    path_of(collection, "MSFT").write_bytes(b"damaged")
    found = rows_of_all(StoredPrices(collection), ["MSFT", "AAPL", "NONE", "../x", "AAPL"])
    assert list(found) == ["MSFT", "AAPL", "NONE", "../x"]
    assert isinstance(found["AAPL"], pd.DataFrame)
    assert all(isinstance(found[name], SourceError) for name in ("MSFT", "NONE", "../x"))
