"""Models: every version has its request, its artifact and its owner, and nobody else's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from atelier.contracts import ids, keys
from atelier.contracts.records import ModelRecord, ModelVersion
from atelier.contracts.status import Status
from infra.doctor.case import Case
from infra.doctor.findings import Trouble

LOOK = "Do not delete anything; report it with the model's record."
AGAIN = "Publish a new version: start the onboarding again with new_version."


def ready_has_its_version(case: Case) -> Iterator[Trouble]:
    """A ready request's model exists and lists the request's version exactly once.

    The version is its own, unless the request was ready at once because the model was made so
    already.
    """
    models = {(model.owner, model.model): model for model in case.ledger.models}
    for record in case.ledger.requests.values():
        if record.status is not Status.READY:
            continue
        subject, given = f"request {record.request}", record.given
        model = models.get((given.owner, given.model))
        if model is None:
            found = f"ready, and owner {given.owner} has no model {given.model!r}"
            yield Trouble(subject, found, "its model", AGAIN)
            continue
        listed = [v for v in model.versions if v.version == record.version]
        if len(listed) != 1:
            found = f"model {given.model!r} lists version {record.version} {len(listed)} times"
            yield Trouble(subject, found, "once", LOOK)
        elif record.job is not None and listed[0].request != record.request:
            found = f"version {record.version} was made by request {listed[0].request}"
            yield Trouble(subject, found, "a version of its own", LOOK)


def versions_in_order(case: Case) -> Iterator[Trouble]:
    """A model's versions count from 1, each of one ready request; the newest is current."""
    made_by: Counter[str] = Counter()
    for model in case.ledger.models:
        subject = f"model {model.owner}/{model.model}"
        for number, version in enumerate(model.versions, 1):
            made_by[version.request] += 1
            if flaw := _version_flaw(number, version, model, case):
                yield Trouble(subject, flaw, "versions in order, each of a ready request", LOOK)
        if not model.versions or model.current != model.versions[-1].version:
            newest = model.versions[-1].version if model.versions else "none at all"
            found = f"current is {model.current}, the newest is {newest}"
            yield Trouble(subject, found, "the newest is current", LOOK)
    for request, times in made_by.items():
        if times > 1:
            found = f"{times} versions name it as their request"
            yield Trouble(f"request {request}", found, "one version", LOOK)


def _version_flaw(number: int, version: ModelVersion, model: ModelRecord, case: Case) -> str | None:
    named = ids.VERSION_PATTERN.fullmatch(version.version)
    if named is None or int(named[1]) != number:
        return f"version {number} is called {version.version}"
    place = keys.artifact(model.base, model.owner, model.model, version.version)
    if version.artifact != place:
        return f"{version.version} lies at {version.artifact} instead of {place}"
    record = case.ledger.requests.get(version.request)
    if record is None:
        return f"{version.version} is of request {version.request}, which does not exist"
    if record.status is Status.ERASED:
        return None
    if record.status is not Status.READY or record.version != version.version:
        made = record.version or "none"
        return (
            f"{version.version} is of request {version.request}, which is {record.status} and made "
            f"{made}"
        )
    return None


def models_say_what_was_asked(case: Case) -> Iterator[Trouble]:
    """A model says of its owner, base, words and photos what its newest version was asked for."""
    for model in case.ledger.models:
        newest = model.versions[-1].request if model.versions else ""
        record = case.ledger.requests.get(newest)
        if record is None or record.status is Status.ERASED:
            continue
        given = record.given
        asked = {
            "tenant": (model.tenant, given.tenant),
            "user": (model.user, given.user),
            "owner": (model.owner, given.owner),
            "base": (model.base, given.base),
            "trigger": (model.trigger, given.trigger),
            "subject": (model.subject, given.subject),
            "dataset": (model.dataset, record.dataset or ""),
        }
        if wrong := _differing(asked):
            found = f"it has another {wrong} than request {newest}"
            subject = f"model {model.owner}/{model.model}"
            yield Trouble(subject, found, "what was asked for", LOOK)


def _differing(pairs: Mapping[str, tuple[object, object]]) -> str:
    """Return the names whose two values differ, as words; empty when none do."""
    return ", ".join(name for name, (one, other) in pairs.items() if one != other)


def artifacts_are_what_versions_say(case: Case) -> Iterator[Trouble]:
    """Every version's artifact is there, reads strictly, and is what record and card say."""
    for model in case.ledger.models:
        for version in model.versions:
            if flaw := _artifact_flaw(version, model, case):
                subject = f"model {model.owner}/{model.model} {version.version}"
                yield Trouble(subject, flaw, "the artifact that was published", AGAIN)


def _artifact_flaw(version: ModelVersion, model: ModelRecord, case: Case) -> str | None:
    seen = case.bucket.artifacts.get(version.artifact)
    if seen is None:
        return f"{version.artifact} is not there"
    if seen.problem is not None:
        return f"{version.artifact} does not read: {seen.problem}"
    if seen.bytes != version.bytes:
        return f"{version.artifact} has {seen.bytes:,} bytes, the record says {version.bytes:,}"
    if seen.adapter_digest != version.digest:
        return f"its adapter has digest {seen.adapter_digest[:16]}…, not {version.digest[:16]}…"
    if not version.version.endswith(seen.digest[:8]):
        return f"its archive has digest {seen.digest[:8]}…, its name says another"
    card = seen.card
    if card is None:
        return "its adapter.json does not read"
    claims = {
        "owner": (card.owner, model.owner),
        "model": (card.model, model.model),
        "request": (card.request, version.request),
        "base": (card.base, model.base),
        "rank": (card.rank, version.rank),
        "instance_prompt": (card.instance_prompt, version.instance_prompt),
        "file_digest": (card.file_digest, version.digest),
    }
    wrong = _differing(claims)
    return f"its adapter.json says another {wrong}" if wrong else None


def no_artifact_without_version(case: Case) -> Iterator[Trouble]:
    """Every artifact that is older than the grace is named by a version."""
    named = {v.artifact for model in case.ledger.models for v in model.versions}
    for seen in case.bucket.artifacts.values():
        if seen.key not in named and case.settled(seen.modified_at):
            found = f"{seen.bytes:,} bytes that no version names"
            do = "Delete the object: nobody can be served from it."
            yield Trouble(f"object {seen.key}", found, "an artifact of a version", do)


def owners_apart(case: Case) -> Iterator[Trouble]:
    """Nothing of one owner names an object of another: artifacts, datasets, manifests."""
    do = "Stop the platform and report it: data of two people may be mixed."
    for subject, named, allowed in _named_objects(case):
        if allowed not in f"/{named}":
            yield Trouble(subject, f"it names {named}", f"an object with {allowed} in its key", do)


def _named_objects(case: Case) -> Iterator[tuple[str, str, str]]:
    """Yield (who names, which key, what of the owner must be in it)."""
    for model in case.ledger.models:
        for version in model.versions:
            subject = f"model {model.owner}/{model.model}"
            yield subject, version.artifact, f"/{model.owner}/{model.model}/"
    for dataset in case.bucket.datasets.values():
        for key in dataset.photos:
            yield f"object {dataset.key}", key, f"/{dataset.key.rpartition('/')[0]}/"
    for manifest in case.bucket.manifests.values():
        for task in manifest.document.tasks if manifest.document else ():
            subject = f"task {task.request} of the manifest of {manifest.job}"
            for photo in task.photos:
                yield subject, photo.key, f"/datasets/{task.owner}/"
            if task.resume_from is not None:
                yield subject, task.resume_from, f"/{task.request}/"
