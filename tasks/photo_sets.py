"""From an upload set in the bucket to a dataset: looked at once, re-encoded, described."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from atelier.contracts import ids, keys
from atelier.contracts.consent import Consent
from atelier.contracts.dataset import Dataset, DatasetPhoto, UploadComplete, dataset_id
from atelier.contracts.documents import DocumentError, parse_json
from atelier.contracts.errors import (
    ConsentMissing,
    ContractBroken,
    InvalidRequest,
    NotFound,
    ObjectMissing,
    PhotosRejected,
)
from atelier.contracts.request import MAX_PHOTOS, MIN_PHOTOS, OnboardingRequest
from atelier.photos.decoding import PhotoLimits
from atelier.photos.looking import EncodedPhoto, Looked, judge_set, look, refused
from atelier.photos.report import Reason, SetLimits, SetReport, crowded
from tasks.ports import Objects

LIMITS = SetLimits(least=MIN_PHOTOS, most=MAX_PHOTOS)
MAX_COMPLETE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SetPhoto:
    """A photo of an upload set; digest and size as announced, or None when nobody announced it."""

    name: str
    digest: str | None = None
    bytes: int | None = None
    caption: str = ""


@dataclass(frozen=True, slots=True)
class UploadSet:
    """An upload set: its folder, what is in it, and the consent that came with it, if any."""

    folder: str
    photos: tuple[SetPhoto, ...]
    consent: Consent | None


@dataclass(frozen=True, slots=True)
class MadeDataset:
    """What an upload set became, unwritten.

    Attributes:
        dataset: the document.
        encoded: the re-encodings that it names, in its order.
        left_out: file name of each photo that cannot be used → why, for people.
    """

    dataset: Dataset
    encoded: tuple[EncodedPhoto, ...]
    left_out: Mapping[str, str]


def read_upload_set(given: OnboardingRequest, *, objects: Objects) -> UploadSet:
    """Return the set that `_complete.json` describes, or the folder's photos when it has none.

    Raises:
        InvalidRequest: the folder is not below `uploads/`, or `_complete.json` does not read.
        NotFound: it is another owner's.
        ConsentMissing: `_complete.json` holds no consent.
    """
    folder = _check_folder(given)
    try:
        body = objects.read(keys.upload_complete(folder), max_bytes=MAX_COMPLETE_BYTES)
    except ObjectMissing:
        return UploadSet(folder, _listed(folder, objects=objects), None)
    except ContractBroken as problem:
        raise InvalidRequest(
            f"{folder}_complete.json is larger than {MAX_COMPLETE_BYTES:,} bytes", where="photos"
        ) from problem
    complete = _read_complete(body, folder)
    photos = tuple(SetPhoto(p.name, p.digest, p.bytes, p.caption) for p in complete.photos)
    return UploadSet(folder, photos, complete.consent)


def make_dataset(upload: UploadSet, given: OnboardingRequest, *, objects: Objects) -> MadeDataset:
    """Look at every photo; return the dataset that they make, what is left out, and why.

    Raises:
        PhotosRejected: too few can be used, or there are too many.
    """
    if report := crowded(len(upload.photos), LIMITS):
        raise _rejected(report)
    limits = PhotoLimits(least_side_pixels=given.hyperparameters.resolution // 2)
    report, encoded = judge_set(_looked(upload, limits, objects=objects), LIMITS)
    if not report.makes_a_model:
        raise _rejected(report)
    captions = {photo.name: photo.caption for photo in upload.photos}
    name = dataset_id(given.owner, [(e.digest, captions[e.name]) for e in encoded])
    photos = tuple(
        DatasetPhoto(
            key=keys.dataset_photo(given.owner, name, e.digest),
            digest=e.digest,
            width=e.width,
            height=e.height,
            source=e.name,
            caption=captions[e.name],
        )
        for e in encoded
    )
    consent = upload.consent or given.consent
    dataset = Dataset(dataset=name, owner=given.owner, photos=photos, consent=consent)
    return MadeDataset(dataset, encoded, report.refused)


def write_dataset(made: MadeDataset, *, objects: Objects) -> None:
    """Write the re-encodings, then the document that names them; the same again changes nothing."""
    dataset = made.dataset
    for photo, image in zip(dataset.photos, made.encoded, strict=True):
        objects.put(photo.key, image.body, content_type="image/png")
    document = keys.dataset_document(dataset.owner, dataset.dataset)
    objects.put(document, dataset.to_json(), content_type="application/json")


def _check_folder(given: OnboardingRequest) -> str:
    folder = given.photos
    parts = folder.split("/")
    if not folder.startswith(keys.UPLOAD_PREFIX) or len(parts) < 3:
        raise InvalidRequest(
            f"photos {folder!r}: expected a folder below {keys.UPLOAD_PREFIX}, such as "
            f"{keys.upload_prefix(given.owner, 'first')}",
            where="photos",
            found=folder,
            allowed=f"{keys.UPLOAD_PREFIX}…/",
        )
    # A folder that bears an owner's id is that owner's; any other is the operator's own.
    if ids.OWNER_PATTERN.fullmatch(parts[1]) and parts[1] != given.owner:
        raise NotFound(f"no upload set {folder!r} of this user", kind="upload set", name=folder)
    return folder


def _listed(folder: str, *, objects: Objects) -> tuple[SetPhoto, ...]:
    names = (info.key.removeprefix(folder) for info in objects.list(folder))
    return tuple(SetPhoto(n) for n in names if n and "/" not in n and not n.startswith("_"))


def _read_complete(body: bytes, folder: str) -> UploadComplete:
    where = f"{folder}_complete.json"
    try:
        given = parse_json(body, max_bytes=MAX_COMPLETE_BYTES)
        if isinstance(given, dict) and given.get("consent") is None:
            raise ConsentMissing(f"{where} holds no consent", where=where)
        return UploadComplete.from_dict(given)
    except DocumentError as problem:
        raise InvalidRequest(f"{where}: {problem}", where=problem.where) from problem


def _looked(upload: UploadSet, limits: PhotoLimits, *, objects: Objects) -> Iterator[Looked]:
    for photo in upload.photos:
        yield _look(photo, upload.folder + photo.name, limits, objects=objects)


def _look(photo: SetPhoto, key: str, limits: PhotoLimits, *, objects: Objects) -> Looked:
    info = objects.info(key)
    if info is None:
        return refused(photo.name, Reason.MISSING, "was announced but never uploaded")
    if photo.bytes is not None and info.bytes != photo.bytes:
        detail = f"{info.bytes:,} bytes were uploaded, {photo.bytes:,} announced"
        return refused(photo.name, Reason.CHANGED, detail)
    if info.bytes > limits.most_bytes:
        detail = f"{info.bytes:,} bytes; at most {limits.most_bytes:,} are taken"
        return refused(photo.name, Reason.TOO_LARGE, detail)
    try:
        body = objects.read(key, max_bytes=limits.most_bytes)
    except (ObjectMissing, ContractBroken):
        return refused(photo.name, Reason.CHANGED, "changed while it was being read")
    if photo.digest is not None and ids.digest_of(body) != photo.digest:
        return refused(photo.name, Reason.CHANGED, "is not the file whose digest was announced")
    return look(photo.name, body, limits)


def _rejected(report: SetReport) -> PhotosRejected:
    findings = {finding.value: sentence for finding, sentence in report.findings.items()}
    refusals = [f"{name}: {why}" for name, why in report.refused.items()]
    return PhotosRejected(
        "; ".join([*findings.values(), *refusals])[:2000],
        photos=dict(report.refused),
        findings=findings,
        accepted=len(report.accepted),
        needed=MIN_PHOTOS,
    )
