"""Which checkpoints a worker writes when."""

from __future__ import annotations

from eventbus.messages import Checkpoint, Session
from gateway_workers.checkpoint_plan import REFRESH_S, CheckpointPlan


def checkpoint(shard: int, seq: int) -> Checkpoint:
    session = Session(session_id="a", resume_url="", seq=seq, shard_count=4)
    return Checkpoint(shard=shard, fencing_token=1, session=session)


def test_only_what_changed_is_written() -> None:
    plan = CheckpointPlan()

    assert plan.due([checkpoint(0, 1), checkpoint(1, 1)], 0.0) == (checkpoint(0, 1), checkpoint(1, 1))
    assert plan.due([checkpoint(0, 1), checkpoint(1, 2)], 0.1) == (checkpoint(1, 2),)
    assert plan.due([checkpoint(0, 1), checkpoint(1, 2)], 0.2) == ()


def test_what_does_not_change_is_written_again_after_a_while_so_that_the_stream_keeps_it() -> None:
    plan = CheckpointPlan()
    plan.due([checkpoint(0, 1)], 10.0)

    assert plan.due([checkpoint(0, 1)], 10.0 + REFRESH_S - 0.1) == ()
    assert plan.due([checkpoint(0, 1)], 10.0 + REFRESH_S) == (checkpoint(0, 1),)
