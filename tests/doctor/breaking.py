"""Evidence broken on purpose: for every check, worlds in which it must find something.

Each entry takes the evidence of a healthy home and returns it with one thing wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from atelier.contracts import ids
from atelier.contracts.records import BatchState, JobOutcome, ModelRecord, RequestRecord
from atelier.contracts.status import Status
from infra.doctor.evidence import (
    Delivery,
    EndpointSeen,
    Evidence,
    ExecutionSeen,
    HeldSlot,
    HiddenFile,
    History,
    JobSeen,
    OpenTask,
    Process,
    ServedModel,
    Store,
    Token,
    Unreadable,
)

Break = Callable[[Evidence], Evidence]
HOUR = timedelta(hours=1)
STRANGER = "r" + "z" * 26

# what there is in the healthy home


def ready(seen: Evidence) -> RequestRecord:
    """The request that made the first version."""
    return requests(seen, Status.READY)[0]


def requests(seen: Evidence, status: Status) -> list[RequestRecord]:
    found = [r for r in seen.ledger.requests.values() if r.status is status]
    return sorted(found, key=lambda record: record.created_at)


def execution_of(seen: Evidence, record: RequestRecord) -> ExecutionSeen:
    return next(e for e in seen.executions.values() if e.name == record.execution)


def job_of(seen: Evidence, record: RequestRecord) -> JobSeen:
    return seen.training.jobs[record.job]


def idle_endpoint(seen: Evidence) -> EndpointSeen:
    """A running endpoint that holds the current model and serves nobody."""
    target = seen.ledger.models[0].current_version.artifact.removeprefix("artifacts/")
    return EndpointSeen(
        in_service=True,
        loaded=(ServedModel(target, 0),),
        in_flight=0,
        disk_bytes=1000,
        disk_limit_bytes=2000,
        slots=2,
        held=(HeldSlot("first", 0, 0, 0), HeldSlot("second", 1, 0, 0)),
    )


def alive(seen: Evidence) -> Evidence:
    """The same home an hour later, with a platform that has been running all the time."""
    life = replace(seen.life, running=True)
    return replace(seen, read_at=seen.read_at + HOUR, life=life, endpoint=idle_endpoint(seen))


# how to change one thing


def with_request(seen: Evidence, record: RequestRecord, **changes: Any) -> Evidence:
    changed = {**seen.ledger.requests, record.request: replace(record, **changes)}
    return with_ledger(seen, requests=changed)


def with_ledger(seen: Evidence, **changes: Any) -> Evidence:
    return replace(seen, ledger=replace(seen.ledger, **changes))


def with_model(seen: Evidence, **changes: Any) -> Evidence:
    model: ModelRecord = replace(seen.ledger.models[0], **changes)
    return with_ledger(seen, models=(model, *seen.ledger.models[1:]))


def with_version(seen: Evidence, **changes: Any) -> Evidence:
    first, *others = seen.ledger.models[0].versions
    return with_model(seen, versions=(replace(first, **changes), *others))


def with_execution(seen: Evidence, execution: ExecutionSeen, **changes: Any) -> Evidence:
    changed = {**seen.executions, execution.arn: replace(execution, **changes)}
    return replace(seen, executions=changed)


def with_job(seen: Evidence, job: JobSeen, **changes: Any) -> Evidence:
    jobs = {**seen.training.jobs, job.name: replace(job, **changes)}
    return replace(seen, training=replace(seen.training, jobs=jobs))


def with_bucket(seen: Evidence, **changes: Any) -> Evidence:
    return replace(seen, bucket=replace(seen.bucket, **changes))


def with_endpoint(seen: Evidence, **changes: Any) -> Evidence:
    return replace(alive(seen), endpoint=replace(idle_endpoint(seen), **changes))


def without(found: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != key}


def standing_at(seen: Evidence, status: Status, **changes: Any) -> Evidence:
    """The first request as if it still stood at `status`; everything else as it is."""
    record = ready(seen)
    order = list(record.entered)
    entered = {name: record.entered[name] for name in order[: order.index(status) + 1]}
    at = {"status": status, "entered": entered, "version": None, "job_outcome": None, **changes}
    if status in {Status.QUEUED, Status.CLAIMED}:
        at |= {"job": None, "host": None}
    if status is Status.QUEUED:
        at |= {"batch": None}
    return with_request(seen, record, **at)


def running_again(seen: Evidence, record: RequestRecord, **history: Any) -> Evidence:
    """The request's execution as if it still ran, an hour later."""
    execution = execution_of(seen, record)
    changed = replace(execution.history, **history)
    return with_execution(alive(seen), execution, status="RUNNING", ended_at=None, history=changed)


def waiting(seen: Evidence, status: Status, **changes: Any) -> Evidence:
    """The first request as if it waited in the queue, its execution with it."""
    token = seen.ledger.tokens[ready(seen).request]
    at = ready(seen).entered[Status.QUEUED]
    task = OpenTask("LaunchTraining", at, 86_400.0)
    going = running_again(seen, ready(seen), open={token.attempt: task}, closed={})
    going = standing_at(going, status, queued_at=at if status is Status.QUEUED else None)
    return with_request(going, going.ledger.requests[ready(seen).request], **changes)


def dispatcher(seen: Evidence, epoch: int, **changes: Any) -> Evidence:
    """One more dispatcher that runs, since an hour."""
    like = next(e for e in seen.executions.values() if e.machine == "dispatch")
    name = f"dispatch-{epoch}"
    more = {"name": name, "arn": f"{like.arn}+{epoch}", "status": "RUNNING", "ended_at": None}
    made = replace(like, **{**more, **changes})
    return replace(alive(seen), executions={**seen.executions, made.arn: made})


# the table: check → worlds in which it finds something


def _no_outcome(seen: Evidence) -> Evidence:
    return with_request(seen, ready(seen), entered=without(ready(seen).entered, Status.READY))


def _two_outcomes(seen: Evidence) -> Evidence:
    entered = {**ready(seen).entered, "failed": seen.read_at}
    return with_request(seen, ready(seen), entered=entered)


def _back_in_time(seen: Evidence) -> Evidence:
    entered = {**ready(seen).entered, "training": ready(seen).created_at - HOUR}
    return with_request(seen, ready(seen), entered=entered)


def _failed_silently(seen: Evidence) -> Evidence:
    going = standing_at(alive(seen), Status.TRAINING)
    execution = execution_of(seen, ready(seen))
    return with_execution(going, execution, status="FAILED", error="ContractBroken")


def _told_something_else(seen: Evidence) -> Evidence:
    failed = _failed_silently(seen)
    record = failed.ledger.requests[ready(seen).request]
    return with_request(failed, record, waiting_for="training starts again after: it was lost")


def _aborted_unsettled(seen: Evidence) -> Evidence:
    going = standing_at(alive(seen), Status.TRAINING, waiting_for="an operator")
    return with_execution(going, execution_of(seen, ready(seen)), status="ABORTED")


def _never_started(seen: Evidence) -> Evidence:
    going = standing_at(alive(seen), Status.QUEUED)
    return replace(going, executions=without(seen.executions, execution_of(seen, ready(seen)).arn))


def _other_token(seen: Evidence) -> Evidence:
    going = waiting(seen, Status.QUEUED)
    token = Token(execution_of(seen, ready(seen)).arn, 4)
    return with_ledger(going, tokens={**going.ledger.tokens, ready(seen).request: token})


def _completed_token(seen: Evidence) -> Evidence:
    going = waiting(seen, Status.QUEUED)
    execution = execution_of(going, ready(seen))
    [attempt] = execution.history.open
    history = replace(execution.history, open={}, closed={attempt: seen.read_at})
    return with_execution(going, execution, history=history)


def _two_notices(seen: Evidence) -> Evidence:
    like = seen.ledger.outbox[0]
    record = ready(seen)
    id_ = ids.message_id("notification", "onboarding.failed", record.request, "1")
    return with_ledger(seen, outbox=(*seen.ledger.outbox, replace(like, id=id_)))


def _notice_of_nobody(seen: Evidence) -> Evidence:
    like = seen.ledger.outbox[0]
    return with_ledger(seen, outbox=(*seen.ledger.outbox, replace(like, id="m" + "a" * 26)))


def _told_otherwise(seen: Evidence) -> Evidence:
    first = seen.deliveries[0]
    return replace(seen, deliveries=(*seen.deliveries, Delivery(first.id, "0" * 64, early=True)))


def _version_twice(seen: Evidence) -> Evidence:
    versions = seen.ledger.models[0].versions
    return with_model(seen, versions=(*versions, versions[0]))


def _artifact(seen: Evidence, **changes: Any) -> Evidence:
    key = seen.ledger.models[0].versions[0].artifact
    changed = replace(seen.bucket.artifacts[key], **changes)
    return with_bucket(seen, artifacts={**seen.bucket.artifacts, key: changed})


def _card(seen: Evidence, **changes: Any) -> Evidence:
    key = seen.ledger.models[0].versions[0].artifact
    return _artifact(seen, card=replace(seen.bucket.artifacts[key].card, **changes))


def _orphan(seen: Evidence) -> Evidence:
    like = next(iter(seen.bucket.artifacts.values()))
    key = like.key.replace("v1-", "v9-")
    return with_bucket(
        alive(seen), artifacts={**seen.bucket.artifacts, key: replace(like, key=key)}
    )


def _photo_of_another(seen: Evidence) -> Evidence:
    dataset = next(iter(seen.bucket.datasets.values()))
    other = "datasets/" + "o" * 27 + "/m/photo.png"
    changed = replace(dataset, photos={**dataset.photos, other: "0" * 64})
    return with_bucket(seen, datasets={**seen.bucket.datasets, dataset.key: changed})


def _photo_gone(seen: Evidence) -> Evidence:
    dataset = next(iter(seen.bucket.datasets.values()))
    changed = replace(dataset, wrong={next(iter(dataset.photos)): "is not there"})
    return with_bucket(seen, datasets={**seen.bucket.datasets, dataset.key: changed})


def _manifest(seen: Evidence, **changes: Any) -> Evidence:
    sealed = seen.bucket.manifests[ready(seen).job]
    changed = replace(sealed, **changes)
    return with_bucket(seen, manifests={**seen.bucket.manifests, sealed.job: changed})


def _manifest_of_others(seen: Evidence) -> Evidence:
    document = seen.bucket.manifests[ready(seen).job].document
    task = replace(document.tasks[0], attempt=7)
    return _manifest(seen, document=replace(document, tasks=(task,)))


def _resumes_anothers(seen: Evidence) -> Evidence:
    document = seen.bucket.manifests[ready(seen).job].document
    key = f"checkpoints/{ready(seen).job}/algo-1/{STRANGER}/state/step-000001.safetensors"
    return _manifest(
        seen, document=replace(document, tasks=(replace(document.tasks[0], resume_from=key),))
    )


def _trains_elsewhere(seen: Evidence) -> Evidence:
    return standing_at(seen, Status.TRAINING, host="algo-2")


def _batch(seen: Evidence, state: BatchState, of: Evidence | None = None) -> Evidence:
    batch, _ = seen.ledger.batches[ready(seen).batch]
    return with_ledger(of or seen, batches={**seen.ledger.batches, batch.batch: (batch, state)})


def _without_jobs(seen: Evidence) -> Evidence:
    return replace(seen, training=replace(seen.training, jobs={}))


def _trains_for_nobody(seen: Evidence) -> Evidence:
    job = job_of(seen, ready(seen))
    return with_job(alive(seen), job, status="InProgress", ended_at=None, held=True)


def _history(seen: Evidence, **changes: Any) -> Evidence:
    execution = execution_of(seen, ready(seen))
    return with_execution(seen, execution, history=replace(execution.history, **changes))


def _epoch_to_come(seen: Evidence) -> Evidence:
    return dispatcher(seen, seen.ledger.epoch + 3)


def _epoch_gone_by(seen: Evidence) -> Evidence:
    return dispatcher(seen, 1, history=History(events=3, last_at=seen.read_at))


def _two_dispatchers(seen: Evidence) -> Evidence:
    both = dispatcher(seen, seen.ledger.epoch)
    twin = next(e for e in both.executions.values() if e.status == "RUNNING")
    more = replace(twin, arn=f"{twin.arn}+", name=f"dispatch-0{both.ledger.epoch}")
    return replace(both, executions={**both.executions, more.arn: more})


def _untaken(seen: Evidence) -> Evidence:
    told = (("1: some job Completed", seen.read_at),)
    return replace(alive(seen), training=replace(seen.training, untold=told))


def _stray(seen: Evidence) -> Evidence:
    return replace(seen, processes=(Process(4242, job_of(seen, ready(seen)).name),))


def _worker_of_ended(seen: Evidence) -> Evidence:
    return replace(alive(_stray(seen)))


def _worker_of_nothing(seen: Evidence) -> Evidence:
    return replace(alive(seen), processes=(Process(4242, "atelier-nobody-1"),))


BROKEN: Mapping[str, tuple[Break, ...]] = {
    "files-are-sound": (
        lambda e: replace(e, stores=(Store("ledger.sqlite3", "row 3 missing from index queue"),)),
    ),
    "documents-read": (
        lambda e: replace(e, unreadable=(Unreadable("request", "request r", "no JSON"),)),
        lambda e: with_bucket(e, unreadable=(Unreadable("manifest", "object m", "no JSON"),)),
    ),
    "nothing-lies-in-the-future": (
        lambda e: with_request(e, ready(e), updated_at=e.read_at + HOUR),
        lambda e: with_bucket(e, newest=("uploads/x", e.read_at + HOUR)),
    ),
    "one-outcome": (
        _no_outcome,
        _two_outcomes,
        lambda e: with_request(e, ready(e), version=None),
        lambda e: with_request(e, requests(e, Status.FAILED)[0], failure=None),
        lambda e: with_request(e, requests(e, Status.CANCELLED)[0], version="v1-00000000"),
    ),
    "told-in-order": (
        _back_in_time,
        lambda e: with_request(e, ready(e), entered=without(ready(e).entered, Status.QUEUED)),
        lambda e: with_request(e, ready(e), status=Status.TRAINED),
        lambda e: with_request(e, ready(e), entered={**ready(e).entered, "asleep": e.read_at}),
        lambda e: with_request(e, ready(e), updated_at=ready(e).created_at - HOUR),
    ),
    "somebody-works-on-it": (
        _failed_silently,
        _told_something_else,
        _aborted_unsettled,
        _never_started,
        lambda e: standing_at(alive(e), Status.TRAINING),
    ),
    "queued-with-a-token-that-waits": (
        _other_token,
        _completed_token,
        lambda e: waiting(e, Status.QUEUED, token=None),
        lambda e: waiting(e, Status.CLAIMED, token=None),
    ),
    "batch-and-job-agree": (
        lambda e: waiting(e, Status.QUEUED, job="atelier-b-1"),
        lambda e: waiting(e, Status.QUEUED, batch=ready(e).batch),
        lambda e: with_request(e, ready(e), batch=None),
        lambda e: with_request(e, ready(e), job="atelier-b-1"),
        lambda e: with_request(e, ready(e), attempt=2),
        lambda e: with_ledger(e, batches=without(e.ledger.batches, ready(e).batch)),
        lambda e: standing_at(e, Status.TRAINING, host=None),
        lambda e: waiting(e, Status.CLAIMED),
        lambda e: _batch(e, BatchState.RELEASED, of=standing_at(e, Status.TRAINING)),
    ),
    "one-notice-per-outcome": (
        _two_notices,
        _notice_of_nobody,
        lambda e: with_ledger(e, outbox=e.ledger.outbox[1:]),
        lambda e: standing_at(e, Status.TRAINING),
    ),
    "delivered-as-written": (
        _told_otherwise,
        lambda e: replace(e, deliveries=e.deliveries[1:]),
        lambda e: replace(e, deliveries=(*e.deliveries, Delivery("m", "0", early=True))),
    ),
    "outcomes-are-delivered": (
        lambda e: with_ledger(
            alive(e), outbox=tuple(replace(row, delivered_at=None) for row in e.ledger.outbox)
        ),
    ),
    "ready-has-its-version": (
        lambda e: with_ledger(e, models=()),
        lambda e: with_version(e, version="v1-00000000"),
        lambda e: with_version(e, request=STRANGER),
    ),
    "versions-in-order": (
        _version_twice,
        lambda e: with_model(e, current=e.ledger.models[0].versions[0].version),
        lambda e: with_version(e, request=STRANGER),
        lambda e: with_version(e, artifact="artifacts/tiny/else.tar.gz"),
        lambda e: standing_at(e, Status.TRAINING),
    ),
    "models-say-what-was-asked": (
        lambda e: with_model(e, tenant="another"),
        lambda e: with_model(e, trigger="another"),
    ),
    "artifacts-are-what-versions-say": (
        lambda e: with_bucket(e, artifacts={}),
        lambda e: _artifact(e, problem="an end too early"),
        lambda e: _artifact(e, digest="0" * 64),
        lambda e: _artifact(e, card=None),
        lambda e: _card(e, owner="o" * 27),
        lambda e: _card(e, request=STRANGER),
        lambda e: with_version(e, bytes=1),
        lambda e: with_version(e, digest="0" * 64),
    ),
    "no-artifact-without-version": (_orphan,),
    "owners-apart": (
        _photo_of_another,
        _resumes_anothers,
        lambda e: with_version(e, artifact=f"artifacts/tiny/{'o' * 27}/me/v1-00000000.tar.gz"),
    ),
    "none-runs-for-who-has-ended": (
        lambda e: running_again(e, ready(e)),
        lambda e: with_ledger(
            running_again(e, ready(e)), requests=without(e.ledger.requests, ready(e).request)
        ),
        lambda e: with_request(
            running_again(standing_at(e, Status.TRAINING), ready(e)),
            replace(ready(e), status=Status.QUEUED, attempt=2, execution="again"),
        ),
    ),
    "histories-are-whole": (lambda e: _history(e, flaws=("event 7 follows event 5",)),),
    "ended-with-a-time": (
        lambda e: with_execution(e, execution_of(e, ready(e)), ended_at=None),
        lambda e: replace(e, executions={**e.executions, "twin": execution_of(e, ready(e))}),
    ),
    "no-task-waits-beyond-its-timeout": (
        lambda e: running_again(e, ready(e), open={5: OpenTask("Register", e.read_at, 60.0)}),
    ),
    "one-dispatcher": (_epoch_to_come, _epoch_gone_by, _two_dispatchers),
    "who-waits-is-dispatched": (
        lambda e: waiting(e, Status.QUEUED),
        lambda e: _batch(e, BatchState.SEALED, of=alive(e)),
    ),
    "every-job-has-its-batch": (
        lambda e: with_ledger(alive(e), batches={}),
        lambda e: _without_jobs(standing_at(alive(e), Status.TRAINING)),
    ),
    "requests-train-in-jobs-that-exist": (
        lambda e: standing_at(alive(e), Status.TRAINING),
        lambda e: standing_at(e, Status.TRAINING, job_outcome=JobOutcome.FAILED),
        lambda e: replace(standing_at(e, Status.TRAINING), training=replace(e.training, jobs={})),
    ),
    "manifests-are-what-jobs-train": (
        _manifest_of_others,
        _trains_elsewhere,
        lambda e: _manifest(e, digest="0" * 64),
        lambda e: with_bucket(e, manifests={}),
    ),
    "ended-jobs-hold-nothing": (
        _worker_of_ended,
        lambda e: with_job(e, job_of(e, ready(e)), held=True),
        lambda e: with_job(alive(e), job_of(e, ready(e)), folder=True),
        lambda e: with_job(alive(e), job_of(e, ready(e)), processes=1),
        lambda e: replace(e, training=replace(e.training, strange_folders=("job-x",))),
    ),
    "no-job-trains-for-nobody": (_trains_for_nobody,),
    "job-changes-are-told": (_untaken,),
    "programs-belong-to-this-life": (_stray, _worker_of_nothing),
    "datasets-are-there": (
        lambda e: with_bucket(e, datasets={}),
        _photo_gone,
    ),
    "nobody-left-half-a-file": (
        lambda e: with_bucket(alive(e), hidden=(HiddenFile(".writing/1", e.read_at, held=False),)),
    ),
    "loaded-models-exist": (lambda e: with_endpoint(e, loaded=(ServedModel("tiny/else", 0),)),),
    "endpoint-within-its-limits": (
        lambda e: with_endpoint(e, disk_bytes=2001),
        lambda e: with_endpoint(e, slots=1),
        lambda e: with_endpoint(e, held=(HeldSlot("a", 0, 1, 1), HeldSlot("b", 0, 1, 1))),
    ),
    "nothing-held-for-nobody": (
        lambda e: with_endpoint(e, loaded=(replace(idle_endpoint(e).loaded[0], in_flight=1),)),
        lambda e: with_endpoint(e, held=(HeldSlot("a", 0, 1, 1),)),
    ),
}
