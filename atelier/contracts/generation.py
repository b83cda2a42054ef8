"""What the endpoint is asked for and what it answers: one JSON document each way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atelier.contracts import ids, keys
from atelier.contracts.documents import Document
from atelier.contracts.prompts import (
    DEFAULT_DENOISING_STEPS,
    DEFAULT_GUIDANCE,
    check_drawing,
)

MAX_IMAGES = 8
MIN_SIDE_PIXELS = 32
MAX_SIDE_PIXELS = 2048
MAX_ADAPTER_SCALE = 2.0
MAX_SEED = 2**63 - 1 - MAX_IMAGES
"""Image i uses seed + i, which must be a seed, too."""


class ImageFormat(StrEnum):
    """How images are encoded."""

    PNG = "png"
    JPEG = "jpeg"


class Scheduler(StrEnum):
    """Denoising schedules that the endpoint offers, checked against diffusers' own."""

    DDIM = "ddim"
    EULER = "euler"
    DPM = "dpm-solver++"


@dataclass(frozen=True, slots=True)
class GenerateRequest(Document):
    """A request for images of one prompt.

    Attributes:
        prompt: what to draw; the subject is named by its trigger word.
        owner: whose adapter it is; the endpoint refuses an adapter of another owner.
        negative_prompt: what to avoid.
        seed: of the first image; image i uses seed + i.
        count: number of images.
        denoising_steps: 1 to 200.
        guidance: classifier-free guidance scale; 1 is none.
        width, height: pixels, multiples of 8; None is the base model's own resolution.
        adapter_scale: 0 is the base model alone, 1 the adapter as trained.
        scheduler: see `Scheduler`.
        format: PNG, or JPEG at quality 92.
    """

    SCHEMA = "atelier.generate"

    prompt: str
    owner: str
    negative_prompt: str = ""
    seed: int = 0
    count: int = 1
    denoising_steps: int = DEFAULT_DENOISING_STEPS
    guidance: float = DEFAULT_GUIDANCE
    width: int | None = None
    height: int | None = None
    adapter_scale: float = 1.0
    scheduler: Scheduler = Scheduler.DDIM
    format: ImageFormat = ImageFormat.PNG

    def __post_init__(self) -> None:
        """Check every range."""
        check_drawing(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            denoising_steps=self.denoising_steps,
            guidance=self.guidance,
        )
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed {self.seed}; 0 to 2**63 - {MAX_IMAGES + 1} are allowed")
        if not 1 <= self.count <= MAX_IMAGES:
            raise ValueError(f"count {self.count}; 1 to {MAX_IMAGES} are allowed")
        if not 0.0 <= self.adapter_scale <= MAX_ADAPTER_SCALE:
            raise ValueError(
                f"adapter_scale {self.adapter_scale}; 0 to {MAX_ADAPTER_SCALE:g} are allowed"
            )
        for name, side in (("width", self.width), ("height", self.height)):
            if side is not None and (not MIN_SIDE_PIXELS <= side <= MAX_SIDE_PIXELS or side % 8):
                raise ValueError(
                    f"{name} {side}; multiples of 8 from {MIN_SIDE_PIXELS} to {MAX_SIDE_PIXELS} "
                    "are allowed"
                )


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One image: its seed and the encoded bytes in standard base64."""

    seed: int
    image_base64: str


@dataclass(frozen=True, slots=True)
class GenerateResponse(Document):
    """What the endpoint made.

    Attributes:
        images: in order of their seeds.
        format: how they are encoded.
        width, height: pixels.
        base: id of the base model.
        adapter_digest: SHA-256 of the adapter file that served, the proof of whose it was.
        seconds: from the first denoising step to encoded images.
    """

    SCHEMA = "atelier.generated"

    images: tuple[GeneratedImage, ...]
    format: ImageFormat
    width: int
    height: int
    base: str
    adapter_digest: str
    seconds: float


@dataclass(frozen=True, slots=True)
class InvocationRequest(Document):
    """A request through the second door, `/invocations`: the artifact is named in the body.

    Attributes:
        artifact: path of the archive below the server's one artifact prefix, as TargetModel.
        adapter_digest: SHA-256 of the adapter file in it; another file is refused.
        request: what to draw.
    """

    SCHEMA = "atelier.invocation"

    artifact: str
    adapter_digest: str
    request: GenerateRequest

    def __post_init__(self) -> None:
        """Check the path and the digest."""
        keys.check_key(self.artifact)
        if not ids.DIGEST_PATTERN.fullmatch(self.adapter_digest):
            raise ValueError(f"adapter_digest {self.adapter_digest[:80]!r} is no SHA-256 in hex")
