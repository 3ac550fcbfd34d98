"""The ledger's digests as tags of runs: read again by model name, from deleted runs too."""

import pytest
from mlflow.tracking import MlflowClient

from pipeline.errors import TrackingError
from pipeline.tracking.ledger_heads import heads_in_mlflow, ledger_tag
from pipeline.tracking.store import Store

from .conftest import THIRD_PARTY

pytestmark = THIRD_PARTY


def test_digests_are_read_by_model_name(store: Store) -> None:
    client = MlflowClient(store.uri)
    for model, sequence in (("heads", 1), ("heads", 2), ("heads-other", 1)):
        client.create_run(store.experiment_id, tags=ledger_tag(model, sequence, f"{sequence}" * 64))
    deleted = client.create_run(store.experiment_id, tags=ledger_tag("heads", 3, "3" * 64))
    client.delete_run(deleted.info.run_id)
    assert heads_in_mlflow(store.uri, "heads") == {1: "1" * 64, 2: "2" * 64, 3: "3" * 64}
    assert heads_in_mlflow(store.uri, "nobody") == {}


def test_a_store_that_does_not_answer_is_a_tracking_error() -> None:
    with pytest.raises(TrackingError, match="read the ledger's digests"):
        heads_in_mlflow("postgresql+nosuchdriver://127.0.0.1:1/x", "daily")
