"""What the API takes and gives, as pydantic models: OpenAPI comes from here."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.api.refusals import refuse_unknown
from atelier.contracts import ids
from atelier.contracts.base_models import DEFAULT_BASE, DEFAULT_PRESET
from atelier.contracts.dataset import MAX_UPLOAD_BYTES, UPLOAD_TYPES
from atelier.contracts.generation import (
    MAX_ADAPTER_SCALE,
    MAX_IMAGES,
    MAX_SEED,
    MAX_SIDE_PIXELS,
    MIN_SIDE_PIXELS,
    ImageFormat,
    Scheduler,
)
from atelier.contracts.progress import TrainingState
from atelier.contracts.prompts import (
    DEFAULT_DENOISING_STEPS,
    DEFAULT_GUIDANCE,
    MAX_DENOISING_STEPS,
    MAX_GUIDANCE,
    MAX_PROMPT_CHARACTERS,
)
from atelier.contracts.request import (
    DEFAULT_DEADLINE_SECONDS,
    DEFAULT_MODEL,
    DEFAULT_SUBJECT,
    MAX_DEADLINE_SECONDS,
    MAX_PHOTOS,
    MAX_PRIORITY,
    MAX_SAMPLES,
    MAX_WORD_CHARACTERS,
    MIN_DEADLINE_SECONDS,
)
from atelier.contracts.settings import PresetName
from atelier.contracts.status import Status
from atelier.photos.report import Reason


class Shape(BaseModel):
    """Base: unknown fields are refused, because a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _knows(cls, given: Any) -> Any:
        refuse_unknown(given, tuple(cls.model_fields))
        return given


UserId = Annotated[
    str, Field(min_length=1, max_length=256, description="The person, as you call them.")
]
ModelName = Annotated[str, Field(pattern=f"^{ids.MODEL_PATTERN.pattern}$", examples=["me"])]
Word = Annotated[str, Field(min_length=1, max_length=MAX_WORD_CHARACTERS)]
Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]
NegativePrompt = Annotated[
    str, Field(max_length=MAX_PROMPT_CHARACTERS, description="What to avoid.")
]
DenoisingSteps = Annotated[int, Field(ge=1, le=MAX_DENOISING_STEPS)]
Guidance = Annotated[
    float, Field(ge=1, le=MAX_GUIDANCE, description="How strictly to follow; 1 is not at all.")
]
Side = Annotated[
    int,
    Field(
        ge=MIN_SIDE_PIXELS,
        le=MAX_SIDE_PIXELS,
        multiple_of=8,
        description="Pixels; the base model's own resolution unless given.",
    ),
]


class Problem(BaseModel):
    """Why a request was refused (RFC 9457), as `application/problem+json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = Field(examples=["urn:atelier:error:NotFound"])
    title: str
    status: int
    code: str = Field(description="The error's name, for programs.", examples=["NotFound"])
    detail: str = Field(description="What was found, where, and what is allowed, for people.")
    do: str = Field(description="What to do next, one sentence.")
    facts: dict[str, Any] = Field(description="Numbers and names behind the detail.")
    request_id: str = Field(description="What the logs call this request; `X-Request-Id`, too.")


class PhotoToUpload(Shape):
    """One photo that will be uploaded."""

    name: str = Field(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._=-]*$", examples=["01.jpg"])
    digest: str = Field(pattern=f"^{ids.DIGEST_PATTERN.pattern}$", description="SHA-256 in hex.")
    bytes: int = Field(ge=1, le=MAX_UPLOAD_BYTES)
    content_type: str = Field(
        examples=["image/jpeg"], json_schema_extra={"enum": list(UPLOAD_TYPES)}
    )
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


class Sample(Shape):
    """An image to draw right after training."""

    prompt: Prompt
    negative_prompt: NegativePrompt = ""
    seed: int = Field(0, ge=0, lt=2**63)
    denoising_steps: DenoisingSteps = DEFAULT_DENOISING_STEPS
    guidance: Guidance = DEFAULT_GUIDANCE


class OnboardingWish(Shape):
    """A wish for a model of photos that are known."""

    model: ModelName = DEFAULT_MODEL
    base: str = Field(
        DEFAULT_BASE, description="Id of a base model whose weights this deployment has."
    )
    preset: PresetName = DEFAULT_PRESET
    hyperparameters: dict[str, Any] | None = Field(None, description="Changes to the preset's.")
    subject: Word = Field(DEFAULT_SUBJECT, description="Class word: what the photos show.")
    trigger: Word | None = Field(None, description="Word that names the subject in prompts.")
    samples: list[Sample] = Field(
        [], max_length=MAX_SAMPLES, description="Images to draw right after training."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Of training.")
    deadline_seconds: int = Field(
        DEFAULT_DEADLINE_SECONDS,
        ge=MIN_DEADLINE_SECONDS,
        le=MAX_DEADLINE_SECONDS,
        description="From now; an onboarding that is not done by then fails.",
    )
    new_version: bool = Field(False, description="Make the next version of a model that exists.")
    priority: int = Field(0, ge=0, le=MAX_PRIORITY, description="Higher first, in one tenant.")


class NewOnboarding(OnboardingWish):
    """A wish for a model."""

    user_id: UserId
    photos: str = Field(
        description="Folder of a completed upload set: `photos` of what POST /v1/uploads answered."
    )


class CompleteUpload(Shape):
    """Closes an upload set."""

    user_id: UserId
    consent: ConsentGiven
    onboarding: OnboardingWish | None = Field(
        None, description="Start an onboarding of the set at once, without another call."
    )


class CompletedUpload(Shape):
    """A closed upload set."""

    photos: str
    count: int
    onboarding: str | None = Field(
        description="Id of the onboarding that was asked for; it is there within moments."
    )


class StatusEntered(Shape):
    """When a status was entered."""

    status: Status
    at: datetime


class ProgressView(Shape):
    """How far the training is."""

    state: TrainingState
    step: int
    steps: int
    loss: float | None
    steps_per_second: float | None
    eta_seconds: float | None
    previews: list[str] = Field(description="Names for GET /v1/onboardings/{id}/images/{name}.")
    samples: list[str] = Field(description="Likewise, in the order of the asked samples.")


class FailureView(Shape):
    """Why there is no model, and what to do."""

    error: str
    message: str
    do: str
    facts: dict[str, Any]


class PhotosView(Shape):
    """What became of the photos."""

    used: int = Field(description="How many the model is made from.")
    left_out: dict[str, str] = Field(
        description="File name of each photo that cannot be used, and why."
    )
    notes: dict[str, str] = Field(
        description="File name of each photo that is used and could be better, and how."
    )
    advice: list[str] = Field(description="What would make the set better; it refuses nothing.")


class ConsentView(Shape):
    """Who allowed the use of the photos, when, under which text."""

    given_by: str
    given_at: datetime
    text_version: str


class PhotoVerdictView(Shape):
    """What became of one photo."""

    name: str
    used: bool
    reason: Reason | None = Field(description="Why it is not used, for programs.")
    detail: str = Field(description="Why it is not used, one sentence; empty when it is.")
    same_as: str | None = Field(description="The photo that it repeats, of a duplicate.")
    notes: dict[str, str] = Field(description="What could be better about it, by kind.")


class SetReportView(Shape):
    """The report on an upload set."""

    photos: str = Field(description="The set's folder.")
    makes_a_model: bool = Field(description="Whether an onboarding of this set would train.")
    used: int = Field(description="How many photos would be used.")
    findings: dict[str, str] = Field(description="Why the set makes no model, by kind.")
    advice: dict[str, str] = Field(description="What would make it better; it refuses nothing.")
    verdicts: list[PhotoVerdictView] = Field(description="One for each photo, in the set's order.")


class OutlookView(Shape):
    """Where an onboarding is, what it waits for, when it ends, and what would speed it up."""

    sentence: str = Field(description="All of it, for people.")
    phase: str = Field(description="Which situation this is, in a word or two.")
    expected_end_at: datetime | None = Field(
        description="When it should be ready; null when nobody can tell, or when it has ended."
    )
    faster: list[str] = Field(description="What would truly speed it up.")


class WhyView(OutlookView):
    """The long form: what the sentence rests on."""

    id: str
    status: Status
    details: list[str] = Field(description="What stands behind the sentence, a line each.")


class OnboardingView(Shape):
    """An onboarding as it stands."""

    id: str
    user_id: str
    model: str
    base: str
    preset: PresetName
    status: Status
    attempt: int
    execution: str
    job: str | None
    created_at: datetime
    updated_at: datetime
    deadline: datetime
    timeline: list[StatusEntered]
    waiting_for: str = Field(description="What it waits for, one sentence, or empty.")
    photos: PhotosView | None = Field(description="Null until the photos were looked at.")
    consent: ConsentView = Field(description="Under which the photos are used.")
    progress: ProgressView | None
    failure: FailureView | None
    version: str | None = Field(description="Of the model that was made, once it is ready.")
    instance_prompt: str = Field(description="The words that call the subject in prompts.")
    outlook: OutlookView


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
    prompt: Prompt = Field(examples=["a photo of zorp creature on the beach"])
    negative_prompt: NegativePrompt = ""
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Of the first image; the others count on.")
    count: int = Field(1, ge=1, le=MAX_IMAGES)
    denoising_steps: DenoisingSteps = DEFAULT_DENOISING_STEPS
    guidance: Guidance = DEFAULT_GUIDANCE
    width: Side | None = None
    height: Side | None = None
    adapter_scale: float = Field(
        1.0, ge=0, le=MAX_ADAPTER_SCALE, description="0 draws with the base model alone."
    )
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
