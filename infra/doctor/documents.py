"""Which object is which document of ours: key patterns in one table, each with its codec.

progress.json is not here: the host of a live job replaces it all the time, and one that does not
read says nothing by contract. Objects that match nothing are counted, no more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from atelier.contracts.control import ControlAcknowledgement, ControlMessage
from atelier.contracts.dataset import Dataset, UploadComplete
from atelier.contracts.documents import Document
from atelier.contracts.manifest import TrainingManifest

DOCUMENTS: Mapping[re.Pattern[str], type[Document]] = {
    re.compile(pattern): codec
    for pattern, codec in (
        (r"uploads/[^/]+/[^/]+/_complete\.json", UploadComplete),
        (r"datasets/[^/]+/[^/]+/dataset\.json", Dataset),
        (r"manifests/[^/]+\.json", TrainingManifest),
        (r"control/[^/]+/[^/]+/messages/[^/]+\.json", ControlMessage),
        (r"control/[^/]+/[^/]+/acks/[^/]+\.json", ControlAcknowledgement),
    )
}


def codec_of(key: str) -> type[Document] | None:
    """Return the codec of an object by its key, or None for what is no document."""
    if not key.endswith(".json"):
        return None
    return next((codec for pattern, codec in DOCUMENTS.items() if pattern.fullmatch(key)), None)
