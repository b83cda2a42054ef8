"""The engine under load, cancellation and failure: everybody gets their own image or a reason."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import pytest

from atelier.contracts.errors import InvalidRequest, NotFound, ServiceUnavailable, Throttled
from atelier.contracts.generation import GenerateRequest
from serving_image.drawer import Drawing, Row
from serving_image.engine import Engine, EngineState
from serving_image.jobs import Job
from serving_image.refusals import MemoryExhausted
from serving_image.residency import AdapterKey, Door
from tests.serving.artifacts import ANN, BOB
from tests.serving.fakes import FakeDrawer, FakeRow, rgb_of
from tests.serving.house import House, until

SECONDS = 20


def submit(house: House, name: str, owner: str, **wanted: Any) -> Job:
    given = {"prompt": "p", "denoising_steps": 3} | wanted
    request = GenerateRequest(owner=owner, **given)
    return house.engine.submit(AdapterKey(Door.PLATFORM, name), request)


def images(job: Job) -> list[bytes]:
    return [picture.rgb for picture in job.result.result(SECONDS).pictures]


def expected(job: Job) -> list[bytes]:
    request = job.request
    drawings = (
        Drawing(
            request.prompt,
            None,
            request.adapter_scale,
            request.negative_prompt,
            request.seed + i,
            request.denoising_steps,
            request.guidance,
            job.width,
            job.height,
            request.scheduler,
        )
        for i in range(request.count)
    )
    return [rgb_of(drawing, job.card.file_digest) for drawing in drawings]


class Hold:
    """Holds the engine inside its next call of one kind until it is let go."""

    def __init__(self, drawer: FakeDrawer, call: str) -> None:
        self._drawer, self._call = drawer, call
        self.inside, self._go = threading.Event(), threading.Event()
        self.then: Callable[[str, Sequence[Row]], None] = lambda *_: None
        drawer.fault = self._wait

    def _wait(self, call: str, _: Sequence[Row]) -> None:
        if call == self._call:
            self.inside.set()
            assert self._go.wait(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._drawer.fault = self.then
        self._go.set()


@pytest.fixture
def held(house: House, drawer: FakeDrawer) -> Callable[[str], Hold]:
    for name, owner in (("ann", ANN), ("bob", BOB)):
        house.load(name, owner)
    drawer.batches.clear()
    return lambda call: Hold(drawer, call)


def test_requests_of_several_people_share_a_batch_and_get_their_own(
    house: House, drawer: FakeDrawer, held: Callable[[str], Hold]
) -> None:
    with held("advance") as hold:
        jobs = [submit(house, "ann", ANN)]
        assert hold.inside.wait(SECONDS)
        jobs += [submit(house, "bob", BOB, count=2, seed=5, denoising_steps=7)]
        jobs += [submit(house, "ann", ANN, guidance=1.0, width=32)]
    assert [images(job) for job in jobs] == [expected(job) for job in jobs]
    assert max(drawer.batches) == 4


def test_a_row_joins_a_running_batch_and_leaves_it_early(
    house: House, drawer: FakeDrawer, held: Callable[[str], Hold]
) -> None:
    with held("advance") as hold:
        long = submit(house, "ann", ANN, denoising_steps=6)
        assert hold.inside.wait(SECONDS)
        short = submit(house, "bob", BOB, denoising_steps=2)
    assert (images(long), images(short)) == (expected(long), expected(short))
    assert drawer.batches == [1, 2, 2, 1, 1, 1]


def test_no_more_rows_than_allowed_are_drawn_at_once(
    house: House, drawer: FakeDrawer, held: Callable[[str], Hold]
) -> None:
    with held("begin") as hold:
        first = submit(house, "ann", ANN)
        assert hold.inside.wait(SECONDS)
        second = submit(house, "bob", BOB, count=8)
    assert [images(first), images(second)] == [expected(first), expected(second)]
    assert max(drawer.batches) == house.settings.most_rows


@pytest.mark.parametrize("side", ["width", "height"])
def test_an_image_too_large_for_the_base_model_is_refused_before_it_holds_up_others(
    house: House, held: Callable[[str], Hold], side: str
) -> None:
    with held("begin"), pytest.raises(InvalidRequest) as refused:
        submit(house, "ann", ANN, **{side: 136})
    assert (refused.value.facts["where"], refused.value.facts["allowed"]) == (side, 128)


def test_a_full_queue_refuses_with_the_time_to_wait(
    house: House, held: Callable[[str], Hold]
) -> None:
    with held("begin") as hold:
        submit(house, "ann", ANN)
        assert hold.inside.wait(SECONDS)
        submit(house, "ann", ANN, count=8)
        with pytest.raises(Throttled) as refused:
            submit(house, "ann", ANN)
        assert refused.value.facts["retry_after_seconds"] >= 1
        answer = house.invoke("ann", ANN)
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1


def test_a_refused_request_uses_nothing(house: House, held: Callable[[str], Hold]) -> None:
    with pytest.raises(NotFound):
        submit(house, "ann", BOB)
    assert [r.uses for r in house.residency.all()] == [0, 0]


def test_an_abandoned_request_leaves_at_the_next_denoising_step(
    house: House, drawer: FakeDrawer, held: Callable[[str], Hold]
) -> None:
    with held("advance") as hold:
        gone = submit(house, "ann", ANN, denoising_steps=200, count=2)
        assert hold.inside.wait(SECONDS)
        kept = submit(house, "bob", BOB)
        house.engine.abandon(gone)
    assert images(kept) == expected(kept)
    assert len(drawer.batches) <= 5
    assert house.engine.unload(AdapterKey(Door.PLATFORM, "ann")).result(SECONDS) is None
    assert not gone.result.done()


def test_a_request_abandoned_in_the_queue_is_never_begun(
    house: House, drawer: FakeDrawer, held: Callable[[str], Hold]
) -> None:
    with held("begin") as hold:
        first = submit(house, "ann", ANN)
        assert hold.inside.wait(SECONDS)
        gone = submit(house, "bob", BOB)
        house.engine.abandon(gone)
    assert images(first) == expected(first)
    house.engine.unload(AdapterKey(Door.PLATFORM, "bob")).result(SECONDS)
    assert max(drawer.batches) == 1


@pytest.mark.parametrize("call", ["begin", "advance", "finish"])
def test_one_rows_failure_in_any_call_hurts_nobody_else(
    house: House, drawer: FakeDrawer, held: Callable[[str], Hold], call: str
) -> None:
    def fail(made: str, rows: Sequence[Row]) -> None:
        prompts = [row.drawing.prompt for row in rows if isinstance(row, FakeRow)]
        if made == call and "poison" in prompts:
            raise ArithmeticError("poison")

    with held("advance") as hold:
        jobs = [submit(house, "ann", ANN, seed=1)]
        assert hold.inside.wait(SECONDS)
        jobs += [submit(house, "bob", BOB, seed=2)]
        poisoned = submit(house, "ann", ANN, prompt="poison")
        jobs += [submit(house, "bob", BOB, seed=3)]
        hold.then = fail
    with pytest.raises(ArithmeticError):
        poisoned.result.result(SECONDS)
    assert [images(job) for job in jobs] == [expected(job) for job in jobs]
    later = submit(house, "ann", ANN, seed=4)
    assert images(later) == expected(later)


def test_a_defect_is_told_as_500_without_its_inner_words(
    house: House, drawer: FakeDrawer, held: Callable[[str], Hold]
) -> None:
    def fail(_: str, rows: Sequence[Row]) -> None:
        if any(isinstance(row, FakeRow) and row.drawing.slot is not None for row in rows):
            raise ArithmeticError("secret detail")

    drawer.fault = fail
    answer = house.invoke("ann", ANN)
    assert (answer.status_code, answer.json()["error"]) == (500, "InternalError")
    assert "secret" not in answer.text
    assert house.client.get("/ping").status_code == 200


def test_a_device_that_draws_nothing_any_more_ends_the_engine_and_ping_says_so(
    house: House, drawer: FakeDrawer, held: Callable[[str], Hold]
) -> None:
    def fail(_: str, __: Sequence[Row]) -> None:
        raise ArithmeticError("the device is gone")

    drawer.fault = fail
    assert house.invoke("ann", ANN).status_code == 500
    until(lambda: house.engine.state is EngineState.FAILED)
    assert house.client.get("/ping").status_code == 503
    assert house.invoke("ann", ANN).status_code == 503


def test_latents_that_are_no_numbers_refuse_that_image_alone(
    house: House, held: Callable[[str], Hold]
) -> None:
    with held("begin") as hold:
        good = submit(house, "ann", ANN)
        assert hold.inside.wait(SECONDS)
        bad = house.invoke_later("bob", BOB, prompt="nan", seed=9)
        until(lambda: house.engine._waiting)
    assert images(good) == expected(good)
    assert (bad.result().status_code, bad.result().json()["facts"]) == (422, {"seeds": [9]})


def test_out_of_device_memory_is_survived_in_smaller_batches(
    house: House, drawer: FakeDrawer, held: Callable[[str], Hold]
) -> None:
    drawer.most_rows = 1
    with held("begin") as hold:
        jobs = [submit(house, "ann", ANN)]
        assert hold.inside.wait(SECONDS)
        jobs += [submit(house, "bob", BOB, count=6)]
    assert [images(job) for job in jobs] == [expected(job) for job in jobs]


def test_one_image_beyond_device_memory_is_507(
    house: House, drawer: FakeDrawer, held: Callable[[str], Hold]
) -> None:
    drawer.most_rows = 0
    answer = house.invoke("ann", ANN)
    assert (answer.status_code, answer.json()["error"]) == (507, "MemoryExhausted")
    drawer.most_rows = 4
    assert house.invoke("ann", ANN).status_code == 200


def test_a_copy_into_a_slot_that_fails_is_that_requests_alone(
    house: House, drawer: FakeDrawer, held: Callable[[str], Hold]
) -> None:
    def fail(call: str, _: Sequence[Row]) -> None:
        if call == "write":
            raise MemoryExhausted("no memory", what="device")

    drawer.fault = fail
    assert house.invoke("ann", ANN).status_code == 507
    drawer.fault = lambda *_: None
    job = submit(house, "bob", BOB)
    assert images(job) == expected(job)
    assert house.invoke("ann", ANN).status_code == 200


def test_stopping_finishes_what_was_begun_and_refuses_what_comes(
    house: House, held: Callable[[str], Hold]
) -> None:
    with held("advance") as hold:
        job = submit(house, "ann", ANN)
        assert hold.inside.wait(SECONDS)
        waiting = submit(house, "bob", BOB, count=8)
        stopped = house.background.submit(house.engine.stop, SECONDS)
        until(lambda: not house.engine.healthy)
        with pytest.raises(ServiceUnavailable):
            submit(house, "ann", ANN)
        assert house.client.get("/ping").status_code == 503
    assert stopped.result() is True
    assert (images(job), images(waiting)) == (expected(job), expected(waiting))


def test_a_request_that_ends_a_long_silence_does_not_make_a_ping_fail(
    tmp_path: Path, drawer: FakeDrawer
) -> None:
    with House(tmp_path, drawer, stuck_seconds=0.0) as house:
        house.load("ann", ANN)
        until(lambda: house.engine.healthy)
        with house.engine._changed:  # the engine's thread cannot wake up yet
            job = submit(house, "ann", ANN)
            assert house.engine.healthy
        assert images(job) == expected(job)


def test_what_is_not_finished_when_the_time_is_up_is_told_so(
    house: House, held: Callable[[str], Hold]
) -> None:
    with held("advance") as hold:
        job = submit(house, "ann", ANN)
        assert hold.inside.wait(SECONDS)
        assert house.engine.stop(0.05) is False
        with pytest.raises(ServiceUnavailable):
            job.result.result(SECONDS)


def test_a_request_that_takes_too_long_is_503_and_its_rows_leave(
    tmp_path: Path, drawer: FakeDrawer
) -> None:
    with House(tmp_path, drawer, answer_seconds=0.05) as house:
        house.load("ann", ANN)
        with Hold(drawer, "advance"):
            answer = house.invoke("ann", ANN)
        assert (answer.status_code, answer.json()["error"]) == (503, "ServiceUnavailable")
        assert house.client.delete("/models/ann").status_code == 200


def test_many_people_at_once_with_few_slots_all_get_their_own(
    tmp_path: Path, drawer: FakeDrawer
) -> None:
    with House(tmp_path, drawer, queue_rows=200) as house:
        owners = [ANN, BOB] * 4
        for number, owner in enumerate(owners):
            house.load(str(number), owner, seed=number)
        jobs: list[Future[Job]] = [
            house.background.submit(submit, house, str(i % 8), owners[i % 8], seed=i)
            for i in range(80)
        ]
        for future in jobs:
            job = future.result()
            assert images(job) == expected(job)
        assert {(r.uses, r.pins) for r in house.residency.all()} == {(0, 0)}


def test_an_engine_that_was_never_started_stops_at_once(drawer: FakeDrawer, house: House) -> None:
    engine = Engine(
        open_drawer=lambda: drawer,
        residency=house.residency,
        clock=house.clock,
        most_rows=1,
        queue_rows=8,
        stuck_seconds=1,
    )
    assert engine.stop(0) is True
