"""The onboarding request: what somebody asks for, normalised and checked once.

It starts from the API, from a completed upload, or by hand in the console, where it is as small as
`{"user_id": "42", "photos": "uploads/<owner>/<set>/"}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from atelier.contracts import ids, keys
from atelier.contracts.base_models import DEFAULT_BASE, DEFAULT_PRESET, base_model, preset
from atelier.contracts.consent import Consent
from atelier.contracts.documents import Document, DocumentError, canonical_json, decode, encode
from atelier.contracts.errors import IdempotencyConflict, InvalidRequest
from atelier.contracts.prompts import (
    DEFAULT_DENOISING_STEPS,
    DEFAULT_GUIDANCE,
    check_drawing,
)
from atelier.contracts.settings import Hyperparameters, PresetName

DEFAULT_TENANT = "default"
DEFAULT_MODEL = "me"
DEFAULT_SUBJECT = "creature"
MAX_SAMPLES = 16
MAX_WORD_CHARACTERS = 40
MAX_PRIORITY = 9
MAX_SIDES = 2
"""Photos are trained on at up to this many times the base model's own side: memory grows with the
fourth power of it, and people share a host."""
MAX_PHOTOS = 50
MIN_PHOTOS = 4
DEFAULT_DEADLINE_SECONDS = 24 * 3600
MIN_DEADLINE_SECONDS = 60
MAX_DEADLINE_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class SamplePrompt:
    """An image to render right after training, or a text to preview with.

    Attributes:
        prompt: what to draw; names the subject by the trigger word.
        negative_prompt: what to avoid; empty for nothing.
        seed: 0 to 2**63 - 1.
        denoising_steps: 1 to 200.
        guidance: classifier-free guidance scale; 1 is none.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    denoising_steps: int = DEFAULT_DENOISING_STEPS
    guidance: float = DEFAULT_GUIDANCE

    def __post_init__(self) -> None:
        """Check every range."""
        check_drawing(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            denoising_steps=self.denoising_steps,
            guidance=self.guidance,
        )
        _check_seed(self.seed)


@dataclass(frozen=True, slots=True)
class OnboardingRequest(Document):
    """One person's wish for one model, complete and checked.

    Attributes:
        request: its id, from the idempotency key or the input.
        tenant, user: as the credential or the operator gave them.
        owner: their hash; the only form used in keys.
        model: name of the model to make; unique per owner.
        base: id of the base model.
        preset: which preset the hyperparameters started from.
        hyperparameters: what is trained, after the preset and any override.
        photos: folder of the upload set.
        subject: the class word of DreamBooth's prompts: what the photos show.
        trigger: the trigger word that names the subject.
        samples: images to render right after training.
        seed: of training.
        consent: who allowed the use of the photos.
        created_at, deadline: UTC; after the deadline the request fails.
        new_version: a model of that name may exist; this makes its next version.
        priority: 0 (default) to 9; higher first within a tenant.
    """

    SCHEMA = "atelier.onboarding-request"

    request: str
    tenant: str
    user: str
    owner: str
    model: str
    base: str
    preset: PresetName
    hyperparameters: Hyperparameters
    photos: str
    subject: str
    trigger: str
    samples: tuple[SamplePrompt, ...]
    seed: int
    consent: Consent
    created_at: datetime
    deadline: datetime
    new_version: bool = False
    priority: int = 0

    def __post_init__(self) -> None:
        """Check names and ranges."""
        ids.check_tenant(self.tenant)
        ids.check_user(self.user)
        ids.check_model(self.model)
        keys.check_prefix(self.photos)
        if self.owner != ids.owner_of(self.tenant, self.user):
            raise ValueError("owner is not the hash of tenant and user")
        if not ids.REQUEST_PATTERN.fullmatch(self.request):
            raise ValueError(f"request id {self.request[:80]!r}")
        _check_word("subject", self.subject)
        _check_word("trigger", self.trigger)
        _check_samples(self.samples)
        _check_seed(self.seed)
        _check_priority(self.priority)
        if self.deadline <= self.created_at:
            raise ValueError("the deadline is not after the creation")

    @property
    def instance_prompt(self) -> str:
        """DreamBooth's prompt of the photos: `a photo of <trigger> <subject>`."""
        return f"a photo of {self.trigger} {self.subject}"

    def trains_like(self, other: OnboardingRequest) -> bool:
        """Return whether both make the same adapter of the same photos."""
        mine, others = (
            (given.base, given.hyperparameters, given.seed, given.instance_prompt)
            for given in (self, other)
        )
        return mine == others

    def check_same(self, again: OnboardingRequest) -> None:
        """Check that `again`, which got this request's id, is the same wish.

        Times and consent are set anew at each call; everything else is the caller's word.

        Raises:
            IdempotencyConflict: it is another one.
        """
        timed = replace(
            again, created_at=self.created_at, deadline=self.deadline, consent=self.consent
        )
        if timed != self:
            raise IdempotencyConflict(
                f"the idempotency key of onboarding {self.request} came again with another input",
                request=self.request,
            )


@dataclass(frozen=True, slots=True)
class OnboardingInput:
    """What may stand in the input of an onboarding execution, before defaults.

    Attributes:
        user_id: the person, as the tenant calls them.
        photos: folder of the upload set, ending in `/`.
        tenant: defaults to `default`, the operator's own.
        model: defaults to `me`.
        idempotency_key: the same key is the same request; without it the input itself is the key.
        hyperparameters: fields to change in the preset's.
        deadline_seconds: from now; a day by default.
        consent: recorded as given by the operator when absent.
    """

    user_id: str
    photos: str
    tenant: str = DEFAULT_TENANT
    model: str = DEFAULT_MODEL
    base: str = DEFAULT_BASE
    preset: PresetName = DEFAULT_PRESET
    hyperparameters: Mapping[str, Any] | None = None
    subject: str = DEFAULT_SUBJECT
    trigger: str | None = None
    samples: tuple[SamplePrompt, ...] = ()
    seed: int = 0
    consent: Consent | None = None
    idempotency_key: str | None = None
    deadline_seconds: int = DEFAULT_DEADLINE_SECONDS
    new_version: bool = False
    priority: int = 0


MACHINE_FIELDS = frozenset({"resume_at", "onboarding", "training", "published"})
"""Fields of an execution's input that belong to the state machine, not to the request."""


def read_input(given: object) -> OnboardingInput:
    """Read an execution's input.

    Raises:
        InvalidRequest: with the field, what was found and what is allowed.
    """
    if not isinstance(given, Mapping):
        raise InvalidRequest(
            'the input must be an object such as {"user_id": "42", "photos": "uploads/…/"}',
            where="$",
            found=type(given).__name__,
            allowed="object",
        )
    fields = {k: v for k, v in given.items() if k not in MACHINE_FIELDS}
    if isinstance(fields.get("user_id"), int) and not isinstance(fields["user_id"], bool):
        # People type {"user_id": 42} in the console; there is one way to read that.
        fields["user_id"] = str(fields["user_id"])
    try:
        return decode(OnboardingInput, fields)
    except DocumentError as problem:
        raise _invalid(problem) from problem


def normalise(given: OnboardingInput, *, now: datetime) -> OnboardingRequest:
    """Fill in defaults, derive ids, check everything.

    Raises:
        InvalidRequest: with the field, what was found and what is allowed.
    """
    base = base_model(given.base)
    for field, check in _CHECKS.items():
        with _naming(field):
            check(given)
    owner = ids.owner_of(given.tenant, given.user_id)
    with _naming("$"):
        return OnboardingRequest(
            request=request_id(given, owner),
            tenant=given.tenant,
            user=given.user_id,
            owner=owner,
            model=given.model,
            base=given.base,
            preset=given.preset,
            hyperparameters=_hyperparameters(given),
            photos=given.photos,
            subject=given.subject,
            trigger=given.trigger if given.trigger is not None else base.trigger,
            samples=given.samples,
            seed=given.seed,
            consent=given.consent or Consent(given_by="operator", given_at=now),
            created_at=now,
            deadline=now + timedelta(seconds=given.deadline_seconds),
            new_version=given.new_version,
            priority=given.priority,
        )


def _hyperparameters(given: OnboardingInput) -> Hyperparameters:
    chosen = preset(given.base, given.preset).hyperparameters
    if not given.hyperparameters:
        return chosen
    changed = {**encode(chosen), **given.hyperparameters}
    if "rank" in given.hyperparameters and "alpha" not in given.hyperparameters:
        changed["alpha"] = 0.0  # It follows the rank.
    tuned = decode(Hyperparameters, changed, "$.hyperparameters")
    most = MAX_SIDES * base_model(given.base).resolution
    if tuned.resolution > most:
        raise ValueError(f"resolution {tuned.resolution}; at most {most} on base {given.base}")
    return tuned


def _check_word(name: str, word: str) -> None:
    if not 1 <= len(word) <= MAX_WORD_CHARACTERS or not word.isprintable():
        raise ValueError(
            f"{name} {word[:80]!r}: 1 to {MAX_WORD_CHARACTERS} printable characters are allowed"
        )


def _check_trigger(given: OnboardingInput) -> None:
    if given.trigger is not None:  # Else the base model's own.
        _check_word("trigger", given.trigger)


def _check_samples(samples: tuple[SamplePrompt, ...]) -> None:
    if len(samples) > MAX_SAMPLES:
        raise ValueError(f"{len(samples)} samples; at most {MAX_SAMPLES} are allowed")


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed {seed}; 0 to 2**63 - 1 are allowed")


def _check_priority(priority: int) -> None:
    if not 0 <= priority <= MAX_PRIORITY:
        raise ValueError(f"priority {priority}; 0 to {MAX_PRIORITY} are allowed")


def _deadline_seconds(given: OnboardingInput) -> None:
    if not MIN_DEADLINE_SECONDS <= given.deadline_seconds <= MAX_DEADLINE_SECONDS:
        raise ValueError(
            f"deadline_seconds {given.deadline_seconds}; "
            f"{MIN_DEADLINE_SECONDS} to {MAX_DEADLINE_SECONDS} are allowed"
        )


_CHECKS: Mapping[str, Callable[[OnboardingInput], object]] = {
    "tenant": lambda given: ids.check_tenant(given.tenant),
    "user_id": lambda given: ids.check_user(given.user_id),
    "model": lambda given: ids.check_model(given.model),
    "photos": lambda given: keys.check_prefix(given.photos),
    "idempotency_key": lambda given: (
        given.idempotency_key is None or ids.request_from_key("", given.idempotency_key)
    ),
    "hyperparameters": _hyperparameters,
    "subject": lambda given: _check_word("subject", given.subject),
    "trigger": _check_trigger,
    "samples": lambda given: _check_samples(given.samples),
    "seed": lambda given: _check_seed(given.seed),
    "priority": lambda given: _check_priority(given.priority),
    "deadline_seconds": _deadline_seconds,
}
"""What is checked field by field, so that an error names the field."""


@contextmanager
def _naming(field: str) -> Iterator[None]:
    try:
        yield
    except DocumentError as problem:
        raise _invalid(problem) from problem
    except ValueError as problem:
        raise InvalidRequest(str(problem), where=field, problem=str(problem)) from problem


def request_id(given: OnboardingInput, owner: str) -> str:
    """Return the id that this input gets: from its key, or from the input without its consent."""
    if given.idempotency_key is not None:
        return ids.request_from_key(owner, given.idempotency_key)
    return ids.request_from_input(owner, input_fingerprint(given))


def input_fingerprint(given: OnboardingInput) -> bytes:
    """Return the bytes that make two inputs the same: everything but key and consent's time."""
    return canonical_json(encode(replace(given, idempotency_key=None, consent=None)))


def _invalid(problem: DocumentError) -> InvalidRequest:
    where = problem.where.removeprefix("$.") or "$"
    return InvalidRequest(str(problem), where=where, problem=problem.problem)
