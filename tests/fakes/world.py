"""A small platform for the tests of tasks: real ledger and bucket, scripted services, own time."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from atelier.contracts import checkpoints, ids, keys
from atelier.contracts.adapter import AdapterCard, TrainingReport
from atelier.contracts.base_models import base_model
from atelier.contracts.clock import ManualClock
from atelier.contracts.consent import Consent
from atelier.contracts.dataset import UploadComplete, UploadedPhoto
from atelier.contracts.documents import canonical_json
from atelier.contracts.errors import AtelierError
from atelier.contracts.progress import AdapterPointer, Progress, TrainingFailure, TrainingState
from atelier.contracts.records import RequestRecord
from infra.local.ledger import SqliteLedger
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer
from tasks import launch_round, launch_training, register, settle
from tasks.ports import Ports, TaskSettings
from tests.fakes.services import (
    HeardNotifications,
    ScriptedEndpoint,
    ScriptedExecutions,
    ScriptedTrainingJobs,
)

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Worlds live where syncing to disk costs nothing: their tests ask about ports, not about power."""
DURATIONS = frozenset({"wait_seconds", "deadline_seconds"})
REPORTS: dict[bytes, tuple[str, bytes]] = {}
"""What was said of the photos of worlds: what they train for → name and body of the report."""
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*")


@cache
def photo(number: int, side: int = 64, kind: str = "PNG") -> bytes:
    """Return one of many different photos."""
    noise = hashlib.shake_256(f"photo {number}".encode()).digest(8 * 8 * 3)
    image = Image.frombytes("RGB", (8, 8), noise).resize((side, side), Image.Resampling.NEAREST)
    out = BytesIO()
    image.save(out, kind)
    return out.getvalue()


class World:
    """A platform in a folder, and what people and training hosts do on it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = ManualClock()
        self.ledger = SqliteLedger(folder / "ledger.sqlite3", clock=self.clock)
        self.objects = FileObjects(
            folder / "objects",
            clock=self.clock,
            sign=hmac_signer(b"a secret of the tests, 32 bytes."),
            upload_url="http://127.0.0.1/uploads",
        )
        self.jobs = ScriptedTrainingJobs(self.clock)
        self.executions = ScriptedExecutions()
        self.notifications = HeardNotifications()
        self.ports = Ports(
            ledger=self.ledger,
            objects=self.objects,
            training_jobs=self.jobs,
            endpoint=ScriptedEndpoint(),
            notifications=self.notifications,
            executions=self.executions,
            clock=self.clock,
            settings=TaskSettings(**settings),
        )

    # what people do

    def upload(
        self, user: str = "42", *, photos: int = 5, complete: bool = True, tenant: str = "default"
    ) -> str:
        """Upload a set of photos and return its folder."""
        folder = keys.upload_prefix(ids.owner_of(tenant, user), "first")
        announced = []
        for number in range(photos):
            body, name = photo(number), f"{number:02d}.png"
            self.objects.put(folder + name, body)
            announced.append(UploadedPhoto(name, ids.digest_of(body), len(body)))
        if complete:
            document = UploadComplete(tuple(announced), Consent("ada", self.clock.now()))
            self.objects.put(keys.upload_complete(folder), document.to_json())
        return folder

    def asked(self, user: str = "42", **given: Any) -> dict[str, Any]:
        """Return the input of an onboarding of photos that were uploaded."""
        folder = keys.upload_prefix(ids.owner_of(given.get("tenant", "default"), user), "first")
        return {"user_id": user, "photos": folder, "preset": "nano", **given}

    def registered(self, user: str = "42", execution: str = "by-hand", **given: Any) -> str:
        """Return the id of a request that went through Register."""
        folder = self.upload(user, tenant=given.get("tenant", "default"))
        payload = {"given": self.asked(user, **given), "execution": execution}
        # Looking at photos is most of what a world costs, and all of them hold the same: the
        # report of the first is laid beside the set, as if the API had made it.
        looks_alike = canonical_json([given.get("base"), given.get("hyperparameters")])
        if report := REPORTS.get(looks_alike):
            self.objects.put(folder + report[0], report[1])
        request = str(register.run(payload, ports=self.ports)["request"])
        for info in self.objects.list(f"{folder}_report-"):
            REPORTS[looks_alike] = info.key.removeprefix(folder), self.objects.read(info.key)
        return request

    def queued(self, user: str = "42", token: str = "token-1", **given: Any) -> str:
        """Return the id of a request that waits in the queue with a token."""
        request = self.registered(user, **given)
        launch_training.run({"request": request, "token": token}, ports=self.ports)
        return request

    def launched(self, user: str = "42", **given: Any) -> str:
        """Return the id of a request whose training job was created."""
        request = self.queued(user, **given)
        self.dispatch()
        return request

    def dispatch(self) -> dict[str, Any]:
        """Run one round of the current epoch."""
        epoch = self.ledger.dispatch_state().epoch
        return launch_round.run({"epoch": epoch}, ports=self.ports)

    # what training hosts do

    def train(self, request: str, /, *, weights: bytes | None = None, **card: Any) -> None:
        """Leave a finished adapter in the checkpoint tree, as a training host does."""
        record = self.read(request)
        assert record.job is not None
        assert record.host is not None
        file = adapter_file(record.given.hyperparameters.rank) if weights is None else weights
        card_path = checkpoints.adapter_card(record.host, request)
        file_path = checkpoints.adapter_file(record.host, request)
        self.objects.put(keys.checkpoint(record.job, file_path), file)
        body = replace(adapter_card(record, file), **card).to_json()
        self.objects.put(keys.checkpoint(record.job, card_path), body)
        pointer = AdapterPointer(file_path, card_path, ids.digest_of(file), len(file))
        self.progress(request, TrainingState.DONE, adapter=pointer, step=6)

    def progress(self, request: str, state: TrainingState, **fields: Any) -> None:
        """Write a request's progress.json as its host does."""
        record = self.read(request)
        assert record.job is not None
        assert record.host is not None
        if state is TrainingState.FAILED and "failure" not in fields:
            fields["failure"] = TrainingFailure("ContractBroken", "the loss is not finite")
        document = Progress(
            request=request,
            attempt=record.attempt,
            job=record.job,
            host=record.host,
            state=state,
            steps=record.given.hyperparameters.steps,
            updated_at=self.clock.now(),
            **{"step": 0, **fields},
        )
        key = keys.checkpoint(record.job, checkpoints.progress(record.host, request))
        self.objects.put(key, document.to_json())

    def event(self, job: str, status: str, secondary: str = "", reason: str = "") -> None:
        """Deliver a training job's state change."""
        detail = {
            "TrainingJobName": job,
            "TrainingJobStatus": status,
            "SecondaryStatus": secondary or status,
            "FailureReason": reason,
        }
        settle.run(detail, ports=self.ports)

    # what a test looks at

    def read(self, request: str) -> RequestRecord:
        return self.ledger.read(request)

    def outbox(self) -> list[str]:
        """Return the types of what was notified, delivered or not."""
        rows = {row.id: row for row in self.ledger.undelivered(limit=1000)}
        rows |= {row.id: row for row in self.notifications.delivered}
        return sorted(row.type for row in rows.values())

    def seen(self) -> dict[str, Any]:
        """Return all that a platform holds and was told, without times."""
        requests, _ = self.ledger.list_requests(tenant="default", limit=1000)
        return timeless(
            {
                "requests": [_without(r.to_dict(), "entered", "updated_at") for r in requests],
                "models": [m.to_dict() for m in self.ledger.list_models(tenant="default")],
                "waiting": [r.request for r in self.ledger.queued(limit=1000)],
                "outbox": [n.to_dict() for n in self.ledger.undelivered(limit=1000)],
                "told": sorted({n.id for n in self.notifications.delivered}),
                "open": [b.batch for b, _ in self.ledger.open_batches()],
                "objects": self._bodies(),
                "jobs": {n: dict(d) for n, d in self.jobs.definitions.items()},
                "succeeded": self.executions.succeeded,
                "failed": self.executions.failed,
                "executions": sorted(self.executions.executions),
                "epoch": self.ledger.dispatch_state().epoch,
            }
        )

    def _bodies(self) -> dict[str, Any]:
        bodies = {}
        for info in self.objects.list(""):
            body = self.objects.read(info.key)
            is_json = info.key.endswith(".json")
            bodies[info.key] = json.loads(body) if is_json else ids.digest_of(body)
        return bodies


@contextmanager
def new_world(**settings: Any) -> Iterator[World]:
    """Give a fresh platform in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="atelier-world-", dir=MEMORY))
    world = World(folder, **settings)
    try:
        yield world
    finally:
        world.ledger.close()
        shutil.rmtree(folder)


def answer(run: Any, given: Mapping[str, Any]) -> Any:
    """Return a function of ports that runs a task and gives its result or its error as data."""

    def act(ports: Ports) -> Any:
        try:
            return timeless(run(given, ports=ports))
        except AtelierError as error:
            return timeless(error.to_dict())

    return act


def timeless(value: Any) -> Any:
    """Return JSON values with times and durations replaced: crashes take time, no more."""
    if isinstance(value, Mapping):
        return {k: "some" if k in DURATIONS else timeless(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [timeless(v) for v in value]
    return TIME.sub("some time", value) if isinstance(value, str) else value


def adapter_file(rank: int, *, value: float = 0.5, modules: int = 2) -> bytes:
    """Return a small adapter file: A and B of a few modules, every value the same."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for number in range(modules):
        for part, shape in (("A", [rank, 4]), ("B", [4, rank])):
            raw = struct.pack("<f", value) * (4 * rank)
            header[f"unet.block_{number}.to_q.lora_{part}.weight"] = {
                "dtype": "F32",
                "shape": shape,
                "data_offsets": [len(data), len(data) + len(raw)],
            }
            data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def adapter_card(record: RequestRecord, file: bytes) -> AdapterCard:
    """Return the card that a training host writes beside an adapter file."""
    given, tuned = record.given, record.given.hyperparameters
    base = base_model(given.base)
    return AdapterCard(
        owner=given.owner,
        model=given.model,
        request=given.request,
        base=given.base,
        base_digest=base.digest,
        family=base.family.value,
        rank=tuned.rank,
        alpha=tuned.alpha,
        targets=tuned.targets,
        trigger=given.trigger,
        subject=given.subject,
        instance_prompt=given.instance_prompt,
        file_digest=ids.digest_of(file),
        file_bytes=len(file),
        tensors=4,
        resolution=tuned.resolution,
        seed=given.seed,
        report=TrainingReport(tuned.steps, 0.1, 1.0, 5, "cpu"),
        created_at=record.created_at,
    )


def _without(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in given.items() if k not in names}
