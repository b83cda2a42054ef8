r"""Train the judge on drawings and their attributes.

    python -m examples.tiny.fit_judge --data build/tiny/data --count 1000000 \
        --to examples/tiny/judge

The data is what `train` has drawn. Training pictures are blurred, made noisy and shifted in colour
at random, because the judge will look at generated pictures, which are softer than drawings.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from examples.tiny.dataset import ATTRIBUTES, UNSEEABLE, load
from examples.tiny.fitting import Average, Budget, learning_rate, to_unit
from examples.tiny.judge import JudgeNetwork

HELD_OUT = 8192


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True, help="folder of drawn chunks")
    parser.add_argument("--to", type=Path, required=True, help="where the weights go")
    parser.add_argument("--count", type=int, required=True, help="how many examples of it")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=512)
    given = parser.parse_args(argv)
    data = load(given.data, count=given.count)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = JudgeNetwork()
    accuracy = fit_judge(
        network,
        torch.from_numpy(data.images).to(device),
        torch.from_numpy(data.labels).to(device).long(),
        budget=Budget(given.steps, given.seconds, time.monotonic, time.monotonic()),
        batch=given.batch,
        report=lambda line: print(line, flush=True),
    )
    given.to.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.half().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    save_file(tensors, given.to / "judge.safetensors")
    (given.to / "accuracy.json").write_text(json.dumps(accuracy, indent=1) + "\n")


def fit_judge(
    network: JudgeNetwork,
    images: Tensor,
    labels: Tensor,
    *,
    budget: Budget,
    batch: int,
    report: Callable[[str], None],
    peak: float = 2e-3,
) -> dict[str, float]:
    """Train `network`; returns the held-out accuracy of each attribute.

    Args:
        network: Trained in place; holds the averaged weights afterwards.
        images: uint8 [n, 64, 64, 3], on the device. The last 8,192 are held out.
        labels: int64 [n, attributes]; `UNSEEABLE` where the picture does not show it.
        budget: When to stop.
        batch: Rows of one step.
        report: Receives lines of progress.
        peak: The highest learning rate.
    """
    device = images.device
    network.to(device).train()
    held_out = min(HELD_OUT, len(images) // 4)
    optimiser = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=0.02)
    average = Average(network.parameters(), decay=0.998)
    step = 0
    while (spent := budget.spent(step)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(peak, step=step, spent=spent)
        rows = torch.randint(len(images) - held_out, (batch,), device=device)
        pictures = disturbed(to_unit(images[rows]))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = network(pictures)
        answers = labels[rows]
        losses = [
            F.cross_entropy(logits[name].float(), answers[:, place], ignore_index=UNSEEABLE)
            for place, name in enumerate(ATTRIBUTES)
        ]
        loss = torch.stack(losses).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.follow(step)
        if step % 500 == 0:
            report(f"judge step {step} spent {spent:.2f} loss {loss.item():.3f}")
        step += 1
    average.exchange()
    return measure_accuracy(network.eval(), images[-held_out:], labels[-held_out:])


def disturbed(pictures: Tensor) -> Tensor:
    """Soften half of the rows, shift every row's colour and brightness, add noise."""
    count, device = len(pictures), pictures.device

    def per_row(*shape: int) -> Tensor:
        return torch.rand(count, *shape, 1, 1, device=device)

    soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    pictures = torch.lerp(pictures, soft, per_row(1) * (per_row(1) < 0.6))
    pictures = pictures * (0.9 + 0.2 * per_row(1)) + 0.12 * (per_row(3) - 0.5)
    return pictures + 0.1 * per_row(1) * torch.randn_like(pictures)


@torch.no_grad()
def measure_accuracy(network: JudgeNetwork, images: Tensor, labels: Tensor) -> dict[str, float]:
    """The share of right answers per attribute, where the picture shows it."""
    guesses: dict[str, list[Tensor]] = {name: [] for name in ATTRIBUTES}
    for part in images.split(512):
        for name, logits in network(to_unit(part)).items():
            guesses[name].append(logits.argmax(dim=1))
    accuracy = {}
    for place, (name, parts) in enumerate(guesses.items()):
        shown = labels[:, place] != UNSEEABLE
        right = (torch.cat(parts) == labels[:, place])[shown]
        accuracy[name] = round(right.float().mean().item(), 4)
    return accuracy


if __name__ == "__main__":
    main()
