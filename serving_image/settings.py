"""What an operator sets for the model server: read once from the environment, then frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atelier.contracts import container, keys
from atelier.contracts.base_models import DEFAULT_BASE, BaseModel, base_model
from atelier.contracts.settings import Targets
from atelier.objects import check_address

DEVICES = r"auto|cpu|mps|cuda(?::[0-9]{1,2})?"
MEBIBYTE = 1024 * 1024
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
DEFAULT_BASE_MODELS = "/opt/atelier/base-models"


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Settings of one model server.

    Attributes:
        base: id of the one resident base model.
        base_models: folder with `<base>/` in diffusers' layout.
        host, port: where the server listens; the image sets the host to every address.
        device: torch's name of the device, or `auto` for the GPU if there is one.
        threads: torch's threads on a CPU. One draws `tiny` faster than two on a machine of two
            cores (27 and 39 ms per denoising step): its operations are smaller than the hand-over.
        slots: adapters that are active at once.
        rank: largest rank that a slot takes; smaller ones are padded.
        targets: which layers a slot has room for.
        most_rows: images drawn at once.
        queue_rows: images that may wait; more are refused with 429.
        host_bytes: host memory for staged adapters; more are refused with 507.
        body_bytes: largest request body.
        body_seconds: a body that takes longer to arrive is refused with 408.
        answer_seconds: an image that takes longer is given up; the platform's own limit is 60.
        stuck_seconds: ping fails when one denoising step takes longer.
        drain_seconds: how long requests may finish after SIGTERM; the platform kills at 30.
        page_models: names per page of `GET /models`.
        artifacts: where `/invocations` finds artifacts, `s3://…/` or `file:///…/`; None closes it.
    """

    base: str = DEFAULT_BASE
    base_models: Path = Path(DEFAULT_BASE_MODELS)
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    device: str = "auto"
    threads: int = 1
    slots: int = 16
    rank: int = 16
    targets: Targets = Targets.ALL
    most_rows: int = 8
    queue_rows: int = 64
    host_bytes: int = 2048 * MEBIBYTE
    body_bytes: int = MEBIBYTE
    body_seconds: float = 10.0
    answer_seconds: float = 58.0
    stuck_seconds: float = 60.0
    drain_seconds: float = 24.0
    page_models: int = 100
    artifacts: str | None = None

    def __post_init__(self) -> None:
        """Check every range."""
        if not re.fullmatch(DEVICES, self.device):
            raise ValueError(
                f"device {self.device[:40]!r}; auto, cpu, cuda or cuda:<n> are allowed"
            )
        for name, value, least, most in (
            ("port", self.port, 0, 65_535),
            ("threads", self.threads, 1, 256),
            ("slots", self.slots, 1, 4096),
            ("rank", self.rank, 1, 128),
            ("most_rows", self.most_rows, 1, 256),
            ("queue_rows", self.queue_rows, 8, 100_000),
            ("host_bytes", self.host_bytes, MEBIBYTE, 1024 * 1024 * MEBIBYTE),
        ):
            if not least <= value <= most:
                raise ValueError(f"{name} {value:,} is out of range; {least:,} to {most:,} allowed")

    @property
    def base_folder(self) -> Path:
        """Where the base model's weights are."""
        return self.base_models / self.base


def from_environment(environment: Mapping[str, str]) -> ServeSettings:
    """Read the settings from environment variables.

    SageMaker's names: SAGEMAKER_BIND_TO_PORT. Ours: ATELIER_BASE, ATELIER_BASE_MODELS,
    ATELIER_OBJECTS, and `ATELIER_SERVE_` + HOST, DEVICE, THREADS, SLOTS, RANK, TARGETS, ROWS,
    QUEUE_ROWS, HOST_MEBIBYTES.

    Raises:
        ValueError: a variable does not read; the message names it and what is allowed.
    """
    base = base_model(environment.get("ATELIER_BASE", DEFAULT_BASE))
    return ServeSettings(
        base=base.id,
        base_models=Path(environment.get(container.BASE_MODELS_VARIABLE, DEFAULT_BASE_MODELS)),
        host=environment.get("ATELIER_SERVE_HOST", DEFAULT_HOST),
        port=_whole(environment, container.PORT_VARIABLE, DEFAULT_PORT),
        device=environment.get("ATELIER_SERVE_DEVICE", "auto"),
        threads=_whole(environment, "ATELIER_SERVE_THREADS", 1),
        slots=_whole(environment, "ATELIER_SERVE_SLOTS", 16),
        rank=_whole(environment, "ATELIER_SERVE_RANK", preset_rank(base)),
        targets=_targets(environment, preset_targets(base)),
        most_rows=_whole(environment, "ATELIER_SERVE_ROWS", 8),
        queue_rows=_whole(environment, "ATELIER_SERVE_QUEUE_ROWS", 64),
        host_bytes=_whole(environment, "ATELIER_SERVE_HOST_MEBIBYTES", 2048) * MEBIBYTE,
        artifacts=_artifacts(environment),
    )


def preset_rank(base: BaseModel) -> int:
    """Return the largest rank that the base model's presets train: what a slot must take."""
    return max(h.rank for h in base.presets.values())


def preset_targets(base: BaseModel) -> Targets:
    """Return the widest targets that the base model's presets train."""
    widest_last = list(Targets)
    return max((h.targets for h in base.presets.values()), key=widest_last.index)


def _artifacts(environment: Mapping[str, str]) -> str | None:
    objects = environment.get(container.OBJECTS_VARIABLE)
    if objects is None:
        return None
    try:
        return check_address(objects).rstrip("/") + "/" + keys.ARTIFACT_PREFIX
    except ValueError as problem:
        raise ValueError(f"{container.OBJECTS_VARIABLE}: {problem}") from problem


def _targets(environment: Mapping[str, str], default: Targets) -> Targets:
    name = environment.get("ATELIER_SERVE_TARGETS", default.value)
    if name not in {one.value for one in Targets}:
        allowed = ", ".join(Targets)
        raise ValueError(f"ATELIER_SERVE_TARGETS={name[:40]!r}: one of {allowed} is allowed")
    return Targets(name)


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError(f"{name}={text[:40]!r}: a whole number is allowed, such as {default}")
    return int(text)
