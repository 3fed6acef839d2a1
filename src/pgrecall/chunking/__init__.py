"""Cut documents into chunks.

The text is parsed once for *places*: offsets at which a section, a paragraph, a list item, a line or a
sentence begins. Units that are longer than a chunk get further places at their words and characters. Then
the cuts are chosen among the places, so that each cut depends on the text nearby and on nothing else:

1. Headings cut, the stronger ones first; a section shorter than ``min_tokens`` stays with a neighbour.
2. Of the other places, each goes if what stands on both sides of it fits into one chunk: the worst first,
   the best last. Better is what begins a larger unit; among equals, a hash of the text around the place
   decides, which is as good as chance but comes out the same in every version of the document.
3. A paragraph, or another unit, of up to three chunks is parted before that, into few pieces of a good size.

So an edit moves the cuts around it; those further away see the same text as before and stay, and their
chunks need not be embedded again. Overlap, which repeats the last sentences of the chunk before, is taken
from the text before the cut and has no say in where the cuts are.

The tokenizer runs once over the text; every size is the difference of two numbers then. Only the borders
of the finished chunks are tokenised again, since a slice can have a token more or less on its own.

Since cuts depend on the text nearby, a long text is cut window by window, with the same result
(``pgrecall.chunking.window``).
"""

from __future__ import annotations

from pgrecall.chunking.config import ChunkConfig
from pgrecall.chunking.split import split, split_parts

__all__ = ["ChunkConfig", "split", "split_parts"]
