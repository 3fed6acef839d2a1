"""Compose the parts: windows of a text, their cuts, and the chunks between these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from pgrecall.chunking.config import ChunkConfig
from pgrecall.chunking.fitting import Fitter, Part, Previous
from pgrecall.chunking.headers import Headers
from pgrecall.chunking.meter import Pieces
from pgrecall.chunking.outline import Reading
from pgrecall.chunking.window import Known, Stretch, Window
from pgrecall.tokens import Ids, Separable, Tokenizer, Traceable, open_tokenizer, scalar_values
from pgrecall.types import Chunk, Markup

#: Characters of a token, rather many: a text with more than so many for each token of a chunk hardly fits.
_CHARACTERS = 6
#: Characters of a long text that are looked at together.
WINDOW = 1 << 18


def split(
    text: str,
    config: ChunkConfig | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    markup: Markup = "plain",
    title: str | None = None,
    token_ids: bool = False,
) -> list[Chunk]:
    """Cut a text into chunks that are exact slices of it: ``text[c.start:c.end] == c.content``.

    No chunk's ``embedded_text`` has more than ``config.max_tokens`` tokens of the tokenizer (default:
    cl100k_base), and ``tokens`` is its exact number. With ``token_ids`` chunks carry the ids of their tokens,
    if the tokenizer is Traceable and the text valid Unicode. How the cuts are chosen is told in
    ``pgrecall.chunking``.
    """
    parts = (text[start : start + WINDOW] for start in range(0, len(text), WINDOW))
    splitter = _Splitter(config, tokenizer, markup, title, token_ids=token_ids)
    return list(splitter.chunks(_Source(parts), WINDOW))


def split_parts(
    parts: Iterable[str],
    config: ChunkConfig | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    markup: Markup = "plain",
    title: str | None = None,
    window: int = WINDOW,
) -> Iterator[Chunk]:
    """The chunks that ``split`` makes of the whole text, which comes in parts of whatever size.

    About ``window`` characters are in memory at a time. A text whose tokenizer is not Separable is read whole.
    """
    splitter = _Splitter(config, tokenizer, markup, title)
    yield from splitter.chunks(_Source(parts), window)


class _Source:
    """A text that is read forward: what is at hand of it, and the offset at which that begins."""

    def __init__(self, parts: Iterable[str]) -> None:
        self._parts = iter(parts)
        self.text = ""
        self.origin = 0
        self.ended = False

    def read(self, size: int) -> None:
        """Have more than so many characters at hand, or all that are left."""
        found, length = [self.text], len(self.text)
        while not self.ended and length <= size:
            part = next(self._parts, None)
            self.ended = part is None
            found.append(part or "")
            length += len(found[-1])
        self.text = "".join(found)

    def read_all(self) -> None:
        """Have all of it at hand."""
        self.text = "".join([self.text, *self._parts])
        self.ended = True

    def drop(self, size: int) -> None:
        """Let go of what is not looked at any more."""
        self.text = self.text[size:]
        self.origin += size


class _Splitter:
    def __init__(
        self,
        config: ChunkConfig | None,
        tokenizer: Tokenizer | None,
        markup: Markup,
        title: str | None,
        *,
        token_ids: bool = False,
    ) -> None:
        self._config = config = config or ChunkConfig()
        self._tokenizer = tokenizer = tokenizer or open_tokenizer("cl100k_base")
        self._reading = Reading(markup)
        self._pieces = Pieces(tokenizer)
        limit = config.max_tokens // 4 if config.include_header else 0
        self._headers = Headers(self._pieces, title, limit)
        # For texts that are valid Unicode: others are counted, and embedded, with characters replaced.
        traced = token_ids and isinstance(tokenizer, Traceable) and _is_unicode(title or "")
        self._traced = Pieces(tokenizer, ids=True) if traced else None

    def chunks(self, source: _Source, window: int) -> Iterator[Chunk]:
        """The chunks of a text, of which a window is at hand at a time."""
        if not isinstance(self._tokenizer, Separable):
            source.read_all()
        for ordinal, (part, ids) in enumerate(self._parts(source, window)):
            yield Chunk(
                ordinal=ordinal,
                start=part.start + source.origin,
                end=part.end + source.origin,
                content=source.text[part.start : part.end],
                headings=part.headings,
                header=part.header,
                tokens=part.tokens,
                token_ids=ids,
            )

    def _parts(self, source: _Source, size: int) -> Iterator[tuple[Part, Ids | None]]:
        """Each chunk, by its offsets in what is at hand when it is yielded, and the ids of its tokens."""
        source.read(max(size, _CHARACTERS * self._config.max_tokens))
        if source.ended and (whole := self._whole(source.text)):
            yield whole
            return
        at, ahead = Known(), size
        previous: Previous | None = None
        while source.text:
            while not (source.ended or self._pieces.seam_before(source.text, len(source.text))):
                ahead *= 2
                source.read(at.offset + ahead)
            window = self._window(source)
            cuts = window.cuts(at)
            fitter = Fitter(window, self._config, self._headers)
            for own, part in fitter.parts(cuts.runs, previous):
                previous = own
                yield part, self._ids(window, part)
            if source.ended:
                return
            # Where not a single cut can be told, the window is too short.
            ahead = size if cuts.last.offset > at.offset else 2 * ahead
            at = cuts.last
            behind = window.behind(at)
            source.drop(behind)
            self._reading.parser.forget(source.origin)
            at = replace(at, offset=at.offset - behind)
            if previous is not None:
                previous = max(previous[0] - behind, 0), max(previous[1] - behind, 0)
            if at.fresh:
                previous = None
            source.read(at.offset + ahead)

    def _window(self, source: _Source) -> Window:
        stretch = Stretch(source.text, source.origin, source.ended)
        pieces = self._pieces_of(source.text)
        return Window(stretch, self._config, self._headers, pieces, self._reading)

    def _ids(self, window: Window, part: Part) -> Ids | None:
        if not window.meter.traced:
            return None
        return window.meter.ids(part.start, part.end, Headers.above(part.header))

    def _pieces_of(self, text: str) -> Pieces:
        return self._traced if self._traced and _is_unicode(text) else self._pieces

    def _whole(self, text: str) -> tuple[Part, Ids | None] | None:
        """The text as one chunk, if it is short enough to try and fits: such as a row of a table."""
        limit = self._config.max_tokens
        if (
            self._reading.markup == "markdown"
            or len(text) > _CHARACTERS * limit
            or not text.strip()
        ):
            return None
        start, end = len(text) - len(text.lstrip()), len(text.rstrip())
        header = self._headers.line(())
        above = Headers.above(header) + text[start:end]
        pieces = self._pieces_of(text)
        tokens = pieces.tokenizer.count(above)
        if tokens > limit:
            return None
        ids = pieces.traced.encode_array(above) if pieces.traced else None
        return Part(start, end, (), header, tokens), ids


def _is_unicode(text: str) -> bool:
    return scalar_values(text) is text
