"""Pictures: opened within bounds, and made small enough to be kept with their documents. Needs Pillow."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pgrecall.errors import MissingExtra, UnreadableSource

if TYPE_CHECKING:
    from PIL import Image as pil

#: What is opened; of an animation, the first frame.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")
#: A picture of more would take too much memory: three bytes each, several times over.
MAX_PIXELS = 64_000_000
#: Longest side of what is kept. Models look at 224 to 448 pixels.
LONGEST = 512
_DESCRIPTION = 0x010E  # EXIF, ImageDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A picture as it is kept."""

    #: JPEG.
    data: bytes
    #: Pixels of the original, as it is stored.
    width: int
    height: int
    #: What the file says about itself; "" if nothing.
    description: str


def opened(data: bytes) -> pil.Image:
    """The picture: upright, in RGB, on white. Raises UnreadableSource, MissingExtra."""
    return _read(data)[0]


def thumbnail(data: bytes) -> Thumbnail:
    """The picture with its longest side at most LONGEST pixels. Raises UnreadableSource, MissingExtra."""
    image, (width, height), description = _read(data)
    image.thumbnail((LONGEST, LONGEST))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return Thumbnail(data=buffer.getvalue(), width=width, height=height, description=description)


def _read(data: bytes) -> tuple[pil.Image, tuple[int, int], str]:
    try:
        from PIL import Image as pil
        from PIL import ImageOps
    except ModuleNotFoundError as exc:
        raise MissingExtra("Reading images:", "images") from exc
    bombs = (pil.DecompressionBombError, pil.DecompressionBombWarning)
    broken = (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        struct.error,
        ZeroDivisionError,
    )
    try:
        # Nothing is decoded by opening: the size is known before memory is taken for it.
        with pil.open(BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableSource(_too_large(f"{width:,} by {height:,}"))
            # Decodes a JPEG at a fraction of its size where that is enough.
            image.draft("RGB", (2 * LONGEST, 2 * LONGEST))
            description = _described(image)
            return on_white(ImageOps.exif_transpose(image)), (width, height), description
    except bombs as exc:
        raise UnreadableSource(_too_large("far more")) from exc
    except broken as exc:
        raise UnreadableSource(f"The image cannot be read: {exc}.") from exc


def _too_large(size: str) -> str:
    return f"The image has {size} pixels, and {MAX_PIXELS:,} is the limit; make it smaller."


def on_white(image: pil.Image) -> pil.Image:
    """The picture in RGB; what can be seen through is white."""
    from PIL import Image as pil

    if image.mode in ("RGB", "L"):
        return image.convert("RGB")
    seen = image.convert("RGBA")
    white = pil.new("RGBA", seen.size, "white")
    return pil.alpha_composite(white, seen).convert("RGB")


def _described(image: pil.Image) -> str:
    found: Any = image.getexif().get(_DESCRIPTION) or image.info.get("Description") or ""
    return found.strip() if isinstance(found, str) else ""
