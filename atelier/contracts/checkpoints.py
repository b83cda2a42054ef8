"""The checkpoint tree: what a training host leaves below `/opt/ml/checkpoints`.

    <host>/<request>/progress.json
    <host>/<request>/adapter/adapter.safetensors, adapter.json
    <host>/<request>/previews/step-000050.png
    <host>/<request>/samples/00.png
    <host>/<request>/state/step-000050.safetensors     resumable

SageMaker syncs the folder with `checkpoints/<job>/` continuously; a local delete deletes in S3, so
a host writes a new file, then removes an old one. Paths here are relative to the folder;
`atelier.contracts.keys.checkpoint(job, path)` makes them keys.
"""

from __future__ import annotations

ADAPTER_FILE = "adapter.safetensors"
ADAPTER_CARD = "adapter.json"


def folder(host: str, request: str) -> str:
    """Return a task's folder, ending in `/`."""
    return f"{host}/{request}/"


def progress(host: str, request: str) -> str:
    """Return the path of a task's progress.json."""
    return f"{folder(host, request)}progress.json"


def adapter_file(host: str, request: str) -> str:
    """Return the path of the finished adapter file."""
    return f"{folder(host, request)}adapter/{ADAPTER_FILE}"


def adapter_card(host: str, request: str) -> str:
    """Return the path of adapter.json."""
    return f"{folder(host, request)}adapter/{ADAPTER_CARD}"


def preview(host: str, request: str, step: int) -> str:
    """Return the path of the preview image of a step."""
    return f"{folder(host, request)}previews/step-{step:06d}.png"


def sample(host: str, request: str, number: int) -> str:
    """Return the path of a sample image, numbered as the task's sample prompts from 0."""
    return f"{folder(host, request)}samples/{number:02d}.png"


def state(host: str, request: str, step: int) -> str:
    """Return the path of the resumable state after a step."""
    return f"{folder(host, request)}state/step-{step:06d}.safetensors"


def state_folder(host: str, request: str) -> str:
    """Return the folder of resumable states."""
    return f"{folder(host, request)}state/"
