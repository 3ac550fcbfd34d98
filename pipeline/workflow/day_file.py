"""The file of a day: what was issued, graded and recorded for a model and calendar, as JSON."""

import json
from dataclasses import asdict
from pathlib import Path

from pipeline.files import write_whole
from pipeline.operation.environment import this_environment
from pipeline.operation.ledger.entries import Entry
from pipeline.settings import Settings
from pipeline.workflow.daily_result import DailyCalendar, calendar_from_json
from pipeline.workflow.result import JsonObject


def day_file(settings: Settings, name: str, calendar: str, origin: str) -> Path:
    """Return the path of the day's JSON: what was issued, with the digest of the ledger's last entry."""
    return settings.days / name / f"{origin}-{calendar.replace('/', '-')}.json"


def write_day(settings: Settings, name: str, calendar: DailyCalendar) -> None:
    """Write the day's JSON of a calendar."""
    path = day_file(settings, name, calendar.calendar, calendar.origin)
    # A run that died before it wrote the file leaves no list of what it issued; the ledger's last entry is known.
    noted = calendar.issued or ([calendar.entry] if calendar.entry else [])
    heads = [{"sequence": row["sequence"], "digest": row["digest"]} for row in noted]
    content = {"model": name, "ledger": heads, **asdict(calendar), "environment": asdict(this_environment())}
    write_whole(path, json.dumps(content, indent=1).encode())


def read_day(settings: Settings, name: str, calendar: DailyCalendar) -> DailyCalendar | None:
    """Return what an earlier run of the same day wrote, None where none did or its file cannot be read."""
    try:
        return calendar_from_json(json.loads(day_file(settings, name, calendar.calendar, calendar.origin).read_text()))
    except (OSError, ValueError, TypeError, KeyError):  # the ledger has what was issued; the file is written again
        return None


def read_stages(settings: Settings, entry: Entry) -> dict[str, str]:
    """Return the digests of the stages that the days' files have of an entry of the ledger, none where they are gone.

    A session that was issued late is in the file of a later day.
    """
    known = entry.provenance
    first = day_file(settings, known.model, known.calendar, entry.last_origin.isoformat())
    for path in sorted(first.parent.glob(f"*{first.name.removeprefix(entry.last_origin.isoformat())}")):
        if path.name >= first.name:
            for row in _issued_in(path):
                if row.get("sequence") == entry.sequence:
                    return dict(row.get("stages", {}))
    return {}


def _issued_in(path: Path) -> list[JsonObject]:
    try:
        return list(json.loads(path.read_text())["issued"])
    except (OSError, ValueError, TypeError, KeyError):
        return []
