"""What a task leaves: previews while it trains; adapter files, card and samples at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch

from atelier.contracts import checkpoints, ids
from atelier.contracts.adapter import SLOT_LAYOUT_FILE, AdapterCard, TrainingReport
from atelier.contracts.clock import Clock
from atelier.contracts.manifest import TrainingManifest, TrainingTask
from atelier.contracts.progress import AdapterPointer
from atelier.contracts.request import SamplePrompt
from atelier.lora.adapter_file import read_adapter, write_adapter
from atelier.lora.bank import Bank
from atelier.lora.network import Network
from atelier.lora.pictures import encode_png
from atelier.lora.sampling import Drawing, Hands, draw
from atelier.lora.slot_file import write_slots
from training_image.tree import CheckpointTree

FILE_DTYPE = torch.float16
"""What adapters are published in; training itself keeps float32."""


@dataclass(frozen=True, slots=True)
class Studio:
    """Where outputs are drawn and written.

    Attributes:
        network, bank: with the live slots.
        tree, host: where files go.
        manifest: names the base model.
        clock: dates adapter.json.
        preview_denoising_steps: previews cost little.
        hands: threads that share the drawing, or None.
    """

    network: Network
    bank: Bank
    tree: CheckpointTree
    host: str
    manifest: TrainingManifest
    clock: Clock
    preview_denoising_steps: int
    hands: Hands | None

    def preview(
        self, task: TrainingTask, slot: int, step: int, *, each_step: Callable[[int], None]
    ) -> str:
        """Draw the task's first sample prompt from the live slot; return the file's path."""
        prompts = task.samples or (SamplePrompt(prompt=task.instance_prompt),)
        quick = min(self.preview_denoising_steps, prompts[0].denoising_steps)
        drawing = self._drawing(task, prompts[0], slot, denoising_steps=quick)
        [picture] = draw(self.network, self.bank, [drawing], each_step=each_step, hands=self.hands)
        path = checkpoints.preview(self.host, task.request, step)
        self.tree.write(path, encode_png(picture))
        return path

    def samples(
        self, task: TrainingTask, slot: int, *, each_step: Callable[[int], None]
    ) -> Sequence[str]:
        """Draw the task's sample prompts from the live slot; return the files' paths."""
        drawings = [
            self._drawing(task, prompt, slot, denoising_steps=prompt.denoising_steps)
            for prompt in task.samples
        ]
        paths = []
        pictures = draw(self.network, self.bank, drawings, each_step=each_step, hands=self.hands)
        for number, picture in enumerate(pictures):
            paths.append(checkpoints.sample(self.host, task.request, number))
            self.tree.write(paths[-1], encode_png(picture))
        return paths

    def adapter(
        self, task: TrainingTask, slot: int, report: TrainingReport, *, modules: Sequence[str]
    ) -> AdapterPointer:
        """Write a slot's adapter file, slot-layout file and card.

        The file is read back as strictly as the endpoint will, and its values go into the slot: the
        samples that follow show what is published, not what it was rounded from.

        Raises:
            AdapterRejected: a value does not fit into the file's dtype, or is not finite.
        """
        tuned = task.hyperparameters
        trained = self.bank.take(slot, rank=tuned.rank, alpha=tuned.alpha, modules=modules)
        body = write_adapter(trained, dtype=FILE_DTYPE, about={"base_model": self.manifest.base})
        published = read_adapter(body, self.bank.shapes, max_rank=self.bank.rank)
        self.bank.load(slot, published)
        digest = ids.digest_of(body)
        slots = write_slots(published, adapter_digest=digest, dtype=FILE_DTYPE)
        card = AdapterCard(
            owner=task.owner,
            model=task.model,
            request=task.request,
            base=self.manifest.base,
            base_digest=self.manifest.base_digest,
            family=self.network.family,
            rank=tuned.rank,
            alpha=tuned.alpha,
            targets=tuned.targets,
            trigger=task.trigger,
            subject=task.subject,
            instance_prompt=task.instance_prompt,
            file_digest=digest,
            file_bytes=len(body),
            tensors=2 * len(published.matrices),
            slot_layout_digest=ids.digest_of(slots),
            resolution=tuned.resolution,
            seed=task.seed,
            report=report,
            created_at=self.clock.now(),
        )
        file_path = checkpoints.adapter_file(self.host, task.request)
        card_path = checkpoints.adapter_card(self.host, task.request)
        self.tree.write(file_path, body)
        self.tree.write(str(PurePosixPath(file_path).with_name(SLOT_LAYOUT_FILE)), slots)
        self.tree.write(card_path, card.to_json())
        return AdapterPointer(file_path, card_path, digest, len(body))

    def _drawing(
        self, task: TrainingTask, prompt: SamplePrompt, slot: int, *, denoising_steps: int
    ) -> Drawing:
        side = task.hyperparameters.resolution
        return Drawing(
            prompt=prompt.prompt,
            slot=slot,
            negative_prompt=prompt.negative_prompt,
            seed=prompt.seed,
            denoising_steps=denoising_steps,
            guidance=prompt.guidance,
            width=side,
            height=side,
        )
