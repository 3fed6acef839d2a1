"""Text of scanned pages and pictures, recognised by tesseract (the extra "ocr")."""

from __future__ import annotations

import glob
import os
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pgrecall.errors import MissingExtra, UnreadableSource
from pgrecall.load.clean import one_line
from pgrecall.pictures import FORMATS, on_white

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

#: Pixels for each point: 216 dots an inch, of the 200 to 300 that tesseract wants.
_SCALE = 3
#: Larger pages are drawn smaller, larger pictures refused.
_MAX_PIXELS = 40_000_000
#: Seconds for one page, of those that the whole file may take.
_PAGE_SECONDS = 120.0
#: Where systems keep the data of languages, besides the folder that the extra fills.
_FOLDERS = ("/usr/share/tesseract-ocr/*/tessdata", "/usr/share/tessdata")


@dataclass(frozen=True, slots=True)
class Scan:
    """A page as a picture: bytes from black (0) to white (255), row by row."""

    width: int
    height: int
    pixels: bytes


class Recogniser:
    """Reads the pages of one file, which together may take so many seconds."""

    def __init__(self, languages: str, seconds: float) -> None:
        self._engine = _engine(languages)
        self._limit = seconds
        self._ends = time.monotonic() + seconds
        self._pages = 0
        #: Numbers of the pages that took too long.
        self.skipped: list[int] = []

    def text(self, scan: Scan, number: int) -> str:
        """The text of a page; "" if it has none, or takes too long by itself.

        Raises UnreadableSource if the time for the file is over.
        """
        left = self._ends - time.monotonic()
        if left <= 0:
            raise UnreadableSource(
                f"OCR had read {self._pages:,} pages when ocr_seconds ({self._limit:g}) were over; "
                "raise the limit, or split the file."
            )
        self._pages += 1
        try:
            self._engine.SetImageBytes(scan.pixels, scan.width, scan.height, 1, scan.width)
            if self._engine.Recognize(int(min(left, _PAGE_SECONDS) * 1000)):
                return str(self._engine.GetUTF8Text()).strip()
            self.skipped.append(number)
            return ""
        finally:
            self._engine.Clear()


def page_of(document: PdfDocument, index: int) -> Scan:
    """A page of a PDF, drawn."""
    page = document[index]
    try:
        width, height = page.get_size()
        scale = min(_SCALE, (_MAX_PIXELS / max(width * height, 1)) ** 0.5)
        bitmap = page.render(scale=scale, grayscale=True)
        try:
            pixels, stride = bytes(bitmap.buffer), bitmap.stride
            rows = (
                pixels[start : start + bitmap.width]
                for start in range(0, stride * bitmap.height, stride)
            )
            return Scan(bitmap.width, bitmap.height, b"".join(rows))
        finally:
            bitmap.close()
    finally:
        page.close()


def pages_of(picture: bytes) -> Iterator[Scan]:
    """The pages of an image file, upright: of a TIFF all, of an animation the first.

    Raises UnreadableSource, MissingExtra.
    """
    try:
        from PIL import Image, ImageOps, ImageSequence
    except ModuleNotFoundError as exc:
        raise MissingExtra("Recognising the text of images", "ocr") from exc
    try:
        with Image.open(BytesIO(picture), formats=FORMATS) as image:
            for frame in ImageSequence.Iterator(image):
                if frame.width * frame.height > _MAX_PIXELS:
                    raise UnreadableSource(
                        f"The image has {frame.width:,} by {frame.height:,} pixels, and {_MAX_PIXELS:,} is "
                        "the limit of OCR; make it smaller."
                    )
                grey = on_white(ImageOps.exif_transpose(frame)).convert("L")
                yield Scan(*grey.size, grey.tobytes())
                if image.format != "TIFF":
                    return
    except UnreadableSource:
        raise
    except Exception as exc:  # each of its formats meets broken files with errors of its own
        raise UnreadableSource(f"The image cannot be read: {one_line(str(exc), 160)}.") from exc


@cache
def _engine(languages: str) -> Any:
    try:
        import tesserocr
    except ModuleNotFoundError as exc:
        raise MissingExtra("OCR", "ocr") from exc
    return tesserocr.PyTessBaseAPI(path=_folder(languages), lang=languages)


def _folder(languages: str) -> str:
    """The folder with the data of all the languages. Raises UnreadableSource."""
    given = os.environ.get("TESSDATA_PREFIX")
    installed = os.path.join(sysconfig.get_path("data"), "share", "tessdata")
    patterns = (given,) if given else (installed, *_FOLDERS)
    names = [f"{name}.traineddata" for name in languages.split("+")]
    for folder in (found for pattern in patterns for found in sorted(glob.glob(pattern))):
        if all(os.path.isfile(os.path.join(folder, name)) for name in names):
            return folder
    raise UnreadableSource(
        f"OCR has no data for {languages!r}; put {' and '.join(names)} into a folder, and name it in "
        "TESSDATA_PREFIX."
    )
