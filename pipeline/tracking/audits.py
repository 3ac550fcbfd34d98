"""A leak audit in MLflow: what was compared of each stage, and the verdict."""

from collections.abc import Sequence

import pandas as pd

from pipeline.audit.result import AuditResult, audit_table
from pipeline.tracking.runs import write_batches
from pipeline.tracking.store import Store, open_client, translated
from pipeline.tracking.tutorials import markdown, metric_name
from pipeline.tracking.values import Point
from pipeline.tracking.words import LONGEST_TAG, NOTE


def log_audit(store: Store, run_id: str, verdicts: Sequence[AuditResult]) -> None:
    """Write the verdicts of an audit, one per calendar, into its run: counts, table, tags and description."""
    with translated(store.uri, f"write run {run_id}"):
        client = open_client(store.uri)
        points = [Point(f"audit/{metric_name(stage)}", sum(one.counts[stage] for one in verdicts))
                  for stage in verdicts[0].counts]  # fmt: skip
        points.append(Point("audit/leaks", sum(len(one.differences) for one in verdicts)))
        points.append(Point("audit/origins", sum(len(one.origins) for one in verdicts)))
        tags = {
            "tapecast.verdict": short_verdict(verdicts),
            "tapecast.verdict_sentence": " ".join(one.sentence for one in verdicts),
            NOTE: audit_note(verdicts),
        }
        write_batches(client, run_id, points, tags={name: text[:LONGEST_TAG] for name, text in tags.items()})
        client.log_table(run_id, whole_table(verdicts), "tables/audit.json")


def short_verdict(verdicts: Sequence[AuditResult]) -> str:
    """Return the verdict in a few words, for a column of the run list."""
    stages = dict.fromkeys(one.leak.stage for one in verdicts if one.leak)
    return f"leak in {', '.join(stages)}" if stages else "no leak found"


def whole_table(verdicts: Sequence[AuditResult]) -> pd.DataFrame:
    """Return the verdicts' tables below each other, with their calendar."""
    return pd.concat([audit_table(one).assign(calendar=one.calendar) for one in verdicts], ignore_index=True)


def audit_note(verdicts: Sequence[AuditResult]) -> str:
    """Return the description of an audit's run as markdown: the verdict first."""
    parts = []
    for one in verdicts:
        looked = "Looked from " + ", ".join(map(str, one.origins)) + "."
        parts += [f"**{one.sentence}**", markdown(audit_table(one)), looked, *one.remarks]
    return "\n\n".join(parts)
