"""A training host's surroundings: bucket, manifest, `/opt/ml`, and a workshop without a program."""

import io
import json
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from atelier.contracts import checkpoints, ids, keys
from atelier.contracts.clock import ManualClock
from atelier.contracts.container import MlFolder
from atelier.contracts.control import Command, ControlAcknowledgement, ControlMessage
from atelier.contracts.manifest import HostShare, TrainingManifest, TrainingPhoto, TrainingTask
from atelier.contracts.progress import Progress
from atelier.contracts.request import SamplePrompt
from atelier.contracts.settings import Hyperparameters, Targets
from atelier.objects import FileObjects
from training_image.assignment import Assignment, read_assignment
from training_image.control import ControlChannel
from training_image.reporter import Reporter
from training_image.settings import TrainSettings
from training_image.tree import CheckpointTree
from training_image.workshop import Doors, Workshop, open_workshop

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIX_STEPS = Hyperparameters(
    steps=6,
    rank=4,
    learning_rate=5e-3,
    resolution=32,
    warmup_steps=1,
    batch_size=3,
    targets=Targets.ALL,
    flip=True,
    preview_every_steps=3,
    checkpoint_every_steps=2,
)


def photo(number: int, side: int = 32) -> bytes:
    """A picture of nothing in particular, different for every number."""
    image = Image.new("RGB", (side, side), (number * 37 % 256, 90, 160))
    ImageDraw.Draw(image).ellipse((4, 4 + number, side - 8, side - 4), fill=(255, 120, number))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@dataclass
class House:
    """A bucket, a base model and one host's `/opt/ml`, below one folder."""

    root: Path
    base_folder: Path
    tasks: list[TrainingTask] = field(default_factory=list)
    idle_seconds: float = 0.0
    host: str = "algo-1"
    threads: int = 1

    def __post_init__(self) -> None:
        self.objects = FileObjects(self.root / "objects")
        self.ml = MlFolder(self.root / "ml")
        self.bases = self.root / "bases"
        self.bases.mkdir(parents=True, exist_ok=True)
        link = self.bases / "tiny"
        if not link.exists():
            link.symlink_to(self.base_folder)
        self.clock = ManualClock()
        self.stop = threading.Event()

    def task(self, user: str = "42", **changes) -> TrainingTask:
        """Put four photos into the bucket and return a task that trains them."""
        owner = ids.owner_of("default", user)
        photos = []
        for number in range(4):
            body = photo(number)
            key = f"datasets/{owner}/d1/{number:02d}.png"
            self.objects.put(key, body)
            photos.append(TrainingPhoto(key, ids.digest_of(body), ""))
        task = TrainingTask(
            request=ids.request_from_key(owner, "key"),
            attempt=1,
            owner=owner,
            model="me",
            photos=tuple(photos),
            hyperparameters=SIX_STEPS,
            samples=(SamplePrompt("zorp in space", seed=3, denoising_steps=3),),
            instance_prompt="a photo of zorp creature",
            trigger="zorp",
            subject="creature",
            seed=7,
            estimated_cost_seconds=10.0,
        )
        return replace(task, **changes)

    def add(self, user: str = "42", **changes) -> TrainingTask:
        """Return a task that is part of the manifest."""
        self.tasks.append(self.task(user, **changes))
        return self.tasks[-1]

    @property
    def manifest(self) -> TrainingManifest:
        batch = ids.batch_of([(task.request, task.attempt) for task in self.tasks])
        return TrainingManifest(
            job=ids.job_name(batch, 1),
            batch=batch,
            base="tiny",
            base_digest="",
            tasks=tuple(self.tasks),
            hosts=(HostShare(0, tuple(task.request for task in self.tasks)),),
            idle_seconds=self.idle_seconds,
        )

    def lay_out(self) -> None:
        """Write the manifest and the host's configuration, as the platform does."""
        manifest = self.manifest
        body = manifest.to_json()
        key = keys.manifest(manifest.job)
        self.objects.put(key, body)
        config = self.ml.hyperparameters.parent
        config.mkdir(parents=True, exist_ok=True)
        given = {"manifest_key": key, "manifest_digest": ids.digest_of(body)}
        self.ml.hyperparameters.write_text(json.dumps(given))
        hosts = {"current_host": self.host, "hosts": [self.host]}
        self.ml.resource_config.write_text(json.dumps(hosts))

    def open(self, *, slots: int = 1, say_seconds: float = 0.0) -> Workshop:
        """Open the workshop of this host in this process."""
        self.lay_out()
        assignment = self.assignment()
        tree = CheckpointTree(self.ml.checkpoints)
        job = assignment.manifest.job
        reporter = Reporter(
            job=job, host=self.host, tree=tree, clock=self.clock, every_seconds=say_seconds
        )
        reporter.begin(assignment.tasks)
        self.control = ControlChannel(
            objects=self.objects, job=job, host=self.host, clock=self.clock
        )
        doors = Doors(
            objects=self.objects,
            tree=tree,
            reporter=reporter,
            control=self.control,
            clock=self.clock,
            stop=self.stop,
        )
        return open_workshop(self.settings(slots), assignment, doors)

    def settings(self, slots: int = 1) -> TrainSettings:
        return TrainSettings(
            ml=self.ml,
            objects=f"file://{self.root}/objects/",
            base_models=self.bases,
            device="cpu",
            threads=self.threads,
            slots=slots,
            preview_denoising_steps=2,
        )

    def assignment(self) -> Assignment:
        return read_assignment(self.ml, objects=self.objects)

    def progress(self, task: TrainingTask) -> Progress:
        path = self.ml.checkpoints / checkpoints.progress(self.host, task.request)
        return Progress.from_json(path.read_bytes())

    def left(self, task: TrainingTask) -> list[str]:
        """What lies in a task's folder."""
        folder = self.ml.checkpoints / checkpoints.folder(self.host, task.request)
        found = (path for path in folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(folder)) for path in found)

    def adapter_bytes(self, task: TrainingTask) -> bytes:
        path = self.ml.checkpoints / checkpoints.adapter_file(self.host, task.request)
        return path.read_bytes()

    def send(self, command: Command, task: TrainingTask) -> ControlMessage:
        """Send a control message to the host; `poll` of its channel will find it."""
        newcomer = task if command is Command.ADMIT else None
        message = ControlMessage(command, task.request, task.owner, NOW, newcomer)
        key = keys.control_message(self.manifest.job, self.host, message.id)
        self.objects.put(key, message.to_json())
        return message

    def answer(self, message_id: str) -> ControlAcknowledgement:
        key = keys.control_acknowledgement(self.manifest.job, self.host, message_id)
        return ControlAcknowledgement.from_json(self.objects.read(key, max_bytes=10_000))


class Interrupting(ManualClock):
    """A clock that sets off something at its n-th reading: work that is interrupted anywhere."""

    def __init__(self, readings: int, happen) -> None:
        super().__init__()
        self._left = readings
        self._happen = happen

    def monotonic_seconds(self) -> float:
        self._left -= 1
        if self._left == 0:
            self._happen()
        return super().monotonic_seconds()


def one_thread() -> None:
    torch.set_num_threads(1)
