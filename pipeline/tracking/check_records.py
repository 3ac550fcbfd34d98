"""The leak audit and the sanity suite in MLflow: numbers, tables and results."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from pipeline.audit.result import AuditResult, audit_table
from pipeline.sanity.checks import SanityCheck, sanity_sentence, sanity_table
from pipeline.tracking.descriptions import NOTE_TAG
from pipeline.tracking.metrics import MetricValue, metric_name
from pipeline.tracking.runs import Record
from pipeline.wording import markdown_frame

SANITY = "sanity"
SANITY_TABLE = "tables/sanity.json"


# --- Leak audit ---


def log_audit(record: Record, results: Sequence[AuditResult]) -> None:
    """Write the results of an audit, one per calendar, into its run: counts, table, tags and description."""
    counts = {stage: sum(result.counts[stage] for result in results) for stage in results[0].counts}
    values = [MetricValue(f"audit/{metric_name(stage)}", count) for stage, count in counts.items()]
    values.append(MetricValue("audit/leaks", sum(len(result.differences) for result in results)))
    values.append(MetricValue("audit/origins", sum(len(result.origins) for result in results)))
    tags = {
        "tapecast.verdict": short_audit_result(results),
        "tapecast.verdict_sentence": " ".join(result.sentence for result in results),
        NOTE_TAG: audit_note(results),
    }
    record.write(values, tags=tags)
    record.tables([("tables/audit.json", combined_audit_table(results))])


def short_audit_result(results: Sequence[AuditResult]) -> str:
    """Return the result in a few words, for a column of the run list."""
    stages = dict.fromkeys(result.leak.stage for result in results if result.leak)
    return f"leak in {', '.join(stages)}" if stages else "no leak found"


def combined_audit_table(results: Sequence[AuditResult]) -> pd.DataFrame:
    """Return the tables of all calendars below each other, with a column `calendar`."""
    tables = [audit_table(result).assign(calendar=result.calendar) for result in results]
    return pd.concat(tables, ignore_index=True)


def audit_note(results: Sequence[AuditResult]) -> str:
    """Return the description of an audit's run as markdown, the result first."""
    parts = []
    for result in results:
        origins = f"Origins: {', '.join(map(str, result.origins))}."
        parts += [f"**{result.sentence}**", markdown_frame(audit_table(result)), origins, *result.remarks]
    return "\n\n".join(parts)


# --- Sanity suite ---


def start_sanity(record: Record, seed: int, seeds: int) -> None:
    """Start the run in which the suite is recorded; the caller ends it."""
    tags = {
        "tapecast.kind": SANITY,
        "mlflow.source.name": f"tapecast {SANITY}",
        "mlflow.source.type": "JOB",
        NOTE_TAG: f"The sanity suite (seed {seed}): running, no results yet.",
    }
    record.start(f"{SANITY} seed {seed}", tags)
    record.write(params={"seed": str(seed), "seeds": str(seeds)})


def log_checks(
    record: Record, checks: Sequence[SanityCheck], figures: Mapping[str, bytes], seconds: Mapping[str, float]
) -> None:
    """Write value, range and outcome of every check, the table, its sentence and figures into the run."""
    durations = [MetricValue(f"seconds/{metric_name(part)}", value) for part, value in seconds.items()]
    record.write([*_check_values(checks), *durations], tags=_sanity_tags(checks))
    record.tables([(SANITY_TABLE, sanity_table(checks))])
    with record.files() as folder:
        (folder / "figures").mkdir()
        for name, png in figures.items():
            (folder / "figures" / name).write_bytes(png)


def checks_note(checks: Sequence[SanityCheck]) -> str:
    """Return the description of the run as markdown: the result first, checks out of range in red."""
    table = sanity_table(checks)
    table["passed"] = [f"🟢 {check.result}" if check.passed else f"🔴 **{check.result}**" for check in checks]
    return (
        f"**{sanity_sentence(checks)}**\n\n{markdown_frame(table)}\n\n"
        "Each value must lie from low to high, both included. Random walks and shuffled returns have nothing to find; "
        "a share of the optimum above one means that later data was read. Contents: Model metrics "
        f"`sanity/<check>/found`, `low`, `high` and `passed` (1 or 0); `{SANITY_TABLE}`; "
        '`figures/popular_accuracy.png`: the "accuracy" often claimed for forecast prices, of lines without any skill.'
    )


def _check_values(checks: Sequence[SanityCheck]) -> Iterator[MetricValue]:
    for check in checks:
        values = {"found": check.found, "low": check.low, "high": check.high, "passed": float(check.passed)}
        yield from (MetricValue(f"sanity/{metric_name(check.name)}/{key}", value) for key, value in values.items())


def _sanity_tags(checks: Sequence[SanityCheck]) -> dict[str, str]:
    failed = [check.name for check in checks if not check.passed]
    return {
        "tapecast.verdict": f"{len(checks) - len(failed)} of {len(checks)} in range",
        "tapecast.verdict_sentence": sanity_sentence(checks),
        **({"tapecast.out_of_range": ", ".join(failed)} if failed else {}),
        NOTE_TAG: checks_note(checks),
    }
