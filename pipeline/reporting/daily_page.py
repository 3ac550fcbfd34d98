"""The daily page: what tomorrow looks like and how yesterday's forecast did, as one HTML file, as JSON and as CSV."""

import csv
import json
import math
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.reporting.daily_record import Record, further_tables, latest_coverage, live_sessions, main_tables
from pipeline.reporting.daily_rows import BAND, HitCount, TickerRow, hit_count
from pipeline.wording import chance, count_of, percent, price, signed_percent, wider

HERE = Path(__file__).parent
CSV_COLUMNS = (
    *("ticker", "calendar", "currency", "as_of", "horizon", "target_session", "forecaster", "reference_close"),
    *("age_sessions", *QUANTILE_COLUMNS, "rise_probability"),
)


@dataclass(frozen=True)
class NamedReason:
    """A ticker, what is the matter with it, and since when or how old where that is known."""

    ticker: str
    reason: str
    since: str = ""


@dataclass(frozen=True)
class DataState:
    """The state of a calendar's prices: how many completed sessions are missing, and what is wrong with which ticker.

    `quarantined` are the newest findings for which rows were left unused, of `quarantined_count` in all.
    """

    behind_sessions: int
    excluded: tuple[NamedReason, ...] = ()
    stale: tuple[NamedReason, ...] = ()
    restated: tuple[NamedReason, ...] = ()
    quarantined: tuple[NamedReason, ...] = ()
    quarantined_count: int = 0


@dataclass(frozen=True)
class ModelState:
    """The model version of a calendar: its number, and in sentences its backtest, its takeover and its next refit."""

    version: int
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class CalendarDay:
    """One calendar's day; `live` and `promise` are tables of the live record and of the backtest's as JSON.

    `report` is the address of the report relative to the page, `mlflow_url` that of the MLflow run.
    """

    calendar: str
    origin: str
    model: ModelState
    data: DataState
    live: Record | None
    promise: Record | None
    done: tuple[str, ...] = ()  # what the run did, in sentences
    warnings: tuple[str, ...] = ()
    report: str | None = None
    mlflow_url: str | None = None


@dataclass(frozen=True)
class DailyPage:
    """All that the page of a day shows: `day` is its newest origin, `made_at` is in UTC, `refit` a sentence."""

    model: str
    day: str
    made_at: str
    status: str
    rows: tuple[TickerRow, ...]
    calendars: tuple[CalendarDay, ...]
    refit: str
    warnings: tuple[str, ...] = ()
    failed: tuple[NamedReason, ...] = ()

    @property
    def hits(self) -> HitCount:
        """How many closes lay within what was said for them."""
        return hit_count(self.rows)

    @property
    def warning_count(self) -> int:
        """How many warnings there are, of the run and of its calendars."""
        return len(self.warnings) + sum(len(it.warnings) for it in self.calendars)

    @property
    def oldest_sessions(self) -> int:
        """The age of the oldest last close."""
        return max((row.age_sessions for row in self.rows), default=0)


@dataclass(frozen=True)
class DaySummary:
    """A line of the index of days; coverage is that of the shortest live window, of the calendar that has most."""

    day: str
    status: str
    tickers: int
    hits: int
    known: int
    versions: tuple[int, ...]
    coverage: float | None


def day_summary(page: DailyPage) -> DaySummary:
    """Return the line of a page in the index of days."""
    longest = max(page.calendars, key=lambda it: live_sessions(it.live), default=None)
    return DaySummary(
        day=page.day,
        status=page.status,
        tickers=len(page.rows),
        hits=page.hits.hits,
        known=page.hits.known,
        versions=tuple(sorted({it.model.version for it in page.calendars})),
        coverage=latest_coverage(longest.live) if longest else None,
    )


# --- HTML ---


def daily_html(page: DailyPage) -> str:
    """Return the page as HTML that loads nothing, whose one style and one script are allowed by their digests."""
    tables = [(main_tables(it.live, it.promise), further_tables(it.live, it.promise)) for it in page.calendars]
    horizons = max((len(row.sessions) for row in page.rows), default=0)
    return _rendered(
        "daily_page.html.jinja",
        page=page,
        tables=tables,
        horizons=horizons,
        common=_usual_sessions(page.rows, horizons),
        several=len(page.calendars) > 1,
        hit_sentence=hit_sentence(page),
        band=BAND,
    )


def index_html(model: str, days: Sequence[DaySummary]) -> str:
    """Return the index of days, the newest first."""
    newest_first = sorted(days, key=lambda it: it.day, reverse=True)
    return _rendered("days_index.html.jinja", model=model, days=newest_first)


def hit_sentence(page: DailyPage) -> str:
    """Return how many closes came within their bands, in words; an empty string where none came."""
    found = page.hits
    if not found.known:
        return ""
    days = sorted({row.past.target_session for row in page.rows if row.past})
    return (
        f"Of {count_of(found.known, 'close')} of {' and '.join(days)}, {found.hits:,} ({percent(found.share, 0)}) came "
        f"within the {BAND} % band that was said for that session. Tickers move together: a single day may be "
        f"far from {BAND} %, the live record should not."
    )


def _usual_sessions(rows: Sequence[TickerRow], horizons: int) -> tuple[str, ...]:
    """Return the target sessions by horizon that most tickers share."""
    counted = Counter(tuple(it.target_session for it in row.sessions) for row in rows if len(row.sessions) == horizons)
    return counted.most_common(1)[0][0] if counted else ()


def _rendered(template: str, **values: object) -> str:
    style, script = style_text(), (HERE / "daily_page.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src '{digest_source(style)}'; script-src '{digest_source(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        price=price, percent=percent, signed_percent=signed_percent, count_of=count_of, chance=chance, wider=wider
    )
    # Both are files of this package, and no value of a day is in them.
    texts = {"style": Markup(style), "script": Markup(script)}  # noqa: S704
    return environment.get_template(template).render(policy=policy, **texts, **values)


def style_text() -> str:
    """Return the style sheet of the report and what the daily page adds to it."""
    of_report = (HERE / "style.html.jinja").read_text(encoding="utf-8").strip()
    inner = of_report.removeprefix("<style>").removesuffix("</style>")
    return inner + (HERE / "daily_page.css").read_text(encoding="utf-8")


def digest_source(text: str) -> str:
    """Return the source expression of a Content-Security-Policy that allows an inline text (CSP level 2, 4.2.5)."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


# --- JSON and CSV ---


def page_json(page: DailyPage) -> str:
    """Return all values of the page as a JSON object; what is not known is null."""
    rows = [{**asdict(row), "outcome": row.past.outcome if row.past else None} for row in page.rows]
    values = {**asdict(page), "rows": rows, "hits": asdict(page.hits), "levels": list(QUANTILE_COLUMNS)}
    return json.dumps(_known(values), ensure_ascii=False)


def _known(value: Any) -> Any:
    """Return a value with None for each number that is not finite, which JSON cannot say."""
    if isinstance(value, dict):
        return {name: _known(it) for name, it in value.items()}
    if isinstance(value, list | tuple):
        return [_known(it) for it in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def forecasts_csv(rows: Sequence[TickerRow]) -> str:
    """Return a line per ticker and session, CSV_COLUMNS; prices with all their digits."""
    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        for it in row.sessions:
            named = (row.ticker, row.calendar, row.currency, row.as_of, it.horizon, it.target_session, it.forecaster)
            writer.writerow(
                [*named, row.reference_close, row.age_sessions, *it.quantiles, round(it.rise_probability, 4)]
            )
    return text.getvalue()
