"""What outlooks read of a platform: the queue ahead, the jobs under way, the execution."""

from __future__ import annotations

from datetime import timedelta

import pytest

from atelier.contracts.durations import Measurement, Phase, Taken
from atelier.contracts.errors import QuotaExceeded
from tasks import settle, settle_execution
from tasks.lookout import Lookout
from tests.fakes.world import World


def sentence(world: World, request: str) -> str:
    return Lookout(world.ports).of(world.read(request), None).sentence


def test_who_waits_is_told_the_place_that_the_queue_gives(world: World) -> None:
    first = world.queued("1", token="t-1")
    world.clock.advance(1)
    second = world.queued("2", token="t-2")
    third = world.queued("3", token="t-3", priority=9)
    assert sentence(world, third).startswith("It is next in the queue")
    assert "place 2 of 3" in sentence(world, first)
    assert "place 3 of 3" in sentence(world, second)


def test_who_goes_ahead_is_told_by_tenant_and_never_by_name(world: World) -> None:
    stranger = world.queued("1", token="t-1", tenant="acme")
    world.queued("2", token="t-2")
    mine = world.queued("3", token="t-3")
    outlook = Lookout(world.ports).of(world.read(mine), None)
    assert "ahead in the queue: 1 of this tenant, 1 of others" in outlook.details
    assert stranger not in str(outlook)


def test_a_full_quota_is_told_and_the_end_of_the_job_under_way_awaited(world: World) -> None:
    running = world.launched("1")
    world.jobs.refusals = [QuotaExceeded("1 of 1 instances are used", quota=1)] * 1000
    waiting = world.queued("2", token="t-2")
    world.dispatch()
    outlook = Lookout(world.ports).of(world.read(waiting), None)
    assert outlook.phase == "held"
    assert outlook.expected_end_at is not None
    first = Lookout(world.ports).of(world.read(running), None).expected_end_at
    assert first is not None
    assert outlook.expected_end_at > first - timedelta(seconds=5)


def test_the_job_of_another_tenant_frees_an_instance_too(world: World) -> None:
    world.launched("1", tenant="acme")
    world.jobs.refusals = [QuotaExceeded("1 of 1 instances are used", quota=1)] * 1000
    waiting = world.queued("2", token="t-2")
    world.dispatch()
    assert Lookout(world.ports).of(world.read(waiting), None).expected_end_at is not None


def test_where_no_job_is_under_way_nobody_promises_an_instance(world: World) -> None:
    world.jobs.refusals = [QuotaExceeded("0 of 0 instances are used", quota=0)] * 1000
    waiting = world.queued("1", token="t-1")
    world.dispatch()
    told = Lookout(world.ports).of(world.read(waiting), None)
    assert told.expected_end_at is None
    assert "when an instance falls free is not known" in told.sentence


def test_predictions_rest_on_what_was_measured(world: World) -> None:
    request = world.launched()
    by_table = Lookout(world.ports).of(world.read(request), None).expected_end_at
    world.ledger.measure(
        Measurement(
            request="r1",
            attempt=1,
            base="tiny",
            preset="nano",
            at=world.clock.now(),
            taken={phase: Taken(0.01) for phase in Phase},
        )
    )
    measured = Lookout(world.ports).of(world.read(request), None).expected_end_at
    assert by_table is not None
    assert measured is not None
    assert measured < by_table


def test_what_was_measured_of_another_preset_counts_until_its_own_is(world: World) -> None:
    fast = world.registered("1", preset="fast")
    before = Lookout(world.ports).of(world.read(fast), None)
    assert any(line.startswith("by the table") for line in before.details)
    taken = {phase.value: Taken(40.0, 8.0) for phase in Phase}
    for preset, factor in (("nano", 1.0), ("fast", 2.0)):
        started = {Phase.START.value: Taken(40.0 * factor, 8.0)}
        world.ledger.measure(
            Measurement(
                request="r" + "a" * 26,
                attempt=1,
                base="tiny",
                preset=preset,
                at=world.clock.now(),
                taken=taken | started if preset == "nano" else started,
            )
        )
        [usual] = [
            line
            for line in Lookout(world.ports).of(world.read(fast), None).details
            if line.startswith("usual")
        ]
        assert f"start {40 * factor:.0f} s" in usual
        assert "training" in usual


def test_only_a_close_look_reads_the_execution(world: World) -> None:
    record = world.read(world.launched())
    executions = world.executions
    executions.start("onboarding", record.execution, {})
    executions.finish("onboarding", record.execution, status="FAILED", error="KeyError")
    lookout = Lookout(world.ports)
    assert lookout.closely(record, None).phase == "failed in place"
    assert lookout.of(record, None).phase == "launching"


def test_a_list_says_what_the_record_was_told_of_an_execution_that_failed_in_place(
    world: World,
) -> None:
    record = world.read(world.launched())
    settle_execution.settle(record, "FAILED", "ContractBroken", ports=world.ports)
    told = Lookout(world.ports).of(world.read(record.request), None)
    assert told.phase == "failed in place"
    assert told.expected_end_at is None
    assert "ContractBroken stopped it where it stood" in told.sentence
    assert f"atelier redrive {record.request}" in told.sentence
    assert "speed it up" not in told.sentence


@pytest.mark.parametrize("said", ["Again after: the disk was full", "No space left on device"])
def test_a_job_that_begins_again_for_want_of_room_says_so_first(world: World, said: str) -> None:
    record = world.read(world.launched())
    starting = {
        "TrainingJobName": record.job,
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "SecondaryStatusTransitions": [
            {"Status": "Training", "StatusMessage": "Training program is running"},
            {"Status": "Starting", "StatusMessage": said},
        ],
    }
    assert settle.run(starting, ports=world.ports) == {"settled": 1}
    told = Lookout(world.ports).of(world.read(record.request), None)
    assert told.sentence.startswith("There was no room on its training host's disk at ")
    assert told.sentence.endswith("; room on that disk would speed it up.")


def test_a_job_that_begins_again_for_another_reason_settles_nobody(world: World) -> None:
    record = world.read(world.launched())
    starting = {
        "TrainingJobName": record.job,
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "SecondaryStatusTransitions": [{"StatusMessage": "Again after: the instances were lost"}],
    }
    assert settle.run(starting, ports=world.ports) == {"settled": 0}
