"""Drawing: rows of different people's adapters through one denoising batch.

Every row has its own slot, prompt, seed, guidance and place in its own course, so rows join and
leave between denoising steps: `begin` makes rows, `advance` makes one denoising step of all of
them, `finish` turns latents into pictures. `draw` does all three. A seed means the same everywhere:
noise comes from a generator of the row's own on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from atelier.contracts.generation import Scheduler
from atelier.lora.bank import Bank
from atelier.lora.courses import Course, course_of
from atelier.lora.network import Conditioning, Network


@dataclass(frozen=True, slots=True)
class Drawing:
    """One image to draw.

    Attributes:
        prompt, negative_prompt: what to draw, what to avoid.
        slot: whose adapter; `bank.empty` for the base model.
        factor: on top of the adapter's scale; 0 is the base model alone.
        seed: of the starting noise.
        denoising_steps: in all.
        guidance: classifier-free guidance scale; 1 is none.
        width, height: pixels, multiples of the latent factor; None is the base model's own side.
        scheduler: which course.
    """

    prompt: str
    slot: int
    factor: float = 1.0
    negative_prompt: str = ""
    seed: int = 0
    denoising_steps: int = 25
    guidance: float = 5.0
    width: int | None = None
    height: int | None = None
    scheduler: Scheduler = Scheduler.DDIM


@dataclass(slots=True)
class Row:
    """An image on its way.

    Attributes:
        drawing: what it becomes.
        course: its timesteps.
        positive, negative: its encoded prompts, one row each; negative only with guidance.
        latent_CHW: float32, on the network's device.
        done: denoising steps made.
    """

    drawing: Drawing
    course: Course
    positive: Conditioning
    negative: Conditioning | None
    latent_CHW: Tensor  # noqa: N815 - shape suffix
    done: int = 0

    @property
    def left(self) -> int:
        """Denoising steps to make."""
        return len(self.course.timesteps) - self.done


@torch.no_grad()
def begin(network: Network, drawings: Sequence[Drawing]) -> list[Row]:
    """Encode the prompts and draw the starting noise of every image.

    Raises:
        ValueError: a size that is no multiple of the latent factor.
    """
    texts: dict[str, int] = {}
    for drawing in drawings:
        for text in (drawing.prompt, *([drawing.negative_prompt] if _guided(drawing) else [])):
            texts.setdefault(text, len(texts))
    encoded = network.encode_prompts(list(texts))
    rows = []
    for drawing in drawings:
        course = course_of(drawing.scheduler, network.schedule, drawing.denoising_steps)
        generator = torch.Generator("cpu").manual_seed(drawing.seed)
        noise = torch.randn(_latent_shape(network, drawing), generator=generator)
        guided = _guided(drawing)
        rows.append(
            Row(
                drawing,
                course,
                encoded.rows([texts[drawing.prompt]]),
                encoded.rows([texts[drawing.negative_prompt]]) if guided else None,
                noise.to(network.device) * course.start_sigma,
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class Hands:
    """Threads that share the rows of a denoising step: on a small CPU twice as fast as one.

    Attributes:
        pool: runs the parts.
        count: into how many parts a batch is cut.
    """

    pool: Executor
    count: int


def advance(
    network: Network, bank: Bank | None, rows: Sequence[Row], *, hands: Hands | None = None
) -> None:
    """Make one denoising step of every row, in place; rows of one size share a batch.

    Raises:
        ValueError: a row has no step left.
    """
    if any(row.left < 1 for row in rows):
        raise ValueError("a row is finished; `finish` it and leave it out")
    for _, same in groupby(sorted(rows, key=_size), key=_size):
        _advance_batch(network, bank, list(same), hands)


def _advance_batch(
    network: Network, bank: Bank | None, rows: list[Row], hands: Hands | None
) -> None:
    """`p = p_negative + guidance · (p_positive - p_negative)`, then each row's own step."""
    asked = [(row, row.positive) for row in rows]  # conditional rows first, then the negatives
    asked += [(row, row.negative) for row in rows if row.negative is not None]
    if hands is None:
        predictions = _predict(network, bank, asked)
    else:
        most = -(-len(asked) // hands.count)
        parts = [asked[begin : begin + most] for begin in range(0, len(asked), most)]
        done = hands.pool.map(partial(_predict, network, bank), parts)
        predictions = [prediction for part in done for prediction in part]
    negatives = iter(predictions[len(rows) :])
    for row, positive in zip(rows, predictions, strict=False):
        prediction = positive
        if row.negative is not None:
            negative = next(negatives)
            prediction = negative + row.drawing.guidance * (positive - negative)
        row.latent_CHW = row.course.step(row.done, row.latent_CHW, prediction)
        row.done += 1


@torch.no_grad()
def _predict(
    network: Network, bank: Bank | None, asked: Sequence[tuple[Row, Conditioning]]
) -> list[Tensor]:
    """Return what the denoiser predicts for every row under the text beside it, `[C, H, W]`."""
    rows = [row for row, _ in asked]
    z_NCHW = torch.stack([row.course.scaled(row.done, row.latent_CHW) for row in rows])
    t_N = torch.tensor([row.course.timesteps[row.done] for row in rows], device=network.device)
    text = Conditioning.join([text for _, text in asked])
    if bank is None:
        predicted_NCHW = network.denoise(z_NCHW.to(network.dtype), t_N, text)
    else:
        drawings = [row.drawing for row in rows]
        bound = bank.bind([own.slot for own in drawings], [own.factor for own in drawings])
        with bank.rows(bound):
            predicted_NCHW = network.denoise(z_NCHW.to(network.dtype), t_N, text)
    return list(predicted_NCHW.to(z_NCHW.dtype))


def finish(network: Network, rows: Sequence[Row]) -> Tensor:
    """Decode rows of one size: uint8 `[N, H, W, 3]` on the CPU."""
    return to_pixels(decode(network, rows))


@torch.no_grad()
def decode(network: Network, rows: Sequence[Row]) -> Tensor:
    """Decode rows of one size: images `[N, 3, H, W]`, about in [-1, 1], on the device.

    Finite latents may decode to what is no number, where the decoder overflows its dtype.
    """
    return network.decode_latents(torch.stack([row.latent_CHW for row in rows]))


@torch.no_grad()
def draw(
    network: Network,
    bank: Bank | None,
    drawings: Sequence[Drawing],
    *,
    each_step: Callable[[int], None] | None = None,
    most_rows: int = 8,
    hands: Hands | None = None,
) -> list[Tensor]:
    """Draw all images, `most_rows` at a time.

    Args:
        network: the base model.
        bank: its bank, or None for a network without one.
        drawings: what to draw; different steps, sizes and courses may stand beside each other.
        each_step: called after every denoising step with the number of images under way; whatever
            it raises ends the drawing.
        most_rows: images in one batch.
        hands: threads that share the rows, or None.

    Returns:
        uint8 `[H, W, 3]` on the CPU, in the order of `drawings`.
    """
    pictures: dict[int, Tensor] = {}
    for first in range(0, len(drawings), most_rows):
        rows = begin(network, drawings[first : first + most_rows])
        while under_way := [row for row in rows if row.left]:
            advance(network, bank, under_way, hands=hands)
            if each_step is not None:
                each_step(len(under_way))
        for number, row in enumerate(rows, first):
            pictures[number] = finish(network, [row])[0]
    return [pictures[number] for number in range(len(drawings))]


def to_pixels(x_N3HW: Tensor) -> Tensor:
    """Return images in [-1, 1] as uint8 `[N, H, W, 3]` on the CPU; beyond the range is cut off."""
    unit = (x_N3HW.float() / 2 + 0.5).clamp(0, 1)
    return (unit * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()


def _guided(drawing: Drawing) -> bool:
    return drawing.guidance > 1


def _size(row: Row) -> tuple[int, ...]:
    return tuple(row.latent_CHW.shape)


def _latent_shape(network: Network, drawing: Drawing) -> tuple[int, int, int]:
    factor = network.latent_factor
    height = drawing.height or network.resolution
    width = drawing.width or network.resolution
    if height % factor or width % factor:
        raise ValueError(f"{width}×{height} pixels; sides are multiples of {factor}")
    return network.latent_channels, height // factor, width // factor
