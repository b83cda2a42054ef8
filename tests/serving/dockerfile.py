"""What a Dockerfile says, read far enough to do without Docker what its image would do."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Dockerfile:
    root: str = "/opt/atelier"
    copies: list[tuple[str, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def lay_out(self, repository: Path, image: Path) -> Path:
        """Copy exactly what is copied to below `image`, which stands for the image's own folder."""
        for source, target in self.copies:
            place = Path(self.moved(target, image))
            if source.endswith("/"):
                skipped = shutil.ignore_patterns("__pycache__")
                shutil.copytree(repository / source, place, ignore=skipped)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(repository / source, place)
        return image

    def moved(self, path: str, image: Path) -> str:
        """Return where a path of the image lies when its own folder is `image`."""
        return path.replace(self.root, str(image), 1) if path.startswith(self.root) else path


def read(path: Path) -> Dockerfile:
    found = Dockerfile()
    for line in path.read_text().splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "COPY":
            source, target = rest.split()
            found.copies.append((source, target))
        elif word == "WORKDIR":
            found.workdir = rest
        elif word in {"ENV", "LABEL"}:
            name, _, value = rest.partition("=")
            (found.environment if word == "ENV" else found.labels)[name] = value
        elif word == "ENTRYPOINT":
            found.entrypoint = json.loads(rest)
        elif word == "CMD":
            found.command = json.loads(rest)
    return found
