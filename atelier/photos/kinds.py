"""What a file is, by its first bytes: the kinds that are read, and names for those that are not."""

from __future__ import annotations

_CONVERT = "export it as JPEG or PNG first"
_OTHER_KINDS = (
    (4, (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypheif", b"ftyphevc", b"ftypmsf1"),
     f"a HEIC photo: {_CONVERT}, or set the camera to its most compatible format"),
    (4, (b"ftypavif", b"ftypavis"), f"an AVIF image: {_CONVERT}"),
    (4, (b"ftyp",), "a video: save one sharp picture of it as JPEG or PNG"),
    (0, (b"\x1aE\xdf\xa3",), "a video: save one sharp picture of it as JPEG or PNG"),
    (0, (b"GIF8",), f"a GIF: {_CONVERT}"),
    (0, (b"II*\x00", b"MM\x00*"), f"a TIFF or raw photo: {_CONVERT}"),
    (0, (b"\xff\x0a", b"\x00\x00\x00\x0cJXL "), f"a JPEG XL image: {_CONVERT}"),
    (0, (b"\x00\x00\x00\x0cjP  ",), f"a JPEG 2000 image: {_CONVERT}"),
    (0, (b"8BPS",), f"a Photoshop file: {_CONVERT}"),
    (0, (b"BM",), f"a BMP image: {_CONVERT}"),
    (0, (b"%PDF",), "a PDF: send the photos themselves"),
    (0, (b"PK\x03\x04",), "a ZIP archive: unpack it and send the photos themselves"),
    (0, (b"<svg", b"<?xml"), f"a drawing as SVG or XML: {_CONVERT}"),
)  # fmt: skip
"""(offset, beginnings there, what it is and what to do)."""


def sniff(body: bytes) -> str | None:
    """Return Pillow's name of the type that the content has, or None for any other content."""
    if body.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "WEBP"
    return None


def other_content(body: bytes) -> str:
    """Return what a file is that is none of the kinds that are read, and what to do with it."""
    if not body:
        return "no image: the file is empty; send it again"
    for at, magics, name in _OTHER_KINDS:
        if body[at : at + 8].startswith(magics):
            return name
    return "no image: only JPEG, PNG and WebP are read"
