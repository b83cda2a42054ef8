"""The training manifest: everything one training job does, sealed before the job is created."""

from __future__ import annotations

from dataclasses import dataclass

from atelier.contracts import ids, keys
from atelier.contracts.documents import Document
from atelier.contracts.request import SamplePrompt
from atelier.contracts.settings import Hyperparameters


@dataclass(frozen=True, slots=True)
class TrainingPhoto:
    """One instance image: object key, SHA-256, and its caption."""

    key: str
    digest: str
    caption: str

    def __post_init__(self) -> None:
        """Check key and digest."""
        keys.check_key(self.key)
        if not ids.DIGEST_PATTERN.fullmatch(self.digest):
            raise ValueError(f"digest {self.digest[:80]!r} is no SHA-256 in hex")


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """One person's fine-tuning in a job.

    Attributes:
        request, attempt: whose it is; they return in progress and artifacts.
        owner, model: whose adapter it makes.
        photos: instance images with captions.
        hyperparameters: how it is trained.
        samples: images to render right after training; the first is also the preview's prompt.
        instance_prompt: caption of photos that have none of their own.
        trigger, subject: the words in it that name what the photos show.
        seed: of data order, noise, timesteps and initial weights.
        estimated_cost_seconds: on one device alone; what shares are balanced by.
        resume_from: key of a resumable checkpoint of an earlier attempt, or None.
    """

    request: str
    attempt: int
    owner: str
    model: str
    photos: tuple[TrainingPhoto, ...]
    hyperparameters: Hyperparameters
    samples: tuple[SamplePrompt, ...]
    instance_prompt: str
    trigger: str
    subject: str
    seed: int
    estimated_cost_seconds: float
    resume_from: str | None = None

    def __post_init__(self) -> None:
        """Check that there is something to train on."""
        if not self.photos:
            raise ValueError(f"task {self.request} has no photos")
        if self.estimated_cost_seconds <= 0:
            raise ValueError(f"estimated cost {self.estimated_cost_seconds} s must be positive")
        if self.resume_from is not None:
            keys.check_key(self.resume_from)


@dataclass(frozen=True, slots=True)
class HostShare:
    """The tasks of one host, by its rank among the job's sorted hosts (0 first)."""

    rank: int
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingManifest(Document):
    """What a training job trains, and which host trains what.

    Attributes:
        job: the training job's name.
        batch: the batch it was sealed from.
        base: id of the base model; every task of a job shares it.
        base_digest: digest of its weights, or empty while the registry has none.
        tasks: every fine-tuning of the job.
        hosts: shares, one per instance; together they name every task once.
        idle_seconds: how long a host without work waits for admissions before it leaves.
    """

    SCHEMA = "atelier.training-manifest"

    job: str
    batch: str
    base: str
    base_digest: str
    tasks: tuple[TrainingTask, ...]
    hosts: tuple[HostShare, ...]
    idle_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Check that every task has exactly one host."""
        requests = [task.request for task in self.tasks]
        if not requests or len(set(requests)) != len(requests):
            raise ValueError("a manifest names at least one task, and each request once")
        shared = [request for host in self.hosts for request in host.requests]
        if sorted(shared) != sorted(requests):
            raise ValueError("the hosts' shares do not name every task exactly once")
        if [host.rank for host in self.hosts] != list(range(len(self.hosts))):
            raise ValueError("host ranks count from 0 without a gap")

    def share(self, rank: int) -> tuple[TrainingTask, ...]:
        """Return the tasks of the host of that rank, in the manifest's order.

        Raises:
            ValueError: the job has no host of that rank.
        """
        if not 0 <= rank < len(self.hosts):
            raise ValueError(f"rank {rank}; the manifest has {len(self.hosts)} hosts")
        mine = set(self.hosts[rank].requests)
        return tuple(task for task in self.tasks if task.request in mine)

    def task(self, request: str) -> TrainingTask:
        """Return the task of a request.

        Raises:
            KeyError: the manifest has none.
        """
        for task in self.tasks:
            if task.request == request:
                return task
        raise KeyError(request)


def host_name(rank: int) -> str:
    """Return SageMaker's name of the host of a rank: `algo-1` first."""
    return f"algo-{rank + 1}"
