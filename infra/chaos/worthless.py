"""What training nothing leaves: small files that are valid and worth nothing.

An adapter of one layer that changes no image, a picture of one colour, and the safetensors format
of both adapters and states (github.com/huggingface/safetensors) on the standard library alone.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping

from atelier.contracts import ids
from atelier.contracts.documents import canonical_json, encode
from atelier.contracts.manifest import TrainingTask

MODULE, WIDTH = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", 96
"""One layer of `tiny` and its width: an adapter may have as few."""


def fingerprint(task: TrainingTask) -> str:
    """Return the digest of what decides a task's adapter: only such a state may go on."""
    facts = [task.owner, task.model, task.seed, encode(task.hyperparameters)]
    return ids.digest_of(canonical_json([*facts, [photo.digest for photo in task.photos]]))


def adapter_file(task: TrainingTask) -> bytes:
    """Return an adapter of one layer that changes no image: A is the task's own, B is zero."""
    rank = task.hyperparameters.rank
    own = bytes.fromhex(fingerprint(task)) * (rank * WIDTH // 16)
    # The high byte holds sign and exponent: 0x2c is 1/16, so that every value is finite and small.
    a = bytes(0x2C if place % 2 else byte for place, byte in enumerate(own))
    config = {
        "unet.peft_type": "LORA",
        "unet.r": rank,
        "unet.lora_alpha": task.hyperparameters.alpha,
        "unet.lora_dropout": 0.0,
        "unet.target_modules": [MODULE],
        "unet.bias": "none",
        "unet.use_dora": False,
        "unet.use_rslora": False,
    }
    return tensor_file(
        {
            f"unet.{MODULE}.lora_A.weight": ((rank, WIDTH), a),
            f"unet.{MODULE}.lora_B.weight": ((WIDTH, rank), bytes(2 * rank * WIDTH)),
        },
        {"format": "pt", "lora_adapter_metadata": json.dumps(config, sort_keys=True)},
        dtype="F16",
    )


def tensor_file(
    tensors: Mapping[str, tuple[tuple[int, ...], bytes]],
    metadata: Mapping[str, str],
    *,
    dtype: str,
) -> bytes:
    """Return a safetensors file of these tensors, in their order."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    data = b""
    for key, (shape, raw) in tensors.items():
        offsets = [len(data), len(data) + len(raw)]
        header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def picture(of: str) -> bytes:
    """Return a PNG of 8 × 8 pixels in one colour that derives from a text."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    row = b"\0" + bytes.fromhex(ids.digest_of(of.encode())[:6]) * 8
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(row * 8))
        + chunk(b"IEND", b"")
    )
