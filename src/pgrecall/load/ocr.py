"""Text of scanned pages and pictures, recognised by the program tesseract."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from pgrecall.errors import UnreadableSource
from pgrecall.load.pdfpage import Line

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

#: Pixels for each point: 216 dots an inch, of the 200 to 300 that tesseract wants.
_SCALE = 3
#: Larger pages are drawn smaller.
_MAX_PIXELS = 40_000_000
_SECONDS = 120


def lines_of_scan(document: PdfDocument, index: int, languages: str) -> list[Line]:
    """The lines of a page. Raises UnreadableSource if tesseract is missing or fails."""
    page = document[index]
    try:
        width, height = page.get_size()
        scale = min(_SCALE, (_MAX_PIXELS / max(width * height, 1)) ** 0.5)
        bitmap = page.render(scale=scale, grayscale=True)
        pixels = bytes(bitmap.buffer)
        rows = [
            pixels[row * bitmap.stride : row * bitmap.stride + bitmap.width]
            for row in range(bitmap.height)
        ]
        header = b"P5 %d %d 255\n" % (bitmap.width, bitmap.height)
        text = recognise(header + b"".join(rows), languages)
        bitmap.close()
    finally:
        page.close()
    return [Line(line.strip()) for line in text.splitlines()]


def recognise(picture: bytes, languages: str) -> str:
    """The text of a picture (PNG, JPEG, TIFF, PGM). Raises UnreadableSource."""
    program = shutil.which("tesseract")
    if program is None:
        raise UnreadableSource("OCR needs the program tesseract; install it (apt: tesseract-ocr).")
    try:
        done = subprocess.run(
            [program, "stdin", "stdout", "-l", languages],
            input=picture,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise UnreadableSource(f"OCR took more than {_SECONDS} s for one page.") from exc
    if done.returncode != 0:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[:160]
        raise UnreadableSource(f"OCR failed: {said or f'exit code {done.returncode}'}.")
    return done.stdout.decode("utf-8", "replace")
