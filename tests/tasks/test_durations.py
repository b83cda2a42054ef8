"""What is measured of an onboarding, and what is expected of the next one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from atelier.contracts.durations import Measurement, Phase, Taken
from atelier.contracts.progress import Progress, TrainingState
from atelier.contracts.status import Stamp, Status
from tasks import publish_model, sync_checkpoints
from tasks.attempts import read_progress
from tasks.durations import COUNTED, Durations, measurement, newest, work
from tests.contracts.people import JOB, NOON, at, wish
from tests.fakes.world import World

GIVEN = wish(preset="fast")


def taken(number: int, **seconds: float) -> Measurement:
    return Measurement(
        request=f"r{number}",
        attempt=1,
        base="tiny",
        preset="fast",
        at=NOON + timedelta(seconds=number),
        taken={Phase(name): Taken(value) for name, value in seconds.items()},
    )


def test_nothing_measured_means_the_table_and_says_so() -> None:
    expected = Durations().expect(GIVEN, Phase.TRAINING)
    assert (expected.seconds, expected.measured) == (work(GIVEN, Phase.TRAINING), 0)


def test_what_was_measured_scales_with_the_work() -> None:
    durations = Durations({Phase.TRAINING: (2.0, 2.0, 2.0)})
    longer = wish(preset="fast", hyperparameters={"steps": 1500})
    short, long = (durations.expect(g, Phase.TRAINING).seconds for g in (GIVEN, longer))
    assert 9 < long / short < 10


def test_company_shares_every_step_but_not_the_start() -> None:
    alone, shared = (work(GIVEN, Phase.TRAINING, company=n) for n in (1, 4))
    assert 3.5 < shared / alone < 4
    assert work(GIVEN, Phase.START, company=4) == work(GIVEN, Phase.START)


def test_only_the_newest_measurements_count() -> None:
    measured = [taken(n, start=1.0) for n in range(COUNTED)] + [taken(99, start=100.0)] * 30
    assert Durations.of(measured).expect(GIVEN, Phase.START).measured == COUNTED


def test_a_phase_that_goes_on_is_compared_with_those_that_lasted_as_long() -> None:
    durations = Durations({Phase.START: (0.5, 0.5, 0.5, 2.0)})
    unit = work(GIVEN, Phase.START)
    assert durations.remaining(GIVEN, Phase.START, passed=0.0) == 0.5 * unit
    assert durations.remaining(GIVEN, Phase.START, passed=0.6 * unit) == pytest.approx(1.4 * unit)


def test_what_outlasts_everything_is_expected_to_go_on_for_a_while() -> None:
    durations = Durations({Phase.START: (0.5,)})
    assert durations.remaining(GIVEN, Phase.START, passed=100.0) == 10.0


def test_an_onboarding_is_kept_once_and_the_oldest_fall_out() -> None:
    kept = [taken(3), taken(2), taken(1)]
    assert newest(kept, taken(2, start=9.0), most=3) == [taken(3), taken(2, start=9.0), taken(1)]
    assert [m.request for m in newest(kept, taken(4), most=3)] == ["r4", "r3", "r2"]


def test_a_ready_request_is_measured_from_its_host_s_states_and_its_ledger(world: World) -> None:
    request = world.launched()
    began = world.clock.now()
    world.clock.advance(20)
    world.train(request)
    record = world.read(request)
    done = read_progress(record, objects=world.objects)
    assert done is not None
    entered = {
        TrainingState.TRAINING.value: began + timedelta(seconds=5),
        TrainingState.SAMPLING.value: began + timedelta(seconds=15),
        TrainingState.DONE.value: began + timedelta(seconds=16),
    }
    world.progress(request, TrainingState.DONE, adapter=done.adapter, step=6, entered=entered)
    sync_checkpoints.run({"request": request, "turn": 0}, ports=world.ports)
    publish_model.run({"request": request}, ports=world.ports)
    publish_model.run({"request": request}, ports=world.ports)
    [kept] = world.ledger.measurements(base="tiny", preset="nano")
    launched = world.read(request).entered["launching"]
    lag = (began - launched).total_seconds()
    assert {name: t.seconds for name, t in kept.taken.items()} == {
        "start": pytest.approx(5 + lag),
        "training": 10.0,
        "sampling": 1.0,
        "publishing": 0.0,
    }


@pytest.mark.parametrize(
    ("resumed", "stopped", "kept"),
    [
        (None, False, {Phase.START, Phase.TRAINING, Phase.SAMPLING}),
        ("a/state.safetensors", False, {Phase.START, Phase.SAMPLING}),
        (None, True, {Phase.SAMPLING}),
    ],
)
def test_what_began_from_a_checkpoint_or_was_interrupted_is_not_taken_for_a_whole_one(
    resumed: str | None, *, stopped: bool, kept: set[Phase]
) -> None:
    states = [TrainingState.TRAINING, TrainingState.SAMPLING, TrainingState.DONE]
    states += [TrainingState.STOPPED] if stopped else []
    entered = {state.value: NOON + timedelta(seconds=n) for n, state in enumerate(states, 1)}
    record = at(
        Stamp(2, Status.READY, JOB),
        resume_from=resumed,
        entered={Status.LAUNCHING.value: NOON, Status.READY.value: NOON + timedelta(seconds=9)},
    )
    progress = Progress(
        request=record.request,
        attempt=2,
        job=JOB,
        host="algo-1",
        state=TrainingState.SAMPLING,
        step=6,
        steps=6,
        updated_at=NOON,
        entered=entered,
    )
    told = measurement(record, progress, company=1)
    assert told is not None
    assert set(told.taken) == kept


@pytest.mark.parametrize(("redriven", "kept"), [(3, True), (5, False), (None, True)])
def test_what_stood_still_is_not_taken_for_time_of_publishing(
    redriven: int | None, *, kept: bool
) -> None:
    record = at(
        Stamp(1, Status.READY, JOB),
        redriven_at=None if redriven is None else NOON + timedelta(seconds=redriven),
        entered={
            Status.TRAINED.value: NOON + timedelta(seconds=4),
            Status.READY.value: NOON + timedelta(seconds=9),
        },
    )
    told = measurement(record, None, company=1)
    assert (told is not None and Phase.PUBLISHING in told.taken) is kept
