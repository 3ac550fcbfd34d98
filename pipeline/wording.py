"""How numbers, dates, names and recurring sentences are written, on the terminal, on pages and in notes alike."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

UNDEFINED = "–"
MAX_NAMES = 6
MAX_SHARES = 4
COLUMN_GAP = " &nbsp;"  # MLflow draws tables without any space between columns; Prefect shows the entity as text


# --- Numbers ---


def percent(share: float, decimals: int = 1) -> str:
    """Return a share as per cent, a dash where undefined."""
    return f"{100 * share:.{decimals}f} %" if math.isfinite(share) else UNDEFINED


def size_percent(share: float, decimals: int = 2) -> str:
    """Return the size of a share as per cent, "less than 0.01 %" where it rounds to nothing; a dash where undefined."""
    smallest = 10.0**-decimals
    if 0 < 100 * abs(share) < smallest / 2:
        return f"less than {smallest:.{decimals}f} %"
    return percent(abs(share), decimals)


def chance(probability: float) -> str:
    """Return a probability as per cent; "95 % or more" where quantiles from 5 to 95 % give a bound only."""
    shown = percent(probability, 0)
    if probability >= 0.95 - 1e-9:
        return f"{shown} or more"
    return f"{shown} or less" if probability <= 0.05 + 1e-9 else shown


def wider(change: float) -> str:
    """Return the relative change of a width in words: "12 % wider", "as wide"."""
    shown = percent(abs(change), 0)
    return "as wide" if shown == "0 %" else f"{shown} {'wider' if change > 0 else 'narrower'}"


def signed_percent(share: float, decimals: int = 2) -> str:
    """Return a share as per cent with its sign, a dash where undefined."""
    return f"{100 * share:+.{decimals}f} %".replace("-", "−") if math.isfinite(share) else UNDEFINED


def skill(value: float | None) -> str:
    """Return a skill, 1 - loss / baseline loss, as "+0.21 %"; a dash where undefined or None."""
    return UNDEFINED if value is None else signed_percent(value)


def p_value(p: float | None) -> str:
    """Return "p = 0.031", "p < 0.001", or "p –" where undefined or None."""
    number = p_number(p)
    return f"p {number}" if number.startswith(("<", UNDEFINED)) else f"p = {number}"


def p_number(p: float | None) -> str:
    """Return a p-value without its "p", for a column that is headed so: "0.031", "< 0.001", or a dash."""
    if p is None or not math.isfinite(p):
        return UNDEFINED
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def adjusted_p_value(p: float, adjusted: float) -> str:
    """Return a p-value adjusted for the specifications tried, and what it was alone where that differs."""
    return p_value(p) if adjusted == p else f"{p_value(adjusted)} adjusted for what was tried, {p_value(p)} alone"


def plus_minus(value: float | None, form: str, factor: float = 1.0) -> str:
    """Return "± 0.31" of a standard error times `factor`, an empty string where undefined or None."""
    return "" if value is None or not math.isfinite(value) else f"± {factor * value:{form}}"


def signed(value: float, decimals: int = 2) -> str:
    """Return a number with its sign, without one where it rounds to zero; a dash where undefined."""
    if not math.isfinite(value):
        return UNDEFINED
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def basis_points(value: float) -> str:
    """Return a log return times 10,000, a dash where undefined."""
    return f"{1e4 * value:.2f}" if math.isfinite(value) else UNDEFINED


def decimal(value: float) -> str:
    """Return a number with four decimals, a dash where undefined."""
    return f"{value:.4f}" if math.isfinite(value) else UNDEFINED


def price(value: float) -> str:
    """Return a price with two decimals, or with four digits where it is below one."""
    return f"{value:,.2f}" if value >= 1 else f"{value:.4g}"


def count_of(number: int, noun: str) -> str:
    """Return "1 session", "2 sessions"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def counts_in_words(counts: Mapping[str, int]) -> str:
    """Return "3 clean, 1 usable" without those of which there is none; an empty string where there is nothing."""
    return ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)


def setting_value(value: object) -> str:
    """Return the value of a setting, numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return "0.4 s" below ten seconds, then "12 s", "3 min 20 s", "1 h 5 min"."""
    whole = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


# --- Dates, names and horizons ---


def day(session: object) -> str:
    """Return a date as 2013-03-01."""
    return str(np.datetime64(str(session), "D"))


def names(tickers: Sequence[str]) -> str:
    """Return the first MAX_NAMES names and the number of the others."""
    more = f" and {len(tickers) - MAX_NAMES} more" if len(tickers) > MAX_NAMES else ""
    return ", ".join(tickers[:MAX_NAMES]) + more


def model_in_words(model: str) -> str:
    """Return what is published within a sentence: "the network", "the combination", "the calibrated forecast"."""
    return {"network": "the network", "combined": "the combination"}.get(model, f"the {model} forecast")


def sessions_ahead(horizon: int) -> str:
    """Return "1 session ahead", "5 sessions ahead"."""
    return f"{count_of(horizon, 'session')} ahead"


def horizons_in_words(horizons: Sequence[int]) -> str:
    """Return "1 session ahead", "1 to 5 sessions ahead" or "1, 3 and 5 sessions ahead" of sorted horizons."""
    first, last = horizons[0], horizons[-1]
    if len(horizons) == 1:
        return sessions_ahead(first)
    if len(horizons) > 2 and last - first == len(horizons) - 1:
        return f"{first} to {last} sessions ahead"
    return f"{', '.join(map(str, horizons[:-1]))} and {last} sessions ahead"


# --- Sentences ---


def split_first_sentence(sentences: str) -> tuple[str, str]:
    """Return the first sentence and the rest."""
    first, mark, rest = sentences.partition(". ")
    return first + mark.rstrip(), rest


def mlflow_address(url: str) -> str:
    """Return the address of an MLflow run for plain text, with the command that starts the server."""
    return f"{url} (start it with `tapecast ui`)"


def mlflow_link(url: str, run_id: str) -> str:
    """Return the address of an MLflow run as a markdown link."""
    return f"[MLflow run {run_id}]({url})"


def exclusion_sentence(ticker: str, reason: str) -> str:
    """Return that a ticker was excluded, and why; `ticker` may carry markup."""
    return f"{ticker} was excluded: {reason}"


def stale_sentence(ticker: str, age_sessions: int, reason: str) -> str:
    """Return how old a ticker's last bar is, and why; `ticker` may carry markup."""
    return f"{ticker} is not up to date, its last bar is {count_of(age_sessions, 'session')} old: {reason}"


def restated_sentence(ticker: str, what: str) -> str:
    """Return that the source of a ticker changed what it had reported; `ticker` may carry markup."""
    return f"{ticker} was restated by its source: {what}"


def unseen_sentence(tickers: Sequence[str]) -> str:
    """Return that the model was not trained on these tickers; an empty string where there are none."""
    return f"The model was not trained on {', '.join(tickers)}." if tickers else ""


def age_sentence(age_sessions: int, horizons: int) -> str:
    """Return what the age of the oldest last close means for its forecast, an empty string where it is fresh."""
    if not age_sessions:
        return ""
    verb = "has" if age_sessions == 1 else "have"
    passed = "all" if age_sessions >= horizons else "part"
    return (
        f"{count_of(age_sessions, 'session')} {verb} closed since the oldest of these last closes: {passed} of the "
        f"forecast period of that ticker is already in the past."
    )


def relation_in_words(explained_share: float, error: float, p: str, horizon: int) -> str:
    """Return how much of the realised changes a related median explains, as the predicate of a sentence.

    `explained_share` is 1 - its squared error / that of a forecast that never moves. What errs more explains nothing,
    and how much more it errs is said instead. `error` is the standard error of the share, `p` how likely the relation
    is by chance, in words.
    """
    changes, size = f"the realised changes {sessions_ahead(horizon)}", size_percent(explained_share)
    bounds = plus_minus(error, ".2f", 100)
    if explained_share > 0:
        return f"explains {size} of the variance of {changes} ({f'{bounds} %, ' if bounds else ''}{p})"
    return (
        f"is related to {changes} ({p}), but as a point forecast it errs more: its squared error is {size} larger than "
        f"that of a forecast that never moves{f' ({bounds} %)' if bounds else ''}"
    )


def band_shares_sentence(shares: Mapping[str, float], horizon: int, when: str = "") -> str:
    """Return which forecasters a band comes from: "Of the 5-session band, 41 % comes from the network, ...".

    `shares` are sorted, the largest first: the MAX_SHARES largest and the network are named, and others where they are
    no more than one. `when` says of which sessions.
    """
    listed = [name for place, name in enumerate(shares) if place < MAX_SHARES or name == "network"]
    rest = [name for name in shares if name not in listed]
    if len(rest) == 1:
        listed, rest = [*listed, *rest], []
    parts = [f"{percent(shares[name], 0)} from {_member(name)}" for name in listed]
    if rest:
        parts.append(f"{percent(sum(shares[name] for name in rest), 0)} from {len(rest)} others")
    parts[0] = parts[0].replace(" from ", " comes from ", 1)
    together = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"Of the {horizon}-session band{f' {when}' if when else ''}, {together}."


def _member(name: str) -> str:
    return "the network" if name == "network" else name


def disk_in_words(tickers: int, versions: int, size_bytes: int, quarantined: int) -> str:
    """Return what a collection of the store takes: "2 tickers, 5 versions, 0.3 MB"."""
    damaged = f", {count_of(quarantined, 'damaged file')} quarantined" if quarantined else ""
    return f"{count_of(tickers, 'ticker')}, {count_of(versions, 'version')}, {size_bytes / 1e6:.1f} MB{damaged}"


# --- Tables ---


def text_table(frame: "pd.DataFrame") -> str:
    """Return a data frame as lines for a log; False is "NO", what is missing is empty, numbers have four digits."""
    flags = {str(name): frame[name].map({True: "yes", False: "NO"}) for name in frame.select_dtypes(bool)}
    return str(frame.assign(**flags).to_string(index=False, na_rep="", float_format=setting_value))


def markdown_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", column_gap: str = COLUMN_GAP
) -> str:
    """Return a table as markdown below its title, with space between its columns."""
    lines = [f"| {f'{column_gap} | '.join(cells)} |" for cells in (head, *rows)]
    table = "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
    return f"**{title}**\n\n{table}" if title else table


def markdown_frame(frame: "pd.DataFrame") -> str:
    """Return a data frame as a markdown table; False is bold, and what is missing is empty."""
    rows = frame.astype(object).to_numpy().tolist()
    return markdown_table(list(frame.columns), [[_frame_cell(value) for value in row] for row in rows])


def _frame_cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return "" if value is None or value != value else str(value)  # noqa: PLR0124  NaN is not itself
