"""Reconcile: look at requests that have been quiet, and let each of them go on or end.

Events get lost, processes die between two writes, functions are killed: whatever that leaves
behind is found here, in the ledger, and mended by the very tasks that would have done it. It may
run at any moment, beside everything else and twice at once. It never queues a request again: the
execution decides that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from atelier.contracts.errors import (
    AlreadyExists,
    AtelierError,
    ContractBroken,
    DeadlinePassed,
    InvalidRequest,
    NotFound,
    Throttled,
)
from atelier.contracts.records import RequestRecord
from tasks import settle, settle_execution
from tasks.attempts import read_progress
from tasks.causes import read_error
from tasks.endings import due, end, tell_ended
from tasks.launching import rescue, training_output
from tasks.ports import Execution, Ports
from tasks.reconciling import (
    IN_A_JOB,
    Mend,
    Seen,
    decide,
    is_quiet,
    job_is_silent,
    redrive_is_due,
)
from tasks.settle_execution import ONBOARDING, stuck_sentence, tell

log = logging.getLogger(__name__)

PAGE = 20
"""Requests of one call: it takes seconds, and the next one goes on from its cursor."""
DESCRIBE_SECONDS = 0.4
"""Between two DescribeTrainingJob: the account has five a second, and others need them, too."""
UNKNOWN_JOB = "InternalServerError: the training service knows no job of this name"


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Look at a page of unfinished requests: `{"cursor"?}` → `{"cursor", "looked_at", "mended"}`.

    A request whose mending fails keeps nobody else waiting: it is looked at again the next time.

    Raises:
        InvalidRequest: the cursor is none of ours.
    """
    cursor = given.get("cursor")
    if not isinstance(cursor, str | None):
        raise InvalidRequest("cursor: expected text or nothing", where="cursor")
    page, following = ports.ledger.scan_requests(unfinished=True, cursor=cursor, limit=PAGE)
    looks = _Looks(ports)
    mended = sum(looks.look_at(record) for record in page)
    return {"cursor": following, "looked_at": len(page), "mended": mended}


@dataclass(slots=True)
class _Looks:
    """One call's looks at requests, and what they share.

    Attributes:
        asked: jobs that were described: a pack is asked for once.
        throttled: whether the service asked for fewer calls; nobody is asked any more then.
    """

    ports: Ports
    asked: set[str] = field(default_factory=set)
    throttled: bool = False
    _open: frozenset[str] | None = None

    def look_at(self, record: RequestRecord) -> bool:
        """Do what there is to do about a request; return whether that was anything."""
        now, seconds = self.ports.clock.now(), self.ports.settings.quiet_seconds
        mended = False
        try:
            if record.status in IN_A_JOB:
                mended = self._ask_job(record, now=now, seconds=seconds)
            if is_quiet(record, now=now, seconds=seconds):
                seen = Seen(record, self._execution(record), self._works_on(record), now)
                mended = _ACTS[decide(seen)](seen, self.ports) or mended
        except AtelierError as problem:
            log.warning("request %s could not be mended: %s", record.request, problem)
        return mended

    def _ask_job(self, record: RequestRecord, *, now: datetime, seconds: float) -> bool:
        """Ask for a job of which nothing was heard, and settle it as its event would have."""
        progress = read_progress(record, objects=self.ports.objects)
        job = record.job
        if job is None or job in self.asked or self.throttled:
            return False
        if not job_is_silent(record, progress, now=now, seconds=seconds):
            return False
        if self.asked:
            self.ports.clock.sleep(DESCRIBE_SECONDS)
        self.asked.add(job)
        try:
            found = self.ports.training_jobs.describe(job)
        except Throttled:
            self.throttled = True
            return False
        except NotFound:
            detail = {"TrainingJobStatus": "Failed", "FailureReason": UNKNOWN_JOB}
        else:
            detail = {
                "TrainingJobStatus": found.status,
                "SecondaryStatus": found.secondary_status,
                "FailureReason": found.failure_reason,
            }
        settled = settle.run({"TrainingJobName": job, **detail}, ports=self.ports)
        return int(settled["settled"]) > 0 and detail["TrainingJobStatus"] != "InProgress"

    def _execution(self, record: RequestRecord) -> Execution | None:
        if record.untold:
            return None
        try:
            return self.ports.executions.describe(ONBOARDING, record.execution)
        except NotFound:
            return None

    def _works_on(self, record: RequestRecord) -> bool:
        if record.batch is None:
            return False
        if self._open is None:
            self._open = frozenset(b.batch for b, _ in self.ports.ledger.open_batches())
        return record.batch in self._open


Act = Callable[[Seen, Ports], bool]


def _nothing(_seen: Seen, _ports: Ports) -> bool:
    return False


def _tell(seen: Seen, ports: Ports) -> bool:
    tell_ended(seen.record, ports=ports)
    return True


def _start(seen: Seen, ports: Ports) -> bool:
    record = seen.record
    if record.asked is None:
        raise ContractBroken(
            f"request {record.request} has no execution and does not say what was asked for",
            do="Start the same onboarding again; it is this one.",
            where="asked",
        )
    try:
        ports.executions.start(ONBOARDING, record.execution, record.asked)
    except AlreadyExists:
        # Somebody else started it meanwhile.
        return False
    return True


def _settle(seen: Seen, ports: Ports) -> bool:
    return settle_execution.settle(seen.record, seen.status, seen.error, ports=ports)


def _redrive(seen: Seen, ports: Ports) -> bool:
    record = seen.record
    if not redrive_is_due(record, now=seen.now):
        return False
    # Noted first: who dies in between waits for the next turn, and nobody redrives in a hurry.
    ports.ledger.annotate(
        record.request,
        attempt=record.attempt,
        redrives=record.redrives + 1,
        redriven_at=seen.now,
        waiting_for="",
    )
    try:
        ports.executions.redrive(ONBOARDING, record.execution)
    except InvalidRequest:
        # It goes on already.
        return False
    return True


def _expire(seen: Seen, ports: Ports) -> bool:
    deadline = due(seen.record)
    passed = DeadlinePassed(
        f"the deadline {deadline:%Y-%m-%d %H:%M:%S} UTC passed", deadline=deadline.isoformat()
    )
    end(seen.record, passed, ports=ports)
    return True


def _record(seen: Seen, ports: Ports) -> bool:
    assert seen.execution is not None  # noqa: S101 - the table's row says so
    told = {"Error": seen.execution.error, "Cause": seen.execution.cause}
    end(seen.record, read_error(told), ports=ports)
    return True


def _ask_operator(seen: Seen, ports: Ports) -> bool:
    record = seen.record
    sentence = stuck_sentence(record, seen.error)
    if seen.status == "SUCCEEDED":
        sentence = f"execution {record.execution} ended without it; cancel it and start it again"
    return tell(record, sentence, ports=ports)


def _rescue(seen: Seen, ports: Ports) -> bool:
    return rescue(seen.record, ports=ports)


def _answer(seen: Seen, ports: Ports) -> bool:
    assert seen.record.token is not None  # noqa: S101 - the table's row says so
    output = training_output(seen.record, ports=ports)
    return ports.executions.succeed_task(seen.record.token, output)


_ACTS: Mapping[Mend, Act] = {
    Mend.NOTHING: _nothing,
    Mend.TELL: _tell,
    Mend.START: _start,
    Mend.SETTLE: _settle,
    Mend.REDRIVE: _redrive,
    Mend.EXPIRE: _expire,
    Mend.RECORD: _record,
    Mend.ASK_OPERATOR: _ask_operator,
    Mend.RESCUE: _rescue,
    Mend.ANSWER: _answer,
}
