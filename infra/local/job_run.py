"""One training job on this machine, from Starting to its end, one short turn after another.

    Starting → Downloading → Training → Uploading → Completed
                                │   └─ a host fails ──→ Failed
                                └─ Stopping: SIGTERM, grace, SIGKILL ──→ Stopped, MaxRuntimeExceeded
                                └─ Interrupted: instances lost, SIGTERM … SIGKILL ──→ Starting
    an internal error: back to Starting while RetryStrategy allows it, else Failed

A full disk is the platform's, not the program's: a job waits for room as long as it takes, and a
program that failed for want of it had an internal error.

An interruption is nobody's fault and does not count as a retry: instances that are lost, as spot
instances are, and a platform that goes down or is killed. The job begins again from its
checkpoints.

The record in the store is the truth and every change of it is made against what it says then, so
a stop that comes at any moment is seen. A `JobRun` holds what only a living platform has:
processes, sync states, deadlines.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from atelier.contracts.clock import Clock
from atelier.contracts.container import FAILURE_CHARACTERS, ML_ROOT_VARIABLE, MlFolder
from atelier.contracts.errors import AtelierError, CapacityMissing, ObjectMissing, WaitError
from infra.local import ml_folder, programs
from infra.local.checkpoint_sync import CheckpointSync
from infra.local.faults import Faults
from infra.local.job_definition import Instances, JobDefinition, read_definition
from infra.local.job_record import AGAIN, JobRecord, Secondary
from infra.local.job_store import JobStore
from infra.local.programs import Program, RunningProgram
from tasks.ports import Objects

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
_PASSING_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}
)
"""What a machine that is full or busy says, and may not say a moment later."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PROBE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where and with what jobs run; the same for all of them.

    Attributes:
        folder: `<job>/<host>/` below it is a host's `/opt/ml`.
        logs: `<job>/<host>.log` below it is what a host printed.
        bucket_urls: how definitions name our bucket; the first one names it in answers.
        program: what the training image would start.
        grace_seconds: from SIGTERM to SIGKILL.
        sync_seconds: a finished checkpoint file is in the bucket that long after, at most.
        storage_patience_seconds: how long a job's step is repeated while storage fails.
        keep_folders: leave a job's folders when it ends, to look into.
    """

    store: JobStore
    objects: Objects
    clock: Clock
    folder: Path
    logs: Path
    bucket_urls: Sequence[str]
    program: Program
    faults: Faults
    grace_seconds: float
    sync_seconds: float
    storage_patience_seconds: float
    keep_folders: bool


@dataclass(slots=True)
class _Host:
    name: str
    folder: MlFolder
    sync: CheckpointSync | None
    program: RunningProgram


@dataclass(slots=True)
class JobRun:
    """Drives one job. Only the supervisor's thread uses it."""

    name: str
    workshop: Workshop
    _hosts: list[_Host] = field(default_factory=list)
    _first_failed: _Host | None = None
    _began_at: float | None = None
    _interrupting: bool = False
    _was_full: bool = False
    _kill_at: float | None = None
    _next_push: float = 0.0
    _failing_since: float | None = None
    _again_at: float = 0.0

    def advance(self, record: JobRecord) -> None:
        """Do what is due now and return soon.

        A step that storage keeps from its end is taken again, whole, until the workshop's patience
        is over; anything else that goes wrong is an internal error.
        """
        now = self.workshop.clock.monotonic_seconds()
        if now < self._again_at:
            return
        self._again_at = now + RETRY_SECONDS
        try:
            self._steps()[record.secondary](record, self._definition(record))
        except (AtelierError, OSError) as problem:
            logger.warning("training job %s, %s: %s", self.name, record.secondary, problem)
            if self._failing_since is None:
                self._failing_since = now
            waited = now - self._failing_since
            patient = waited <= self.workshop.storage_patience_seconds or _is_full(problem)
            if not _passes(problem) or not patient:
                self._internal_error(str(problem))
        else:
            self._failing_since = None
            self._again_at = now

    def interrupted(self, record: JobRecord) -> None:
        """Take up a job that the platform left when it was killed."""
        if record.secondary in {Secondary.TRAINING, Secondary.INTERRUPTED}:
            self._begin_again("the platform went down while the job ran")
        elif record.secondary is Secondary.STOPPING:
            self._end(record.stop_as or Secondary.STOPPED)

    def ask_to_leave(self) -> None:
        """Send every program SIGTERM because the platform goes down."""
        for host in self._hosts:
            host.program.terminate()

    def lose_instances(self) -> None:
        """Take the job's instances away, as from a spot job: what runs is asked to leave."""
        self._interrupting = bool(self._hosts)

    def leave(self, *, until: float) -> None:
        """Wait until then for the programs, kill them, save; the record stays as it is."""
        clock = self.workshop.clock
        while self._running() and clock.monotonic_seconds() < until:
            clock.sleep(0.02)
        self._kill()
        try:
            self._push(final=True)
        except (AtelierError, OSError) as problem:
            logger.warning("training job %s: last checkpoints: %s", self.name, problem)

    # the steps, one per secondary status

    def _steps(self) -> Mapping[Secondary, Callable[[JobRecord, JobDefinition], None]]:
        return {
            Secondary.STARTING: self._start,
            Secondary.DOWNLOADING: self._download,
            Secondary.TRAINING: self._watch,
            Secondary.INTERRUPTED: self._lost,
            Secondary.STOPPING: self._stop,
            Secondary.UPLOADING: self._upload,
        }

    def _start(self, _record: JobRecord, _definition: JobDefinition) -> None:
        try:
            self.workshop.faults.on_start(self.name)
        except CapacityMissing as problem:
            self._fail(f"CapacityError: {problem.message}")
            return
        now = self.workshop.clock.now()
        self._move(
            Secondary.STARTING,
            lambda job: replace(
                job.entering(Secondary.DOWNLOADING, at=now), started_at=job.started_at or now
            ),
        )

    def _download(self, record: JobRecord, definition: JobDefinition) -> None:
        self._kill()
        self._hosts.clear()
        self._first_failed = self._kill_at = None
        self._interrupting = self._was_full = False
        workshop = self.workshop
        if (workshop.folder / self.name).exists():
            shutil.rmtree(workshop.folder / self.name)
        instances = Instances(record.instance_type, record.instance_count)
        prepared = []
        try:
            for rank, host in enumerate(ml_folder.host_names(instances.count)):
                folder = MlFolder(workshop.folder / self.name / host)
                ml_folder.lay_out(folder, definition, instances, host)
                for channel in definition.channels:
                    ml_folder.copy_channel(
                        workshop.objects, channel, folder, rank=rank, hosts=instances.count
                    )
                prepared.append((host, folder, self._pulled(folder, definition)))
        except ObjectMissing as problem:
            self._fail(f"ClientError: Data download failed: {problem.message}")
            return
        for host, folder, sync in prepared:
            program = programs.start(
                workshop.program,
                log=workshop.logs / self.name / f"{host}.log",
                environment={
                    **definition.environment,
                    "TRAINING_JOB_NAME": record.name,
                    "TRAINING_JOB_ARN": record.arn,
                    ML_ROOT_VARIABLE: str(folder.root),
                },
            )
            self._hosts.append(_Host(host, folder, sync, program))
        self._began_at = workshop.clock.monotonic_seconds()
        processes = {host.name: host.program.identity for host in self._hosts}
        now = workshop.clock.now()
        self._move(
            Secondary.DOWNLOADING,
            lambda job: replace(job.entering(Secondary.TRAINING, at=now), processes=processes),
        )

    def _watch(self, record: JobRecord, definition: JobDefinition) -> None:
        if not self._hosts:
            self._internal_error("its hosts are gone")
            return
        now = self.workshop.clock.now()
        codes = [host.program.exit_code for host in self._hosts]
        failed = [host for host, code in zip(self._hosts, codes, strict=True) if code]
        if self._interrupting and None in codes:
            self._move(Secondary.TRAINING, lambda job: job.entering(Secondary.INTERRUPTED, at=now))
        elif failed:
            self._first_failed = self._first_failed or failed[0]
            self._kill()
            lacked_room = self._lacked_room(self._first_failed)
            self._push(final=True)
            if lacked_room:
                self._internal_error("the disk was full")
                return
            self._upload_folders(definition, model=False)
            self._fail(self._reason(self._first_failed))
        elif all(code == 0 for code in codes):
            self._push(final=True)
            self._move(Secondary.TRAINING, lambda job: job.entering(Secondary.UPLOADING, at=now))
        else:
            self._push()
            if self._runtime_is_over(record, definition):
                self._move(
                    Secondary.TRAINING,
                    lambda job: replace(
                        job.entering(Secondary.STOPPING, at=now),
                        stop_as=Secondary.MAX_RUNTIME_EXCEEDED,
                    ),
                )

    def _lost(self, _record: JobRecord, _definition: JobDefinition) -> None:
        if self._left():
            self._push(final=True)
            self._begin_again("the instances were lost")

    def _stop(self, record: JobRecord, definition: JobDefinition) -> None:
        if not self._left():
            return
        self._push(final=True)
        model = self._upload_folders(definition, model=bool(self._hosts))
        self._end(record.stop_as or Secondary.STOPPED, model=model)

    def _upload(self, _record: JobRecord, definition: JobDefinition) -> None:
        self._end(Secondary.COMPLETED, model=self._upload_folders(definition, model=True))

    # what the steps are made of

    def _left(self) -> bool:
        """Ask the programs to leave; tell whether they have, by themselves or after the grace."""
        now = self.workshop.clock.monotonic_seconds()
        if not self._running():
            return True
        if self._kill_at is None:
            self.ask_to_leave()
            self._kill_at = now + self.workshop.grace_seconds
        if now >= self._kill_at:
            self._kill()
            return True
        self._push()
        return False

    def _move(self, expected: Secondary, change: Callable[[JobRecord], JobRecord]) -> None:
        """Apply a change unless the job has moved meanwhile."""
        self.workshop.store.change(
            self.name, lambda job: change(job) if job.secondary is expected else job
        )

    def _end(self, secondary: Secondary, *, model: str = "", reason: str = "") -> None:
        now = self.workshop.clock.now()
        self.workshop.store.change(
            self.name,
            lambda job: replace(
                job.entering(secondary, at=now),
                failure_reason=reason[:FAILURE_CHARACTERS],
                model_artifacts=model and self.workshop.bucket_urls[0] + model,
            ),
        )
        self._clear()

    def _clear(self) -> None:
        if not self.workshop.keep_folders:
            shutil.rmtree(self.workshop.folder / self.name, ignore_errors=True)

    def _definition(self, record: JobRecord) -> JobDefinition:
        """Read the definition again: the bucket may have moved since, with the platform's home."""
        return read_definition(record.definition, bucket_urls=self.workshop.bucket_urls)

    def _fail(self, reason: str) -> None:
        self._end(Secondary.FAILED, reason=reason)

    def _internal_error(self, problem: str) -> None:
        """Begin again, as RetryStrategy allows for internal errors, or fail."""
        self._begin_again(problem, retry=True)

    def _begin_again(self, why: str, *, retry: bool = False) -> None:
        """Go back to the start, from the checkpoints; a retry only as often as is allowed."""
        self._kill()
        self._hosts.clear()
        clock = self.workshop.clock
        now, ran = clock.now(), 0.0
        if self._began_at is not None:
            ran, self._began_at = clock.monotonic_seconds() - self._began_at, None

        def change(job: JobRecord) -> JobRecord:
            if job.stop_as is not None:
                return job.entering(job.stop_as, at=now)
            allowed = job.definition.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)
            if retry and job.retries >= allowed:
                reason = f"InternalServerError: {why}"[:FAILURE_CHARACTERS]
                return replace(job.entering(Secondary.FAILED, at=now), failure_reason=reason)
            return replace(
                job.entering(Secondary.STARTING, at=now, message=f"{AGAIN}{why}"),
                retries=job.retries + int(retry),
                ran_seconds=job.ran_seconds + ran,
                processes=None,
            )

        self.workshop.store.change(self.name, change)
        self._clear()

    def _pulled(self, folder: MlFolder, definition: JobDefinition) -> CheckpointSync | None:
        if definition.checkpoint_prefix is None:
            return None
        local = folder.root / definition.checkpoint_path
        sync = CheckpointSync(self.workshop.objects, definition.checkpoint_prefix, local)
        sync.pull()
        return sync

    def _push(self, *, final: bool = False) -> None:
        """Push every host's checkpoints if it is time; two scans fit into `sync_seconds`."""
        now = self.workshop.clock.monotonic_seconds()
        if not final and now < self._next_push:
            return
        self._next_push = now + self.workshop.sync_seconds / 2
        for host in self._hosts:
            if host.sync is None:
                continue
            try:
                host.sync.push(final=final)
            except (AtelierError, OSError) as problem:
                if final:
                    raise
                # What is not pushed now is at the next time, or at the end.
                logger.warning("training job %s: checkpoints: %s", self.name, problem)

    def _upload_folders(self, definition: JobDefinition, *, model: bool) -> str:
        """Upload output and, if wanted, model of all hosts; return the model's key or nothing."""
        job = self.workshop.folder / self.name
        folders = [MlFolder(folder) for folder in sorted(job.glob("*")) if folder.is_dir()]
        place = f"{definition.output_prefix.rstrip('/')}/{self.name}/output/".lstrip("/")
        kinds = {"output": [folder.output_data for folder in folders]}
        if model:
            kinds["model"] = [folder.model for folder in folders]
        uploaded = {
            name: ml_folder.upload(
                self.workshop.objects,
                found,
                name=name,
                prefix=place,
                compressed=definition.compressed,
            )
            for name, found in kinds.items()
        }
        return uploaded.get("model", "")

    def _lacked_room(self, host: _Host) -> bool:
        """Tell whether a program failed for want of room on the disk, once there is room again.

        Raises:
            OSError: there is none yet.
        """
        probe = self.workshop.folder / self.name / ".probe"
        try:
            probe.write_bytes(bytes(_PROBE_BYTES))
        except OSError as problem:
            self._was_full = self._was_full or _is_full(problem)
            raise
        finally:
            probe.unlink(missing_ok=True)
        return self._was_full or os.strerror(errno.ENOSPC) in ml_folder.failure_text(host.folder)

    def _reason(self, host: _Host) -> str:
        text = ml_folder.failure_text(host.folder)
        code = host.program.exit_code or 0
        if code < 0:  # ended by a signal: told as a shell and SageMaker tell it
            code = 128 - code
        if not text:
            log = self.workshop.logs / self.name / f"{host.name}.log"
            text = f"{host.name} left no /opt/ml/output/failure; see its log, {log}"
        ending = f", exit code: {code}"
        return f"AlgorithmError: {text}"[: FAILURE_CHARACTERS - len(ending)] + ending

    def _runtime_is_over(self, record: JobRecord, definition: JobDefinition) -> bool:
        # What a platform that was down, or a clock that was set, made of it does not count.
        if self._began_at is None:
            return False
        ran = self.workshop.clock.monotonic_seconds() - self._began_at
        return record.ran_seconds + ran >= definition.max_runtime_seconds

    def _running(self) -> bool:
        return any(host.program.exit_code is None for host in self._hosts)

    def _kill(self) -> None:
        for host in self._hosts:
            host.program.kill()


def _passes(problem: Exception) -> bool:
    """Tell whether the same may work in a moment."""
    if isinstance(problem, OSError):
        return problem.errno in _PASSING_ERRORS
    return isinstance(problem, WaitError)


def _is_full(problem: Exception) -> bool:
    """Tell whether the disk is full, whoever met it."""
    if isinstance(problem, OSError):
        return problem.errno in _FULL
    return isinstance(problem, AtelierError) and problem.facts.get("errno") in _FULL
