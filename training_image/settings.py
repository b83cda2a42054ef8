"""What an operator sets for the training program: read once from the environment, then frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atelier.contracts import container
from atelier.contracts.container import MlFolder
from atelier.objects import check_address

DEFAULT_BASE_MODELS = "/opt/atelier/base-models"


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Settings of one training host.

    Attributes:
        ml: the host's `/opt/ml`.
        objects: address of the bucket, `s3://<bucket>/` or `file:///<folder>/`.
        base_models: folder with `<base id>/` in diffusers' layout.
        device: torch's name of the device, or `auto` for the GPU if there is one.
        threads: on a CPU, how many threads share the rows of a batch.
        slots: adapters trained at once.
        poll_seconds: between two looks at the control channel.
        report_seconds: between two progress.json of one state.
        preview_denoising_steps: previews are drawn with so many, to cost little.
    """

    ml: MlFolder
    objects: str
    base_models: Path = Path(DEFAULT_BASE_MODELS)
    device: str = "auto"
    threads: int = 2
    slots: int = 1
    poll_seconds: float = 1.0
    report_seconds: float = 1.0
    preview_denoising_steps: int = 12

    def __post_init__(self) -> None:
        """Check every range."""
        for name, value, least, most in (
            ("threads", self.threads, 1, 256),
            ("slots", self.slots, 1, 256),
            ("preview_denoising_steps", self.preview_denoising_steps, 1, 200),
        ):
            if not least <= value <= most:
                raise ValueError(f"{name} {value} is out of range; {least} to {most} are allowed")


def from_environment(environment: Mapping[str, str]) -> TrainSettings:
    """Read the settings from environment variables.

    ATELIER_OBJECTS is needed; ATELIER_ML_ROOT, ATELIER_BASE_MODELS, ATELIER_TRAIN_DEVICE,
    OMP_NUM_THREADS (`threads`) and ATELIER_TRAIN_SLOTS have defaults.

    Raises:
        ValueError: a variable is missing or does not read; the message names it.
    """
    objects = environment.get(container.OBJECTS_VARIABLE)
    if not objects:
        raise ValueError(
            f"{container.OBJECTS_VARIABLE} is not set; it says where objects are, such as "
            "s3://<bucket>/ or file:///<folder>/"
        )
    try:
        check_address(objects)
    except ValueError as problem:
        raise ValueError(f"{container.OBJECTS_VARIABLE}: {problem}") from problem
    root = environment.get(container.ML_ROOT_VARIABLE)
    return TrainSettings(
        ml=MlFolder(Path(root)) if root else MlFolder(),
        objects=objects,
        base_models=Path(environment.get(container.BASE_MODELS_VARIABLE, DEFAULT_BASE_MODELS)),
        device=environment.get("ATELIER_TRAIN_DEVICE", "auto"),
        threads=_whole(environment, "OMP_NUM_THREADS", 2),
        slots=_whole(environment, "ATELIER_TRAIN_SLOTS", 1),
    )


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError(f"{name}={text[:40]!r}: a whole number is allowed, such as {default}")
    return int(text)
