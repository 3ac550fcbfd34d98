"""Digests of the ledger's chain as MLflow has them: a tag of the run that issued an entry."""

from mlflow.entities import ViewType

from pipeline.tracking.store import open_client, translated

LEDGER_TAG = "tapecast.ledger_head"


def ledger_tag(model: str, sequence: int, digest: str) -> dict[str, str]:
    """Return the tag of a run that issued an entry of a model name's chain."""
    return {LEDGER_TAG: f"{model} {sequence} {digest}"}


def heads_in_mlflow(uri: str, model: str) -> dict[int, str]:
    """Return sequence -> digest of the entries of a model name that runs have as a tag, deleted runs too.

    Raises TrackingError where the store does not answer.
    """
    with translated(uri, "read the ledger's digests"):
        client = open_client(uri)
        experiments = [found.experiment_id for found in client.search_experiments(view_type=ViewType.ALL)]
        heads: dict[int, str] = {}
        token: str | None = None
        while True:
            tagged = f"tags.`{LEDGER_TAG}` LIKE '{model} %'"
            page = client.search_runs(experiments, tagged, ViewType.ALL, page_token=token)
            heads |= dict(_entry(run.data.tags[LEDGER_TAG]) for run in page)
            token = page.token
            if not token:
                return heads


def _entry(tag: str) -> tuple[int, str]:
    _, sequence, digest = tag.split(" ")
    return int(sequence), digest
