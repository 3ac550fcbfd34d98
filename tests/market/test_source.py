"""The sources behind one protocol, and the bundled sample."""

import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.market.door import load
from pipeline.market.fetched import Fetched
from pipeline.market.sample import FILE, NOTE, open_sample
from pipeline.market.source import Source, open_source
from pipeline.market.specification import (
    YAHOO,
    FilesSource,
    SampleSource,
    SourceSpec,
    StoredSource,
    SyntheticSource,
    YahooSource,
)
from pipeline.market.store.collection import open_collection
from pipeline.market.store.commits import commit
from pipeline.market.update import YAHOO_TERMS

from .rows import NOW, good_rows


def _opened(spec: SourceSpec, folder: Path) -> Source:
    good_rows().assign(ticker="AAPL").to_csv(folder / "prices.csv", index=False)
    open_collection(folder / "prices", YAHOO, YAHOO_TERMS)
    return open_source(spec, folder / "prices")


@pytest.mark.parametrize(
    ("kind", "traits"),
    [
        ("sample", ("as_traded", False, "adj_close")),
        ("files", ("as_traded", True, "adj_close")),
        ("yahoo", ("as_traded", True, "actions")),
        ("stored", ("as_traded", True, "actions")),
        ("synthetic", ("as_traded", False, "close")),
    ],
)
def test_every_source_says_what_its_prices_mean(kind: str, traits: tuple[object, ...], tmp_path: Path) -> None:
    specs: dict[str, SourceSpec] = {
        "sample": SampleSource(),
        "files": FilesSource(path=tmp_path / "prices.csv"),
        "yahoo": YahooSource(),
        "stored": StoredSource(),
        "synthetic": SyntheticSource(process="sine", sessions=10),
    }
    source = _opened(specs[kind], tmp_path)
    assert (source.price_basis, source.has_actions, source.returns_from) == traits
    assert source.note.endswith(".")


def test_yahoo_s_stored_prices_begin_where_the_description_says(tmp_path: Path) -> None:
    rows = good_rows()
    collection = open_collection(tmp_path, YAHOO, YAHOO_TERMS)
    commit(collection, "AAPL", Fetched(rows, None, "USD", NOW))
    begin = rows["session"].iloc[20].date()
    source = open_source(YahooSource(start=begin), tmp_path)
    assert source.rows("AAPL")["session"].iloc[0].date() == begin
    assert source.currencies(["AAPL", "NONE"]) == {"AAPL": "USD"}


def test_the_sample_is_the_file_that_its_notice_describes() -> None:
    data = files("pipeline.market").joinpath("data")
    digest = hashlib.sha256(data.joinpath(FILE).read_bytes()).hexdigest()
    assert digest in data.joinpath("PROVENANCE.md").read_text()
    assert digest == "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd"


def test_the_sample_passes_the_door_whole() -> None:
    admitted = load(open_sample(), (), NOW, minimum_sessions=60)
    assert admitted.bars.tickers == ("AAPL", "FB", "GOOG", "IBM", "MSFT")
    assert (admitted.problems, admitted.left_out) == ((), ())
    assert len(admitted.bars.frame) == 12_154
    assert str(admitted.bars.frame["session"].max().date()) in NOTE


def test_an_unknown_ticker_is_told_what_there_is() -> None:
    with pytest.raises(SourceError, match=r"'APPL'.*AAPL, FB, GOOG, IBM, MSFT; did you mean AAPL"):
        open_sample().rows("APPL")
    with pytest.raises(SourceError, match="did you mean MSFT"):
        open_sample().rows("msft")
