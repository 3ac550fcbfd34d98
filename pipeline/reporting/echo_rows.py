"""Is the point forecast more than yesterday's price? What was found of the model, and of every median beside it."""

from pipeline.evaluation.echo import RELATED, Echo
from pipeline.evaluation.evaluation import Evaluation
from pipeline.reporting.calibration_rows import corrected_or_not
from pipeline.reporting.tables import Cell, Column, Row, TableOf, table_of
from pipeline.wording import UNDEFINED, p_value, percent

COLUMNS = (
    Column("Its median"),
    Column("Moves as if it explained", "of what prices do"),
    Column("Goes with what came", f"p, one-sided; up to {RELATED:g} is not chance"),
    Column("Lies closest to", "the price"),
)
NAMES_IN_WORDS = {
    "informs": "informs on direction",
    "no claim": "claims no direction",
    "unproven": "claims, unproven",
    "echo": "is an echo",
    "persistence": "is the last close",
}
SHIFTS_IN_WORDS = {
    -2: "one session before",
    -1: "it was made from",
    0: "it was made for",
    1: "one session later",
    2: "two sessions later",
}


def echo_sentences(evaluation: Evaluation) -> list[str]:
    """Return what was found of the network's medians, each sentence once where correction changes nothing."""
    sides = corrected_or_not(evaluation.backtest)
    own = {name: evaluation.echoes[name] for name in sides}
    model = own.pop(evaluation.verdict.model)
    return [model.sentence, *(echo.sentence for echo in own.values() if echo.name != model.name)]


def echo_table(evaluation: Evaluation) -> TableOf:
    """Return a row per forecaster: what its median is one session ahead, and what that was read from."""
    model = evaluation.verdict.model
    rows = [Row(name, _cells(echo), marked=name == model) for name, echo in evaluation.echoes.items()]
    return table_of("Echo", "Forecaster", COLUMNS, rows, "The median one session ahead, all tickers together")


def _cells(echo: Echo) -> tuple[Cell, ...]:
    related = UNDEFINED if echo.name == "persistence" else p_value(echo.relation_p)
    colour = "worse" if echo.name == "echo" else "better" if echo.name == "informs" else ""
    return (
        Cell(NAMES_IN_WORDS[echo.name], colour=colour),
        Cell(percent(echo.moved_share)),
        Cell(related),
        Cell(SHIFTS_IN_WORDS[echo.best_shift]),
    )


def echo_in_short(echo: Echo) -> str:
    """Return what the median is in a few words, for one line."""
    return f"{echo.name}: the median moves as if it explained {percent(echo.moved_share)} of what prices do"
