"""Draw the ten photos of an evaluated subject, as a person would upload them.

    python -m examples.tiny.photos --subject mascot --to examples/mascot

The pictures are drawn by the same program as the training data, at the size of real photos.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from examples.tiny.captions import TRIGGER_WORD, place_words
from examples.tiny.scenes import PHOTO_PIXELS, photos_of, render
from examples.tiny.subjects import evaluated_subjects


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--subject", choices=sorted(evaluated_subjects()), default="mascot")
    parser.add_argument("--to", type=Path, required=True, help="folder for 01.png to 10.png")
    parser.add_argument("--pixels", type=int, default=PHOTO_PIXELS)
    given = parser.parse_args(argv)
    draw_photos(given.subject, folder=given.to, pixels=given.pixels)


def draw_photos(name: str, *, folder: Path, pixels: int = PHOTO_PIXELS) -> list[Path]:
    """Write the photos and `captions.json` (file name → caption); returns the photos' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = {}
    for number, scene in enumerate(photos_of(evaluated_subjects()[name]), start=1):
        file = f"{number:02d}.png"
        render(scene, pixels=pixels).save(folder / file, optimize=True)
        where = place_words(scene.place, plain_colour=scene.plain_colour)
        captions[file] = f"a photo of {TRIGGER_WORD} creature {where}"
    (folder / "captions.json").write_text(json.dumps(captions, indent=2) + "\n")
    return [folder / file for file in captions]


if __name__ == "__main__":
    main()
