"""The outbox on disk: in order, held by one process, found again after a kill, and honest about a full disk."""

import json
import resource
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pipeline.tracking.outbox import (
    CALLS,
    DELIVERED,
    HEADER,
    RESUME_HOURS,
    Delivered,
    Header,
    Journal,
    left_journals,
    open_journal,
)
from pipeline.tracking.runs import Record

from .waiting import waiting_records

HERE, THERE = ("sqlite:////here.db", "tapecast"), ("http://there", "tapecast")
ROOT = Path(__file__).parents[2]
BEGIN_AND_DIE = """
import os, sys
from pathlib import Path
from pipeline.tracking.outbox import Header, open_journal
from pipeline.tracking.runs import Record
journal = open_journal(Path(sys.argv[1]), Header.new(sys.argv[2], "sqlite:////here.db", "tapecast"))
record = Record(journal)
record.start("a run", {})
record.child("fold").start("fold", {})
print(journal.header.id, flush=True)
with (journal.folder / "calls.jsonl").open("ab") as file:
    file.write(b'{"call": "log", "half')
os._exit(9)
"""


def begun(outbox: Path, job: str = "", address: tuple[str, str] = HERE) -> Journal:
    header = Header.new(job, *address)
    return open_journal(outbox, header if job else replace(header, job=header.id))


def killed(outbox: Path, job: str) -> str:
    """The id of a record whose process was killed while it wrote a line."""
    died = subprocess.run(
        [sys.executable, "-c", BEGIN_AND_DIE, str(outbox), job], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert died.returncode == 9, died.stderr
    return died.stdout.strip()


def left(outbox: Path, address: tuple[str, str] = HERE) -> list[str]:
    found = []
    for journal in left_journals(outbox, *address):
        found.append(journal.header.id)
        journal.release()
    return found


def test_records_are_found_in_the_order_in_which_they_were_begun(tmp_path: Path) -> None:
    journals = [begun(tmp_path) for _ in range(12)]
    assert [journal.folder.name[:6] for journal in journals] == [f"{number:06d}" for number in range(1, 13)]
    assert left(tmp_path) == [], "their process lives"
    for journal in journals:
        journal.release()
    assert left(tmp_path) == [journal.header.id for journal in journals]
    assert waiting_records(tmp_path) == 12


def test_a_record_goes_to_the_store_and_experiment_that_it_was_begun_for(tmp_path: Path) -> None:
    here, there = begun(tmp_path), begun(tmp_path, address=THERE)
    other = begun(tmp_path, address=(HERE[0], "another"))
    for journal in (here, there, other):
        journal.release()
    assert (left(tmp_path), left(tmp_path, THERE)) == ([here.header.id], [there.header.id])


def test_the_same_job_goes_on_after_a_kill_and_another_does_not(tmp_path: Path) -> None:
    record_id = killed(tmp_path, "backtest x")
    other = begun(tmp_path, "backtest y")
    assert other.header.id != record_id
    same = begun(tmp_path, "backtest x")
    assert same.header.id == record_id
    assert [call["call"] for call in same.pending] == ["start"], "what it had written it writes again"
    Record(same).end("FINISHED")
    same.release()
    assert begun(tmp_path, "backtest x").header.id != record_id, "it has ended"


def test_a_line_that_was_half_written_is_none_and_the_next_one_is_whole(tmp_path: Path) -> None:
    killed(tmp_path, "job")
    (journal,) = left_journals(tmp_path, *HERE)
    assert [call["run"] for call in journal.pending] == ["", "fold"]
    assert journal.open_runs == ["fold", ""]
    Record(journal).end("KILLED")
    lines = (journal.folder / CALLS).read_text().splitlines()
    assert [json.loads(line)["call"] for line in lines] == ["start", "start", "end"]
    journal.release()


def test_a_run_of_yesterday_is_not_continued(tmp_path: Path) -> None:
    journal = begun(tmp_path, "job")
    Record(journal).start("a run", {})
    old = replace(journal.header, began=journal.header.began - 3600 * (RESUME_HOURS + 1))
    (journal.folder / HEADER).write_text(json.dumps(asdict(old)))
    journal.release()
    assert begun(tmp_path, "job").header.id != journal.header.id


def test_progress_and_calls_are_read_again(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    record = Record(journal)
    record.start("a run", {"a": "b"})
    record.write(tags={"c": "d"})
    progress = Delivered(1, {"": "7"}, ("fold",), ("log: no",))
    journal.save(progress)
    journal.release()
    (again,) = left_journals(tmp_path, *HERE)
    assert again.delivered == progress
    assert again.pending == journal.pending == [{**again.pending[0], "call": "log", "tags": {"c": "d"}}]
    again.remove()
    assert waiting_records(tmp_path) == 0


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_progress_that_cannot_be_read_is_none(content: str, tmp_path: Path) -> None:
    journal = begun(tmp_path)
    Record(journal).start("a run", {})
    journal.save(Delivered(1, {"": "7"}))
    (journal.folder / DELIVERED).write_text(content)
    journal.release()
    (again,) = left_journals(tmp_path, *HERE)
    assert (again.delivered, len(again.pending)) == (Delivered(), 1)
    again.release()


def test_what_a_killed_removal_left_is_no_record_and_goes(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    Record(journal).start("a run", {})
    (journal.folder / HEADER).unlink()
    journal.release()
    assert list(left_journals(tmp_path, *HERE)) == []
    assert not journal.folder.exists()


def test_an_outbox_that_cannot_be_written_is_replaced_and_its_record_not_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = open_journal(tmp_path / "file" / "outbox", Header.new("job", *HERE))
    Record(journal).start("a run", {})
    assert not journal.kept
    assert len(journal.pending) == 1
    journal.remove()
    assert not journal.folder.parent.exists()


FULL = """
import resource, sys
from pathlib import Path
from pipeline.tracking.outbox import Header, left_journals, open_journal
from pipeline.tracking.runs import Record
journal = open_journal(Path(sys.argv[1]), Header.new("job", "sqlite:////here.db", "tapecast"))
record = Record(journal)
record.start("a run", {})
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
record.write(tags={"mlflow.note.content": "x" * 4900})
record.write(tags={"after": "y" * 900})
with record.files() as folder:
    (folder / "large").write_bytes(b"z" * 5000)
record.end("FINISHED")
assert not journal.kept and "File too large" in journal.missing
journal.release()
(again,) = left_journals(Path(sys.argv[1]), "sqlite:////here.db", "tapecast")
assert [call["call"] for call in again.pending] == ["start"]
print([call["call"] for call in journal.pending])
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit of file sizes here")
def test_a_disk_without_space_loses_what_a_later_run_would_deliver_and_raises_nothing(tmp_path: Path) -> None:
    command = ["import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)", FULL]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(command), str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(["start", "log", "log", "end"]), "in memory, to be delivered by this process"
