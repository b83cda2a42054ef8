"""What the doctor looks at: all that a platform's stores say, as frozen values without behaviour.

The stores are read one after the other while the platform goes on, in an order that makes each
check safe (`infra.local.evidence` keeps it):

    notifications log, its length   what stands there by now has its row in the outbox
    ledger                          `read_at`: the moment that ages are measured against
    notifications log               every delivery that the ledger knows stands there
    executions with histories       what they waited for, they wait for still, or ended just now
    training jobs, their folders    every job that the ledger knows is there
    objects                         every object that the ledger or a job names is there
    endpoint, processes

So "the ledger says it, hence it is there" needs no tolerance. The other direction, "it is there,
hence the ledger says it", and everything that one store does after another, is asked only of what
is `settled`: what happened so long ago that whoever is under way has had the time to go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from atelier.contracts.adapter import AdapterCard
from atelier.contracts.manifest import TrainingManifest
from atelier.contracts.records import Batch, BatchState, ModelRecord, RequestRecord


@dataclass(frozen=True, slots=True)
class Life:
    """The platform's own life.

    Attributes:
        running: whether its process is there.
        began_at: when its present (or, if it does not run, last) life began, if that is known.
        last_sign_at: the latest time that it has given to anybody.
    """

    running: bool
    began_at: datetime | None
    last_sign_at: datetime


@dataclass(frozen=True, slots=True)
class Store:
    """One SQLite file: `problem` is why it, or a part of it, does not read.

    `bare` means that the file, its tables or their first row are not there.
    """

    name: str
    problem: str | None = None
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A document that does not read: what it is, where it lies, and why."""

    kind: str
    where: str
    problem: str


@dataclass(frozen=True, slots=True)
class Token:
    """Whom a callback token belongs to; `attempt` is the id of the task's Scheduled event."""

    execution: str
    attempt: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A notification in the outbox; `digest` is of the document that is delivered."""

    id: str
    type: str
    digest: str
    created_at: datetime
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification in the log; `early`: it stood there before the ledger was read."""

    id: str
    digest: str
    early: bool


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything that the ledger holds, at one moment.

    Attributes:
        requests: by id.
        tokens: request → whose token it holds; None for one that no engine of this home made.
        models: every model of every owner.
        outbox: every notification ever written.
        batches: by id.
        epoch: the dispatcher's.
    """

    requests: Mapping[str, RequestRecord] = field(default_factory=dict)
    tokens: Mapping[str, Token | None] = field(default_factory=dict)
    models: Sequence[ModelRecord] = ()
    outbox: Sequence[OutboxRow] = ()
    batches: Mapping[str, tuple[Batch, BatchState]] = field(default_factory=dict)
    epoch: int = 1


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task of an execution that has no outcome yet."""

    state: str
    scheduled_at: datetime
    timeout_seconds: float | None


@dataclass(frozen=True, slots=True)
class History:
    """What is kept of a history once it has been read (`infra.doctor.histories`).

    Attributes:
        events: how many.
        last_at: when the last one was written.
        flaws: what no history of Step Functions may show, one sentence each.
        open: attempt (id of its Scheduled event) → a task without outcome.
        closed: attempt → when a callback's task got its outcome.
    """

    events: int = 0
    last_at: datetime | None = None
    flaws: tuple[str, ...] = ()
    open: Mapping[int, OpenTask] = field(default_factory=dict)
    closed: Mapping[int, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExecutionSeen:
    """An execution; `carries` is the request that its input or its name speaks of, if any."""

    arn: str
    machine: str
    name: str
    status: str
    started_at: datetime
    ended_at: datetime | None
    error: str | None
    carries: str | None
    history: History


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A training job.

    Attributes:
        name, status: SageMaker's.
        created_at, ended_at: UTC.
        held: whether it counts against the quota of instances.
        manifest_digest: the hyperparameter that says what it trains, or None.
        processes: how many running programs its record names.
        folder: whether its hosts' `/opt/ml` lie on the disk.
    """

    name: str
    status: str
    created_at: datetime
    ended_at: datetime | None
    held: bool
    manifest_digest: str | None
    processes: int = 0
    folder: bool = False


@dataclass(frozen=True, slots=True)
class Training:
    """The training service's own store and disk.

    Attributes:
        jobs: by name.
        strange_folders: folders of hosts of which there is no job.
        untold: (what, since when) of state changes that nobody has taken yet.
    """

    jobs: Mapping[str, JobSeen] = field(default_factory=dict)
    strange_folders: Sequence[str] = ()
    untold: Sequence[tuple[str, datetime]] = ()


@dataclass(frozen=True, slots=True)
class ArtifactSeen:
    """An archive below `artifacts/`, read strictly.

    Attributes:
        key, bytes, modified_at: of the object.
        digest: SHA-256 of the archive.
        adapter_digest: SHA-256 of the adapter file in it, empty when the archive does not read.
        card: its adapter.json, if that reads.
        problem: why it does not read, or None.
    """

    key: str
    bytes: int
    modified_at: datetime
    digest: str
    adapter_digest: str = ""
    card: AdapterCard | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ManifestSeen:
    """A sealed manifest: its digest, and the document if it reads."""

    job: str
    digest: str
    document: TrainingManifest | None


@dataclass(frozen=True, slots=True)
class DatasetSeen:
    """A dataset: its photos' digests by key, and what is wrong with which of them."""

    key: str
    owner: str
    photos: Mapping[str, str]
    wrong: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HiddenFile:
    """A file that somebody was writing; `held`: its writer lives."""

    path: str
    modified_at: datetime
    held: bool


@dataclass(frozen=True, slots=True)
class Bucket:
    """The objects, as far as they say something about each other.

    Attributes:
        counts, bytes: by the first folder of the key.
        artifacts, manifests, datasets: by key.
        unreadable: documents that do not read with their codec.
        hidden: files that are, or were, being written.
        newest: the object that was changed last, and when.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)
    artifacts: Mapping[str, ArtifactSeen] = field(default_factory=dict)
    manifests: Mapping[str, ManifestSeen] = field(default_factory=dict)
    datasets: Mapping[str, DatasetSeen] = field(default_factory=dict)
    unreadable: Sequence[Unreadable] = ()
    hidden: Sequence[HiddenFile] = ()
    newest: tuple[str, datetime] | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A program of this platform that ran before and after all stores were read.

    `job` is the training job whose hosts' folder it works in; empty for the model server.
    """

    pid: int
    job: str


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A target model as the running endpoint knows it; `in_flight` invocations use it now."""

    target: str
    in_flight: int


@dataclass(frozen=True, slots=True)
class HeldSlot:
    """An adapter that rows draw from now: its slot, its uses, its pins."""

    name: str
    slot: int | None
    uses: int
    pins: int


@dataclass(frozen=True, slots=True)
class EndpointSeen:
    """What only the running endpoint knows.

    Attributes:
        in_service: it answered its last ping.
        loaded: models that it holds.
        in_flight: invocations under way at that moment, of whatever model.
        disk_bytes, disk_limit_bytes: unpacked artifacts, and how much of them is kept.
        slots: rows of the bank; None when the server does not tell.
        held: adapters that somebody uses; None when the server does not tell.
    """

    in_service: bool
    loaded: Sequence[ServedModel]
    in_flight: int
    disk_bytes: int
    disk_limit_bytes: int
    slots: int | None = None
    held: Sequence[HeldSlot] | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was read of one platform. A part that could not be read is None.

    Attributes:
        read_at: when the ledger was read, in UTC.
        life: the platform's process.
        stores: every SQLite file, with what is wrong with it.
        unreadable: rows of those files whose document does not read.
        torn_lines: lines of the notifications log that a crash cut; they are written again.
    """

    read_at: datetime
    life: Life
    stores: Sequence[Store]
    ledger: Ledger | None = None
    deliveries: Sequence[Delivery] | None = None
    executions: Mapping[str, ExecutionSeen] | None = None
    training: Training | None = None
    bucket: Bucket | None = None
    processes: Sequence[Process] | None = None
    endpoint: EndpointSeen | None = None
    unreadable: Sequence[Unreadable] = ()
    torn_lines: int = 0

    @property
    def being_made(self) -> bool:
        """Whether the home's first start did not come to its end: nobody ever worked there.

        Some stores are bare, and what is there holds nothing that another one could miss.
        """
        if not any(store.bare for store in self.stores):
            return False
        ledger, training, bucket = self.ledger, self.training, self.bucket
        return not (
            (ledger and (ledger.requests or ledger.models or ledger.outbox or ledger.batches))
            or self.executions
            or (training and training.jobs)
            or (bucket and any(bucket.counts.values()))
            or self.deliveries
            or self.unreadable
        )
