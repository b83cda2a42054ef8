"""progress.json of every task of this host: at the start, about once a second, at every change."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from atelier.contracts import checkpoints, logs
from atelier.contracts.adapter import AdapterCard
from atelier.contracts.clock import Clock
from atelier.contracts.documents import DocumentError
from atelier.contracts.ids import digest_of
from atelier.contracts.manifest import TrainingTask
from atelier.contracts.progress import AdapterPointer, Progress, TrainingFailure, TrainingState
from training_image.tree import CheckpointTree

log = logging.getLogger(__name__)


class Reporter:
    """Keeps what is said of each task and writes it when it is due."""

    def __init__(
        self, *, job: str, host: str, tree: CheckpointTree, clock: Clock, every_seconds: float = 1.0
    ) -> None:
        self._job = job
        self._host = host
        self._tree = tree
        self._clock = clock
        self._every_seconds = every_seconds
        self._said: dict[str, Progress] = {}
        self._written_at: dict[str, float] = {}

    def begin(self, tasks: Sequence[TrainingTask]) -> None:
        """Say of every task that it waits, unless it had ended in an earlier run of this host.

        A host that was restarted finds its own progress.json of the same job and attempt, and goes
        on from what was said in it; `entered` then says when it last spoke before it stopped.
        """
        for task in tasks:
            before, now = self._earlier(task), self._clock.now()
            if before is None:
                before = Progress(
                    request=task.request,
                    attempt=task.attempt,
                    job=self._job,
                    host=self._host,
                    state=TrainingState.WAITING,
                    step=0,
                    steps=task.hyperparameters.steps,
                    updated_at=now,
                    entered={TrainingState.WAITING.value: now},
                )
            elif not before.state.ended:
                stopped = {TrainingState.STOPPED.value: before.updated_at}
                before = replace(
                    before,
                    state=TrainingState.WAITING,
                    eta_seconds=None,
                    updated_at=now,
                    entered={**before.entered, **stopped, TrainingState.WAITING.value: now},
                )
            self._write(before)

    def say(self, request: str, **changes: Any) -> None:
        """Change what is said of a task; it is written at once if its state changes, or when due.

        Args:
            request: whose.
            changes: fields of `Progress`.
        """
        before = self._said[request]
        now = self._clock.now()
        after = replace(before, **changes, updated_at=now)
        if after.state is not before.state:
            with logs.about(request=request):
                log.info("%s at step %d of %d", after.state.value, after.step, after.steps)
            after = replace(after, entered={**before.entered, after.state.value: now})
        due = self._written_at.get(request, 0.0) + self._every_seconds
        if after.state is not before.state or self._clock.monotonic_seconds() >= due:
            self._write(after)
        else:
            self._said[request] = after

    def fail(self, request: str, error: str, message: str) -> None:
        """Say that a task failed, and why."""
        with logs.about(request=request):
            # The message stays in progress.json: it may quote what a person wrote.
            log.error("failed: %s", error)
        self.say(
            request,
            state=TrainingState.FAILED,
            failure=TrainingFailure(error, message[:1000]),
            eta_seconds=None,
        )

    def flush(self) -> None:
        """Write everything that was said and not yet written."""
        for progress in list(self._said.values()):
            self._write(progress)

    def progress(self, request: str) -> Progress:
        """Return what is said of a task.

        Raises:
            KeyError: it is none of this host's.
        """
        return self._said[request]

    def knows(self, request: str) -> bool:
        """Whether a request is one of this host's."""
        return request in self._said

    def all_said(self) -> list[Progress]:
        """Return what is said of every task."""
        return list(self._said.values())

    def _write(self, progress: Progress) -> None:
        self._said[progress.request] = progress
        self._written_at[progress.request] = self._clock.monotonic_seconds()
        self._tree.write(checkpoints.progress(self._host, progress.request), progress.to_json())

    def _earlier(self, task: TrainingTask) -> Progress | None:
        body = self._tree.read(checkpoints.progress(self._host, task.request))
        if body is None:
            return None
        try:
            before = Progress.from_json(body)
        except DocumentError as problem:
            with logs.about(request=task.request):
                log.warning("progress.json does not read: %s", problem)
            return None
        if (before.job, before.attempt) != (self._job, task.attempt):
            return None
        if before.adapter is not None and not self._is_here(before.adapter):
            with logs.about(request=task.request):
                log.warning("it was done, but its adapter is damaged or gone")
            return None
        return before

    def _is_here(self, pointer: AdapterPointer) -> bool:
        """Tell whether an adapter file and its card lie where they were said to, as written."""
        try:
            file, card = self._tree.read(pointer.file), self._tree.read(pointer.card)
            read = card is not None and AdapterCard.from_json(card).file_digest == pointer.digest
        except (DocumentError, OSError, ValueError):
            return False
        return read and file is not None and digest_of(file) == pointer.digest
