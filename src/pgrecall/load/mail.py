"""E-mail (eml): the message as one document, each attachment as one of its own."""

from __future__ import annotations

import email
import email.header
import email.utils
from collections.abc import Iterator
from contextlib import suppress
from email.message import Message
from typing import Any

from pgrecall.errors import UnreadableSource
from pgrecall.load import html
from pgrecall.load.clean import one_line
from pgrecall.load.sniff import decode
from pgrecall.load.source import OpenFile
from pgrecall.types import Document

SUFFIXES = {".eml": "message/rfc822"}
#: More parts than any mail program makes.
_MAX_PARTS = 1_000
#: Characters of a header that are read, and that one may have which says what a part is: parsing takes the
#: square of them.
_MAX_HEADER, _MAX_PARAMETERS = 4_000, 20_000
_FIELDS = (("From", "from"), ("To", "to"), ("Cc", "cc"), ("Message-ID", "message_id"))
#: (name, content) of an attachment
Attachment = tuple[str, bytes]


def load(file: OpenFile) -> Iterator[Document]:
    """The message; its attachments go to ``file.attached``. Raises UnreadableSource."""
    try:
        message = email.message_from_bytes(file.read())
        parts = list(_parts(message))
    except RecursionError as exc:
        raise UnreadableSource("The message is nested too deeply.") from exc
    if not message.keys():
        raise UnreadableSource("The file has no header of an e-mail; save the message again.")
    bodies = [part for part in parts if not _is_attached(part)]
    for part in parts:
        if _is_attached(part):
            file.attached.append(_attachment(part, len(file.attached) + 1))
    text = _body(file, bodies)
    title = one_line(_header(message, "Subject"))
    if not text and not file.attached:
        raise UnreadableSource("The message has no text.")
    yield file.document(
        text or title or "(no text)",
        title=title or file.stem,
        markup="markdown",
        metadata=_metadata(message),
    )


def _parts(message: Message) -> Iterator[Message]:
    """The parts that hold something; an attached message is one of them."""
    waiting = [message]
    count = 0
    while waiting:
        part = waiting.pop()
        count += 1
        if count > _MAX_PARTS:
            raise UnreadableSource(f"The message has more than {_MAX_PARTS:,} parts.")
        for name, value in part.raw_items():
            if name.lower().startswith("content-") and len(str(value)) > _MAX_PARAMETERS:
                raise UnreadableSource(
                    f"The message has a header {one_line(name, 40)} of {len(str(value)):,} characters."
                )
        payload = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(payload, list):
            waiting.extend(reversed([item for item in payload if isinstance(item, Message)]))
        else:
            yield part


def _is_attached(part: Message) -> bool:
    return (
        part.get_content_disposition() == "attachment"
        or part.get_content_type() == "message/rfc822"
        or (part.get_filename() is not None and part.get_content_maintype() != "text")
        or part.get_content_maintype() not in ("text", "multipart")
    )


def _attachment(part: Message, number: int) -> Attachment:
    name = one_line(_decoded(part.get_filename() or ""), 200).replace("/", "_")
    payload = part.get_payload()
    if part.get_content_type() == "message/rfc822" and isinstance(payload, list) and payload:
        inner: Any = payload[0]
        return name or f"{number}.eml", inner.as_bytes()
    name = name or f"{number}.{part.get_content_subtype()}"
    return name, _bytes(part)


def _body(file: OpenFile, parts: list[Message]) -> str:
    """Plain text where there is any, since each mail program writes its own HTML; else HTML."""
    plain = [_text(file, part) for part in parts if part.get_content_type() != "text/html"]
    text = "\n\n".join(text.strip() for text in plain if text.strip())
    if text:
        return text
    pages = [_text(file, part) for part in parts if part.get_content_type() == "text/html"]
    return "\n\n".join(html.render(page).text() for page in pages)


def _text(file: OpenFile, part: Message) -> str:
    data = _bytes(part)
    charset = part.get_content_charset()
    try:
        return data.decode(charset or "ascii").replace("\r\n", "\n").replace("\0", "")
    except (LookupError, ValueError):  # a charset that is unknown, wrong, or not said
        text, notes = decode(data)
        file.notes.extend(note for note in notes if note not in file.notes)
        return text


def _bytes(part: Message) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _metadata(message: Message) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for name, key in _FIELDS:
        if value := one_line(_header(message, name), 1_000):
            metadata[key] = value
    date = str(message.get("Date"))[:_MAX_HEADER]
    with suppress(ValueError, TypeError, OverflowError):  # no date, or none that can be read
        metadata["date"] = email.utils.parsedate_to_datetime(date).isoformat()
    return metadata


def _header(message: Message, name: str) -> str:
    return _decoded(str(message.get(name, ""))[:_MAX_HEADER])


def _decoded(value: str) -> str:
    try:
        return str(email.header.make_header(email.header.decode_header(value)))
    except (LookupError, ValueError, email.errors.HeaderParseError):
        return value
