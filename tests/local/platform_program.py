"""A platform with nothing but a training service, to be killed: `python -m … <folder>`."""

import sys
import threading
from pathlib import Path

from atelier.contracts.clock import SystemClock
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer
from tests.local.bench import TrainingBench, definition


def main(folder: Path) -> None:
    objects = FileObjects(
        folder / "objects",
        clock=SystemClock(),
        sign=hmac_signer(b"a secret of the tests, 32 bytes."),
        upload_url="http://127.0.0.1/",
    )
    service = TrainingBench(folder, objects).service((folder / "body.py").read_text())
    service.recover()
    service.create(definition())
    service.serve(threading.Event())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
