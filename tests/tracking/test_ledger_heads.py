"""The ledger's digests as tags of runs: read again by model name, from deleted runs too."""

import pytest
from mlflow.tracking import MlflowClient

from pipeline.errors import TrackingError
from pipeline.tracking.descriptions import CHAIN_TAG
from pipeline.tracking.ledger_heads import NotedHead, heads_in_mlflow, ledger_tag
from pipeline.tracking.store import Store

from .conftest import THIRD_PARTY

pytestmark = THIRD_PARTY


def test_digests_are_read_by_model_name(store: Store) -> None:
    client = MlflowClient(store.uri)
    runs = {}
    for model, sequence in (("us_1", 1), ("us_1", 2), ("us-1", 1), ("US_1", 1), ("us_1-other", 1)):
        tags = ledger_tag(model, sequence, f"{sequence}" * 64) | ({CHAIN_TAG: "c"} if sequence == 2 else {})
        runs[model, sequence] = client.create_run(store.experiment_id, tags=tags).info.run_id
    deleted = client.create_run(store.experiment_id, tags=ledger_tag("us_1", 3, "3" * 64)).info.run_id
    client.delete_run(deleted)
    assert sorted(heads_in_mlflow(store.uri, "us_1"), key=lambda it: it.sequence) == [
        NotedHead(runs["us_1", 1], "", 1, "1" * 64),
        NotedHead(runs["us_1", 2], "c", 2, "2" * 64),
        NotedHead(deleted, "", 3, "3" * 64),
    ]
    assert [it.run_id for it in heads_in_mlflow(store.uri, "us-1")] == [runs["us-1", 1]]
    assert heads_in_mlflow(store.uri, "nobody") == []


def test_a_store_that_does_not_answer_is_a_tracking_error() -> None:
    with pytest.raises(TrackingError, match="read the ledger's digests"):
        heads_in_mlflow("postgresql+nosuchdriver://127.0.0.1:1/x", "daily")
