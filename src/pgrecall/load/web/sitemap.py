"""Sitemaps, plain and gzipped, and indexes of them (sitemaps.org)."""

from __future__ import annotations

import re
import zlib
from urllib.parse import urldefrag, urljoin, urlsplit

from pgrecall.errors import UnreadableSource
from pgrecall.load.web.client import MAX_BYTES, Answer

#: Pages of one sitemap with all that it refers to, sitemaps in an index, and indexes in indexes.
MAX_PAGES, MAX_SITEMAPS, MAX_DEPTH = 100_000, 1_000, 2

_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<\?.*?\?>\s*)*<(?:\w+:)?(urlset|sitemapindex)\b",
    re.S,
)


def plain(body: bytes) -> bytes:
    """The body, unpacked if it is gzipped. Raises UnreadableSource if that is longer than a page may be."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, MAX_BYTES)
    except zlib.error as exc:
        raise UnreadableSource("The file is gzipped, and broken.") from exc
    if unpacker.unconsumed_tail:
        raise UnreadableSource(f"The sitemap is longer than {MAX_BYTES:,} bytes when unpacked.")
    return unpacked


def is_sitemap(body: bytes) -> bool:
    """Whether a page, or what is gzipped in it, is a sitemap or an index of sitemaps."""
    head = body[:4096]
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(body, 4096)
        except zlib.error:
            return False
    return _START.match(head) is not None


def was_expected(url: str, depth: int, answer: Answer) -> bool:
    """Whether an answer that is no sitemap stands where one should be.

    An index refers to sitemaps (``depth`` above 0); else its suffix and the answer's kind tell.
    """
    named = urlsplit(url).path.lower().endswith((".xml", ".xml.gz"))
    return depth > 0 or (named and answer.headers.get("content-type", "").startswith("text/html"))


def locations(body: bytes, url: str) -> tuple[list[str], list[str]]:
    """(pages, sitemaps) that a sitemap lists, as far as they are on its host. Raises UnreadableSource."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        root = etree.fromstring(plain(body), parser)
    except etree.XMLSyntaxError as exc:
        raise UnreadableSource(f"The sitemap is not valid XML: {exc.msg}.") from exc
    found: tuple[list[str], list[str]] = ([], [])
    kind = str(root.tag).rpartition("}")[2] == "sitemapindex"
    for place in root.iterfind("{*}*/{*}loc"):
        listed = urldefrag(urljoin(url, (place.text or "").strip())).url
        if same_site(listed, url):
            found[kind].append(listed)
    return found


def same_site(one: str, other: str) -> bool:
    """Whether two URLs are on one host; ``www.`` makes no difference."""
    try:
        first, second = (urlsplit(url) for url in (one, other))
        hosts = [(part.hostname or "").removeprefix("www.") for part in (first, second)]
    except ValueError:
        return False
    return first.scheme in ("http", "https") and hosts[0] == hosts[1]
