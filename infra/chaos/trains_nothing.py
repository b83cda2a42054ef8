"""A training program that honours the container contract and trains nothing.

    python -S -m infra.chaos.trains_nothing train

It does all that the platform sees of the real one: reads its configuration and the manifest, writes
progress.json as it goes, keeps resumable states and goes on from the newest that reads, obeys the
control channel, saves on SIGTERM, and leaves a small adapter file that is valid for `tiny`, its
card and samples. A step is a pause of `ATELIER_STEP_SECONDS`. It starts within a tenth of a second
and is many times cheaper than the platform around it, so that thousands of onboardings fit into
minutes. Every line in its log that begins with `trained` is one step that nobody may make twice
once it was saved; `done` is said once for each adapter.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from atelier.contracts import checkpoints, container, ids, keys
from atelier.contracts.adapter import AdapterCard, TrainingReport
from atelier.contracts.base_models import base_model
from atelier.contracts.clock import Clock, SystemClock
from atelier.contracts.container import FAILURE_CHARACTERS, MlFolder
from atelier.contracts.control import Answer, Command, ControlAcknowledgement, ControlMessage
from atelier.contracts.documents import MAX_DOCUMENT_BYTES, DocumentError
from atelier.contracts.errors import AtelierError, ContractBroken
from atelier.contracts.manifest import TrainingManifest, TrainingTask
from atelier.contracts.progress import (
    AdapterPointer,
    Progress,
    TrainingFailure,
    TrainingState,
)
from atelier.contracts.safetensors import read_header
from atelier.objects import Objects, open_objects, replace_file
from infra.chaos.worthless import adapter_file, fingerprint, picture, tensor_file

STEP_SECONDS_VARIABLE = "ATELIER_STEP_SECONDS"
SLOTS_VARIABLE = "ATELIER_TRAIN_SLOTS"
DEFAULT_STEP_SECONDS = 0.01
DEFAULT_SLOTS = 8
REPORT_SECONDS = 0.5
POLL_SECONDS = 0.5
KEPT_STATES = 2
MAX_STATE_BYTES = 64 * 1024
MAX_PHOTO_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Work:
    """One task on this host: how far it is, and what is said of it."""

    task: TrainingTask
    said: Progress
    saved_step: int = 0
    written_at: float = 0.0


@dataclass(slots=True)
class Host:
    """A training host that goes through all motions.

    Attributes:
        ml, objects, clock: its folder, the bucket, time.
        manifest: the job's.
        name: SageMaker's name of this host.
        step_seconds: how long a step takes; all tasks here make it together.
        slots: how many tasks may be here; more are declined.
        stop: set by SIGTERM.
    """

    ml: MlFolder
    objects: Objects
    clock: Clock
    manifest: TrainingManifest
    name: str
    step_seconds: float
    slots: int
    stop: threading.Event
    works: dict[str, Work] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    polled_at: float = -POLL_SECONDS

    def run(self) -> bool:
        """Train until nothing is left to do; False when asked to stop before that."""
        folder = keys.control_prefix(self.manifest.job, self.name)
        self.answered = {PurePosixPath(key).stem for key in self.objects.list(f"{folder}acks/")}
        for task in self.manifest.tasks:
            if task.request in self._share():
                self._take_up(task)
        idle_since: float | None = None
        while not self.stop.is_set():
            self._attend()
            working = [work for work in self.works.values() if not work.said.state.ended]
            if working:
                idle_since = None
                self.stop.wait(self.step_seconds)
                for work in working:
                    self._advance(work)
                continue
            now = self.clock.monotonic_seconds()
            idle_since = now if idle_since is None else idle_since
            if now - idle_since >= self.manifest.idle_seconds:
                return True
            self.stop.wait(min(POLL_SECONDS, self.manifest.idle_seconds))
        for work in self.works.values():
            if not work.said.state.ended:
                self._save(work)
                self._say(work, state=TrainingState.WAITING)
        return False

    # training nothing

    def _take_up(self, task: TrainingTask) -> None:
        """Begin with a task, or go on from what an earlier run of it left."""
        now = self.clock.now()
        fresh = Progress(
            request=task.request,
            attempt=task.attempt,
            job=self.manifest.job,
            host=self.name,
            state=TrainingState.WAITING,
            step=0,
            steps=task.hyperparameters.steps,
            updated_at=now,
            entered={TrainingState.WAITING.value: now},
        )
        before = self._earlier(fresh)
        work = self.works[task.request] = Work(task, before or fresh)
        if work.said.state.ended:
            log(f"request {task.request} has ended in an earlier run: {work.said.state}")
            return
        if problem := self._problem_of(task):
            failure = TrainingFailure(ContractBroken.name(), problem)
            self._say(work, state=TrainingState.FAILED, failure=failure)
            log(f"request {task.request} cannot be trained: {problem}")
            return
        if before is not None:
            stopped = {TrainingState.STOPPED.value: before.updated_at}
            entered = {**before.entered, **stopped}
            work.said = replace(before, state=TrainingState.WAITING, entered=entered)
        work.saved_step = self._resumed_step(task)
        self._say(work, state=TrainingState.TRAINING, step=work.saved_step)
        log(f"request {task.request} begins at step {work.saved_step}")

    def _problem_of(self, task: TrainingTask) -> str:
        """Return what is wrong with a task's photos, or nothing."""
        for photo in task.photos:
            try:
                body = self.objects.read(photo.key, max_bytes=MAX_PHOTO_BYTES)
            except AtelierError as problem:
                return problem.message
            if ids.digest_of(body) != photo.digest:
                return f"photo {photo.key} is not the one that the manifest names"
        return ""

    def _advance(self, work: Work) -> None:
        """Make one step and write what is due after it."""
        if work.said.step < work.said.steps:
            step = work.said.step + 1
            log(f"trained {work.task.request} step {step}")
            seconds = (work.said.steps - step) * self.step_seconds
            speed = 1 / self.step_seconds if self.step_seconds else None
            changes: dict[str, Any] = {
                "loss": 1 / step,
                "steps_per_second": speed,
                "eta_seconds": seconds,
            }
            due = self.clock.monotonic_seconds() - work.written_at >= REPORT_SECONDS
            if due:
                self._say(work, step=step, **changes)
            else:
                work.said = replace(work.said, step=step, **changes)
            every = work.task.hyperparameters.checkpoint_every_steps
            if every and step % every == 0:
                self._save(work)
        if work.said.step == work.said.steps:
            self._finish(work)

    def _finish(self, work: Work) -> None:
        """Leave adapter file, card and samples; then say that it is done."""
        task = work.task
        if work.said.step > work.saved_step:
            self._save(work)
        self._say(work, state=TrainingState.SAMPLING, eta_seconds=0.0)
        body = adapter_file(task)
        card = self._card(task, body)
        file, about = (
            path(self.name, task.request)
            for path in (checkpoints.adapter_file, checkpoints.adapter_card)
        )
        self._write(file, body)
        self._write(about, card.to_json())
        samples = [checkpoints.sample(self.name, task.request, n) for n in range(len(task.samples))]
        for number, path in enumerate(samples):
            self._write(path, picture(f"{task.request} {number}"))
        pointer = AdapterPointer(file, about, card.file_digest, len(body))
        self._say(work, state=TrainingState.DONE, adapter=pointer, samples=tuple(samples))
        self._remove(checkpoints.state_folder(self.name, task.request))
        log(f"done {task.request}")

    def _card(self, task: TrainingTask, body: bytes) -> AdapterCard:
        tuned = task.hyperparameters
        return AdapterCard(
            owner=task.owner,
            model=task.model,
            request=task.request,
            base=self.manifest.base,
            base_digest=self.manifest.base_digest,
            family=base_model(self.manifest.base).family.value,
            rank=tuned.rank,
            alpha=tuned.alpha,
            targets=tuned.targets,
            trigger=task.trigger,
            subject=task.subject,
            instance_prompt=task.instance_prompt,
            file_digest=ids.digest_of(body),
            file_bytes=len(body),
            tensors=2,
            resolution=tuned.resolution,
            seed=task.seed,
            report=TrainingReport(
                steps=tuned.steps,
                final_loss=1 / tuned.steps,
                seconds=tuned.steps * self.step_seconds,
                photos=len(task.photos),
                device="none",
            ),
            created_at=self.clock.now(),
        )

    # states

    def _save(self, work: Work) -> None:
        """Write a state whole, then remove all but the newest two."""
        step, request = work.said.step, work.task.request
        if step <= work.saved_step:
            return
        about = json.dumps({"step": step, "fingerprint": fingerprint(work.task)})
        body = tensor_file({"step": ((1,), struct.pack("<f", step))}, {"state": about}, dtype="F32")
        self._write(checkpoints.state(self.name, request, step), body)
        work.saved_step = step
        for path in sorted(self._states(request))[:-KEPT_STATES]:
            path.unlink(missing_ok=True)

    def _resumed_step(self, task: TrainingTask) -> int:
        """Return the step of the newest state that reads, 0 when there is none."""
        bodies = [path.read_bytes() for path in sorted(self._states(task.request), reverse=True)]
        if task.resume_from is not None:
            bodies += self._beside(task.resume_from)
        for body in bodies:
            try:
                state = json.loads(read_header(body).metadata["state"])
                step = int(state["step"])
            except (AtelierError, ValueError, KeyError, TypeError) as problem:
                log(f"a state of {task.request} does not read and is passed over: {problem!r}")
                continue
            if state["fingerprint"] == fingerprint(task) and 0 < step <= task.hyperparameters.steps:
                return step
        return 0

    def _beside(self, named: str) -> list[bytes]:
        """Return the state of that key, then those beside it, newest first."""
        bodies = []
        beside = self.objects.list(named.rpartition("/")[0] + "/")
        for key in (named, *sorted({*beside} - {named}, reverse=True)):
            try:
                bodies.append(self.objects.read(key, max_bytes=MAX_STATE_BYTES))
            except AtelierError as problem:
                log(f"state {key} cannot be fetched: {problem}")
        return bodies

    def _states(self, request: str) -> list[Path]:
        folder = self.ml.checkpoints / checkpoints.state_folder(self.name, request)
        return list(folder.glob("step-*.safetensors"))

    # what it says, and what it is told

    def _say(self, work: Work, **changes: Any) -> None:
        """Change what is said of a task, and write it."""
        before, now = work.said, self.clock.now()
        work.said = replace(before, **changes, updated_at=now)
        if work.said.state is not before.state:
            entered = {**before.entered, work.said.state.value: now}
            work.said = replace(work.said, entered=entered)
        work.written_at = self.clock.monotonic_seconds()
        self._write(checkpoints.progress(self.name, work.task.request), work.said.to_json())

    def _earlier(self, fresh: Progress) -> Progress | None:
        """Return what an earlier run of this host said in the same job and attempt."""
        try:
            path = self.ml.checkpoints / checkpoints.progress(self.name, fresh.request)
            before = Progress.from_json(path.read_bytes())
        except (OSError, DocumentError):
            return None
        same = (before.job, before.attempt, before.steps) == (
            fresh.job,
            fresh.attempt,
            fresh.steps,
        )
        if same and before.adapter is not None and not self._is_here(before.adapter):
            log(f"request {fresh.request} was done, but its adapter is damaged or gone")
            return None
        return before if same else None

    def _is_here(self, pointer: AdapterPointer) -> bool:
        """Tell whether an adapter file lies where it was said to, as it was written."""
        try:
            body = (self.ml.checkpoints / keys.check_key(pointer.file)).read_bytes()
        except (OSError, ValueError):
            return False
        return ids.digest_of(body) == pointer.digest

    def _attend(self) -> None:
        """Obey each message of the control channel once, and answer it."""
        now = self.clock.monotonic_seconds()
        if now - self.polled_at < POLL_SECONDS:
            return
        self.polled_at = now
        folder = keys.control_prefix(self.manifest.job, self.name)
        try:
            for key in self.objects.list(f"{folder}messages/"):
                message = PurePosixPath(key).stem
                if key.endswith(".json") and message not in self.answered:
                    answer, reason = self._obey(self.objects.read(key, max_bytes=1024 * 1024))
                    log(f"control message {message}: {answer} ({reason})")
                    reply = ControlAcknowledgement(message, answer, reason, self.clock.now())
                    answer_key = keys.control_acknowledgement(self.manifest.job, self.name, message)
                    self.objects.put(answer_key, reply.to_json())
                    self.answered.add(message)
        except AtelierError as problem:
            log(f"the control channel cannot be used now: {problem}")

    def _obey(self, body: bytes) -> tuple[Answer, str]:
        try:
            message = ControlMessage.from_json(body)
        except DocumentError as problem:
            return Answer.UNKNOWN, f"it does not read: {problem}"
        if message.command is Command.ADMIT and message.task is not None:
            return self._admit(message.task)
        mine = [
            work
            for work in self.works.values()
            if (message.command is Command.ERASE and work.task.owner == message.owner)
            or work.task.request == message.request
        ]
        for work in mine:
            if not work.said.state.ended:
                self._say(work, state=TrainingState.STOPPED, eta_seconds=None)
            for part in ("adapter/", "previews/", "samples/", "state/"):
                if message.command is Command.ERASE or work.said.state is TrainingState.STOPPED:
                    self._remove(checkpoints.folder(self.name, work.task.request) + part)
        return (Answer.DONE, f"{len(mine)} tasks") if mine else (Answer.UNKNOWN, "no such task")

    def _admit(self, task: TrainingTask) -> tuple[Answer, str]:
        known = self.works.get(task.request)
        if known is not None and known.task.attempt >= task.attempt:
            return Answer.DONE, "the task is here already"
        if sum(not work.said.state.ended for work in self.works.values()) >= self.slots:
            return Answer.DECLINED, f"all {self.slots} slots are taken"
        self._take_up(task)
        return Answer.DONE, "accepted"

    # files

    def _write(self, path: str, body: bytes) -> None:
        place = self.ml.checkpoints / path
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, body)

    def _remove(self, folder: str) -> None:
        shutil.rmtree(self.ml.checkpoints / folder, ignore_errors=True)

    def _share(self) -> frozenset[str]:
        hosts = sorted(json.loads(self.ml.resource_config.read_bytes())["hosts"])
        return frozenset(task.request for task in self.manifest.share(hosts.index(self.name)))


def read_manifest(ml: MlFolder, *, objects: Objects) -> TrainingManifest:
    """Return the manifest that the hyperparameters name.

    Raises:
        ContractBroken: it is another than they say, or does not read.
        ObjectMissing, ServiceUnavailable: it cannot be fetched.
    """
    given = json.loads(ml.hyperparameters.read_bytes())
    key = given[container.MANIFEST_HYPERPARAMETER]
    body = objects.read(key, max_bytes=MAX_DOCUMENT_BYTES)
    if ids.digest_of(body) != given[container.MANIFEST_DIGEST_HYPERPARAMETER]:
        raise ContractBroken(f"manifest {key} is another than the hyperparameters say", where=key)
    try:
        return TrainingManifest.from_json(body)
    except DocumentError as problem:
        raise ContractBroken(f"manifest {key}: {problem}", where=problem.where) from problem


def log(line: str) -> None:
    """Say one line in the host's log; a disk that is full does not hear it."""
    with suppress(OSError):
        os.write(1, f"{line}\n".encode())


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the program; return its exit code, 0 also after it was stopped."""
    if list(arguments) != [container.TRAIN_COMMAND]:
        sys.stderr.write(f"usage: python -m infra.chaos.trains_nothing {container.TRAIN_COMMAND}\n")
        return 2
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    root = environment.get(container.ML_ROOT_VARIABLE)
    ml = MlFolder(Path(root)) if root else MlFolder()
    try:
        objects = open_objects(environment[container.OBJECTS_VARIABLE])
        host = Host(
            ml=ml,
            objects=objects,
            clock=SystemClock(),
            manifest=read_manifest(ml, objects=objects),
            name=json.loads(ml.resource_config.read_bytes())["current_host"],
            step_seconds=float(environment.get(STEP_SECONDS_VARIABLE, DEFAULT_STEP_SECONDS)),
            slots=int(environment.get(SLOTS_VARIABLE, DEFAULT_SLOTS)),
            stop=stop,
        )
        log("nothing is left to do" if host.run() else "stopped as asked; every task is saved")
    except Exception as problem:  # noqa: BLE001 - whatever it was, the job's FailureReason says it
        ml.failure.parent.mkdir(parents=True, exist_ok=True)
        text = f"{type(problem).__name__}: {problem}"
        log(text)
        replace_file(ml.failure, text[:FAILURE_CHARACTERS].encode())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))  # noqa: TID251 - composition root
