"""How numbers, dates and names are written for people."""

import math
from collections.abc import Sequence

import numpy as np

UNDEFINED = "–"
MOST_NAMES = 6


def percent(share: float, decimals: int = 1) -> str:
    """Return a share as per cent, a dash where undefined."""
    return f"{100 * share:.{decimals}f} %" if math.isfinite(share) else UNDEFINED


def signed_percent(share: float, decimals: int = 2) -> str:
    """Return a share as per cent with its sign, a dash where undefined."""
    return f"{100 * share:+.{decimals}f} %".replace("-", "−") if math.isfinite(share) else UNDEFINED


def plus_minus(value: float, form: str, factor: float = 1.0) -> str:
    """Return "± 0.31" of a standard error times `factor`, nothing where undefined."""
    return f"± {factor * value:{form}}" if math.isfinite(value) else ""


def signed(value: float, decimals: int = 2) -> str:
    """Return a number with its sign, which a zero has not; a dash where undefined."""
    if not math.isfinite(value):
        return UNDEFINED
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def ahead(horizon: int) -> str:
    """Return "1 session ahead", "5 sessions ahead"."""
    return f"{count_of(horizon, 'session')} ahead"


RULES_IN_WORDS = {
    "long_only": "long only",
    "long_short": "long and short",
    "volatility_target": "volatility target",
    "buy_and_hold": "buy and hold",
    "equal_weight": "equal weight",
}


def rule_in_words(rule: str) -> str:
    """Return the name of a trading rule or benchmark as people say it."""
    return RULES_IN_WORDS.get(rule, rule.replace("_", " "))


def model_in_words(model: str) -> str:
    """Return the model's name within a sentence: "the network", "the calibrated network"."""
    return "the network" if model == "network" else f"the {model} network"


def basis_points(value: float) -> str:
    """Return a log return times 10,000, a dash where undefined."""
    return f"{1e4 * value:.2f}" if math.isfinite(value) else UNDEFINED


def decimal(value: float) -> str:
    """Return a number with four decimals, a dash where undefined."""
    return f"{value:.4f}" if math.isfinite(value) else UNDEFINED


def p_value(p: float) -> str:
    """Return "p = 0.031", "p < 0.001", or a dash where undefined."""
    if not math.isfinite(p):
        return f"p {UNDEFINED}"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def price(value: float) -> str:
    """Return a price with two decimals, or four digits where it is below one."""
    return f"{value:,.2f}" if value >= 1 else f"{value:.4g}"


def day(session: object) -> str:
    """Return a date as 2013-03-01."""
    return str(np.datetime64(str(session), "D"))


def names(tickers: Sequence[str]) -> str:
    """Return the first names and how many more there are."""
    more = f" and {len(tickers) - MOST_NAMES} more" if len(tickers) > MOST_NAMES else ""
    return ", ".join(tickers[:MOST_NAMES]) + more


def count_of(number: int, noun: str) -> str:
    """Return "1 session", "2 sessions"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
