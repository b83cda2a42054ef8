"""What a prompt and its denoising may be: one check for training samples and the endpoint."""

from __future__ import annotations

MAX_PROMPT_CHARACTERS = 1000
MAX_DENOISING_STEPS = 200
MAX_GUIDANCE = 30.0
DEFAULT_DENOISING_STEPS = 25
DEFAULT_GUIDANCE = 5.0


def check_drawing(
    *, prompt: str, negative_prompt: str, denoising_steps: int, guidance: float
) -> None:
    """Check what every drawing has.

    Raises:
        ValueError: naming the field, what was found and what is allowed.
    """
    if not prompt.strip():
        raise ValueError("prompt is empty; say what to draw")
    for name, text in (("prompt", prompt), ("negative_prompt", negative_prompt)):
        if len(text) > MAX_PROMPT_CHARACTERS:
            raise ValueError(
                f"{name} of {len(text)} characters; at most {MAX_PROMPT_CHARACTERS} are allowed"
            )
    if not 1 <= denoising_steps <= MAX_DENOISING_STEPS:
        raise ValueError(
            f"denoising_steps {denoising_steps}; 1 to {MAX_DENOISING_STEPS} are allowed"
        )
    if not 1.0 <= guidance <= MAX_GUIDANCE:
        raise ValueError(f"guidance {guidance}; 1 to {MAX_GUIDANCE:g} are allowed")
