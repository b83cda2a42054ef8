"""What the API takes and gives, as pydantic models: OpenAPI comes from here."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from atelier.contracts import ids
from atelier.contracts.dataset import MAX_UPLOAD_BYTES
from atelier.contracts.generation import MAX_IMAGES, ImageFormat, Scheduler
from atelier.contracts.request import (
    DEFAULT_DEADLINE_SECONDS,
    DEFAULT_MODEL,
    DEFAULT_SUBJECT,
    MAX_PHOTOS,
)
from atelier.contracts.settings import PresetName


class Shape(BaseModel):
    """Base: unknown fields are refused, because a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


UserId = Annotated[
    str, Field(min_length=1, max_length=256, description="The person, as you call them.")
]
ModelName = Annotated[str, Field(pattern=f"^{ids.MODEL_PATTERN.pattern}$", examples=["me"])]


class PhotoToUpload(Shape):
    """One photo that will be uploaded."""

    name: str = Field(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._=-]*$", examples=["01.jpg"])
    digest: str = Field(pattern=f"^{ids.DIGEST_PATTERN.pattern}$", description="SHA-256 in hex.")
    bytes: int = Field(ge=1, le=MAX_UPLOAD_BYTES)
    content_type: str = Field(examples=["image/jpeg"])
    caption: str = Field("", max_length=1000, description="What is on it, trigger word included.")


class NewUpload(Shape):
    """A set of photos to be uploaded."""

    user_id: UserId
    photos: list[PhotoToUpload] = Field(min_length=1, max_length=MAX_PHOTOS)


class Form(Shape):
    """Where and with which fields one photo is POSTed, as multipart/form-data, `file` last."""

    name: str
    url: str
    fields: dict[str, str]


class Upload(Shape):
    """An upload set that waits for its photos."""

    upload_set: str
    photos: str = Field(description="The set's folder; what an onboarding takes as `photos`.")
    forms: list[Form]
    expires_at: datetime


class ConsentGiven(Shape):
    """Who allows the use of the photos, under the consent text of today."""

    given_by: str = Field(min_length=1, max_length=256)
    text_version: str | None = None


class CompleteUpload(Shape):
    """Closes an upload set."""

    user_id: UserId
    consent: ConsentGiven


class CompletedUpload(Shape):
    """A closed upload set."""

    photos: str
    count: int


class Sample(Shape):
    """An image to draw right after training."""

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    denoising_steps: int = 25
    guidance: float = 5.0


class NewOnboarding(Shape):
    """A wish for a model."""

    user_id: UserId
    photos: str = Field(description="Folder of a completed upload set.")
    model: ModelName = DEFAULT_MODEL
    base: str = "tiny"
    preset: PresetName = PresetName.FAST
    hyperparameters: dict[str, Any] | None = Field(None, description="Changes to the preset's.")
    subject: str = Field(DEFAULT_SUBJECT, max_length=40, description="Class word: what it is.")
    trigger: str | None = Field(None, max_length=40, description="Word that names the subject.")
    samples: list[Sample] = []
    seed: int = 0
    deadline_seconds: int = DEFAULT_DEADLINE_SECONDS
    new_version: bool = False
    priority: int = 0


class StatusEntered(Shape):
    """When a status was entered."""

    status: str
    at: datetime


class ProgressView(Shape):
    """How far the training is."""

    state: str
    step: int
    steps: int
    loss: float | None
    steps_per_second: float | None
    eta_seconds: float | None
    previews: list[str]
    samples: list[str]


class FailureView(Shape):
    """Why there is no model, and what to do."""

    error: str
    message: str
    do: str
    facts: dict[str, Any]


class OnboardingView(Shape):
    """An onboarding as it stands."""

    id: str
    user_id: str
    model: str
    base: str
    preset: str
    status: str
    attempt: int
    execution: str
    job: str | None
    created_at: datetime
    updated_at: datetime
    deadline: datetime
    timeline: list[StatusEntered]
    waiting_for: str
    progress: ProgressView | None
    failure: FailureView | None
    version: str | None
    instance_prompt: str


class OnboardingPage(Shape):
    """A page of onboardings, newest first."""

    items: list[OnboardingView]
    next_cursor: str | None


class VersionView(Shape):
    """One published version of a model."""

    version: str
    created_at: datetime
    onboarding: str
    bytes: int
    digest: str


class ModelView(Shape):
    """A model that is ready to draw."""

    user_id: str
    model: str
    base: str
    current: str
    versions: list[VersionView]
    instance_prompt: str
    created_at: datetime
    used_at: datetime | None


class ModelPage(Shape):
    """The models of a user or a tenant."""

    items: list[ModelView]


class UserView(Shape):
    """The model status check: what a user can draw with now, and what is under way."""

    user_id: str
    models: list[ModelView]
    onboardings: list[OnboardingView]


class Generate(Shape):
    """A wish for images."""

    user_id: UserId
    prompt: str = Field(max_length=1000, examples=["a photo of zorp creature on the beach"])
    negative_prompt: str = Field("", max_length=1000)
    seed: int = 0
    count: int = Field(1, ge=1, le=MAX_IMAGES)
    denoising_steps: int = 25
    guidance: float = 5.0
    width: int | None = None
    height: int | None = None
    adapter_scale: float = Field(1.0, description="0 draws with the base model alone.")
    scheduler: Scheduler = Scheduler.DDIM
    format: ImageFormat = ImageFormat.PNG


class Image(Shape):
    """One image."""

    seed: int
    image_base64: str


class Generated(Shape):
    """Images that were drawn."""

    model: str
    version: str
    images: list[Image]
    format: ImageFormat
    width: int
    height: int
    seconds: float


class Health(Shape):
    """That the platform answers."""

    status: str
    version: str
