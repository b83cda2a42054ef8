"""The training program that trains nothing keeps the container contract."""

from __future__ import annotations

import threading

import pytest

from atelier.contracts import checkpoints, ids
from atelier.contracts.adapter import AdapterCard
from atelier.contracts.clock import ManualClock
from atelier.contracts.control import Answer, Command
from atelier.contracts.progress import TrainingState
from atelier.contracts.safetensors import check_finite, read_header
from infra.chaos.trains_nothing import Host, read_manifest
from tests.training.house import House


class Ticking(ManualClock):
    """A clock that goes on by itself, and sets off something at its n-th reading."""

    def __init__(self, readings: int = 0, happen=lambda: None) -> None:
        super().__init__()
        self._left = readings
        self._happen = happen

    def monotonic_seconds(self) -> float:
        self.advance(0.2)
        self._left -= 1
        if self._left == 0:
            self._happen()
        return super().monotonic_seconds()


@pytest.fixture
def house(tmp_path) -> House:
    return House(tmp_path, tmp_path)


def host(house: House, clock: ManualClock | None = None) -> Host:
    house.lay_out()
    return Host(
        ml=house.ml,
        objects=house.objects,
        clock=clock or Ticking(),
        manifest=read_manifest(house.ml, objects=house.objects),
        name=house.host,
        step_seconds=0.0,
        slots=2,
        stop=threading.Event(),
    )


def test_it_leaves_an_adapter_a_card_and_samples_and_says_so(house: House):
    task = house.add()
    assert host(house).run()
    said = house.progress(task)
    assert (said.state, said.step) == (TrainingState.DONE, 6)
    assert set(said.entered) == {"waiting", "training", "sampling", "done"}
    body = house.adapter_bytes(task)
    assert said.adapter.digest == ids.digest_of(body)
    check_finite(body, read_header(body))
    card = AdapterCard.from_json((house.ml.checkpoints / said.adapter.card).read_bytes())
    assert (card.owner, card.request, card.file_digest) == (
        task.owner,
        task.request,
        said.adapter.digest,
    )
    assert house.left(task) == [
        "adapter/adapter.json",
        "adapter/adapter.safetensors",
        "progress.json",
        "samples/00.png",
    ]


def test_stopped_it_saves_and_goes_on_from_there_to_the_same_adapter(house: House, capfd):
    task = house.add()
    first = host(house)
    first.clock = Ticking(12, first.stop.set)
    assert not first.run()
    step = house.progress(task).step
    assert 0 < step < 6
    assert host(house).run()
    assert f"begins at step {step}" in capfd.readouterr().out
    said = house.progress(task)
    assert said.state is TrainingState.DONE
    assert TrainingState.STOPPED.value in said.entered


def test_a_damaged_state_falls_back_to_the_one_before(house: House, capfd):
    task = house.add()
    first = host(house)
    first.clock = Ticking(13, first.stop.set)
    assert not first.run()
    folder = house.ml.checkpoints / checkpoints.state_folder(house.host, task.request)
    older, newest = sorted(folder.iterdir())
    newest.write_bytes(newest.read_bytes()[:50])
    assert host(house).run()
    assert f"begins at step {int(older.stem.removeprefix('step-'))}" in capfd.readouterr().out


def test_what_is_done_is_not_trained_again_unless_it_is_damaged(house: House, capfd):
    task = house.add()
    for _ in range(2):
        assert host(house).run()
    assert capfd.readouterr().out.count("done ") == 1
    (house.ml.checkpoints / checkpoints.adapter_file(house.host, task.request)).write_bytes(b"")
    assert host(house).run()
    assert capfd.readouterr().out.count("done ") == 1


def test_a_cancelled_task_is_stopped_acknowledged_and_leaves_its_progress_alone(house: House):
    task = house.add()
    other = house.add("43")
    training = host(house)
    message = house.send(Command.CANCEL, task)
    assert training.run()
    assert house.progress(task).state is TrainingState.STOPPED
    assert house.left(task) == ["progress.json"]
    assert house.answer(message.id).answer is Answer.DONE
    assert house.progress(other).state is TrainingState.DONE


def test_newcomers_are_admitted_while_there_is_room(house: House):
    house.add()
    tasks = {user: house.task(user) for user in ("ann", "bob")}
    training = host(house)
    asked = {user: house.send(Command.ADMIT, task).id for user, task in tasks.items()}
    assert training.run()
    answers = {user: house.answer(message).answer for user, message in asked.items()}
    assert sorted(answers.values()) == [Answer.DECLINED, Answer.DONE]
    [admitted] = [user for user, answer in answers.items() if answer is Answer.DONE]
    assert house.progress(tasks[admitted]).state is TrainingState.DONE
