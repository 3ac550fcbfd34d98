"""What commands killed with kill -9 have left in Prefect: flow runs that stay Running for good, ended by the next."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

from pipeline.processes import is_gone, this_process

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
AT_ONCE = 200
KILLED = "The command of this run was killed. Finished fits are kept: the next run continues from them."


def process_tag() -> str:
    """Return the tag that says which process a flow run is of."""
    return json.dumps(this_process())


def end_killed(client: "SyncPrefectClient") -> Sequence[FlowRun]:
    """Return the unfinished runs of commands whose process is gone, after setting them to Crashed."""
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)),
            deployment_id=FlowRunFilterDeploymentId(is_null_=True),
        ),
        limit=AT_ONCE,
    )
    killed = [run for run in runs if any(map(_is_of_a_gone_process, run.tags))]
    for run in killed:
        client.set_flow_run_state(run.id, Crashed(message=KILLED), force=True)
    return killed


def _is_of_a_gone_process(tag: str) -> bool:
    try:
        return is_gone(json.loads(tag))
    except (ValueError, KeyError, TypeError):  # a tag of another kind
        return False
