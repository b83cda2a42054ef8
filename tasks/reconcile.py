"""Reconcile: look at requests that have been quiet, and let each of them go on or end.

Events get lost, processes die between two writes, functions are killed: whatever that leaves
behind is found here, in the ledger, and mended by the very tasks that would have done it. It may
run at any moment, beside everything else and twice at once. It never queues a request again: the
execution decides that.

A schedule calls it. One call looks at page after page until its time is used; the ledger keeps
where the next one goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from atelier.contracts.errors import (
    AlreadyExists,
    AtelierError,
    ContractBroken,
    InvalidRequest,
    NotFound,
    Throttled,
)
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import Verdict
from tasks import settle, settle_execution
from tasks.attempts import read_progress
from tasks.causes import read_error
from tasks.endings import end, overdue, tell_ended
from tasks.handing_over import rescue, training_output
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
from tasks.redrive import START_ANEW
from tasks.settle_execution import ONBOARDING, stuck_sentence, tell

log = logging.getLogger(__name__)

PAGE = 20
"""Requests that are read at once: what is known of them is seconds old when they are looked at."""
PAUSE_SECONDS = 0.2
"""Between two pages: looking at 10,000 leaves room for working on them."""
LOOKING_SECONDS = 40.0
"""After so long no page is begun; with the last one, a call stays below a function's minute."""
DESCRIBE_SECONDS = 0.4
"""Between two DescribeTrainingJob: the account has five a second, and others need them, too."""
UNKNOWN_JOB = "InternalServerError: the training service knows no job of this name"


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:  # noqa: ARG001 - a task
    """Look at unfinished requests: `{}` → `{"more", "looked_at", "mended"}`.

    It begins where the call before stopped; `more` says whether somebody is left for the next one.
    A request whose mending fails keeps nobody else waiting: it is looked at again the next time.
    """
    ends_at = ports.clock.monotonic_seconds() + LOOKING_SECONDS
    looks = _Looks(ports)
    looked_at = mended = 0
    while True:
        page, more = _next_page(ports)
        looked_at += len(page)
        mended += looks.look_at(page)
        if not more or ports.clock.monotonic_seconds() >= ends_at:
            return {"more": more, "looked_at": looked_at, "mended": mended}
        ports.clock.sleep(PAUSE_SECONDS)


def _next_page(ports: Ports) -> tuple[Sequence[RequestRecord], bool]:
    """Return the next page of unfinished requests, and whether another one follows.

    The place behind it is kept before anybody is looked at: a page that ends its reader is passed
    over, and comes again with the next round.
    """
    ledger = ports.ledger
    place = ledger.scan_place()
    try:
        page, following = ledger.scan_requests(unfinished=True, cursor=place, limit=PAGE)
    except InvalidRequest:
        # Another version of Atelier kept it, and its cursors were others.
        page, following = ledger.scan_requests(unfinished=True, cursor=None, limit=PAGE)
    if following != place:
        ledger.keep_scan_place(following)
    return page, following is not None


@dataclass(slots=True)
class _Looks:
    """One call's looks at pages of requests, and what they share.

    Attributes:
        asked: jobs that were described: a pack is asked for once.
        throttled: whether the service asked for fewer calls; nobody is asked any more then.
    """

    ports: Ports
    asked: set[str] = field(default_factory=set)
    throttled: bool = False
    _open: frozenset[str] | None = None

    def look_at(self, page: Sequence[RequestRecord]) -> int:
        """Do what there is to do about the requests of a page; return about how many it was."""
        # A batch that was made since the last page is open, too.
        self._open = None
        return sum(self._look_at(record) for record in page)

    def _look_at(self, record: RequestRecord) -> bool:
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
        except Exception:
            log.exception("request %s could not be mended: a defect of ours", record.request)
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
    noted = ports.ledger.annotate(
        record.request,
        attempt=record.attempt,
        redrives=record.redrives + 1,
        redriven_at=seen.now,
        waiting_for="",
    )
    if noted.verdict is Verdict.STALE:
        # It has ended meanwhile, or a person began it again with another execution.
        return False
    try:
        ports.executions.redrive(ONBOARDING, record.execution)
    except InvalidRequest as refusal:
        found = ports.executions.describe(ONBOARDING, record.execution)
        if found.status in {"RUNNING", "SUCCEEDED"}:
            # Somebody else was faster.
            return False
        # Too often, or too late.
        return tell(noted.record, f"{refusal}; cancel it and {START_ANEW}", ports=ports)
    return True


def _expire(seen: Seen, ports: Ports) -> bool:
    passed = overdue(seen.record, now=seen.now)
    assert passed is not None  # noqa: S101 - the table's row says so
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
        sentence = f"execution {record.execution} ended without it; cancel it and {START_ANEW}"
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
