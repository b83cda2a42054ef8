"""The training loop: rows of many people's tasks in one batch, one slot of the bank each.

A task waits, gets a slot, trains, is finished (adapter files, samples), and its slot goes to the
next. Between two steps the loop obeys the control channel and looks whether it shall stop; SIGTERM
saves every slot's state.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from atelier.contracts import checkpoints, logs
from atelier.contracts.adapter import TrainingReport
from atelier.contracts.control import Answer, Command, ControlMessage
from atelier.contracts.errors import AtelierError, PoisonousTask
from atelier.contracts.manifest import TrainingTask
from atelier.contracts.progress import TrainingState
from training_image.checkpoint import (
    StateCard,
    find_state,
    fingerprint_of,
    fits_slot,
    put_state,
    take_state,
    write_state,
)
from training_image.control import Reply
from training_image.data import TaskData, prepare
from training_image.draws import derived_seed, draw_step
from training_image.objective import SlotRows
from training_image.optimiser import stride_of
from training_image.prior import draw_class
from training_image.workshop import Workshop

log = logging.getLogger(__name__)

LOSS_MEMORY = 0.95
"""Share of the smoothed loss that a step keeps."""
IDLE_LOOK_SECONDS = 0.2
FORWARD_SHARE = 1 / 3
"""Share of a training step that a forward pass of as many rows takes: the rest is backward."""


class _StopRequested(Exception):
    """The platform wants the host to end (SIGTERM)."""


HOSTS_OWN = (_StopRequested, OSError)
"""What one task meets and all share: the wish to end, a disk that is full or failing."""


class _TaskStopped(Exception):
    """The task at hand was cancelled or erased."""


@dataclass(slots=True)
class Stay:
    """A task's stay in a slot.

    Attributes:
        task, slot: who is where.
        data: encoded photos and captions.
        prior: what the base model draws for the class, or None without prior preservation.
        modules: names of the layers that its adapter has.
        fingerprint: of what is trained.
        step: optimiser steps made, of all attempts.
        saved_step: what `step` was when the newest state was written or read.
        loss: smoothed, or None before the first step.
        seconds: of training, of all attempts, without samples.
        begun_step, begun_seconds: where `step` and the clock stood when this stay began.
        stopped: whether somebody ended it.
    """

    task: TrainingTask
    slot: int
    data: TaskData
    prior: TaskData | None
    modules: tuple[str, ...]
    fingerprint: str
    step: int
    saved_step: int
    loss: float | None
    seconds: float
    begun_step: int
    begun_seconds: float
    stopped: bool = False


class Trainer:
    """The tasks of one host: waiting, in slots, ended."""

    def __init__(self, tasks: Sequence[TrainingTask], workshop: Workshop) -> None:
        """Take up a host's share; tasks that an earlier run has ended are not trained again."""
        self._shop = workshop
        self._known = {task.request: task for task in tasks}
        said = workshop.reporter.progress
        self._waiting = deque(task for task in tasks if not said(task.request).state.ended)
        self._stays: dict[int, Stay] = {}

    def run(self) -> bool:
        """Train until nothing is left to do; return False when asked to stop before that."""
        idle_since: float | None = None
        try:
            while True:
                self._attend()
                self._fill_slots()
                if self._stays:
                    idle_since = None
                    self._train_step()
                    self._settle_step()
                    continue
                now = self._shop.clock.monotonic_seconds()
                idle_since = now if idle_since is None else idle_since
                if now - idle_since >= self._shop.idle_seconds:
                    return True
                self._shop.clock.sleep(IDLE_LOOK_SECONDS)
        except _StopRequested:
            self._save_all()
            return False

    # One step

    def _train_step(self) -> None:
        """One optimiser step of every slot that is in use."""
        shop = self._shop
        stays = [stay for stay in self._stays.values() if self._unfinished(stay)]
        if not stays:
            return
        started = shop.clock.monotonic_seconds()
        values = shop.crew.losses([group for stay in stays for group in self._rows(stay)])
        moving = [stay for stay, loss in zip(stays, values, strict=True) if math.isfinite(loss)]
        shop.optimiser.stride(
            [stride_of(stay.slot, stay.step, stay.task.hyperparameters) for stay in moving]
        )
        seconds = shop.clock.monotonic_seconds() - started
        for stay, loss in zip(stays, values, strict=True):
            if not math.isfinite(loss):
                self._fail(
                    stay,
                    PoisonousTask(
                        f"training diverged: the loss is {loss} in step {stay.step + 1}; a lower "
                        "learning rate or other photos may train",
                        step=stay.step + 1,
                    ),
                )
                continue
            stay.step += 1
            stay.seconds += seconds / len(stays)
            kept = LOSS_MEMORY if stay.loss is not None else 0.0
            stay.loss = kept * (stay.loss or 0.0) + (1 - kept) * loss

    def _rows(self, stay: Stay) -> list[SlotRows]:
        """Return a slot's rows in the step to come: of its photos, and as many of its class."""
        tuned = stay.task.hyperparameters
        found = [self._rows_of(stay, stay.data, stay.task.seed, flip=tuned.flip, weight=1.0)]
        if stay.prior is not None:
            seed = derived_seed(stay.task.seed, "prior")
            weight = tuned.prior_weight
            found.append(self._rows_of(stay, stay.prior, seed, flip=False, weight=weight))
        return found

    def _rows_of(
        self, stay: Stay, data: TaskData, seed: int, *, flip: bool, weight: float
    ) -> SlotRows:
        tuned = stay.task.hyperparameters
        _, channels, height, width = data.latents_MCHW.shape
        draws = draw_step(
            seed,
            stay.step,
            rows=tuned.batch_size,
            photos=len(data),
            latent=(channels, height, width),
            timesteps=self._shop.network.schedule.timesteps,
            noise_offset=tuned.noise_offset,
            flip=flip,
        )
        latents, captions = data.rows(draws.photos_R, draws.flips_R)
        return SlotRows(
            slot=stay.slot,
            latents_RCHW=latents,
            noise_RCHW=draws.noise_RCHW,
            timesteps_R=draws.timesteps_R,
            captions=captions,
            min_snr_gamma=tuned.min_snr_gamma,
            of_rows=tuned.batch_size,
            weight=weight,
        )

    def _settle_step(self) -> None:
        """Report, preview, keep and finish whoever has reached that point."""
        for stay in list(self._stays.values()):
            tuned = stay.task.hyperparameters
            if stay.stopped:  # while another's preview was drawn
                continue
            try:
                if self._unfinished(stay):
                    self._say_training(stay)
                    if _due(stay.step, tuned.preview_every_steps):
                        self._preview(stay)
                    if _due(stay.step, tuned.checkpoint_every_steps):
                        self._save(stay)
                else:
                    self._finish(stay)
            except _TaskStopped:
                self._leave(stay)
            except HOSTS_OWN:
                raise
            except Exception as problem:  # noqa: BLE001 - it is this task's, and told of it
                self._fail(stay, self._of_the_task(problem))

    def _finish(self, stay: Stay) -> None:
        """Adapter files first, then samples; done is said when all of it is there."""
        shop, task = self._shop, stay.task
        shop.reporter.say(
            task.request,
            state=TrainingState.SAMPLING,
            step=stay.step,
            loss=stay.loss,
            eta_seconds=self._sampling_seconds(stay),
        )
        if stay.step > stay.saved_step:
            self._save(stay)
        report = TrainingReport(
            steps=stay.step,
            final_loss=stay.loss or 0.0,
            seconds=round(stay.seconds, 3),
            photos=len(task.photos),
            device=_device_name(shop.network.device),
        )
        pointer = shop.studio.adapter(task, stay.slot, report, modules=stay.modules)
        samples = shop.studio.samples(task, stay.slot, each_step=self._between(stay))
        shop.reporter.say(
            task.request,
            state=TrainingState.DONE,
            samples=tuple(samples),
            adapter=pointer,
            eta_seconds=0.0,
        )
        with logs.about(request=task.request):
            log.info("done after %d steps, loss %.4f", stay.step, stay.loss)
        shop.tree.remove_folder(checkpoints.state_folder(shop.host, task.request))
        self._leave(stay)

    # Slots

    def _fill_slots(self) -> None:
        """Give free slots to those who wait, in order."""
        free = [slot for slot in range(self._shop.bank.slots) if slot not in self._stays]
        while free and self._waiting:
            task = self._waiting.popleft()
            try:
                self._enter(task, free[0])
            except HOSTS_OWN:
                raise
            except Exception as problem:  # noqa: BLE001 - it is this task's, and told of it
                own = self._of_the_task(problem)
                self._shop.reporter.fail(task.request, own.name(), own.message)
                self._shop.bank.clear(free[0])
            else:
                free.pop(0)

    def _enter(self, task: TrainingTask, slot: int) -> None:
        """Prepare a task and its slot: fresh, or from the newest state that reads."""
        shop, tuned = self._shop, task.hyperparameters
        shop.reporter.say(task.request, state=TrainingState.PREPARING)
        data = prepare(task, objects=shop.objects, network=shop.network)
        prior = None
        if tuned.prior_weight:
            prior = draw_class(task, network=shop.network, bank=shop.bank, hands=shop.crew.hands)
        modules = shop.network.target_modules(tuned.targets)
        shop.optimiser.clear(slot)
        shop.bank.initialise(
            slot,
            rank=tuned.rank,
            alpha=tuned.alpha,
            modules=modules,
            seed=derived_seed(task.seed, "adapter"),
        )
        manifest = shop.studio.manifest
        fingerprint = fingerprint_of(task, base=manifest.base, base_digest=manifest.base_digest)
        state = find_state(
            task,
            fingerprint=fingerprint,
            tree=shop.tree,
            host=shop.host,
            objects=shop.objects,
            fits=lambda found: (
                0 < found.card.step <= tuned.steps
                and fits_slot(
                    shop.bank, shop.optimiser, slot, found, rank=tuned.rank, modules=modules
                )
            ),
        )
        if state is not None:
            put_state(shop.bank, shop.optimiser, slot, state, rank=tuned.rank, modules=modules)
        begun_step = 0 if state is None else state.card.step
        stay = Stay(
            task=task,
            slot=slot,
            data=data,
            prior=prior,
            modules=modules,
            fingerprint=fingerprint,
            step=begun_step,
            saved_step=begun_step,
            loss=None if state is None else state.card.loss,
            seconds=0.0 if state is None else state.card.seconds,
            begun_step=begun_step,
            begun_seconds=shop.clock.monotonic_seconds(),
        )
        self._stays[slot] = stay
        self._say_training(stay)

    def _leave(self, stay: Stay) -> None:
        """Empty a slot; nothing of its task stays on the device."""
        self._shop.bank.clear(stay.slot)
        self._shop.optimiser.clear(stay.slot)
        self._stays.pop(stay.slot, None)

    def _fail(self, stay: Stay, problem: AtelierError) -> None:
        self._shop.reporter.fail(stay.task.request, problem.name(), problem.message)
        self._leave(stay)

    def _of_the_task(self, problem: Exception) -> AtelierError:
        """Return what went wrong with one task as its own failure; its neighbours go on.

        Raises:
            RuntimeError: the device is broken, and the host with it.
        """
        if isinstance(problem, AtelierError):
            return problem
        log.error("unexpected, and one task's own", exc_info=problem)
        if self._shop.network.device.type == "cuda":
            # A broken device answers every later call with the same error, this one first.
            torch.cuda.synchronize(self._shop.network.device)
            torch.cuda.empty_cache()
        return PoisonousTask(f"{type(problem).__name__}: {problem}", last=type(problem).__name__)

    def _unfinished(self, stay: Stay) -> bool:
        return stay.step < stay.task.hyperparameters.steps

    # States

    def _save(self, stay: Stay) -> None:
        shop = self._shop
        card = StateCard(
            request=stay.task.request,
            step=stay.step,
            fingerprint=stay.fingerprint,
            loss=stay.loss,
            seconds=stay.seconds,
        )
        rank = stay.task.hyperparameters.rank
        state = take_state(
            shop.bank, shop.optimiser, stay.slot, card, rank=rank, modules=stay.modules
        )
        write_state(state, tree=shop.tree, host=shop.host)
        stay.saved_step = stay.step

    def _save_all(self) -> None:
        """Save every slot that has moved since its newest state, and say what is true."""
        for stay in self._stays.values():
            if not stay.stopped and stay.step > stay.saved_step:
                self._save(stay)
                self._shop.reporter.say(stay.task.request, step=stay.step, loss=stay.loss)
                with logs.about(request=stay.task.request):
                    log.info("saved after step %d", stay.step)
        self._shop.reporter.flush()

    # What is said

    def _say_training(self, stay: Stay) -> None:
        speed = self._steps_per_second(stay)
        left = stay.task.hyperparameters.steps - stay.step
        eta = None if speed is None else left / speed + self._sampling_seconds(stay)
        self._shop.reporter.say(
            stay.task.request,
            state=TrainingState.TRAINING,
            step=stay.step,
            loss=stay.loss,
            steps_per_second=None if speed is None else round(speed, 3),
            eta_seconds=None if eta is None else round(eta, 1),
        )

    def _steps_per_second(self, stay: Stay) -> float | None:
        made = stay.step - stay.begun_step
        passed = self._shop.clock.monotonic_seconds() - stay.begun_seconds
        return made / passed if made and passed > 0 else None

    def _sampling_seconds(self, stay: Stay) -> float:
        """Expect a sample's denoising step to cost a training step's forward pass per row."""
        made = stay.step
        if not made:
            return 0.0
        row_seconds = stay.seconds / made * FORWARD_SHARE / stay.task.hyperparameters.batch_size
        rows = sum(
            prompt.denoising_steps * (2 if prompt.guidance > 1 else 1)
            for prompt in stay.task.samples
        )
        return round(rows * row_seconds, 1)

    def _preview(self, stay: Stay) -> None:
        shop, request = self._shop, stay.task.request
        path = shop.studio.preview(stay.task, stay.slot, stay.step, each_step=self._between(stay))
        previews = shop.reporter.progress(request).previews
        shop.reporter.say(request, previews=tuple(dict.fromkeys((*previews, path))))

    # Control

    def _attend(self) -> None:
        if self._shop.stop.is_set():
            raise _StopRequested
        self._shop.control.attend(self._obey)
        for stay in [stay for stay in self._stays.values() if stay.stopped]:
            self._leave(stay)

    def _between(self, stay: Stay) -> Callable[[int], None]:
        """Return what is done between two denoising steps of a task's pictures."""

        def look(_rows: int) -> None:
            if self._shop.stop.is_set():
                raise _StopRequested
            self._shop.control.attend(self._obey)
            if stay.stopped:
                raise _TaskStopped

        return look

    def _obey(self, message: ControlMessage) -> Reply:
        if message.command is Command.ADMIT and message.task is not None:
            return self._admit(message.task)
        if message.command is Command.ERASE:
            return self._erase(message.owner)
        return self._cancel(message.request)

    def _admit(self, task: TrainingTask) -> Reply:
        shop = self._shop
        known = self._known.get(task.request)
        if known is not None and known.attempt >= task.attempt:
            return Reply(Answer.DONE, "the task is here already")
        here = [stay.task for stay in self._stays.values() if not stay.stopped]
        others = [own for own in (*here, *self._waiting) if own.request != task.request]
        if len(others) >= shop.bank.slots:
            return Reply(Answer.DECLINED, f"all {shop.bank.slots} slots are taken")
        tuned = task.hyperparameters
        layers = set(shop.network.target_modules(tuned.targets))
        if tuned.rank > shop.bank.rank or not layers <= set(shop.bank.shapes):
            return Reply(
                Answer.DECLINED,
                f"rank {tuned.rank} of {tuned.targets} does not fit this host's slots of rank "
                f"{shop.bank.rank}",
            )
        self._end_attempt(task.request)
        self._known[task.request] = task
        shop.reporter.begin([task])
        self._waiting.append(task)
        return Reply(Answer.DONE, "accepted")

    def _cancel(self, request: str) -> Reply:
        if not self._shop.reporter.knows(request):
            return Reply(Answer.UNKNOWN, "no such task on this host")
        if self._shop.reporter.progress(request).state.ended:
            return Reply(Answer.DONE, "the task had ended")
        self._stop_task(request)
        return Reply(Answer.DONE, "the task is stopped")

    def _erase(self, owner: str) -> Reply:
        """Stop the owner's tasks and remove all that they left here."""
        owned = [task.request for task in self._known.values() if task.owner == owner]
        for request in owned:
            if not self._shop.reporter.progress(request).state.ended:
                self._stop_task(request)
            self._remove_all(request)
        return Reply(Answer.DONE, f"{len(owned)} tasks of the owner are stopped and removed")

    def _stop_task(self, request: str) -> None:
        self._end_attempt(request)
        self._shop.reporter.say(request, state=TrainingState.STOPPED, eta_seconds=None)
        self._remove_all(request)

    def _end_attempt(self, request: str) -> None:
        """Take a task out of the queue, and out of its slot before the next step."""
        self._waiting = deque(task for task in self._waiting if task.request != request)
        for stay in self._stays.values():
            stay.stopped = stay.stopped or stay.task.request == request

    def _remove_all(self, request: str) -> None:
        """Remove what a task left here but for its progress.json."""
        for folder in self._shop.tree.folders(checkpoints.folder(self._shop.host, request)):
            self._shop.tree.remove_folder(folder)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
