"""The sanity suite in MLflow: one run with every number, its range and a red sign where it lies outside."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.sanity.checks import SanityCheck, sanity_table, verdict_sentence
from pipeline.tracking.runs import create_run, write_batches
from pipeline.tracking.store import Store, open_client, translated
from pipeline.tracking.tutorials import markdown, metric_name
from pipeline.tracking.values import Point
from pipeline.tracking.words import LONGEST_TAG, NOTE

KIND = "sanity"
CHECK_TABLE = "tables/sanity.json"
SIGNS: Mapping[bool, str] = {True: "🟢 in range", False: "🔴 **OUT OF RANGE**"}


def start_sanity(store: Store, seed: int, seeds: int) -> str:
    """Return the id of a new run, RUNNING, in which the suite is recorded; end it yourself."""
    with translated(store.uri, "start a run"):
        client = open_client(store.uri)
        tags = {
            "tapecast.kind": KIND,
            "mlflow.source.name": f"tapecast {KIND}",
            "mlflow.source.type": "JOB",
            NOTE: f"The sanity suite (seed {seed}): under way, nothing found yet.",
        }
        run_id = create_run(client, store, f"{KIND} seed {seed}", tags)
        write_batches(client, run_id, params={"seed": str(seed), "seeds": str(seeds)})
        return run_id


def log_checks(
    store: Store, run_id: str, checks: Sequence[SanityCheck], figures: Mapping[str, bytes], seconds: Mapping[str, float]
) -> None:
    """Write every check's number, range and whether it passed, the table, its sentence and figures into the run."""
    with translated(store.uri, f"write run {run_id}"):
        client = open_client(store.uri)
        points = [*_points(checks), *(Point(f"seconds/{metric_name(part)}", value) for part, value in seconds.items())]
        write_batches(client, run_id, points, tags={name: text[:LONGEST_TAG] for name, text in _tags(checks).items()})
        client.log_table(run_id, sanity_table(checks), CHECK_TABLE)
        with TemporaryDirectory() as folder:
            for name, png in figures.items():
                (Path(folder) / name).write_bytes(png)
            client.log_artifacts(run_id, folder, "figures")


def checks_note(checks: Sequence[SanityCheck]) -> str:
    """Return the description of the run as markdown: the verdict first, and red what is out of range."""
    shown = sanity_table(checks)
    shown["passed"] = [SIGNS[one.passed] for one in checks]
    return (
        f"**{verdict_sentence(checks)}**\n\n{markdown(shown)}\n\n"
        "Each number must lie from low to high, both included. Random walks and shuffled returns hold nothing to find; "
        "a share of the optimum above one means that something later was read. Where to look: Model metrics "
        f"`sanity/<check>/found`, `low`, `high` and `passed` (1 or 0); `{CHECK_TABLE}`; "
        '`figures/popular_accuracy.png`: the "accuracy" often claimed for a forecast price, of lines that know nothing.'
    )


def _points(checks: Sequence[SanityCheck]) -> Iterator[Point]:
    for one in checks:
        values = {"found": one.found, "low": one.low, "high": one.high, "passed": float(one.passed)}
        yield from (Point(f"sanity/{metric_name(one.name)}/{key}", value) for key, value in values.items())


def _tags(checks: Sequence[SanityCheck]) -> dict[str, str]:
    out = [one.name for one in checks if not one.passed]
    return {
        "tapecast.verdict": f"{len(checks) - len(out)} of {len(checks)} in range",
        "tapecast.verdict_sentence": verdict_sentence(checks),
        **({"tapecast.out_of_range": ", ".join(out)} if out else {}),
        NOTE: checks_note(checks),
    }
