"""Loading the bars of a run: old bars are marked with their age, too old ones are excluded with the reason."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import NothingUsableError, SourceError, SourceUnavailableError
from pipeline.experiment import Experiment
from pipeline.market.bars import Exclusion, FetchedRows, Severity, Stale, ValidatedBars
from pipeline.market.calendars import closed_at
from pipeline.market.sources import open_source
from pipeline.market.specification import YAHOO, SampleSource, SourceSpec, StoredSource, SyntheticSource, YahooSource
from pipeline.market.store.collection import Collection, CollectionTerms, open_collection
from pipeline.market.store.commits import commit
from pipeline.market.store.stored import StoredPrices
from pipeline.market.update import YAHOO_TERMS, UpdateResult, UpdateState, plan_update, run_update
from pipeline.market.validation.rules import problem_of
from pipeline.market.validation.validate import ValidationTerms, terms_for, validate
from pipeline.settings import Settings
from pipeline.workflow.calendar_bars import LoadedBars
from pipeline.workflow.loading import accepted, known_from, load_accepted_bars, old_bars, stale_of, with_reason
from pipeline.workflow.progress import NoProgress, StageTimer
from pipeline.workflow.run_context import RunContext, unwrapped
from pipeline.workflow.validation import DEFAULT_MIN_SESSIONS, age_limit, is_updated_from_yahoo, recorded_problems
from tests.market.rows import good_rows

pytestmark = [pytest.mark.timeout(300)]

ROWS = good_rows(130, "2023-12-29")
SESSIONS = ROWS["session"].dt.date
NOW = closed_at("XNYS", SESSIONS.iloc[-1]) + timedelta(hours=1)
BEFORE = NOW - timedelta(days=40)

IMPORT_TERMS = CollectionTerms(kind="files", has_actions=True, returns_from="actions", note="Made up.")
NOT_REQUESTED = "no update was requested for newer bars than the store has"
ENDING = {"AAA": 0, "BBB": 2, "CCC": 6}
"""How many of the last sessions each stored ticker lacks: none, some, and more than the limit allows."""


def stored(root: Path, name: str, terms: CollectionTerms, lacking: Mapping[str, int]) -> Collection:
    """A collection of tickers without their last sessions."""
    collection = open_collection(root, name, terms)
    for ticker, count in lacking.items():
        commit(collection, ticker, FetchedRows(ROWS.head(len(ROWS) - count), None, "USD", BEFORE))
    return collection


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home whose store has Yahoo's prices and the import "mine", both with tickers that end early."""
    settings = Settings(home=tmp_path)
    stored(settings.prices, YAHOO, YAHOO_TERMS, ENDING)
    stored(settings.prices, "mine", IMPORT_TERMS, ENDING)
    return settings


def opened(settings: Settings, collection: str = YAHOO) -> StoredPrices:
    source = open_source(StoredSource(collection=collection), settings.prices)
    assert isinstance(source, StoredPrices)
    return source


# --- Sources that are expected to be recent ---


def test_yahoo_s_prices_alone_are_expected_to_be_recent(settings: Settings) -> None:
    assert is_updated_from_yahoo(opened(settings))
    assert not is_updated_from_yahoo(opened(settings, "mine"))
    assert not is_updated_from_yahoo(open_source(SampleSource()))


def test_the_age_limit_is_the_given_one_or_yahoo_s_own(settings: Settings) -> None:
    assert age_limit(opened(settings), None) == YahooSource().max_age_sessions == 5
    assert age_limit(opened(settings), 2) == 2
    assert age_limit(opened(settings), 0) == 0
    assert age_limit(opened(settings, "mine"), None) is None
    assert age_limit(opened(settings, "mine"), 3) == 3
    assert age_limit(open_source(SampleSource()), None) is None


def test_a_run_is_as_of_the_instant_of_its_prices(settings: Settings) -> None:
    context = RunContext("run", settings, StageTimer(NoProgress()), unwrapped, None, NOW, NOW)
    assert context.as_of(StoredSource(as_known=BEFORE)).now == BEFORE
    for source in (StoredSource(), YahooSource(), SampleSource()):
        assert context.as_of(source).now == NOW


def test_prices_of_the_store_are_known_from_the_next_whole_second() -> None:
    now = datetime(2024, 6, 3, 12, 30, 5, 700_000, tzinfo=UTC)
    assert known_from(StoredSource(as_known=BEFORE), now) == BEFORE
    assert known_from(SampleSource(), now) is None
    assert known_from(SyntheticSource(process="random_walk"), now) is None
    for source in (StoredSource(), YahooSource()):
        assert known_from(source, now) == datetime(2024, 6, 3, 12, 30, 6, tzinfo=UTC)


# --- Old bars ---


def terms(source: StoredPrices, tickers: Iterable[str], limit: int | None = None) -> ValidationTerms:
    return terms_for(source, tickers, NOW, DEFAULT_MIN_SESSIONS, limit)


def validated_from(source: StoredPrices, tickers: tuple[str, ...], limit: int | None = None) -> ValidatedBars:
    return accepted(source, tickers, (), terms(source, tickers, limit))


def test_bars_that_end_early_are_old_where_no_update_was_requested(settings: Settings) -> None:
    validated = validated_from(opened(settings), tuple(ENDING), limit=5)
    assert old_bars(validated, NOW) == (Stale("BBB", str(SESSIONS.iloc[-3]), 2, NOT_REQUESTED),)
    assert [out.ticker for out in validated.excluded] == ["CCC"]
    assert "CCC" in validated.bars.tickers  # its bars stay, as on those days nobody could know


def test_a_ticker_that_the_validation_marks_as_old_is_not_reported_twice(settings: Settings) -> None:
    spoilt = ROWS.copy()
    spoilt.loc[len(spoilt) - 1, "low"] = -1.0
    source = opened(settings)
    commit(source.collection, "AAA", FetchedRows(spoilt, None, "USD", BEFORE + timedelta(hours=1)))
    validated = validated_from(source, ("AAA", "BBB"))
    assert [stale_bars.ticker for stale_bars in validated.stale] == ["AAA"]
    assert [stale.ticker for stale in old_bars(validated, NOW)] == ["BBB"]


def refreshed(ticker: str, state: UpdateState, age: int | None, reason: str = "429") -> UpdateResult:
    last = None if age is None else SESSIONS.iloc[-1 - age]
    return UpdateResult(ticker, state, last, age, reason=reason)


def test_a_ticker_that_is_not_up_to_date_is_stale_with_its_age_and_reason(settings: Settings) -> None:
    updates = (
        refreshed("AAA", UpdateState.CURRENT, 0, ""),
        refreshed("BBB", UpdateState.NOT_REFRESHED, 2),
        refreshed("DDD", UpdateState.BEHIND, 1, "the source has no bar"),
        refreshed("EEE", UpdateState.UPDATED, 0, ""),
        refreshed("FFF", UpdateState.RESTATED, 0, "dividend"),
        refreshed("CCC", UpdateState.NOT_REFRESHED, 6),
        refreshed("GONE", UpdateState.MISSING, None),
    )
    validated = validated_from(opened(settings), ("AAA",))
    stopped = ValidatedBars(validated.bars, (), (Exclusion("CCC", "too old"), Exclusion("GONE", "none")))
    assert stale_of(updates, stopped) == (
        Stale("BBB", str(SESSIONS.iloc[-3]), 2, "429"),
        Stale("DDD", str(SESSIONS.iloc[-2]), 1, "the source has no bar"),
    )


def test_a_ticker_is_stale_once_with_the_reason_of_the_validation(settings: Settings) -> None:
    by_validation = Stale("BBB", str(SESSIONS.iloc[-5]), 4, "its rows were quarantined")
    validated = ValidatedBars(validated_from(opened(settings), ("BBB",)).bars, (), (), (by_validation,))
    assert stale_of((refreshed("BBB", UpdateState.NOT_REFRESHED, 2),), validated) == (by_validation,)


def test_an_excluded_ticker_also_has_the_reason_why_it_was_not_updated() -> None:
    out, why = Exclusion("CCC", "too old"), {"CCC": "429", "GONE": "404"}
    assert with_reason(out, {"GONE"}, why) == Exclusion("CCC", "too old; 429")
    assert with_reason(Exclusion("GONE", "404"), {"GONE"}, why) == Exclusion("GONE", "404")
    assert with_reason(Exclusion("DDD", "short"), {"GONE"}, why) == Exclusion("DDD", "short")


def test_a_missing_ticker_is_excluded_with_the_reason_of_its_source(settings: Settings) -> None:
    source = opened(settings)
    updates = (
        refreshed("GONE", UpdateState.MISSING, None, "no such ticker"),
        refreshed("CCC", UpdateState.NOT_REFRESHED, 6),
    )
    names = ("AAA", "CCC", "GONE")
    found = {out.ticker: out.reason for out in accepted(source, names, updates, terms(source, names, 5)).excluded}
    assert set(found) == {"CCC", "GONE"}
    assert found["GONE"] == "no such ticker"
    assert "a last bar 6 sessions old, at most 5 are allowed" in found["CCC"]
    assert found["CCC"].endswith("; 429")


# --- 80 of 100 tickers refused ---


@dataclass(frozen=True)
class Refusing:
    """A source that returns the rows of some tickers, and refuses every other as a rate limit does."""

    served: frozenset[str]

    def fetch(self, requested: Mapping[str, date | None]) -> Iterator[tuple[str, FetchedRows | SourceError]]:
        for ticker, since in requested.items():
            rows = ROWS if since is None else ROWS[since <= SESSIONS].reset_index(drop=True)
            refused = SourceUnavailableError("HTTP 429, too many requests")
            yield ticker, FetchedRows(rows, since, "USD", NOW) if ticker in self.served else refused


HUNDRED = tuple(f"T{k:02}" for k in range(100))
REFUSED = HUNDRED[20:]


@pytest.mark.parametrize(("lacking", "excluded"), [(3, ()), (6, REFUSED)])
def test_of_a_hundred_tickers_eighty_refused_none_is_lost(
    tmp_path: Path, lacking: int, excluded: tuple[str, ...]
) -> None:
    collection = stored(tmp_path, YAHOO, YAHOO_TERMS, dict.fromkeys(HUNDRED, lacking))
    plan = plan_update(collection, HUNDRED, NOW, SESSIONS[0])
    updates = tuple(run_update(collection, Refusing(frozenset(HUNDRED[:20])), plan))
    assert {update.ticker for update in updates if update.state is UpdateState.NOT_REFRESHED} == set(REFUSED)
    source = StoredPrices(collection)
    validated = accepted(source, HUNDRED, updates, terms(source, HUNDRED, age_limit(source, None)))
    last = validated.bars.frame.groupby("ticker")["session"].last().dt.date.to_dict()
    assert last == {item: SESSIONS.iloc[-1 - lacking if item in REFUSED else -1] for item in HUNDRED}
    stale = stale_of(updates, validated)
    assert tuple(out.ticker for out in validated.excluded) == excluded
    assert {item.ticker for item in stale} == set(REFUSED) - set(excluded)
    assert {(item.age_sessions, item.reason) for item in stale} <= {(3, "HTTP 429, too many requests")}
    assert all("6 sessions old" in out.reason and "429" in out.reason for out in validated.excluded)


# --- Findings recorded when rows were fetched ---


def test_a_finding_recorded_at_a_fetch_is_reported_once(settings: Settings) -> None:
    source = opened(settings)
    split = problem_of("AAA", "unapplied_split", "2024-02-02", "older prices not divided", 20)
    other = problem_of("AAA", "currency", "2024-02-02", "EUR after USD")
    for hours, problems in enumerate([(split,), (split, other)]):
        commit(source.collection, "AAA", FetchedRows(ROWS, None, "USD", BEFORE + timedelta(hours=hours + 1), problems))
    assert recorded_problems(source, ("AAA", "BBB", "GONE")) == (split, other)
    assert recorded_problems(open_source(SampleSource()), ("AAPL",)) == ()


# --- All of it together ---


def loaded_from(settings: Settings, source: SourceSpec, *tickers: str) -> LoadedBars:
    """The bars that a run loads."""
    experiment = Experiment(source=source, tickers=tickers, device="cpu")

    context = RunContext("run", settings, StageTimer(NoProgress()), unwrapped, None, NOW, NOW)
    return load_accepted_bars(context, experiment)


def ages(stale: tuple[Stale, ...]) -> dict[str, int]:
    return {stale_bars.ticker: stale_bars.age_sessions for stale_bars in stale}


def test_stored_prices_of_yahoo_are_marked_or_excluded_by_their_age(settings: Settings) -> None:
    loaded = loaded_from(settings, StoredSource())
    assert loaded.stale == (Stale("BBB", str(SESSIONS.iloc[-3]), 2, NOT_REQUESTED),)
    (out,) = loaded.validated.excluded
    assert out.ticker == "CCC"
    assert "a last bar 6 sessions old, at most 5 are allowed" in out.reason
    longer = loaded_from(settings, StoredSource(max_age_sessions=6))
    assert (ages(longer.stale), longer.validated.excluded) == ({"BBB": 2, "CCC": 6}, ())
    shorter = loaded_from(settings, StoredSource(max_age_sessions=1), "AAA", "BBB")
    assert (shorter.stale, [out.ticker for out in shorter.validated.excluded]) == ((), ["BBB"])


def test_an_import_may_be_of_any_age_without_a_limit(settings: Settings) -> None:
    loaded = loaded_from(settings, StoredSource(collection="mine"))
    assert loaded.validated.bars.tickers == tuple(ENDING)
    assert (loaded.stale, loaded.validated.excluded) == ((), ())
    limited = loaded_from(settings, StoredSource(collection="mine", max_age_sessions=5))
    assert [out.ticker for out in limited.validated.excluded] == ["CCC"]


def test_a_run_on_yahoo_reports_the_reason_of_each_ticker_and_recorded_findings(settings: Settings) -> None:
    split = problem_of("AAA", "unapplied_split", "2024-02-02", "older prices not divided", 20)
    commit(opened(settings).collection, "AAA", FetchedRows(ROWS, None, "EUR", NOW, (split,)))
    loaded = loaded_from(settings, YahooSource(), "AAA", "A/B")  # nothing has to be requested
    (out,) = loaded.validated.excluded
    assert (out.ticker, "found 'A/B' as a ticker" in out.reason) == ("A/B", True)
    assert loaded.stale == ()
    assert split in loaded.validated.problems
    assert [listing.currency for listing in loaded.validated.bars.listings] == ["EUR"]
    assert loaded.known_at is not None
    assert loaded.note == YAHOO_TERMS.note


def test_where_no_name_can_be_a_ticker_every_reason_is_reported(settings: Settings) -> None:
    with pytest.raises(NothingUsableError, match=r"A/B: found 'A/B' .*; C/D: found 'C/D'") as caught:
        loaded_from(settings, YahooSource(), "A/B", "C/D")
    assert [out.ticker for out in caught.value.excluded if isinstance(out, Exclusion)] == ["A/B", "C/D"]


def test_the_validation_excludes_an_old_ticker_only_where_a_limit_is_given(settings: Settings) -> None:
    rows: dict[str, pd.DataFrame | SourceError] = {"CCC": ROWS.head(len(ROWS) - 6)}
    source = opened(settings)
    found = {limit: validate(rows, terms(source, rows, limit)) for limit in (None, 6, 5)}
    assert [len(loaded.excluded) for loaded in found.values()] == [0, 0, 1]
    (problem,) = [problem for problem in found[5].problems if problem.fatal]
    assert (problem.rule, problem.severity) == ("stale_tail", Severity.TICKER)
