"""The training loop: what a task leaves, exactness, interruption, and what others may do to it."""

import logging
import threading
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from atelier.contracts import checkpoints, ids
from atelier.contracts.adapter import AdapterCard
from atelier.contracts.base_models import Family
from atelier.contracts.control import Answer, Command
from atelier.contracts.progress import TrainingState
from atelier.contracts.request import SamplePrompt
from atelier.contracts.settings import Targets
from atelier.lora.adapter_file import check_card, read_adapter
from atelier.lora.slot_file import read_slots
from atelier.lora.tensor_file import write_tensors
from atelier.objects import FileObjects
from tests.training.house import SIX_STEPS, House, Interrupting, photo
from training_image.checkpoint import HEADER_KEY, read_state
from training_image.outputs import Studio
from training_image.trainer import Trainer

ALL_LEFT = [
    "adapter/adapter.json",
    "adapter/adapter.safetensors",
    "adapter/adapter.slots",
    "previews/step-000003.png",
    "progress.json",
    "samples/00.png",
]


def train(house: House, *, slots: int = 1) -> bool:
    shop = house.open(slots=slots)
    return Trainer(house.assignment().tasks, shop).run()


@pytest.fixture(scope="session")
def trained_alone(tmp_path_factory, base_folder):
    """The adapter file of a user's task when nothing else is in the job; made once."""
    made: dict[str, bytes] = {}

    def alone(user: str = "42", **changes) -> bytes:
        name = repr((user, sorted(changes.items())))
        if name not in made:
            own = House(tmp_path_factory.mktemp("alone"), base_folder)
            task = own.add(user, **changes)
            assert train(own)
            made[name] = own.adapter_bytes(task)
        return made[name]

    return alone


def test_a_task_leaves_adapter_card_previews_samples_and_says_done(house):
    task = house.add()
    assert train(house)
    said = house.progress(task)
    assert said.state is TrainingState.DONE
    assert (said.step, said.steps) == (6, 6)
    assert said.loss > 0
    assert said.adapter.digest == ids.digest_of(house.adapter_bytes(task))
    assert said.samples == (checkpoints.sample("algo-1", task.request, 0),)
    assert said.previews == (checkpoints.preview("algo-1", task.request, 3),)
    assert house.left(task) == ALL_LEFT


def test_card_slot_file_and_adapter_file_speak_of_the_same_weights(house):
    task = house.add()
    shop = house.open()
    Trainer(house.assignment().tasks, shop).run()
    folder = house.ml.checkpoints / checkpoints.folder("algo-1", task.request) / "adapter"
    body = (folder / "adapter.safetensors").read_bytes()
    slots = (folder / "adapter.slots").read_bytes()
    card = AdapterCard.from_json((folder / "adapter.json").read_bytes())
    check_card(card, base="tiny", base_digest="", family=Family.STABLE_DIFFUSION, body=body)
    assert card.slot_layout_digest == ids.digest_of(slots)
    assert (card.trigger, card.subject, card.owner) == ("zorp", "creature", task.owner)
    assert (card.report.steps, card.report.photos) == (6, 4)
    adapter = read_adapter(body, shop.bank.shapes, max_rank=4)
    layout = read_slots(slots, shop.bank.shapes, adapter_digest=card.file_digest, max_rank=4)
    assert card.tensors == 2 * len(adapter.matrices) == 2 * len(layout.matrices)
    for name, (a, b) in adapter.matrices.items():
        assert torch.equal(a, layout.matrices[name][0])
        assert torch.equal(b, layout.matrices[name][1])
        assert b.any()


def test_the_adapter_file_loads_in_diffusers_and_draws_the_tasks_sample(house, base_folder):
    task = house.add()
    assert train(house)
    folder = house.ml.checkpoints / checkpoints.folder("algo-1", task.request)
    pipeline = StableDiffusionPipeline.from_pretrained(base_folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(folder / "adapter", weight_name="adapter.safetensors")
    [prompt] = task.samples
    theirs = pipeline(
        prompt.prompt,
        negative_prompt=prompt.negative_prompt,
        num_inference_steps=prompt.denoising_steps,
        guidance_scale=prompt.guidance,
        generator=torch.Generator("cpu").manual_seed(prompt.seed),
        width=32,
        height=32,
        output_type="pt",
    ).images[0]
    from_host = photo_tensor(folder / "samples/00.png")
    assert (theirs - from_host).abs().mean() <= 1 / 255


def photo_tensor(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def test_the_same_manifest_and_seed_make_the_same_bytes(house, trained_alone):
    task = house.add()
    assert train(house)
    assert house.adapter_bytes(task) == trained_alone("42")
    assert house.adapter_bytes(task) != trained_alone("42", seed=8)


@pytest.mark.parametrize("readings", [4, 9, 14, 21, 26, 33])
def test_a_run_that_is_interrupted_and_resumed_makes_the_same_bytes(readings, house, trained_alone):
    task = house.add()
    house.clock = Interrupting(readings, house.stop.set)
    assert not train(house)
    assert not house.progress(task).state.ended
    house.stop.clear()
    assert train(house)
    assert house.progress(task).state is TrainingState.DONE
    assert house.adapter_bytes(task) == trained_alone("42")


class SetWhenAsked(threading.Event):
    """An event that is set when it is asked for the n-th time."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._left = times

    def is_set(self) -> bool:
        self._left -= 1
        return self._left <= 0


def test_a_slot_that_made_its_last_step_is_saved_when_its_neighbours_preview_is_interrupted(house):
    house.add("one")
    last = house.add("two", hyperparameters=replace(SIX_STEPS, steps=3, checkpoint_every_steps=0))
    house.stop = SetWhenAsked(4)  # before each of three steps, then in the preview of the other
    assert not train(house, slots=2)
    assert "state/step-000003.safetensors" in house.left(last)
    assert house.progress(last).step == 3
    house.stop = threading.Event()
    assert train(house, slots=2)
    assert house.progress(last).state is TrainingState.DONE


def test_what_is_cancelled_is_not_saved_when_the_host_is_stopped_at_once(house):
    house.add("one")
    gone = house.add("two")
    shop = house.open(slots=2)
    trainer = Trainer(house.assignment().tasks, shop)
    trainer._fill_slots()
    trainer._train_step()
    house.send(Command.CANCEL, gone)
    house.control.poll()
    house.control.attend(trainer._obey)
    house.stop.set()
    assert not trainer.run()
    assert house.left(gone) == ["progress.json"]


def test_another_host_goes_on_from_the_state_that_the_task_names(
    house, trained_alone, tmp_path, base_folder
):
    first = house.add()
    house.clock = Interrupting(21, house.stop.set)
    assert not train(house)
    [*_, newest] = [name for name in house.left(first) if name.startswith("state/")]
    body = (
        house.ml.checkpoints / checkpoints.folder("algo-1", first.request) / newest
    ).read_bytes()

    other = House(tmp_path / "other", base_folder)
    other.objects.put("checkpoints/j/h/r/state/step-000004.safetensors", body)
    task = other.add(resume_from="checkpoints/j/h/r/state/step-000004.safetensors", attempt=2)
    assert train(other)
    assert other.adapter_bytes(task) == trained_alone("42")


def test_a_task_goes_on_in_a_bank_without_its_wide_neighbour_and_makes_the_same_bytes(
    house, tmp_path, base_folder, trained_alone
):
    narrow = replace(SIX_STEPS, targets=Targets.ATTENTION)
    first = house.add(hyperparameters=narrow)
    house.add("wide neighbour")
    house.clock = Interrupting(21, house.stop.set)
    assert not train(house)
    [*_, newest] = sorted((house.ml.checkpoints / f"algo-1/{first.request}/state").iterdir())

    other = House(tmp_path / "other", base_folder)
    other.objects.put("checkpoints/j/s.safetensors", newest.read_bytes())
    task = other.add(hyperparameters=narrow, resume_from="checkpoints/j/s.safetensors", attempt=2)
    assert train(other)
    assert other.progress(task).failure is None
    assert other.adapter_bytes(task) == trained_alone("42", hyperparameters=narrow)


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_half_written_state_falls_back_to_the_one_before_with_a_clear_line(
    kept, house, trained_alone, caplog
):
    task = house.add()
    house.clock = Interrupting(26, house.stop.set)
    assert not train(house)
    states = sorted((house.ml.checkpoints / f"algo-1/{task.request}/state").iterdir())
    assert len(states) == 2
    states[1].write_bytes(states[1].read_bytes()[:kept])
    house.stop.clear()
    with caplog.at_level(logging.WARNING):
        assert train(house)
    assert "does not read and is passed over" in caplog.text
    assert house.adapter_bytes(task) == trained_alone("42")


def flipped(body: bytes) -> bytes:
    """Return a file in which one bit of one value is another."""
    return body[:-2] + bytes([body[-2] ^ 1]) + body[-1:]


def of_step(step: int):
    """Return a change that makes a state say another step."""

    def change(body: bytes) -> bytes:
        state = read_state(body)
        card = replace(state.card, step=step)
        return write_tensors(state.tensors, {HEADER_KEY: card.to_json().decode()})

    return change


def without_a_matrix(body: bytes) -> bytes:
    state = read_state(body)
    _, *others = sorted(state.tensors)
    card = replace(state.card, values_digest="")
    tensors = {key: state.tensors[key] for key in others}
    return write_tensors(tensors, {HEADER_KEY: card.to_json().decode()})


DAMAGES = {
    "one bit": flipped,
    "beyond the end": of_step(1000),
    "no step": of_step(0),
    "a matrix less": without_a_matrix,
    "rubbish": lambda _: b"rubbish" * 1000,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_falls_back_to_the_one_before_and_never_fails_its_task(
    damage, house, trained_alone, caplog
):
    task = house.add()
    house.clock = Interrupting(26, house.stop.set)
    assert not train(house)
    states = sorted((house.ml.checkpoints / f"algo-1/{task.request}/state").iterdir())
    states[1].write_bytes(DAMAGES[damage](states[1].read_bytes()))
    house.stop.clear()
    with caplog.at_level(logging.INFO):
        assert train(house)
    assert "is passed over" in caplog.text
    assert f"goes on from algo-1/{task.request}/state/{states[0].name}" in caplog.text
    assert house.adapter_bytes(task) == trained_alone("42")


def test_without_any_state_that_reads_a_task_begins_anew(house, trained_alone):
    task = house.add()
    house.clock = Interrupting(26, house.stop.set)
    assert not train(house)
    for state in (house.ml.checkpoints / f"algo-1/{task.request}/state").iterdir():
        state.write_bytes(b"")
    house.stop.clear()
    assert train(house)
    assert house.adapter_bytes(task) == trained_alone("42")


def test_where_the_named_state_is_damaged_the_one_beside_it_goes_on(
    house, trained_alone, tmp_path, base_folder, caplog
):
    first = house.add()
    house.clock = Interrupting(26, house.stop.set)
    assert not train(house)
    states = sorted((house.ml.checkpoints / f"algo-1/{first.request}/state").iterdir())

    other = House(tmp_path / "other", base_folder)
    other.objects.put(f"checkpoints/j/h/r/state/{states[0].name}", states[0].read_bytes())
    named = f"checkpoints/j/h/r/state/{states[1].name}"
    other.objects.put(named, states[1].read_bytes()[:1000])
    task = other.add(resume_from=named, attempt=2)
    with caplog.at_level(logging.INFO):
        assert train(other)
    assert f"goes on from checkpoints/j/h/r/state/{states[0].name}" in caplog.text
    assert other.adapter_bytes(task) == trained_alone("42")


@pytest.mark.parametrize("kept", [0, 1000, None])
def test_an_adapter_that_was_done_and_is_damaged_is_made_again(kept, house, trained_alone):
    task = house.add()
    assert train(house)
    file = house.ml.checkpoints / checkpoints.adapter_file("algo-1", task.request)
    if kept is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:kept])
    assert train(house)
    assert house.adapter_bytes(task) == trained_alone("42")


def test_a_state_of_other_settings_is_passed_over(
    house, trained_alone, tmp_path, base_folder, caplog
):
    house.add()
    house.clock = Interrupting(21, house.stop.set)
    assert not train(house)
    states = sorted(house.ml.checkpoints.rglob("state/*.safetensors"))
    other = House(tmp_path / "other", base_folder)
    other.objects.put("checkpoints/j/s.safetensors", states[-1].read_bytes())
    task = other.add(seed=8, resume_from="checkpoints/j/s.safetensors")
    with caplog.at_level(logging.WARNING):
        assert train(other)
    assert "other settings" in caplog.text
    assert other.adapter_bytes(task) == trained_alone("42", seed=8)


def test_a_state_that_cannot_be_fetched_means_a_fresh_start(house, trained_alone, caplog):
    task = house.add(resume_from="checkpoints/j/none.safetensors")
    with caplog.at_level(logging.WARNING):
        assert train(house)
    assert "cannot be fetched" in caplog.text
    assert house.adapter_bytes(task) == trained_alone("42")


def test_tasks_follow_each_other_in_one_slot_as_if_alone(house, trained_alone):
    users = ["ann", "bob"]
    tasks = [house.add(user, seed=number) for number, user in enumerate(users)]
    assert train(house)
    for number, (user, task) in enumerate(zip(users, tasks, strict=True)):
        alone = trained_alone(user, seed=number)
        assert house.adapter_bytes(task) == alone


RAGGED = (
    {"seed": 1},
    {"seed": 2, "hyperparameters": replace(SIX_STEPS, steps=3, batch_size=2, rank=2)},
    {"seed": 3, "hyperparameters": replace(SIX_STEPS, steps=4, targets=Targets.ATTENTION)},
    {"seed": 4, "hyperparameters": replace(SIX_STEPS, learning_rate=1e-3, prior_weight=0.5)},
)


@pytest.mark.parametrize("slots", [2, 3, 4])
def test_tasks_in_one_batch_are_trained_as_if_alone(slots, house, trained_alone):
    tasks = [house.add(f"user{n}", **changes) for n, changes in enumerate(RAGGED)]
    shop = house.open(slots=slots)
    assert Trainer(house.assignment().tasks, shop).run()
    for number, (task, changes) in enumerate(zip(tasks, RAGGED, strict=True)):
        alone = trained_alone(f"user{number}", **changes)
        assert_same_within_rounding(house.adapter_bytes(task), alone, shop.bank.shapes)


def assert_same_within_rounding(one: bytes, other: bytes, shapes) -> None:
    found, expected = (read_adapter(body, shapes, max_rank=4).matrices for body in (one, other))
    assert found.keys() == expected.keys()
    for name in expected:
        for part in (0, 1):
            assert torch.allclose(
                found[name][part].float(), expected[name][part].float(), atol=2e-4, rtol=1e-2
            )


@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 1)])
def test_a_crew_of_another_size_goes_on_and_learns_the_same(house, before, after, trained_alone):
    task = house.add()
    house.threads = before
    house.clock = Interrupting(21, house.stop.set)
    assert not train(house)
    house.stop.clear()
    house.threads = after
    shop = house.open()
    assert Trainer(house.assignment().tasks, shop).run()
    assert house.progress(task).step == SIX_STEPS.steps
    assert_same_within_rounding(house.adapter_bytes(task), trained_alone("42"), shop.bank.shapes)


def test_prior_preservation_is_resumed_and_changes_what_is_learned(house, trained_alone):
    kept = replace(SIX_STEPS, prior_weight=1.0)
    task = house.add(hyperparameters=kept)
    house.clock = Interrupting(21, house.stop.set)
    assert not train(house)
    house.stop.clear()
    assert train(house)
    assert house.adapter_bytes(task) == trained_alone(hyperparameters=kept)
    assert house.adapter_bytes(task) != trained_alone()


def test_a_slot_whose_loss_is_not_finite_fails_alone(house, trained_alone):
    wild = replace(SIX_STEPS, learning_rate=0.1, alpha=1024.0, max_grad_norm=1e3, steps=60)
    bad = house.add("bad", hyperparameters=replace(wild, noise_offset=1.0))
    good = house.add("good")
    shop = house.open(slots=2)
    trainer = Trainer(house.assignment().tasks, shop)
    trainer._fill_slots()
    shop.bank.storage_SP[0] = float("nan")
    assert trainer.run()
    said = house.progress(bad)
    assert said.state is TrainingState.FAILED
    assert said.failure.error == "PoisonousTask"
    assert "step 1" in said.failure.message
    assert not shop.bank.storage_SP[0].any()
    assert house.progress(good).state is TrainingState.DONE
    assert "adapter/adapter.json" not in house.left(bad)


def test_a_photo_that_is_not_the_manifests_fails_its_task_and_no_other(house):
    bad, good = house.add("bad"), house.add("good")
    house.objects.put(bad.photos[2].key, photo(9))
    assert train(house)
    said = house.progress(bad)
    assert said.failure.error == "ContractBroken"
    assert bad.photos[2].key in said.failure.message
    assert house.progress(good).state is TrainingState.DONE


def test_a_photo_that_is_missing_fails_its_task(house):
    task = house.add()
    (house.root / "objects" / task.photos[0].key).unlink()
    assert train(house)
    assert house.progress(task).failure.error == "ObjectMissing"


def test_a_photo_that_is_no_picture_fails_its_task(house):
    task = house.task()
    body = b"no picture"
    house.objects.put(task.photos[0].key, body)
    broken = replace(task.photos[0], digest=ids.digest_of(body))
    house.tasks.append(replace(task, photos=(broken,)))
    assert train(house)
    assert "is no picture" in house.progress(task).failure.message


class Starved(FileObjects):
    """A bucket one of whose objects is too much for the device."""

    def __init__(self, root: Path, key: str, problem: Exception) -> None:
        super().__init__(root)
        self._key, self._problem = key, problem

    def read(self, key: str, *, max_bytes: int) -> bytes:
        if key == self._key:
            raise self._problem
        return super().read(key, max_bytes=max_bytes)


class Spoilt(Studio):
    """A studio that cannot draw the samples of one owner's task."""

    def samples(self, task, slot, *, each_step):
        if task.owner == ids.owner_of("default", "bad"):
            raise ValueError("timestep_spacing is unknown")
        return super().samples(task, slot, each_step=each_step)


@pytest.mark.parametrize(
    "problem", [torch.OutOfMemoryError("out of memory"), ValueError("no such scheduler")]
)
def test_whatever_happens_when_a_task_enters_is_its_own_failure(house, problem):
    bad, good = house.add("bad"), house.add("good")
    house.objects = Starved(house.root / "objects", bad.photos[0].key, problem)
    assert train(house)
    assert house.progress(bad).failure.error == "PoisonousTask"
    assert str(problem) in house.progress(bad).failure.message
    assert house.progress(good).state is TrainingState.DONE


def test_whatever_happens_when_a_task_ends_is_its_own_failure(house, trained_alone):
    bad, good = house.add("bad"), house.add("good")
    shop = house.open(slots=2)
    studio = Spoilt(**{part.name: getattr(shop.studio, part.name) for part in fields(Studio)})
    assert Trainer(house.assignment().tasks, replace(shop, studio=studio)).run()
    assert house.progress(bad).failure.error == "PoisonousTask"
    assert "timestep_spacing" in house.progress(bad).failure.message
    assert house.progress(good).state is TrainingState.DONE
    assert not shop.bank.storage_SP.any()


def test_a_disk_that_fails_ends_the_host_and_no_task(house):
    task = house.add()
    shop = house.open()
    samples = house.ml.checkpoints / checkpoints.folder("algo-1", task.request) / "samples"
    samples.write_bytes(b"a file in the folder's place")
    with pytest.raises(OSError, match="samples"):
        Trainer(house.assignment().tasks, shop).run()
    assert not house.progress(task).state.ended


def test_weights_that_no_adapter_file_holds_fail_the_task(house):
    task = house.add(hyperparameters=replace(SIX_STEPS, steps=1, checkpoint_every_steps=0))
    shop = house.open()
    trainer = Trainer(house.assignment().tasks, shop)
    trainer._fill_slots()
    shop.bank.A["conv_in"].detach()[0] = 1e5
    assert trainer.run()
    assert house.progress(task).failure.error == "AdapterRejected"


def test_a_restarted_host_does_not_train_again_what_had_ended(house):
    done, failed = house.add("done"), house.add("failed")
    (house.root / "objects" / failed.photos[0].key).unlink()
    assert train(house)
    house.objects.put(failed.photos[0].key, photo(0))
    before = house.progress(done), house.progress(failed)
    assert train(house)
    assert (house.progress(done), house.progress(failed)) == before


def test_a_task_without_samples_previews_its_instance_prompt(house):
    task = house.add(samples=())
    assert train(house)
    assert house.progress(task).samples == ()
    assert "previews/step-000003.png" in house.left(task)


def test_samples_are_those_of_the_published_file(house):
    task = house.add(samples=tuple(SamplePrompt(f"zorp {n}", seed=n) for n in range(3)))
    shop = house.open()
    assert Trainer(house.assignment().tasks, shop).run()
    shop.bank.load(
        0, read_adapter(house.adapter_bytes(task), shop.bank.shapes, max_rank=shop.bank.rank)
    )
    before = house.left(task)
    names = [checkpoints.sample("algo-1", task.request, n) for n in range(3)]
    first = [(house.ml.checkpoints / name).read_bytes() for name in names]
    shop.studio.samples(task, 0, each_step=lambda _: None)
    assert [(house.ml.checkpoints / name).read_bytes() for name in names] == first
    assert house.left(task) == before


# Control


@pytest.mark.parametrize("readings", [1, 12, 20, 30, 32])
def test_a_cancelled_task_stops_wherever_it_is(house, readings):
    task, other = house.add("one"), house.add("two")

    def cancel() -> None:
        sent.append(house.send(Command.CANCEL, task))
        house.control.poll()

    sent = []
    house.clock = Interrupting(readings + 2, cancel)
    assert train(house)
    assert house.answer(sent[0].id).answer is Answer.DONE
    assert house.progress(task).state is TrainingState.STOPPED
    assert house.left(task) == ["progress.json"]
    assert house.progress(other).state is TrainingState.DONE


def test_cancel_of_a_task_that_ended_or_is_not_here_is_answered(house):
    task = house.add("one")
    assert train(house)
    shop = house.open()
    ended = house.send(Command.CANCEL, task)
    absent = house.send(Command.CANCEL, house.task("nobody"))
    house.control.poll()
    assert Trainer(house.assignment().tasks, shop).run()
    assert house.answer(ended.id).answer is Answer.DONE
    assert house.answer(absent.id).answer is Answer.UNKNOWN
    assert house.progress(task).state is TrainingState.DONE


def test_erase_stops_all_of_an_owners_tasks_and_removes_what_they_left(house):
    task, other = house.add("one"), house.add("two")
    sent = []

    def erase() -> None:
        sent.append(house.send(Command.ERASE, task))
        house.control.poll()

    house.clock = Interrupting(26, erase)
    assert train(house)
    assert house.answer(sent[0].id).answer is Answer.DONE
    assert house.progress(task).state is TrainingState.STOPPED
    assert house.left(task) == ["progress.json"]
    assert house.left(other) == ALL_LEFT


def test_a_newcomer_is_admitted_when_a_slot_is_free_and_trained_as_if_alone(house):
    house.add("one")
    house.idle_seconds = 5.0
    newcomer, third = house.task("two", seed=9), house.task("three")
    sent = []

    def admit() -> None:
        sent.extend(house.send(Command.ADMIT, task) for task in (newcomer, third))
        house.control.poll()

    house.clock = Interrupting(20, admit)
    assert train(house, slots=2)
    answers = sorted(house.answer(message.id).answer for message in sent)
    assert answers == [Answer.DECLINED, Answer.DONE]
    accepted = newcomer if house.answer(sent[0].id).answer is Answer.DONE else third
    assert house.progress(accepted).state is TrainingState.DONE


@pytest.mark.parametrize("change", [{"rank": 5}, {"targets": Targets.ALL}])
def test_a_newcomer_who_does_not_fit_the_bank_is_declined(house, change):
    house.add("one", hyperparameters=replace(SIX_STEPS, targets=Targets.ATTENTION))
    wide = replace(SIX_STEPS, targets=Targets.ATTENTION)
    message = house.send(Command.ADMIT, house.task("two", hyperparameters=replace(wide, **change)))
    shop = house.open(slots=2)
    house.control.poll()
    assert Trainer(house.assignment().tasks, shop).run()
    assert house.answer(message.id).answer is Answer.DECLINED
    assert "does not fit" in house.answer(message.id).reason


def test_a_newcomer_who_is_here_already_is_accepted_again(house):
    task = house.add("one")
    message = house.send(Command.ADMIT, task)
    shop = house.open()
    house.control.poll()
    assert Trainer(house.assignment().tasks, shop).run()
    assert "already" in house.answer(message.id).reason


def test_a_newer_attempt_of_a_task_that_failed_begins_again(house, trained_alone):
    task = house.add()
    hidden = house.root / "hidden"
    photo_file = house.root / "objects" / task.photos[0].key
    photo_file.rename(hidden)
    assert train(house)
    assert house.progress(task).state is TrainingState.FAILED
    hidden.rename(photo_file)
    shop = house.open()
    again = house.send(Command.ADMIT, replace(task, attempt=2))
    house.control.poll()
    assert Trainer(house.assignment().tasks, shop).run()
    assert house.answer(again.id).reason == "accepted"
    said = house.progress(task)
    assert (said.attempt, said.state, said.failure) == (2, TrainingState.DONE, None)
    assert house.adapter_bytes(task) == trained_alone("42")


@pytest.mark.parametrize("readings", [5, 20, 30])
def test_a_newer_attempt_takes_the_place_of_one_that_is_under_way(readings, house, trained_alone):
    task = house.add()
    sent = []

    def admit() -> None:
        sent.append(house.send(Command.ADMIT, replace(task, attempt=2)))
        house.control.poll()

    house.clock = Interrupting(readings, admit)
    assert train(house)
    assert house.answer(sent[0].id).reason == "accepted"
    said = house.progress(task)
    assert (said.attempt, said.state) == (2, TrainingState.DONE)
    assert house.adapter_bytes(task) == trained_alone("42")


def test_an_idle_host_waits_for_newcomers_then_leaves(house):
    house.add("one")
    house.idle_seconds = 5.0
    assert train(house)
    assert 5.0 <= house.clock.monotonic_seconds() < 6.0
