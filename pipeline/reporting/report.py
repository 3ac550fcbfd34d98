"""The report: one HTML file that a person reads in the morning, with everything in it."""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.files import write_whole
from pipeline.operation.result import CalendarResult
from pipeline.reporting.page import page_values

REPORT = "report.html"


def write_report(outcome: CalendarResult, figures: Mapping[str, bytes], folder: Path, mlflow_url: str | None) -> Path:
    """Return the path of the report, written whole into the folder; raises UsageError if it cannot be written."""
    path = folder / REPORT
    # A ticker may hold half a surrogate pair, which no file can.
    content = report_html(outcome, figures, mlflow_url).encode("utf-8", "replace")
    write_whole(path, content)
    return path


def report_html(outcome: CalendarResult, figures: Mapping[str, bytes], mlflow_url: str | None) -> str:
    """Return the report as HTML that loads nothing from anywhere."""
    pictures = {name: f"data:image/png;base64,{b64encode(png).decode()}" for name, png in figures.items()}
    template = _templates().get_template("report.html.jinja")
    return template.render(page_values(outcome), pictures=pictures, mlflow_url=mlflow_url)


def _templates() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
