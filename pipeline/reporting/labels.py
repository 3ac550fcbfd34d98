"""Labels of every value of the closed sets of names that the report renders; each Literal stays where it is computed.

A value without a label is a KeyError on the page, so a test goes through all values of every set.
"""

from collections.abc import Mapping

from pipeline.evaluation.comparisons import Conclusion
from pipeline.evaluation.echo import EchoName

ECHO_LABELS: Mapping[EchoName, str] = {
    "informs": "informs on direction",
    "too bold": "is related to what came, but moves too much",
    "no claim": "claims no direction",
    "unproven": "claims direction, unproven",
    "echo": "is an echo",
    "persistence": "is the last close",
}
"""What a forecaster's median is, as the end of a sentence."""

ECHO_COLOURS: Mapping[EchoName, str] = {
    "informs": "better",
    "too bold": "",
    "no claim": "",
    "unproven": "",
    "echo": "worse",
    "persistence": "",
}
"""Class of the style sheet; an empty string where a cell has no colour."""

SHIFT_LABELS: Mapping[int, str] = {
    -2: "one session before its origin",
    -1: "of its origin",
    0: "of its target session",
    1: "one session later",
    2: "two sessions later",
}
"""Which price a median lies closest to, by the shift of evaluation.echo.SHIFTS."""

COMPARISON_SYMBOLS: Mapping[Conclusion, str] = {"better": "▲", "no evidence": "○", "worse": "▼"}

REGIME_LABELS: Mapping[str, str] = {
    "calmest": "calmest fifth",
    "calm": "second fifth",
    "middle": "middle fifth",
    "turbulent": "fourth fifth",
    "most turbulent": "most turbulent fifth",
}
"""Fifths of the forecasts by relative volatility, by the names of evaluation.calibration.measures.REGIMES."""

RULE_LABELS: Mapping[str, str] = {
    "long_only": "long only",
    "long_short": "long and short",
    "volatility_target": "volatility target",
    "buy_and_hold": "buy and hold",
    "equal_weight": "equal weight",
}
"""Trading rules on a forecast, and the two passive portfolios."""

LOSS_LABELS: Mapping[str, str] = {
    "quantiles": "pinball loss in units of volatility",
    "point": "loss in units of volatility",
    "student_t": "negative log-likelihood in units of volatility",
    "mixture": "negative log-likelihood in units of volatility",
    "direction": "negative log-likelihood of the class",
}
"""Training losses by the kind of a network's head."""
