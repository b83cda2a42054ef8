"""Hypothesis strategies: any value that a document may hold, and a strategy for every document."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import prod

from hypothesis import strategies as st

from atelier.contracts import ids
from atelier.contracts.adapter import AdapterCard, TrainingReport
from atelier.contracts.base_models import BASE_MODELS
from atelier.contracts.consent import Consent
from atelier.contracts.control import Answer, Command, ControlAcknowledgement, ControlMessage
from atelier.contracts.dataset import Dataset, DatasetPhoto, UploadComplete, UploadedPhoto
from atelier.contracts.documents import Document
from atelier.contracts.durations import Measurement, Measurements, Phase, Taken
from atelier.contracts.generation import (
    GeneratedImage,
    GenerateRequest,
    GenerateResponse,
    ImageFormat,
    InvocationRequest,
    Scheduler,
)
from atelier.contracts.manifest import HostShare, TrainingManifest, TrainingPhoto, TrainingTask
from atelier.contracts.progress import AdapterPointer, Progress, TrainingFailure, TrainingState
from atelier.contracts.records import (
    Batch,
    Failure,
    JobOutcome,
    ModelRecord,
    ModelVersion,
    Notification,
    RequestRecord,
)
from atelier.contracts.request import OnboardingRequest, SamplePrompt
from atelier.contracts.settings import Hyperparameters, PresetName, Schedule, Targets
from atelier.contracts.slot_layout import SlotLayout, SlotMatrix, align
from atelier.contracts.status import Status
from atelier.photos.report import Advice, Finding, Note, PhotoVerdict, Reason, SetReport

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = st.text("abcxyz0189äß漢 ", min_size=1, max_size=20).filter(str.strip)
names = st.text("abcxyz0189", min_size=1, max_size=12)
keys = st.lists(names, min_size=1, max_size=4).map("/".join)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
seeds = st.integers(0, 2**63 - 1)
counts = st.integers(0, 10**6)
finite = st.floats(allow_nan=False, allow_infinity=False)
moments = st.integers(0, 4 * 10**12).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(text, plain, max_size=3)


def owners():
    return st.builds(ids.owner_of, names, words)


def requests():
    return st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=26, max_size=26).map("r".__add__)


def maybe(strategy):
    return st.none() | strategy


consents = st.builds(Consent, given_by=words, given_at=moments, text_version=names)
samples = st.builds(
    SamplePrompt,
    prompt=words,
    negative_prompt=text,
    seed=seeds,
    denoising_steps=st.integers(1, 200),
    guidance=st.floats(1, 30),
)
hyperparameters = st.builds(
    Hyperparameters,
    steps=st.integers(1, 20_000),
    rank=st.integers(1, 128),
    alpha=st.floats(0.001, 1024),
    learning_rate=st.floats(1e-7, 0.1),
    resolution=st.integers(4, 256).map(lambda n: n * 8),
    schedule=st.sampled_from(Schedule),
    targets=st.sampled_from(Targets),
    flip=st.booleans(),
)
photos = st.builds(TrainingPhoto, key=keys, digest=digests, caption=text)


@st.composite
def photo_verdicts(draw):
    reason = draw(maybe(st.sampled_from(Reason)))
    return PhotoVerdict(
        name=draw(names),
        reason=reason,
        detail=draw(text),
        same_as=draw(names) if reason is Reason.DUPLICATE else None,
        width=draw(counts),
        height=draw(counts),
        digest=draw(st.just("") | digests),
        notes=draw(st.dictionaries(st.sampled_from([str(n) for n in Note]), text)),
    )


@st.composite
def onboarding_requests(draw):
    tenant, user = draw(names), draw(words)
    created_at = draw(moments)
    return OnboardingRequest(
        request=draw(requests()),
        tenant=tenant,
        user=user,
        owner=ids.owner_of(tenant, user),
        model=draw(names),
        base=draw(st.sampled_from(sorted(BASE_MODELS))),
        preset=draw(st.sampled_from(PresetName)),
        hyperparameters=draw(hyperparameters),
        photos=draw(keys) + "/",
        subject=draw(words),
        trigger=draw(words),
        samples=tuple(draw(st.lists(samples, max_size=2))),
        seed=draw(seeds),
        consent=draw(consents),
        created_at=created_at,
        deadline=created_at + timedelta(seconds=draw(st.integers(1, 10**6))),
        new_version=draw(st.booleans()),
        priority=draw(st.integers(0, 9)),
    )


@st.composite
def training_tasks(draw, request=None):
    return TrainingTask(
        request=request or draw(requests()),
        attempt=draw(st.integers(1, 9)),
        owner=draw(owners()),
        model=draw(names),
        photos=tuple(draw(st.lists(photos, min_size=1, max_size=2))),
        hyperparameters=draw(hyperparameters),
        samples=tuple(draw(st.lists(samples, max_size=1))),
        instance_prompt=draw(words),
        trigger=draw(words),
        subject=draw(words),
        seed=draw(seeds),
        estimated_cost_seconds=draw(st.floats(0.001, 1e6)),
        resume_from=draw(maybe(keys)),
    )


@st.composite
def manifests(draw):
    named = draw(st.lists(requests(), min_size=1, max_size=3, unique=True))
    cut = draw(st.integers(0, len(named)))
    shares = (HostShare(0, tuple(named[:cut])), HostShare(1, tuple(named[cut:])))
    return TrainingManifest(
        job=draw(names),
        batch=draw(names),
        base=draw(names),
        base_digest=draw(digests),
        tasks=tuple(draw(training_tasks(request)) for request in named),
        hosts=shares,
        idle_seconds=draw(st.floats(0, 1e6)),
    )


@st.composite
def progresses(draw):
    state = draw(st.sampled_from(TrainingState))
    steps = draw(counts)
    pointer = st.builds(AdapterPointer, file=keys, card=keys, digest=digests, bytes=counts)
    failure = st.builds(TrainingFailure, error=names, message=text)
    return Progress(
        request=draw(requests()),
        attempt=draw(st.integers(1, 9)),
        job=draw(names),
        host=draw(names),
        state=state,
        step=draw(st.integers(0, steps)),
        steps=steps,
        updated_at=draw(moments),
        loss=draw(maybe(finite)),
        steps_per_second=draw(maybe(finite)),
        eta_seconds=draw(maybe(finite)),
        previews=tuple(draw(st.lists(keys, max_size=2))),
        samples=tuple(draw(st.lists(keys, max_size=2))),
        adapter=draw(pointer) if state is TrainingState.DONE else None,
        failure=draw(failure) if state is TrainingState.FAILED else None,
    )


@st.composite
def control_messages(draw):
    command = draw(st.sampled_from(Command))
    return ControlMessage(
        command=command,
        request=draw(requests()),
        owner=draw(owners()),
        sent_at=draw(moments),
        task=draw(training_tasks()) if command is Command.ADMIT else None,
    )


@st.composite
def slot_layouts(draw):
    size = {"F16": 2, "BF16": 2, "F32": 4}
    dtype = draw(st.sampled_from(sorted(size)))
    matrices, end = [], 0
    for number in range(draw(st.integers(0, 3))):
        shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
        matrix = SlotMatrix(f"m{number}", draw(st.sampled_from("AB")), shape, align(end))
        matrices.append(matrix)
        end = matrix.offset + prod(shape) * size[dtype]
    return SlotLayout(
        adapter_digest=draw(digests),
        dtype=dtype,
        rank=draw(st.integers(1, 128)),
        alpha=draw(st.floats(0.1, 100)),
        matrices=tuple(matrices),
    )


generate_requests = st.builds(
    GenerateRequest,
    prompt=words,
    owner=owners(),
    negative_prompt=text,
    seed=st.integers(0, 2**63 - 9),
    count=st.integers(1, 8),
    denoising_steps=st.integers(1, 200),
    guidance=st.floats(1, 30),
    width=maybe(st.integers(4, 256).map(lambda n: n * 8)),
    height=maybe(st.integers(4, 256).map(lambda n: n * 8)),
    adapter_scale=st.floats(0, 2),
    scheduler=st.sampled_from(Scheduler),
    format=st.sampled_from(ImageFormat),
)
model_versions = st.builds(
    ModelVersion,
    version=names,
    artifact=keys,
    digest=digests,
    bytes=counts,
    request=requests(),
    rank=st.integers(1, 128),
    instance_prompt=words,
    created_at=moments,
)

measurements = st.builds(
    Measurement,
    request=requests(),
    attempt=st.integers(1, 9),
    base=names,
    preset=names,
    at=moments,
    taken=st.dictionaries(
        st.sampled_from([phase.value for phase in Phase]),
        st.builds(Taken, seconds=st.floats(0, 10**6), units=st.floats(0.001, 10**6)),
    ),
)

DOCUMENTS: dict[type[Document], st.SearchStrategy[Document]] = {
    OnboardingRequest: onboarding_requests(),
    TrainingManifest: manifests(),
    Progress: progresses(),
    ControlMessage: control_messages(),
    ControlAcknowledgement: st.builds(
        ControlAcknowledgement,
        message=names,
        answer=st.sampled_from(Answer),
        reason=text,
        answered_at=moments,
    ),
    AdapterCard: st.builds(
        AdapterCard,
        owner=owners(),
        model=names,
        request=requests(),
        base=names,
        base_digest=digests,
        family=names,
        rank=st.integers(1, 128),
        alpha=st.floats(0.1, 100),
        targets=st.sampled_from(Targets),
        trigger=words,
        subject=words,
        instance_prompt=words,
        file_digest=digests,
        file_bytes=st.integers(1, 10**8),
        tensors=st.integers(1, 999),
        resolution=counts,
        seed=seeds,
        report=st.builds(
            TrainingReport,
            steps=counts,
            final_loss=finite,
            seconds=finite,
            photos=counts,
            device=text,
        ),
        created_at=moments,
        slot_layout_digest=maybe(digests),
    ),
    SetReport: st.builds(
        SetReport,
        photos=st.lists(photo_verdicts(), max_size=3).map(tuple),
        findings=st.dictionaries(st.sampled_from([str(f) for f in Finding]), text),
        advice=st.dictionaries(st.sampled_from([str(a) for a in Advice]), text),
    ),
    UploadComplete: st.builds(
        UploadComplete,
        photos=st.lists(
            st.builds(
                UploadedPhoto,
                name=names,
                digest=digests,
                bytes=st.integers(1, 10**6),
                caption=words,
            ),
            max_size=3,
            unique_by=lambda photo: photo.name,
        ).map(tuple),
        consent=consents,
    ),
    Dataset: st.builds(
        Dataset,
        dataset=names,
        owner=owners(),
        photos=st.lists(
            st.builds(
                DatasetPhoto,
                key=keys,
                digest=digests,
                width=st.integers(1, 9999),
                height=st.integers(1, 9999),
                source=text,
                caption=words,
            ),
            max_size=3,
        ).map(tuple),
        consent=consents,
    ),
    GenerateRequest: generate_requests,
    InvocationRequest: st.builds(
        InvocationRequest, artifact=keys, adapter_digest=digests, request=generate_requests
    ),
    GenerateResponse: st.builds(
        GenerateResponse,
        images=st.lists(st.builds(GeneratedImage, seed=seeds, image_base64=names), max_size=3).map(
            tuple
        ),
        format=st.sampled_from(ImageFormat),
        width=counts,
        height=counts,
        base=names,
        adapter_digest=digests,
        seconds=finite,
    ),
    SlotLayout: slot_layouts(),
    RequestRecord: st.builds(
        RequestRecord,
        given=onboarding_requests(),
        attempt=st.integers(1, 9),
        status=st.sampled_from(Status),
        execution=names,
        created_at=moments,
        updated_at=moments,
        job=maybe(names),
        queued_at=maybe(moments),
        loss=maybe(finite),
        job_outcome=maybe(st.sampled_from(JobOutcome)),
        failure=maybe(st.builds(Failure, error=names, message=text, do=text, facts=objects)),
        entered=st.dictionaries(st.sampled_from([s.value for s in Status]), moments),
        photos_used=st.integers(0, 47),
        photos_left_out=st.dictionaries(text, text, max_size=3),
        photos_notes=st.dictionaries(text, text, max_size=3),
        photos_advice=st.lists(text, max_size=3).map(tuple),
        consent=maybe(consents),
    ),
    ModelRecord: st.builds(
        ModelRecord,
        owner=owners(),
        tenant=names,
        user=words,
        model=names,
        base=names,
        trigger=words,
        subject=words,
        current=names,
        versions=st.lists(model_versions, max_size=2).map(tuple),
        dataset=names,
        created_at=moments,
        updated_at=moments,
        used_at=maybe(moments),
    ),
    Notification: st.builds(
        Notification, id=names, tenant=names, type=names, data=objects, created_at=moments
    ),
    Batch: st.builds(
        Batch,
        batch=names,
        members=st.lists(st.tuples(requests(), st.integers(1, 9)), max_size=3).map(tuple),
        attempt=st.integers(1, 9),
        epoch=counts,
        created_at=moments,
    ),
    Measurement: measurements,
    Measurements: st.builds(Measurements, kept=st.lists(measurements, max_size=3).map(tuple)),
}

any_document = st.one_of(*DOCUMENTS.values())


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value inside plain JSON, the whole first."""
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*path, number))


def required_fields(kind: type) -> set[str]:
    """Return the fields without a default."""
    return {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
