"""Hits that show more of their document than the chunk that was found."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeAlias
from uuid import UUID

from pgrecall.types import Hit

#: What a hit is to show: ``document_text[start:end]``.
Extent: TypeAlias = tuple[int, int]
#: The text of an extent, and the page starts of its document.
Text: TypeAlias = tuple[str, tuple[int, ...]]


def widened(pairs: Iterable[tuple[Hit, Extent]]) -> Iterator[tuple[Hit, Extent]]:
    """The hits with their extents, without those that stand in the extent of one above them."""
    shown: defaultdict[tuple[str, UUID], list[Extent]] = defaultdict(list)
    for hit, extent in pairs:
        extents = shown[hit.tenant_id, hit.document_id]
        if not any(start <= hit.start and hit.end <= end for start, end in extents):
            extents.append(extent)
            yield hit, extent


def expanded(hit: Hit, extent: Extent, found: Text | None) -> Hit:
    """The hit with the text of its extent; as it is if the document no longer holds it there."""
    start, end = extent
    text, pages = found or ("", ())
    if text[hit.start - start : hit.end - start] != hit.text or len(text) != end - start:
        return hit
    page = max(1, bisect_right(pages, start)) if pages else None
    return replace(hit, text=text, start=start, end=end, page=page)
