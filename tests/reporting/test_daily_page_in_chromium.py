"""The daily page as a browser shows it: on a phone and a desk, with and without its script, and what axe finds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from pipeline.reporting.daily_page import daily_html, day_summary, index_html

from .chromium import chromium
from .daily_pages import ORIGIN, made_page

WIDTHS = (390, 1300)
SERIOUS = {"serious", "critical"}
TICKERS = (*(f"T{k:02d}" for k in range(24)), "LONGESTNAME-OF.ALL-TICKERS.NS")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the index of days and one day, of which a ticker had nothing said for it and one had no close."""
    day = made_page(TICKERS)
    first, second = (row.past for row in day.rows[:2])
    assert first is not None
    assert second is not None
    rows = (
        replace(day.rows[0], past=None, change=None),
        replace(day.rows[1], past=replace(second, actual=None), age_sessions=3),
        replace(day.rows[2], past=replace(first, actual=first.high * 1.5)),
        *day.rows[3:],
    )
    folder = tmp_path_factory.mktemp("daily")
    (folder / ORIGIN).mkdir()
    (folder / ORIGIN / "index.html").write_text(daily_html(replace(day, rows=rows)))
    (folder / "index.html").write_text(index_html("daily", [day_summary(day)]))
    return folder


@contextmanager
def opened(browser: Browser, path: Path, width: int = 1300, **options: Any) -> Iterator[Page]:
    """A page at a width; no request may leave it, and nothing may be said on the console."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    requests, said = list[str](), list[str]()
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    try:
        page.goto(path.as_uri())
        yield page
        assert said == []
        assert {url for url in requests if not url.startswith(("file:", "data:"))} == set()
        assert len([url for url in requests if url.startswith("file:")]) == 1
    finally:
        context.close()


def open_all_details(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(it => it.open = true)")


def serious_findings(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{it['id']}: {it['nodes'][0]['html']}" for it in found if it["impact"] in SERIOUS]


def shown(page: Page) -> list[str]:
    """The tickers that are shown, in their order."""
    return [str(row.get_attribute("data-n")) for row in page.locator(".tickers tbody tr:visible").all()]


def values(page: Page, column: int) -> list[str | None]:
    """What a column is sorted by, in the order of the rows."""
    return [row.locator("th, td").nth(column).get_attribute("data-v") for row in page.locator("tbody tr[data-n]").all()]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [f"{ORIGIN}/index.html", "index.html"])
def test_it_fits_the_screen_and_axe_finds_nothing_serious(
    browser: Browser, folder: Path, name: str, width: int, scheme: str
) -> None:
    with opened(browser, folder / name, width, color_scheme=scheme) as page:
        open_all_details(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wider = (
            "[...document.querySelectorAll('.wide, table, tr, td')].filter(it => it.scrollWidth > it.clientWidth + 1)"
        )
        assert page.evaluate(f"{wider}.map(it => it.outerHTML.slice(0, 200))") == []
        assert serious_findings(page) == []


def test_a_phone_shows_a_card_per_ticker(browser: Browser, folder: Path) -> None:
    with opened(browser, folder / ORIGIN / "index.html", 390) as page:
        boxes = [row.bounding_box() for row in page.locator(".tickers tbody tr").all()]
        assert all(box is not None and 300 < box["width"] <= 390 and box["height"] > 150 for box in boxes)
        card = page.locator("tr[data-n=T03]")
        assert card.locator(".when").first.is_visible(), "each band has its session"
        label = "getComputedStyle(document.querySelector('td.t'), '::before').content"
        assert page.evaluate(label) == '"Said for today"'
    with opened(browser, folder / ORIGIN / "index.html", 1300) as page:
        assert not page.locator("tr[data-n=T03] .when").first.is_visible(), "it stands in the head of the column"


def test_a_search_shows_the_tickers_that_it_names(browser: Browser, folder: Path) -> None:
    with opened(browser, folder / ORIGIN / "index.html", 390) as page:
        box = page.get_by_label("Find tickers")
        box.fill("t01, longest")
        assert shown(page) == ["T01", "LONGESTNAME-OF.ALL-TICKERS.NS"]
        assert page.get_by_role("status").inner_text() == "2 of 25 tickers"
        box.fill("<b>")
        assert shown(page) == []
        box.fill(" ")
        assert shown(page) == list(TICKERS)
        assert page.get_by_role("status").inner_text() == ""


@pytest.mark.parametrize(("head", "column"), [("Last close", 1), ("Rises", 7), ("Since yesterday", 8), ("Said", 9)])
def test_a_heading_sorts_and_sorts_back_and_what_is_not_known_is_last(
    browser: Browser, folder: Path, head: str, column: int
) -> None:
    with opened(browser, folder / ORIGIN / "index.html") as page:
        button = page.locator("thead button", has_text=head)
        for direction in ("ascending", "descending"):
            button.click()
            found = values(page, column)
            known = [float(it) for it in found if it is not None]
            assert known == sorted(known, reverse=direction == "descending")
            assert found[: len(known)].count(None) == 0
            assert page.locator("[aria-sort]").count() == 1
            assert page.locator(f"[aria-sort={direction}]").inner_text().startswith(head)
        page.locator("thead button", has_text="Ticker").click()
        assert shown(page) == sorted(TICKERS)


def test_the_largest_miss_is_first_where_what_came_is_sorted_downwards(browser: Browser, folder: Path) -> None:
    with opened(browser, folder / ORIGIN / "index.html") as page:
        page.locator("thead button", has_text="Said").click(click_count=2)
        assert shown(page)[0] == "T02"
        assert shown(page)[-1] in {"T00", "T01"}


@pytest.mark.parametrize("script", [True, False])
def test_a_row_opens_and_all_is_read_without_a_script(browser: Browser, folder: Path, script: bool) -> None:
    with opened(browser, folder / ORIGIN / "index.html", java_script_enabled=script) as page:
        more = page.locator("tr[data-n=T03] .more")
        assert (more.count(), more.first.is_visible()) == (10, False)
        page.locator("tr[data-n=T03] summary").click()
        assert more.first.is_visible()
        assert not page.locator("tr[data-n=T04] .more").first.is_visible()
        assert shown(page) == list(TICKERS)
        assert page.get_by_label("Find tickers").is_visible() is script
        assert page.locator("thead button").count() == (6 if script else 0)


def test_the_index_leads_to_the_day(browser: Browser, folder: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto((folder / "index.html").as_uri())
    page.locator("tbody a").click()
    assert page.title() == f"Forecast from {ORIGIN}, model daily"
    page.get_by_role("link", name="All days").click()
    assert page.title() == "Daily pages of model daily"
    context.close()


def test_the_policy_stops_any_other_script_and_style(browser: Browser, folder: Path, tmp_path: Path) -> None:
    text = (folder / ORIGIN / "index.html").read_text()
    (path := tmp_path / "index.html").write_text(
        text.replace("</main>", "<script>window.foreign = 1</script><p style='color: red'>x</p></main>")
    )
    context = browser.new_context()
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(path.as_uri())
    assert page.evaluate("window.foreign") is None
    assert len([text for text in refused if "Content Security Policy" in text]) == 2
    assert page.get_by_label("Find tickers").is_visible(), "the page's own script runs"
    context.close()
