"""Digests of the ledger's chain as MLflow has them: a tag of the run that issued an entry."""

from dataclasses import dataclass

from mlflow.entities import Run, ViewType

from pipeline.tracking.descriptions import CHAIN_TAG
from pipeline.tracking.store import open_client, translated

LEDGER_TAG = "tapecast.ledger_head"


@dataclass(frozen=True)
class NotedHead:
    """An entry as a run has it: of which chain (the digest of its first entry, "" where unknown), place and digest."""

    run_id: str
    chain: str
    sequence: int
    digest: str


def ledger_tag(model: str, sequence: int, digest: str) -> dict[str, str]:
    """Return the tag of a run that issued an entry of a model name's chain."""
    return {LEDGER_TAG: f"{model} {sequence} {digest}"}


def heads_in_mlflow(uri: str, model: str) -> list[NotedHead]:
    """Return the entries of a model name that runs have as a tag, of every ledger and deleted runs too.

    Raises TrackingError where the store does not answer.
    """
    with translated(uri, "read the ledger's digests"):
        client = open_client(uri)
        experiments = [found.experiment_id for found in client.search_experiments(view_type=ViewType.ALL)]
        heads: list[NotedHead] = []
        token: str | None = None
        while True:
            tagged = f"tags.`{LEDGER_TAG}` LIKE '{model} %'"  # other names too: _ stands for any letter
            page = client.search_runs(experiments, tagged, ViewType.ALL, page_token=token)
            heads += [_head(run) for run in page if run.data.tags[LEDGER_TAG].split(" ")[0] == model]
            token = page.token
            if not token:
                return heads


def _head(run: Run) -> NotedHead:
    _, sequence, digest = run.data.tags[LEDGER_TAG].split(" ")
    return NotedHead(run.info.run_id, run.data.tags.get(CHAIN_TAG, ""), int(sequence), digest)
