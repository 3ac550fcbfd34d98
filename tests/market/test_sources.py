"""The sources behind one protocol, and the bundled sample."""

import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.market.bars import FetchedRows, Listing
from pipeline.market.in_memory import SAMPLE_FILE, SAMPLE_NOTE, open_sample
from pipeline.market.sources import Source, open_source
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
from pipeline.market.validation.validate import load_bars

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
    commit(collection, "AAPL", FetchedRows(rows, None, "USD", NOW))
    begin = rows["session"].iloc[20].date()
    source = open_source(YahooSource(start=begin), tmp_path)
    assert source.rows("AAPL")["session"].iloc[0].date() == begin
    assert source.listings(["AAPL", "NONE"]) == {"AAPL": Listing("AAPL", "XNYS", "USD")}


def test_the_sample_is_the_file_that_its_notice_describes() -> None:
    data = files("pipeline.market").joinpath("data")
    digest = hashlib.sha256(data.joinpath(SAMPLE_FILE).read_bytes()).hexdigest()
    assert digest in data.joinpath("PROVENANCE.md").read_text()
    assert digest == "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd"


def test_the_sample_passes_validation_whole() -> None:
    validated = load_bars(open_sample(), (), NOW, minimum_sessions=60)
    assert validated.bars.tickers == ("AAPL", "FB", "GOOG", "IBM", "MSFT")
    assert (validated.problems, validated.excluded) == ((), ())
    assert len(validated.bars.frame) == 12_154
    assert str(validated.bars.frame["session"].max().date()) in SAMPLE_NOTE


def test_an_unknown_ticker_is_reported_what_there_is() -> None:
    with pytest.raises(SourceError, match=r"'APPL'.*AAPL, FB, GOOG, IBM, MSFT; did you mean AAPL"):
        open_sample().rows("APPL")
    with pytest.raises(SourceError, match="did you mean MSFT"):
        open_sample().rows("msft")
