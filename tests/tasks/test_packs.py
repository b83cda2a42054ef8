"""People who share a training job: who they are, and that nobody pays for a neighbour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts import ids, keys
from atelier.contracts.base_models import preset
from atelier.contracts.errors import QuotaExceeded
from atelier.contracts.manifest import TrainingManifest
from atelier.contracts.progress import TrainingState
from atelier.contracts.records import BatchState
from atelier.contracts.status import Stamp, Status
from tasks import cancel, launch_round, launch_training, sync_checkpoints
from tasks.planning import estimated_cost_seconds, plan, wait_for
from tests.contracts.people import request_record
from tests.fakes.crashing import Crash, crash_everywhere
from tests.fakes.world import World, answer, new_world


@pytest.fixture
def pack() -> Iterator[World]:
    with new_world(tasks_per_job=3) as world:
        yield world


def people(world: World, names: str = "abc", **given: Any) -> list[str]:
    return [world.queued(n, token=n, execution=n, **given) for n in names]


def manifest(world: World, request: str) -> TrainingManifest:
    body = world.objects.read(keys.manifest(str(world.read(request).job)))
    return TrainingManifest.from_json(body)


# the plan

WISHES = st.lists(
    st.tuples(st.sampled_from(["nano", "fast"]), st.sampled_from([None, 32, 64]), st.booleans()),
    max_size=12,
)


@given(WISHES, st.integers(1, 5))
def test_a_plan_shares_jobs_between_those_who_train_alike_and_keeps_the_order(wishes, most):
    queued = []
    for number, (name, side, alone) in enumerate(wishes):
        asked: dict[str, Any] = {"preset": name}
        if side:
            asked["hyperparameters"] = {"resolution": side}
        queued.append(request_record(f"user-{number}", given=asked, alone=alone))
    jobs = [[record for host in job.hosts for record in host] for job in plan(queued, most=most)]
    assert sorted(r.request for job in jobs for r in job) == sorted(r.request for r in queued)
    place = {record.request: number for number, record in enumerate(queued)}
    firsts = [place[job[0].request] for job in jobs]
    assert firsts == sorted(firsts)
    for job in jobs:
        assert len(job) <= most
        assert len(job) == 1 or not any(record.alone for record in job)
        assert [place[r.request] for r in job] == sorted(place[r.request] for r in job)
        kinds = {
            (
                r.given.base,
                r.given.hyperparameters.resolution,
                preset(r.given.base, r.given.preset).hardware,
            )
            for r in job
        }
        assert len(kinds) == 1


def test_nobody_shares_a_job_unless_the_operator_says_so(world):
    requests = people(world)
    world.dispatch()
    assert len({world.read(request).job for request in requests}) == 3


def test_up_to_so_many_share_a_job_on_one_host(pack):
    requests = people(pack, "abcd")
    pack.dispatch()
    records = [pack.read(request) for request in requests]
    assert sorted(Counter(record.job for record in records).values()) == [1, 3]
    assert {record.host for record in records} == {"algo-1"}
    assert set(pack.executions.succeeded) == set("abcd")


def test_the_wait_for_a_pack_considers_the_company(pack):
    first, *_ = people(pack)
    pack.dispatch()
    record = pack.read(first)
    mine = estimated_cost_seconds(record.given)
    assert record.company_seconds == pytest.approx(2 * mine)
    later = pack.clock.now() + timedelta(seconds=1)

    def wait(company: float) -> int:
        alone = pack.ledger.annotate(first, attempt=1, company_seconds=company).record
        return wait_for(alone, eta_seconds=None, turn=0, now=later, settings=pack.ports.settings)

    assert wait(600.0) > wait(0.0)


# company that changes


def test_a_member_cancelled_before_the_job_is_there_is_dropped_by_the_host(pack):
    requests = people(pack)
    pack.jobs.refusals = [QuotaExceeded("full", quota="instances")] * 100
    pack.dispatch()
    cancel.run({"request": requests[1]}, ports=pack.ports)
    pack.jobs.refusals = []
    pack.dispatch()
    statuses = [pack.read(request).status for request in requests]
    assert statuses == [Status.LAUNCHING, Status.CANCELLED, Status.LAUNCHING]
    (told,) = pack.objects.list("control/")
    assert str(pack.read(requests[0]).job) in told.key


def test_a_member_past_its_deadline_ends_alone(pack):
    late = pack.queued("a", token="a", execution="a", deadline_seconds=60)
    others = people(pack, "bc")
    pack.jobs.refusals = [QuotaExceeded("full", quota="instances")] * 100
    pack.dispatch()
    pack.clock.advance(60)
    pack.jobs.refusals = []
    pack.dispatch()
    assert pack.read(late).status is Status.FAILED
    assert {pack.read(request).status for request in others} == {Status.LAUNCHING}


def test_an_erased_member_is_not_handed_over(pack):
    gone, *others = people(pack)
    pack.jobs.kill_callers = 1
    with pytest.raises(Crash):
        pack.dispatch()
    pack.ledger.advance(gone, Stamp(1, Status.ERASED))
    pack.dispatch()
    assert pack.read(gone).status is Status.ERASED
    assert {pack.read(request).status for request in others} == {Status.LAUNCHING}
    assert "a" not in pack.executions.succeeded


def test_a_member_whose_photos_are_lost_fails_alone(pack):
    broken, *others = people(pack)
    record = pack.read(broken)
    pack.objects.delete(keys.dataset_document(record.given.owner, str(record.dataset)))
    pack.dispatch()
    assert pack.read(broken).status is Status.FAILED
    assert {pack.read(request).status for request in others} == {Status.LAUNCHING}
    assert len(manifest(pack, others[0]).tasks) == 2


def test_only_the_unfinished_are_queued_again_when_a_packs_job_fails(pack):
    done, running, waiting = people(pack)
    pack.dispatch()
    pack.train(done)
    pack.progress(running, TrainingState.TRAINING, step=3)
    pack.event(str(pack.read(done).job), "Failed", reason="InternalServerError")
    states = [
        sync_checkpoints.run({"request": request, "turn": 0}, ports=pack.ports)["state"]
        for request in (done, running, waiting)
    ]
    assert states == ["trained", "requeue", "requeue"]


def test_the_next_attempts_of_a_pack_share_a_job_again_after_an_interruption(pack):
    requests = people(pack)
    pack.dispatch()
    pack.event(str(pack.read(requests[0]).job), "Stopped")
    for request in requests:
        sync_checkpoints.run({"request": request, "turn": 0}, ports=pack.ports)
        launch_training.run({"request": request, "token": f"{request}-2"}, ports=pack.ports)
    pack.dispatch()
    assert len({pack.read(request).job for request in requests}) == 1
    assert len(pack.jobs.jobs) == 2


# manifests and batches that went wrong


@pytest.mark.parametrize("body", [None, b"", b"{}", b'{"schema": "atelier.training-manifest/1"}'])
@pytest.mark.parametrize("created", [True, False])
def test_a_manifest_that_was_lost_or_is_rubbish_is_written_anew(pack, body, created):
    requests = people(pack)
    if created:
        pack.jobs.kill_callers = 1
        with pytest.raises(Crash):
            pack.dispatch()
    else:
        pack.jobs.refusals = [QuotaExceeded("full", quota="instances")] * 100
        pack.dispatch()
        pack.jobs.refusals = []
    (sealed,) = pack.objects.list("manifests/")
    if body is None:
        pack.objects.delete(sealed.key)
    else:
        pack.objects.put(sealed.key, body)
    cancel.run({"request": requests[2]}, ports=pack.ports)
    pack.dispatch()
    assert [pack.read(r).status for r in requests[:2]] == [Status.LAUNCHING] * 2
    assert len(pack.jobs.jobs) == 1
    assert len(manifest(pack, requests[0]).tasks) == 2


def test_who_was_claimed_after_the_manifest_was_sealed_goes_back_to_the_queue(pack):
    first, second = people(pack, "ab")
    members = ((first, 1), (second, 1))
    batch = ids.batch_of(list(members))
    other = "b" + "a" * 20
    pack.ledger.advance(second, Stamp(1, Status.CLAIMED), batch=other)
    job = plan([pack.read(first), pack.read(second)], most=3)[0]
    assert job.members == members
    pack.jobs.refusals = [QuotaExceeded("full", quota="instances")] * 3
    epoch = pack.ledger.dispatch_state().epoch
    made = launch_round.start_batch(job, epoch=epoch, pace=launch_round.Pace(1.0), ports=pack.ports)
    assert made is launch_round.Outcome.HELD
    pack.jobs.refusals = []
    pack.ledger.release(second, attempt=1, batch=other)
    pack.dispatch()
    pack.dispatch()
    records = [pack.read(first), pack.read(second)]
    assert [record.status for record in records] == [Status.LAUNCHING] * 2
    assert records[0].job == ids.job_name(batch, 1) != records[1].job


# pace


def test_a_clock_that_was_set_back_stops_no_launch(world):
    world.launched("a", token="a", execution="a")
    world.clock.start -= timedelta(hours=1)
    before = world.clock.monotonic_seconds()
    request = world.launched("b", token="b", execution="b")
    assert world.read(request).status is Status.LAUNCHING
    assert world.clock.monotonic_seconds() - before < 10


def test_no_round_sleeps_beyond_its_end_for_a_turn_that_is_far_away():
    with new_world(round_seconds=5.0) as world:
        world.ledger.reserve_launch(interval_seconds=1.0)
        world.clock.start -= timedelta(seconds=40)
        request = world.queued()
        before = world.clock.monotonic_seconds()
        assert world.dispatch()["more"] is True
        assert world.clock.monotonic_seconds() - before < 7
        assert world.read(request).waiting_for.startswith("waiting for a turn")
        for _ in range(20):
            world.dispatch()
        assert world.read(request).status is Status.LAUNCHING


def test_a_slow_operators_pace_still_launches():
    with new_world(round_seconds=5.0, launches_per_second=0.05) as world:
        requests = people(world)
        for _ in range(20):
            world.dispatch()
        assert {world.read(request).status for request in requests} == {Status.LAUNCHING}


# dying anywhere

Scene = Callable[[World], None]


def three(world: World) -> None:
    people(world)


def one_without_photos(world: World) -> None:
    broken, *_ = people(world)
    record = world.read(broken)
    world.objects.delete(keys.dataset_document(record.given.owner, str(record.dataset)))


def one_cancelled_while_sealed(world: World) -> None:
    requests = people(world)
    world.jobs.refusals = [QuotaExceeded("full", quota="instances")] * 100
    world.dispatch()
    world.jobs.refusals = []
    cancel.run({"request": requests[0]}, ports=world.ports)


def manifest_lost(world: World) -> None:
    people(world)
    world.jobs.kill_callers = 1
    with pytest.raises(Crash):
        world.dispatch()
    for info in world.objects.list("manifests/"):
        world.objects.delete(info.key)


@pytest.mark.parametrize(
    "scene", [three, one_without_photos, one_cancelled_while_sealed, manifest_lost]
)
def test_a_dispatcher_that_dies_after_any_port_call_leaves_what_one_round_leaves(scene):
    @contextmanager
    def world() -> Iterator[World]:
        with new_world(tasks_per_job=3) as fresh:
            scene(fresh)
            yield fresh

    epoch = {"epoch": 1}
    assert crash_everywhere(answer(launch_round.run, epoch), world, World.seen) > 0


def test_a_batch_that_nobody_needs_is_let_go(pack):
    requests = people(pack)
    pack.jobs.refusals = [QuotaExceeded("full", quota="instances")] * 100
    pack.dispatch()
    ((batch, _),) = pack.ledger.open_batches()
    for request in requests:
        cancel.run({"request": request}, ports=pack.ports)
    pack.dispatch()
    assert pack.ledger.move_batch(batch.batch, to=BatchState.RELEASED) is BatchState.RELEASED
    assert pack.jobs.jobs == {}
