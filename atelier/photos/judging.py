"""What the measures of a photo mean: refused, used with a note, or simply used.

Only what would surely harm a model is refused. The thresholds stand where the measured study in
`tests/photos/test_study.py` leaves room on both sides: sharp drawings and photos on one, what was
blurred, darkened or burnt out on the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atelier.photos.decoding import Refusal
from atelier.photos.likeness import Difference
from atelier.photos.measures import MEASURED_SIDE_PIXELS, Measures
from atelier.photos.report import Note, Reason


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on a photo is refused or noted.

    Blur is in pixels at a long side of 256, levels are of 255, shares of all pixels.

    Attributes:
        refused_blur: sharp pictures measure up to 0.9, those blurred over 0.8 % of their long
            side up to 2.3, over 2 % 3.2 and more.
        soft_blur: blurred over 0.6 % they measure 1.4 and more: detail is lost that a model at
            512 pixels would have learned.
        shaken_blur: in one direction alone, the other being twice as sharp.
        single_pixel_blur: in the photo's own pixels: an edge of a small photo cannot be sharper
            than its pixels, which are large at a long side of 256.
        edgeless_levels: contrast from which a picture without any edge must be a blurred one.
        dark_levels: a picture whose brightest half percent is no brighter shows nothing: the
            drawn world at 15 % of its light has 38.
        dim_levels: at 40 % of its light the drawn world's brightest spot has 102.
        bright_levels: a picture whose darkest half percent is no darker in any colour is burnt
            out; a drawing on white has its lines far below.
        white_share, no_black_levels: mostly white and nothing dark: burnt out in parts.
        flat_levels: contrast below which a picture shows nothing, whatever its brightness.
        pale_levels: contrast below which it is noted; a quarter of the drawn world's has 58.
        same_mean, same_worst: differences of likenesses up to which two photos are the same:
            copies measure up to 21 and 39 (JPEG at quality 10, 100 pixels wide, brightened until
            it clips), different photos of one subject from 42 and 95, an arm that moved from 44.
        alike_mean: difference up to which two photos show much the same view.
    """

    refused_blur: float = 3.0
    soft_blur: float = 1.4
    shaken_blur: float = 2.4
    single_pixel_blur: float = 0.7
    edgeless_levels: int = 64
    dark_levels: int = 40
    dim_levels: int = 105
    bright_levels: int = 215
    white_share: float = 0.6
    no_black_levels: int = 40
    flat_levels: int = 20
    pale_levels: int = 70
    same_mean: float = 21.0
    same_worst: float = 40.0
    alike_mean: float = 32.0

    def same(self, found: Difference | None) -> bool:
        """Return whether two photos that differ so are the same."""
        return found is not None and found.within(self.same_mean, self.same_worst)

    def alike(self, found: Difference | None) -> bool:
        """Return whether two photos that differ so show much the same view."""
        return found is not None and found.mean <= self.alike_mean


THRESHOLDS = Thresholds()


def judge(found: Measures, thresholds: Thresholds = THRESHOLDS) -> Refusal | Mapping[str, str]:
    """Return why a photo is refused, or what could be better about it."""
    return _refusal(found, thresholds) or _notes(found, thresholds)


def _refusal(found: Measures, thresholds: Thresholds) -> Refusal | None:
    if found.brightest <= thresholds.dark_levels:
        return Refusal(
            Reason.TOO_DARK,
            f"too dark: its brightest parts reach {_percent(found.brightest)} of white; "
            "take it in more light",
        )
    if found.contrast < thresholds.flat_levels:
        return Refusal(
            Reason.TOO_FLAT,
            f"shows nothing: between its darkest and brightest parts lie "
            f"{_percent(found.contrast)} of the range",
        )
    if found.darkest >= thresholds.bright_levels:
        return Refusal(
            Reason.TOO_BRIGHT,
            f"burnt out: even its darkest parts reach {_percent(found.darkest)} of white; "
            "take it in less light",
        )
    if found.edgeless and found.contrast >= thresholds.edgeless_levels:
        return Refusal(Reason.BLURRED, "blurred: it has no edge anywhere; take it anew")
    if found.blur is not None and found.blur >= _at_least(
        thresholds.refused_blur, found, thresholds
    ):
        return Refusal(
            Reason.BLURRED,
            f"blurred: its sharpest edges are {_width(found.blur)} of the picture wide; take it "
            "anew, held still and in focus",
        )
    return None


def _notes(found: Measures, thresholds: Thresholds) -> Mapping[str, str]:
    notes: dict[str, str] = {}
    blur, shake = found.blur, found.shake
    if blur is not None and blur >= _at_least(thresholds.soft_blur, found, thresholds):
        notes[Note.SOFT] = f"a little blurred: its edges are {_width(blur)} of the picture wide"
    elif (
        blur is not None
        and shake is not None
        and shake >= _at_least(thresholds.shaken_blur, found, thresholds)
        and shake >= 2 * blur
    ):
        notes[Note.SHAKEN] = "blurred in one direction: it moved while the picture was taken"
    if found.brightest <= thresholds.dim_levels:
        notes[Note.DARK] = f"dark: its brightest parts reach {_percent(found.brightest)} of white"
    if found.bright_share >= thresholds.white_share and found.darkest >= thresholds.no_black_levels:
        notes[Note.BRIGHT] = f"very bright: {found.bright_share:.0%} of it is pure white"
    if found.contrast < thresholds.pale_levels:
        notes[Note.PALE] = (
            f"pale: between its darkest and brightest parts lie {_percent(found.contrast)} of the "
            "range"
        )
    return notes


def _at_least(blur: float, found: Measures, thresholds: Thresholds) -> float:
    return max(blur, thresholds.single_pixel_blur * found.pixel)


def _width(blur: float) -> str:
    """Return how wide an edge of that blur is: nine tenths of it lie within 3.3 deviations."""
    return f"{3.3 * blur / MEASURED_SIDE_PIXELS:.1%}"


def _percent(levels: int) -> str:
    return f"{levels / 255:.0%}"
