"""Pictures that are made for tests: the drawn world's photos, and what people do to photos."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from examples.tiny.scenes import photos_of, render
from examples.tiny.subjects import evaluated_subjects

MASCOT = Path(__file__).parents[2] / "examples" / "mascot"


@cache
def mascot() -> tuple[Image.Image, ...]:
    """Return the mascot's ten photos."""
    return tuple(Image.open(path).convert("RGB") for path in sorted(MASCOT.glob("*.png")))


@cache
def drawn_world(pixels: int = 256) -> dict[str, tuple[Image.Image, ...]]:
    """Return the photos of eight subjects of the drawn world, ten places each."""
    subjects = sorted(evaluated_subjects().items())[:8]
    return {
        name: tuple(render(scene, pixels=pixels).convert("RGB") for scene in photos_of(subject))
        for name, subject in subjects
    }


def flat_subjects() -> dict[str, Image.Image]:
    """Return what is flat on purpose: logos, cartoons and writing on white, silhouettes."""
    pictures = {}
    for name, ground, ink in (("white", "white", "navy"), ("black", "black", "gold")):
        disc = Image.new("RGB", (800, 800), ground)
        ImageDraw.Draw(disc).ellipse((300, 300, 500, 500), fill=ink)
        pictures[f"disc on {name}"] = disc
        line = Image.new("RGB", (800, 600), ground)
        ImageDraw.Draw(line).line((100, 100, 700, 500), fill=ink, width=10)
        pictures[f"line on {name}"] = line
    words = Image.new("RGB", (640, 640), "white")
    for row in range(12):
        ImageDraw.Draw(words).text((60, 60 + 40 * row), "a page of words, row by row " * 3, "black")
    pictures["words"] = words
    stripes = Image.new("RGB", (512, 512), "#e0e0ff")
    for row in range(0, 512, 64):
        ImageDraw.Draw(stripes).rectangle((0, row, 512, row + 30), fill="#5050a0")
    pictures["stripes"] = stripes
    equal_light = Image.new("RGB", (512, 512), (200, 60, 60))
    ImageDraw.Draw(equal_light).ellipse((100, 100, 400, 400), fill=(20, 130, 60))
    pictures["colours of equal light"] = equal_light
    cut_out = Image.new("RGB", (512, 512), "white")
    cut_out.paste(mascot()[0].crop((100, 100, 400, 460)), (120, 90))
    pictures["mascot on white"] = cut_out
    return pictures


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return what remains of a picture after JPEG."""
    out = BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(BytesIO(out.getvalue())).convert("RGB")


def blurred(image: Image.Image, share: float) -> Image.Image:
    """Return a picture under a Gaussian blur whose deviation is a share of its long side."""
    return image.filter(ImageFilter.GaussianBlur(share * max(image.size)))


def moved(image: Image.Image, share: float) -> Image.Image:
    """Return a picture that was dragged to the right by a share of its width."""
    columns = max(1, round(1 / share))
    narrow = image.resize((columns, image.height), Image.Resampling.BOX)
    return narrow.resize(image.size, Image.Resampling.BICUBIC)


def lit(image: Image.Image, factor: float) -> Image.Image:
    """Return a picture in so many times its light."""
    return ImageEnhance.Brightness(image).enhance(factor)


def hazy(image: Image.Image, share: float) -> Image.Image:
    """Return a picture behind so much white."""
    return Image.blend(image, Image.new("RGB", image.size, "white"), share)


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Return a picture without a border of half a share on each side."""
    across, along = (int(side * share / 2) for side in image.size)
    return image.crop((across, along, image.width - across, image.height - along))


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return a picture as a file."""
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
