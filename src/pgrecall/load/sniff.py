"""What bytes are: text or not, and in which encoding."""

from __future__ import annotations

import codecs
import re
import sys
from typing import BinaryIO

from pgrecall.errors import UnreadableSource

#: (leading bytes, what it is). Files of these kinds hold no text that can be read here.
MAGIC = (
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"\x89PNG\r\n", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"\x1f\x8b", "a gzip archive; unpack it, and load what is in it"),
    (b"BZh", "a bzip2 archive; unpack it, and load what is in it"),
    (b"\xfd7zXZ\0", "an xz archive; unpack it, and load what is in it"),
    (b"7z\xbc\xaf", "a 7-zip archive; unpack it, and load what is in it"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive; unpack it, and load what is in it"),
    (b"PK\x03\x04", "a zip archive; unpack it, and load what is in it"),
    (b"Rar!", "a rar archive; unpack it, and load what is in it"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0", "a document of an old Office format; save it as docx, pptx or xlsx"),
    (b"OggS", "a recording"),
    (b"ID3", "a recording"),
    (b"wOF2", "a font"),
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TEXT_BYTES = bytes(
    sorted({7, 8, 9, 10, 11, 12, 13, 27} | set(range(32, 127)) | set(range(128, 256)))
)
#: Quotes, dashes and signs of Western European prose, besides letters.
_WESTERN_MARKS = bytes.fromhex(
    "80 82 84 85 91 92 93 94 95 96 97 99 a0 a1 a3 a7 a9 ab ae b0 b7 bb bf"
).decode("cp1252")
#: With fewer characters that are not ASCII, a guess by their frequency is a toss.
_ENOUGH_TO_GUESS = 40
_CENTRAL_EUROPEAN = ("cp1250", "iso8859_2", "cp852", "mac_latin2")
_SAMPLE_BYTES = 65_536


def binary_kind(head: bytes) -> str | None:
    """What the first bytes of a file that is not text are, in words; None if they may be text."""
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    if head.startswith(b"ustar", 257):
        return "a tar archive; unpack it, and load what is in it"
    if _bom(head) or _utf16_without_bom(head):
        return None
    control = len(head.translate(None, _TEXT_BYTES))
    # Random bytes hold some 9 % of control characters and are not UTF-8.
    if _is_utf8(head):
        return "binary" if control > 8 and control > 0.3 * len(head) else None
    return "binary" if control > 2 and control > 0.03 * len(head) else None


def decode(data: bytes, encoding: str | None = None) -> tuple[str, list[str]]:
    """The text of a file, its line ends made ``\\n``, and notes on what was not plain UTF-8.

    ``encoding``: None to find it out. Raises UnreadableSource if the bytes are not in it.
    """
    if encoding is None and b"\0" not in data:
        try:
            return _newlines(data.removeprefix(codecs.BOM_UTF8).decode("utf-8")), []
        except UnicodeDecodeError:
            pass  # the encoding is found out below
    if encoding is not None:
        return _newlines(_decode_as(data, encoding)), []
    found = detect(data)
    text = data.decode(found, "replace")
    return _newlines(text), decoding_notes(found, broken=not _decodes(data, found))


def decoding_notes(encoding: str, *, broken: bool) -> list[str]:
    """What is to be told of a text in an encoding that was found out, perhaps with bytes that are not in it."""
    notes = [] if encoding.startswith("utf-8") else [f"read as {encoding}"]
    if broken:
        notes.append("replaced bytes that do not belong to the encoding by U+FFFD")
    return notes


def detect(data: bytes) -> str:
    """The encoding of a text, by its mark, its zero bytes, or the likelihood of its characters."""
    found = _bom(data) or _utf16_without_bom(data)
    if found:
        return found
    sample = data if len(data) <= _SAMPLE_BYTES else _around_first_error(data)
    return "utf-8" if _mostly_utf8(sample) else _guess(sample)


def detect_stream(stream: BinaryIO, encoding: str | None) -> str:
    """As ``detect``, of a file that is too long to be held; it is at its start then."""
    found = encoding or _detect_stream(stream)
    stream.seek(0)
    return found


def _detect_stream(stream: BinaryIO) -> str:
    stream.seek(0)
    head = stream.read(_SAMPLE_BYTES)
    found = _bom(head) or _utf16_without_bom(head)
    if found:
        return found
    stream.seek(0)
    error = _first_error(stream)
    if error is None:
        return "utf-8"
    stream.seek(max(0, error - _SAMPLE_BYTES // 2))
    sample = stream.read(_SAMPLE_BYTES)
    return "utf-8" if _mostly_utf8(sample) else _guess(sample)


def for_parts(encoding: str, head: bytes) -> str:
    """The encoding for a text that is decoded in parts: there, UTF-16 and UTF-32 must begin with their mark."""
    name = codecs.lookup(encoding).name
    marks = tuple(mark for mark, marked in _BOMS if marked == name)
    if not name.startswith(("utf-16", "utf-32")) or not marks or head.startswith(marks):
        return encoding
    return f"{name}-{sys.byteorder[0]}e"


def _first_error(stream: BinaryIO) -> int | None:
    """At which byte the rest of a file is not UTF-8; None if all of it is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    while True:
        block = stream.read(1 << 18)
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as exc:
            # What is decoded ends with the block, and begins with what was left of the one before.
            return stream.tell() - len(exc.object) + exc.start
        if not block:
            return None


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _decode_as(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except (UnicodeError, ValueError) as exc:
        raise not_in(encoding) from exc


def not_in(encoding: str) -> UnreadableSource:
    """Why a file cannot be read in the encoding that the caller named."""
    return UnreadableSource(
        f"The file is not in the encoding {encoding}; leave the encoding out to find it."
    )


def _bom(head: bytes) -> str | None:
    return next((name for mark, name in _BOMS if head.startswith(mark)), None)


def _utf16_without_bom(data: bytes) -> str | None:
    """UTF-16 is evident where every other byte is mostly zero and the rest hardly ever is."""
    head = data[: 4096 & ~1]
    if len(head) < 8 or b"\0" not in head:
        return None
    half = len(head) // 2
    even, odd = head[::2].count(0) / half, head[1::2].count(0) / half
    if odd > 0.6 and even < 0.05:
        return "utf-16-le"
    return "utf-16-be" if even > 0.6 and odd < 0.05 else None


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _around_first_error(data: bytes) -> bytes:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as exc:
        start = max(0, exc.start - _SAMPLE_BYTES // 2)
        return data[start : start + _SAMPLE_BYTES]
    return data[:_SAMPLE_BYTES]


def _mostly_utf8(sample: bytes) -> bool:
    """True if broken characters are far rarer than whole ones: UTF-8 that was damaged."""
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    whole = len(re.findall("[^\x00-\x7f\ufffd]", text))
    return broken * 10 <= whole


def _guess(sample: bytes) -> str:
    """The likeliest encoding that is not Unicode.

    Mostly ASCII with Western letters is Windows-1252, unless there is enough text to tell that it
    is the Central European sibling, which uses the same bytes for other letters.
    """
    from charset_normalizer import from_bytes

    high = sample.translate(None, bytes(range(128)))
    western = len(high) < 0.3 * len(sample) and _is_western(high)
    if western and len(high) < _ENOUGH_TO_GUESS:
        return "cp1252"
    best = from_bytes(sample).best()
    if best is None or (western and best.encoding not in _CENTRAL_EUROPEAN):
        return "cp1252"
    return best.encoding


def _is_western(high: bytes) -> bool:
    try:
        text = high.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return all(char.isalpha() or char in _WESTERN_MARKS for char in text)
