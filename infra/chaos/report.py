"""What a chaos run left, judged: outcomes, what is doubled, what leaks, how good the ETA was."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atelier.contracts import checkpoints
from atelier.contracts.clock import Clock, SystemClock
from atelier.contracts.documents import DocumentError
from atelier.contracts.progress import Progress, TrainingState
from atelier.contracts.records import RequestRecord
from infra.chaos.fleet import ENDED
from infra.chaos.people import Asked
from infra.chaos.plan import ACTS, TENANT, Photos, Plan
from infra.chaos.runner import Ran
from infra.local.ledger import SqliteLedger
from infra.local.objects import WRITING
from workflows.engine.sqlite_store import SqliteHistoryStore

ETA_SHARE = 0.2
"""An expected end at half-time is good when it is off by this share of the whole at most."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one run.

    Attributes:
        seed, plan_digest, program, onboardings: which run.
        planned, reached: kind → how many faults the plan has, and how many of them came to pass.
        faults: kind → how often it happened; one planned fault may hit several calls.
        acts: what people did on purpose → how often.
        outcomes: how it ended → how many onboardings.
        lost: onboardings that never ended, or that nobody knows any more.
        doubled: requests, versions, notification ids or finished trainings that are there twice.
        outcomes_missing: onboardings that ended otherwise than the plan and its people expect.
        leaks: open batches, unended executions, hidden files, processes.
        eta_within_20: share of onboardings whose expected end at half-time was good; None: nobody
            was told any.
        eta_judged: of how many onboardings it is the share.
        invariants: how many the doctor looked at.
        drawn: models that answered for their own owner.
        lives: of the platform.
        seconds: of the whole run.
        findings: every disagreement, one sentence each.
    """

    seed: int
    plan_digest: str
    program: str
    onboardings: int
    planned: Mapping[str, int]
    reached: Mapping[str, int]
    faults: Mapping[str, int]
    acts: Mapping[str, int]
    outcomes: Mapping[str, int]
    lost: int
    doubled: int
    outcomes_missing: int
    leaks: int
    eta_within_20: float | None
    eta_judged: int
    invariants: int
    drawn: int
    lives: int
    seconds: float
    findings: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every invariant held."""
        return not (
            self.lost or self.doubled or self.outcomes_missing or self.leaks or self.findings
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "findings": list(self.findings), "holds": self.holds}


def report_of(
    plan: Plan,
    ran: Ran,
    folder: Path,
    *,
    disagreements: Sequence[str] = (),
    invariants: int = 0,
) -> Report:
    """Judge a run.

    Args:
        plan: what was to happen.
        ran: what the runner saw.
        folder: of the run; nothing runs there any more.
        disagreements: what `doctor` found.
        invariants: how many it looked at.
    """
    home = folder / "home"
    left = read_left(home)
    lost = list(_lost(ran.asked, left))
    missing = list(_outcomes_missing(ran.asked))
    doubled = list(_doubled(ran.asked, left, home))
    leaks = [*_leaks(home, left), *(f"process still runs: {line}" for line in ran.processes)]
    happened = tuple(happenings(folder / "faults.jsonl"))
    counts = Counter(str(one["kind"]) for one in happened)
    good, judged = _expected_ends(ran.asked)
    return Report(
        seed=plan.seed,
        plan_digest=plan.digest,
        program=plan.program,
        onboardings=plan.onboardings,
        planned=plan.planned(),
        reached=_reached(plan, happened),
        faults={kind: n for kind, n in sorted(counts.items()) if kind not in ACTS},
        acts={kind: n for kind, n in sorted(counts.items()) if kind in ACTS},
        outcomes=_outcomes(ran.asked),
        lost=len(lost),
        doubled=len(doubled),
        outcomes_missing=len(missing),
        leaks=len(leaks),
        eta_within_20=round(good / judged, 3) if judged else None,
        eta_judged=judged,
        invariants=invariants,
        drawn=ran.drawn,
        lives=ran.lives,
        seconds=ran.seconds,
        findings=(*ran.findings, *lost, *missing, *doubled, *leaks, *disagreements),
    )


def happenings(journal: Path) -> Iterator[Mapping[str, Any]]:
    """Yield what was written down of every fault and act."""
    yield from (json.loads(line) for line in journal.read_text().splitlines())


def _reached(plan: Plan, happened: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
    """Return how many planned faults of each kind came to pass."""
    calls: dict[tuple[int, str, str], set[int]] = defaultdict(set)
    for one in happened:
        calls[one["life"], one["kind"], one["point"]].add(one["nth"])
    return dict(
        sorted(
            Counter(
                str(fault.kind)
                for life, fault in plan.each_fault()
                if any(
                    fault.nth <= nth < fault.nth + fault.times
                    for nth in calls.get((life, fault.kind, fault.point), ())
                )
            ).items()
        )
    )


def _outcomes(asked: Sequence[Asked]) -> Mapping[str, int]:
    """Return how many ended how."""
    return dict(
        sorted(
            Counter((one.status or "unknown") if one.ids else "refused" for one in asked).items()
        )
    )


@dataclass(frozen=True, slots=True)
class Left:
    """What a platform left in its home.

    Attributes:
        records: every request by its id.
        versions: request → versions that were made for it.
        notices: onboarding → ids of the notifications that were delivered for it.
        executions: onboarding executions of a request → their statuses, by name.
        open_batches: batches that are neither launched nor released.
        running: names of executions that have not ended.
    """

    records: Mapping[str, RequestRecord]
    versions: Mapping[str, tuple[str, ...]]
    notices: Mapping[str, frozenset[str]]
    executions: Mapping[str, Mapping[str, str]]
    open_batches: tuple[str, ...]
    running: tuple[str, ...]


def read_left(home: Path, *, clock: Clock | None = None) -> Left:
    """Read what lies in a home where nothing runs any more."""
    ledger = SqliteLedger(home / "ledger.sqlite3", clock=clock or SystemClock())
    records, cursor = {}, None
    while True:
        page, cursor = ledger.list_requests(tenant=TENANT, cursor=cursor, limit=200)
        records.update({record.request: record for record in page})
        if cursor is None:
            break
    versions: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for model in ledger.list_models(tenant=TENANT):
        for version in model.versions:
            versions[version.request] += (version.version,)
    open_batches = tuple(batch.batch for batch, _ in ledger.open_batches())
    ledger.close()
    executions, running = _executions(home / "executions.sqlite3")
    notices = _notices(home / "logs" / "notifications.jsonl")
    return Left(records, versions, notices, executions, open_batches, running)


def _executions(path: Path) -> tuple[Mapping[str, Mapping[str, str]], tuple[str, ...]]:
    store = SqliteHistoryStore(path)
    by_request: dict[str, dict[str, str]] = defaultdict(dict)
    running, skip = [], 0
    try:
        while page := store.executions(None, status=None, skip=skip, limit=1000):
            skip += len(page)
            for record in page:
                if record.status == "RUNNING":
                    running.append(record.name)
                by_request[record.name.rpartition("-")[0]][record.name] = record.status
    finally:
        store.close()
    return by_request, tuple(running)


def _notices(path: Path) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            told = json.loads(line)
        except ValueError:
            continue  # A kill in mid-write leaves half a line; the delivery is repeated.
        found[told["data"]["onboarding"]].add(told["id"])
    return {onboarding: frozenset(ids) for onboarding, ids in found.items()}


def _lost(asked: Sequence[Asked], left: Left) -> Iterator[str]:
    for one in asked:
        wish = f"wish {one.wish.number}"
        if not one.ids and not one.refused:
            yield f"{wish} was never answered"
        for onboarding in one.ids:
            record = left.records.get(onboarding)
            if record is None:
                yield f"{wish}: onboarding {onboarding} was accepted and is not in the ledger"
            elif record.status not in ENDED:
                yield f"{wish}: onboarding {onboarding} is still {record.status}"
            elif not left.notices.get(onboarding):
                yield f"{wish}: onboarding {onboarding} is {record.status}; nobody was told"


def _outcomes_missing(asked: Sequence[Asked]) -> Iterator[str]:
    for one in asked:
        if one.status and one.status not in ENDED:
            continue  # It counts as lost.
        outcome = (one.status, one.error) if one.ids else ("refused", one.error)
        if outcome not in expected(one):
            told = " ".join(filter(None, (*outcome, one.refused)))
            yield f"wish {one.wish.number} ({one.wish.photos}) ended as {told}"


def expected(one: Asked) -> frozenset[tuple[str, str]]:
    """Return how a wish may end: (status, error)."""
    if one.wish.photos is Photos.REJECTED:
        return frozenset({("failed", "PhotosRejected"), ("refused", "PhotosRejected")})
    if one.wish.photos is Photos.POISONOUS:
        return frozenset({("failed", "PoisonousTask")})
    if one.cancelled == "cancelled":
        return frozenset({("cancelled", "Cancelled")})
    return frozenset({("ready", "")})


def _doubled(asked: Sequence[Asked], left: Left, home: Path) -> Iterator[str]:
    for one in asked:
        wish = f"wish {one.wish.number}"
        if len(one.ids) > 1:
            yield f"{wish} became {len(one.ids)} onboardings: {', '.join(one.ids)}"
        for onboarding in one.ids:
            if len(versions := left.versions.get(onboarding, ())) > 1:
                yield f"{wish}: onboarding {onboarding} made versions {', '.join(versions)}"
            if len(ids := left.notices.get(onboarding, frozenset())) > 1:
                yield f"{wish}: onboarding {onboarding} was told as {', '.join(sorted(ids))}"
            done = [n for n, s in left.executions.get(onboarding, {}).items() if s == "SUCCEEDED"]
            if len(done) > 1:
                yield f"{wish}: executions {', '.join(sorted(done))} both succeeded"
            if record := left.records.get(onboarding):
                yield from _trained_again(record, home)


def _trained_again(record: RequestRecord, home: Path) -> Iterator[str]:
    """Yield every earlier attempt that was done: what came after it was not needed."""
    root = home / "objects" / "checkpoints"
    done = []
    for path in (
        sorted(root.glob(f"*/{checkpoints.progress('*', record.request)}"))
        if record.attempt > 1
        else ()
    ):
        try:
            progress = Progress.from_json(path.read_bytes())
        except (DocumentError, OSError):
            continue
        if progress.state is TrainingState.DONE:
            done.append(progress.job)
    if len(done) > 1:
        yield f"onboarding {record.request} was trained to the end by {', '.join(done)}"


def _leaks(home: Path, left: Left) -> Iterator[str]:
    for batch in left.open_batches:
        yield f"batch {batch} is open"
    for name in left.running:
        yield f"execution {name} has not ended"
    for path in sorted((home / "objects" / WRITING).glob("*")):
        yield f"hidden file {path.name} is left"
    jobs = home / "training" / "jobs"
    for path in sorted(jobs.glob("*")) if jobs.exists() else ():
        yield f"folder of training job {path.name} is left"


def _expected_ends(asked: Sequence[Asked]) -> tuple[int, int]:
    """Return how many ends that were expected at half-time were good, and of how many."""
    good = judged = 0
    for one in asked:
        if one.status != "ready" or not one.seen:
            continue
        whole = max(1.0, one.ended_at - one.created_at)
        half = one.created_at + whole / 2
        _, expected_end = min(one.seen, key=lambda told: abs(told[0] - half))
        judged += 1
        good += abs(expected_end - one.ended_at) <= ETA_SHARE * whole
    return good, judged
