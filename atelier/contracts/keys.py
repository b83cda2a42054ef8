"""Object keys: where everything lies in the bucket. No other module composes a key.

uploads/<owner>/<set>/<photo>          as uploaded; complete when `_complete.json` is there
datasets/<owner>/<dataset>/…           our re-encoding, what containers read
manifests/<job>.json                   what a training job trains
control/<job>/<host>/{messages,acks}/  control channel of a running job
checkpoints/<job>/<host>/<request>/…   what a training host leaves (checkpoint tree)
artifacts/<base>/<owner>/<model>/<version>.tar.gz   write-once, what the endpoint serves
training-output/<job>/output/…         what SageMaker archives of a job; nothing of ours reads it
records/<owner>/<day>/<record>/…       requests and responses of the endpoint
base-models/<base>/…                   the frozen networks
"""

from __future__ import annotations

import re

MAX_KEY_BYTES = 512
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,127}")


def check_key(key: str) -> str:
    """Return `key` if it is one of ours: relative segments of A-Z a-z 0-9 . _ = -, no dot first.

    A key that passes is safe as a relative file path, too.

    Raises:
        ValueError: it is not.
    """
    if len(key) > MAX_KEY_BYTES or not all(is_segment(part) for part in key.split("/")):
        raise ValueError(
            f"object key {key[:120]!r}: segments of A-Z a-z 0-9 . _ = - separated by /, none empty "
            f"or starting with a dot, {MAX_KEY_BYTES} characters at most"
        )
    return key


def is_segment(name: str) -> bool:
    """Return whether `name` may stand between the slashes of a key."""
    return _SEGMENT.fullmatch(name) is not None


def check_prefix(prefix: str) -> str:
    """Return `prefix` if it is a folder of ours, ending in `/`.

    Raises:
        ValueError: it is not.
    """
    if not prefix.endswith("/"):
        raise ValueError(f"prefix {prefix[:120]!r} must end with /")
    check_key(prefix[:-1])
    return prefix


def check_beginning(beginning: str) -> str:
    """Return `beginning` if keys of ours may begin so: nothing, or a key or folder, cut anywhere.

    Raises:
        ValueError: no key of ours begins so.
    """
    if beginning:
        check_key(beginning.removesuffix("/"))
    return beginning


def uploads(owner: str) -> str:
    """Return the folder of all upload sets of an owner."""
    return check_prefix(f"{UPLOAD_PREFIX}{owner}/")


def upload_prefix(owner: str, upload_set: str) -> str:
    """Return the folder of one upload set."""
    return check_prefix(f"{uploads(owner)}{upload_set}/")


def uploaded_photo(prefix: str, name: str) -> str:
    """Return the key of one photo of an upload set."""
    return check_key(f"{check_prefix(prefix)}{name}")


def upload_announced(prefix: str) -> str:
    """Return the key of the document that says which photos an upload set will have."""
    return check_key(f"{check_prefix(prefix)}_announced.json")


def upload_complete(prefix: str) -> str:
    """Return the key of the document that closes an upload set."""
    return check_key(f"{check_prefix(prefix)}_complete.json")


def upload_report(prefix: str, digest: str) -> str:
    """Return the key of a report on an upload set, named by what was looked at and how."""
    return check_key(f"{check_prefix(prefix)}_report-{digest[:32]}.json")


def dataset_prefix(owner: str, dataset: str) -> str:
    """Return the folder of one dataset: our re-encoding of an upload set."""
    return check_prefix(f"datasets/{owner}/{dataset}/")


def dataset_photo(owner: str, dataset: str, digest: str) -> str:
    """Return the key of one re-encoded photo, named by its digest."""
    return check_key(f"{dataset_prefix(owner, dataset)}{digest[:32]}.png")


def dataset_document(owner: str, dataset: str) -> str:
    """Return the key of the document that describes a dataset."""
    return dataset_prefix(owner, dataset) + "dataset.json"


def manifest(job: str) -> str:
    """Return the key of a job's training manifest, sealed before the job is created."""
    return check_key(f"manifests/{job}.json")


def control_of_job(job: str) -> str:
    """Return the folder of the control channels of all of a job's hosts."""
    return check_prefix(f"control/{job}/")


def control_prefix(job: str, host: str) -> str:
    """Return the folder of a host's control channel."""
    return check_prefix(f"control/{job}/{host}/")


def control_message(job: str, host: str, message: str) -> str:
    """Return the key of a control message."""
    return check_key(f"{control_prefix(job, host)}messages/{message}.json")


def control_acknowledgement(job: str, host: str, message: str) -> str:
    """Return the key of the acknowledgement of a control message."""
    return check_key(f"{control_prefix(job, host)}acks/{message}.json")


def checkpoints(job: str) -> str:
    """Return the folder that SageMaker syncs with a job's `/opt/ml/checkpoints`."""
    return check_prefix(f"checkpoints/{job}/")


def checkpoint(job: str, path: str) -> str:
    """Return the key of a file whose path below `/opt/ml/checkpoints` is `path`."""
    return check_key(checkpoints(job) + path)


def artifact(base: str, owner: str, model: str, version: str) -> str:
    """Return the key of a published version, below the endpoint's prefix."""
    return check_key(f"{ARTIFACT_PREFIX}{target_model(base, owner, model, version)}")


def artifacts(base: str, owner: str, model: str) -> str:
    """Return the prefix of every published version of a model."""
    return f"{ARTIFACT_PREFIX}{base}/{owner}/{model}/"


def target_model(base: str, owner: str, model: str, version: str) -> str:
    """Return SageMaker's TargetModel: the artifact's path relative to the endpoint's prefix."""
    return f"{base}/{owner}/{model}/{version}.tar.gz"


def record(owner: str, day: str, record_id: str, file: str) -> str:
    """Return the key of one file of a recorded endpoint request; `day` is YYYY-MM-DD."""
    return check_key(f"records/{owner}/{day}/{record_id}/{file}")


def base_model(base: str, file: str) -> str:
    """Return the key of a file of a base model."""
    return check_key(f"base-models/{base}/{file}")


UPLOAD_PREFIX = "uploads/"
TRAINING_OUTPUT_PREFIX = "training-output/"
ARTIFACT_PREFIX = "artifacts/"
"""The multi-model endpoint's `ModelDataUrl`: every TargetModel is relative to it."""
