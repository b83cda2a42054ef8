"""From an upload set in the bucket to a dataset: looked at once, re-encoded, described.

The report on a set is kept beside it, so that the API and Register say the same and look once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from atelier.contracts import ids, keys
from atelier.contracts.consent import Consent
from atelier.contracts.dataset import (
    MAX_COMPLETE_BYTES,
    Dataset,
    DatasetPhoto,
    UploadComplete,
    dataset_id,
)
from atelier.contracts.documents import DocumentError, canonical_json, parse_json
from atelier.contracts.documents import encode as encode_document
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
from atelier.photos.judging import THRESHOLDS
from atelier.photos.looking import (
    RULES_VERSION,
    EncodedPhoto,
    Looked,
    SetLook,
    encode,
    judge_set,
    refused,
    without_bodies,
)
from atelier.photos.report import Reason, SetLimits, SetReport, crowded
from tasks.ports import ObjectInfo, Objects, Ports

LIMITS = SetLimits(least=MIN_PHOTOS, most=MAX_PHOTOS)


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
        encoded: key → re-encoding, for those that the bucket does not hold yet.
        report: what was said of the set.
    """

    dataset: Dataset
    encoded: Mapping[str, EncodedPhoto]
    report: SetReport


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
    return closed_set(folder, _read_complete(body, folder))


def closed_set(folder: str, complete: UploadComplete) -> UploadSet:
    """Return the set that a `_complete.json` describes."""
    photos = tuple(SetPhoto(p.name, p.digest, p.bytes, p.caption) for p in complete.photos)
    return UploadSet(folder, photos, complete.consent)


def photo_limits(resolution: int) -> PhotoLimits:
    """Return what a photo may be for a model that draws at a resolution."""
    return PhotoLimits(least_side_pixels=resolution // 2, fine_side_pixels=resolution)


def report_on(upload: UploadSet, resolution: int, *, ports: Ports) -> SetReport:
    """Return the report on a set: the kept one, or a new one that is kept beside the set.

    Its key derives from the files as they lie there and from the rules, so that another photo,
    another file of the same name, or other rules are looked at anew.
    """
    if report := crowded(len(upload.photos), LIMITS):
        return report
    limits = photo_limits(resolution)
    offered = _offered(upload, objects=ports.objects)
    key = _report_key(upload, offered, limits)
    if report := _kept_report(key, objects=ports.objects):
        return report
    looked = without_bodies(_looked(upload, offered, limits, ports=ports))
    report, _ = judge_set(looked, LIMITS)
    ports.objects.put(key, report.to_json(), content_type="application/json")
    return report


def make_dataset(upload: UploadSet, given: OnboardingRequest, *, ports: Ports) -> MadeDataset:
    """Return the dataset that the photos make, with the report on them.

    What was looked at before is not judged again, and what the bucket holds is not re-encoded.

    Raises:
        PhotosRejected: too few can be used, or there are too many.
    """
    if report := crowded(len(upload.photos), LIMITS):
        raise _rejected(report)
    objects = ports.objects
    limits = photo_limits(given.hyperparameters.resolution)
    offered = _offered(upload, objects=objects)
    key = _report_key(upload, offered, limits)
    if report := _kept_report(key, objects=objects):
        made = _dataset(upload, given, report)
        encoded = _missing(upload, made, limits, ports=ports)
        if encoded is not None:
            return MadeDataset(made, encoded, report)
    report, looked = judge_set(_looked(upload, offered, limits, ports=ports), LIMITS)
    objects.put(key, report.to_json(), content_type="application/json")
    made = _dataset(upload, given, report)
    by_key = {p.key: photo for p, photo in zip(made.photos, looked, strict=True)}
    return MadeDataset(made, by_key, report)


def write_dataset(made: MadeDataset, *, objects: Objects) -> None:
    """Write the re-encodings, then the document that names them; the same again changes nothing."""
    dataset = made.dataset
    for key, image in made.encoded.items():
        objects.put(key, image.body, content_type="image/png")
    document = keys.dataset_document(dataset.owner, dataset.dataset)
    objects.put(document, dataset.to_json(), content_type="application/json")


def _dataset(upload: UploadSet, given: OnboardingRequest, report: SetReport) -> Dataset:
    """Describe the dataset of the photos that a report accepts."""
    if not report.makes_a_model:
        raise _rejected(report)
    captions = {photo.name: photo.caption for photo in upload.photos}
    accepted = [photo for photo in report.photos if photo.accepted]
    name = dataset_id(given.owner, [(p.digest, captions[p.name]) for p in accepted])
    photos = tuple(
        DatasetPhoto(
            key=keys.dataset_photo(given.owner, name, p.digest),
            digest=p.digest,
            width=p.width,
            height=p.height,
            source=p.name,
            caption=captions[p.name],
        )
        for p in accepted
    )
    consent = upload.consent or given.consent
    return Dataset(dataset=name, owner=given.owner, photos=photos, consent=consent)


def _missing(
    upload: UploadSet, made: Dataset, limits: PhotoLimits, *, ports: Ports
) -> Mapping[str, EncodedPhoto] | None:
    """Return the re-encodings that the bucket lacks; None if the files are other ones by now."""
    encoded = {}
    for photo in made.photos:
        if ports.objects.info(photo.key) is not None:
            continue
        try:
            body = ports.objects.read(upload.folder + photo.source, max_bytes=limits.most_bytes)
        except (ObjectMissing, ContractBroken):
            return None
        with ports.decoding:
            again = encode(photo.source, body, limits)
        if again is None or again.digest != photo.digest:
            return None
        encoded[photo.key] = again
    return encoded


Offered = Mapping[str, ObjectInfo | None]
"""Name of each photo of a set → the file that lies there now, if any."""


def _offered(upload: UploadSet, *, objects: Objects) -> Offered:
    return {photo.name: objects.info(upload.folder + photo.name) for photo in upload.photos}


def _report_key(upload: UploadSet, offered: Offered, limits: PhotoLimits) -> str:
    files = [
        [photo.name, photo.digest, photo.bytes, info and [info.bytes, info.etag]]
        for photo in upload.photos
        for info in [offered[photo.name]]
    ]
    rules = [RULES_VERSION, encode_document(limits), encode_document(LIMITS)]
    thresholds = encode_document(THRESHOLDS)
    digest = ids.digest_of(canonical_json([rules, thresholds, files]))
    return keys.upload_report(upload.folder, digest)


def _kept_report(key: str, *, objects: Objects) -> SetReport | None:
    try:
        return SetReport.from_json(objects.read(key, max_bytes=MAX_COMPLETE_BYTES))
    except (ObjectMissing, ContractBroken, DocumentError):
        # What does not read is made anew: it is our own note, not somebody's word.
        return None


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


def _looked(
    upload: UploadSet, offered: Offered, limits: PhotoLimits, *, ports: Ports
) -> Iterator[Looked]:
    looks = SetLook(limits, LIMITS)
    for photo in upload.photos:
        yield _look(photo, upload.folder, offered[photo.name], looks, ports=ports)


def _look(
    photo: SetPhoto, folder: str, info: ObjectInfo | None, looks: SetLook, *, ports: Ports
) -> Looked:
    most_bytes = looks.photo.most_bytes
    if info is None:
        return refused(photo.name, Reason.MISSING, "was announced but never uploaded")
    if photo.bytes is not None and info.bytes != photo.bytes:
        detail = f"{info.bytes:,} bytes were uploaded, {photo.bytes:,} announced"
        return refused(photo.name, Reason.CHANGED, detail)
    if info.bytes > most_bytes:
        detail = f"{info.bytes:,} bytes; at most {most_bytes:,} are taken"
        return refused(photo.name, Reason.TOO_LARGE, detail)
    try:
        body = ports.objects.read(folder + photo.name, max_bytes=most_bytes)
    except (ObjectMissing, ContractBroken):
        return refused(photo.name, Reason.CHANGED, "changed while it was being read")
    if photo.digest is not None and ids.digest_of(body) != photo.digest:
        return refused(photo.name, Reason.CHANGED, "is not the file whose digest was announced")
    with ports.decoding:
        return looks.look(photo.name, body)


def _rejected(report: SetReport) -> PhotosRejected:
    findings = dict(report.findings)
    return PhotosRejected(
        "; ".join(findings.values()),
        photos=dict(report.refused),
        findings=findings,
        accepted=len(report.accepted),
        needed=MIN_PHOTOS,
    )
