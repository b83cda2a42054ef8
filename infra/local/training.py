"""The local training service: SageMaker's training contract on subprocesses.

It answers CreateTrainingJob, DescribeTrainingJob, StopTrainingJob and ListTrainingJobs with the
account's limits, and one supervisor drives every job (`job_run.py`). The children die with the
platform: jobs that ran then begin again from their checkpoints, exactly as when SageMaker loses the
instances of a spot job. That is nobody's fault and does not count as a retry.

Source: sagemaker/latest/dg `your-algorithms-training-algo-running-container`;
general/latest/gr `sagemaker` for the limits.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from atelier.contracts.clock import Clock
from atelier.contracts.container import ML_ROOT_VARIABLE, TRAINING_GRACE_SECONDS
from atelier.contracts.documents import encode
from atelier.contracts.errors import (
    AtelierError,
    CapacityMissing,
    ContractBroken,
    InvalidRequest,
    QuotaExceeded,
    Throttled,
)
from infra.local.faults import Faults, NoFaults
from infra.local.job_definition import Instances, check_job_name, read_definition
from infra.local.job_record import JobRecord, Secondary, state_change_event
from infra.local.job_run import JobRun, Workshop
from infra.local.job_store import JobFilter, JobStore
from infra.local.programs import Program, end_strays, is_running
from infra.local.rates import TokenBucket
from tasks.ports import Objects, TrainingJob

logger = logging.getLogger(__name__)

_TELL_AGAIN_SECONDS = 1.0
_TOLD_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The account's limits and the platform's pace.

    Attributes:
        creates_per_second, describes_per_second, stops_per_second, lists_per_second: as AWS
            throttles them in every Region; 0 is no limit.
        instance_quota: instances across all training jobs.
        instance_quota_by_type: the same for single instance types.
        capacity: how many instances of a type the Region has; a type that is absent has plenty.
        grace_seconds: from SIGTERM to SIGKILL when a job stops.
        shutdown_seconds: the same when the platform goes down.
        sync_seconds: a finished checkpoint file is in the bucket that long after, at most.
        storage_patience_seconds: how long a job waits for a bucket or disk that fails.
        tick_seconds: how often the supervisor looks.
        keep_folders: leave a job's `/opt/ml` folders when it ends, to look into.
    """

    creates_per_second: float = 1.0
    describes_per_second: float = 5.0
    stops_per_second: float = 1.0
    lists_per_second: float = 2.0
    instance_quota: int = 4
    instance_quota_by_type: Mapping[str, int] = field(default_factory=dict)
    capacity: Mapping[str, int] = field(default_factory=dict)
    grace_seconds: float = TRAINING_GRACE_SECONDS
    shutdown_seconds: float = 10.0
    sync_seconds: float = 0.5
    storage_patience_seconds: float = 60.0
    tick_seconds: float = 0.05
    keep_folders: bool = False


class TrainingService:
    """SageMaker's training service on this machine; implements the port `TrainingJobs`."""

    def __init__(
        self,
        *,
        folder: Path,
        logs: Path,
        objects: Objects,
        bucket_urls: Sequence[str],
        program: Program,
        clock: Clock,
        on_event: Callable[[Mapping[str, Any]], None],
        account: str = "000000000000",
        region: str = "local",
        settings: TrainingSettings | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Open the service's records; nothing runs before `serve` or `tick`.

        Args:
            folder: `jobs.sqlite3` and `jobs/<job>/<host>/`, a host's `/opt/ml`.
            logs: `<job>/<host>.log`.
            objects: the bucket.
            bucket_urls: prefixes under which a definition may name it, each ending in `/`.
            program: what the training image starts with `train`.
            clock: time.
            on_event: told every state change as an EventBridge event, on the supervisor's thread,
                in order for each job and at least once; told again later when it raises.
            account: in ARNs and events.
            region: likewise.
            settings: limits and pace.
            faults: what goes wrong on purpose.
        """
        self.settings = settings or TrainingSettings()
        self._clock = clock
        self._on_event = on_event
        self._account = account
        self._region = region
        self._faults = faults or NoFaults()
        self._bucket_urls = tuple(bucket_urls)
        self._store = JobStore(folder / "jobs.sqlite3", event_of=self._event)
        self._workshop = Workshop(
            store=self._store,
            objects=objects,
            clock=clock,
            folder=folder.absolute() / "jobs",
            logs=logs,
            bucket_urls=self._bucket_urls,
            program=program,
            faults=self._faults,
            grace_seconds=self.settings.grace_seconds,
            sync_seconds=self.settings.sync_seconds,
            storage_patience_seconds=self.settings.storage_patience_seconds,
            keep_folders=self.settings.keep_folders,
        )
        self._limits = {
            operation: TokenBucket(rate, size=max(1.0, rate), clock=clock)
            for operation, rate in (
                ("CreateTrainingJob", self.settings.creates_per_second),
                ("DescribeTrainingJob", self.settings.describes_per_second),
                ("StopTrainingJob", self.settings.stops_per_second),
                ("ListTrainingJobs", self.settings.lists_per_second),
            )
        }
        self._runs: dict[str, JobRun] = {}
        self._lost: SimpleQueue[str] = SimpleQueue()
        self._wake = threading.Event()
        self._tell_at = 0.0

    # the API

    def create(self, definition: Mapping[str, Any]) -> None:
        """Create a job; see the port."""
        self._throttle("CreateTrainingJob")
        self._faults.on_create(str(definition.get("TrainingJobName", "")))
        read = read_definition(definition, bucket_urls=self._bucket_urls)
        now = self._clock.now()
        try:
            kept = encode(definition)
        except TypeError as problem:
            raise InvalidRequest(f"CreateTrainingJob: {problem}", where="$") from problem
        record = JobRecord(
            name=read.name,
            arn=self.job_arn(read.name),
            definition=kept,
            instance_type=read.choices[0].instance_type,
            instance_count=read.choices[0].count,
            secondary=Secondary.STARTING,
            created_at=now,
            modified_at=now,
        ).entering(Secondary.STARTING, at=now)

        def admit(running: Sequence[JobRecord]) -> JobRecord:
            chosen = self._choose(read.choices, running)
            return replace(record, instance_type=chosen.instance_type, instance_count=chosen.count)

        self._store.add(record, admit=admit)
        self._wake.set()

    def describe(self, name: str) -> TrainingJob:
        """Return a job; see the port."""
        return self.describe_record(name).told()

    def describe_record(self, name: str) -> JobRecord:
        """Return a job's whole record, under the same limit as `describe`."""
        self._throttle("DescribeTrainingJob")
        return self._store.read(check_job_name(name))

    def stop(self, name: str) -> None:
        """Ask a job to stop; see the port."""
        self.stop_record(name)

    def stop_record(self, name: str) -> JobRecord:
        """Ask a job to stop; return it as it was before.

        A job that is stopping already or whose program has ended goes on to its end.

        Raises:
            NotFound: there is none.
            Throttled: more than one request per second.
        """
        self._throttle("StopTrainingJob")
        before = self._store.read(check_job_name(name))
        now = self._clock.now()

        def change(job: JobRecord) -> JobRecord:
            if job.secondary in {Secondary.STOPPING, Secondary.UPLOADING}:
                return job
            return replace(job.entering(Secondary.STOPPING, at=now), stop_as=Secondary.STOPPED)

        self._store.change(name, change)
        self._wake.set()
        return before

    def list_records(self, wanted: JobFilter, *, offset: int, limit: int) -> Sequence[JobRecord]:
        """Return a page of jobs.

        Raises:
            Throttled: more than two requests per second.
        """
        self._throttle("ListTrainingJobs")
        return self._store.list(wanted, offset=offset, limit=limit)

    def job_arn(self, name: str) -> str:
        """Return the ARN of a training job."""
        return f"arn:aws:sagemaker:{self._region}:{self._account}:training-job/{name.lower()}"

    # what happens to machines

    def interrupt(self, job: str) -> None:
        """Take a running job's instances away, as spot instances are lost.

        Its programs get SIGTERM, a grace, SIGKILL; then it begins again from its checkpoints.
        Nothing happens to a job whose programs do not run.

        Raises:
            NotFound: there is none of that name.
        """
        self._store.read(check_job_name(job))
        self._lost.put(job)
        self._wake.set()

    def running(self) -> Sequence[tuple[str, str, int]]:
        """Return (job, host, process id) of every program that runs now."""
        return [
            (job.name, host, identity.pid)
            for job in self._store.open()
            for host, identity in (job.processes or {}).items()
            if is_running(identity)
        ]

    # the supervisor

    def recover(self) -> None:
        """Put in order what a killed platform left; once, before the first `tick`.

        Its programs died with it, or are ended here. Then each job goes on: before its program
        ran, from there; while it uploaded, from there; while it ran, see the module's docstring.
        Folders of jobs whose end was recorded, and no more, are removed.
        """
        records = self._store.open()
        end_strays(
            [known for record in records for known in (record.processes or {}).values()],
            variable=ML_ROOT_VARIABLE,
            folder=self._workshop.folder,
        )
        for record in records:
            JobRun(record.name, self._workshop).interrupted(record)
        self._remove_folders(but={record.name for record in records})

    def _remove_folders(self, *, but: set[str]) -> None:
        if not self.settings.keep_folders:
            for folder in self._workshop.folder.glob("*"):
                if folder.name not in but:
                    shutil.rmtree(folder, ignore_errors=True)

    def serve(self, stop: threading.Event) -> None:
        """Supervise until `stop` is set, then end every program and close.

        Raises:
            ContractBroken: the jobs' records are damaged.

        Call it in one thread that lives as long as the platform: the kernel ends the children with
        the thread that started them.
        """
        try:
            while not stop.is_set():
                self._wake.clear()
                try:
                    told = self.tick()
                except ContractBroken:
                    raise
                except AtelierError as problem:
                    # A full disk, say. What runs goes on; its records wait.
                    logger.warning("the jobs' records cannot be used now: %s", problem)
                    stop.wait(_TELL_AGAIN_SECONDS)
                except Exception:
                    logger.exception("the jobs could not be looked after just now")
                    stop.wait(_TELL_AGAIN_SECONDS)
                else:
                    if not told:
                        self._wake.wait(self.settings.tick_seconds)
        finally:
            self.close()

    def tick(self) -> int:
        """Give every open job a turn, then tell what changed; return how many changes were told."""
        records = self._store.open()
        self._runs = {
            record.name: self._runs.get(record.name) or JobRun(record.name, self._workshop)
            for record in records
        }
        while not self._lost.empty():
            if (run := self._runs.get(self._lost.get())) is not None:
                run.lose_instances()
        for record in records:
            try:
                self._runs[record.name].advance(record)
            except Exception:
                logger.exception("training job %s: tried again at the next turn", record.name)
        return self._tell()

    def close(self) -> None:
        """End every program; jobs that ran are interrupted, as by a crash, but saved."""
        for run in self._runs.values():
            run.ask_to_leave()
        until = self._clock.monotonic_seconds() + self.settings.shutdown_seconds
        for run in self._runs.values():
            run.leave(until=until)
        self._runs.clear()
        self._store.close()

    def _tell(self) -> int:
        told = 0
        if self._clock.monotonic_seconds() < self._tell_at:
            return told
        held_up: set[str] = set()
        for number, event in self._store.untold(limit=_TOLD_AT_ONCE):
            job = event["detail"]["TrainingJobName"]
            if job in held_up:
                continue
            try:
                self._on_event(event)
            except Exception as problem:  # noqa: BLE001 - whoever takes events may fail in any way
                logger.warning("event %s: told again in a moment: %r", event["id"], problem)
                # An event that nobody can take holds up its own job's, and no other's.
                held_up.add(job)
                self._tell_at = self._clock.monotonic_seconds() + _TELL_AGAIN_SECONDS
                continue
            self._store.mark_told(number)
            told += 1
        return told

    def _event(self, record: JobRecord, event_id: str) -> Mapping[str, Any]:
        digest = hashlib.sha256(f"{record.arn}/{event_id}".encode()).hexdigest()
        return state_change_event(
            record,
            event_id=f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}",
            account=self._account,
            region=self._region,
        )

    def _throttle(self, operation: str) -> None:
        if wait := self._limits[operation].take():
            raise Throttled("Rate exceeded", operation=operation, retry_after_seconds=wait)

    def _choose(self, choices: Sequence[Instances], running: Sequence[JobRecord]) -> Instances:
        """Return the first choice that quota and capacity allow; raise why the last one is not."""
        refused: AtelierError | None = None
        for choice in choices:
            refused = self._refusal(choice, running)
            if refused is None:
                return choice
        assert refused is not None  # noqa: S101 - there is at least one choice
        raise refused

    def _refusal(self, choice: Instances, running: Sequence[JobRecord]) -> AtelierError | None:
        kind, count = choice.instance_type, choice.count
        used = sum(job.instance_count for job in running)
        used_of_kind = sum(job.instance_count for job in running if job.instance_type == kind)
        quotas = (
            ("instances across all training jobs", used, self.settings.instance_quota),
            (
                f"{kind} for training job usage",
                used_of_kind,
                self.settings.instance_quota_by_type.get(kind, count + used_of_kind),
            ),
        )
        for quota, utilised, limit in quotas:
            if utilised + count > limit:
                return QuotaExceeded(
                    f"The account-level service limit '{quota}' is {limit} Instances, with current "
                    f"utilization of {utilised} Instances and a request delta of {count} Instances",
                    quota=quota,
                    limit=limit,
                    used=utilised,
                    asked=count,
                )
        free = self.settings.capacity.get(kind, count + used_of_kind) - used_of_kind
        if count > free:
            return CapacityMissing(
                f"{count} {kind} asked, {max(0, free)} free in {self._region}", instance_type=kind
            )
        return None
