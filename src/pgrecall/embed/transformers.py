"""Models that run on this machine, with sentence-transformers: from the hub, or from a folder."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from pgrecall.embed.checks import check_lengths, checked_query, checked_texts, normalised
from pgrecall.embed.models import KnownModel, known_model
from pgrecall.embed.options import Prompts, identity, parsed, prompts, written
from pgrecall.errors import EmbeddingError, InvalidArgument
from pgrecall.tokens import Tokenizer
from pgrecall.tokens.huggingface import adapted
from pgrecall.types import FloatArray

#: What models call their prompts for passages; the library looks for them in this order.
_PASSAGE_NAMES = ("document", "passage", "corpus")
#: Places in a file of weights that are read to tell it from another one, and bytes at each.
_SAMPLES, _SAMPLE_BYTES = 64, 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerOptions:
    """How a model is run."""

    #: ``None``: the model's own. Shorter is for models that were trained to be cut (Matryoshka).
    dimensions: int | None = None
    #: Put in front of questions and of passages. ``None``: what the model's own configuration says, else
    #: what it is known to want.
    query_prompt: str | None = None
    passage_prompt: str | None = None
    #: The same for questions with an instruction: ``{instruction}`` stands for it.
    instruction_prompt: str | None = None
    #: "cpu", "cuda", "mps" ... ``None``: the best there is.
    device: str | None = None
    batch_size: int = 32
    #: Show a bar while passages are embedded.
    progress: bool = False
    #: Never ask the hub.
    local_files_only: bool = False
    #: Run the code that comes with the model, as some (nomic-embed-text) need.
    trust_remote_code: bool = False
    #: A branch, tag or commit of the hub.
    revision: str | None = None
    #: What a folder's weights are recognised by; the embedder's name has it.
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InvalidArgument("The option batch_size has to be positive.")


def open_transformer(model: str, options: Mapping[str, Any]) -> TransformerEmbedder:
    """The embedder for ``MODEL[@DIMENSIONS]``; options are fields of TransformerOptions."""
    return TransformerEmbedder(*parsed(TransformerOptions, model, options))


class TransformerEmbedder:
    """Runs a model. Safe to share between threads, which take turns."""

    def __init__(self, model: str, options: TransformerOptions | None = None) -> None:
        """``model`` is a name on the hub or a folder.

        Raises InvalidArgument if there is no such model, or if its folder has other weights now than
        those that the name was made with.
        """
        options = options or TransformerOptions()
        folder = Path(model).expanduser()
        local = folder.is_dir()
        self.model = str(folder.resolve()) if local else model
        self._options = options
        self._encoder = _opened(self.model, options)
        known = None if local else known_model(f"sentence-transformers:{model}")
        usual = _usual_prompts(self._encoder, known)
        self._prompts = _given(options, usual)
        # The library's tokenizers refuse two threads at a time.
        self._turn = Lock()
        self.dimensions = int(self._encoder.get_embedding_dimension() or 0)
        extra = identity(self._prompts, usual)
        if options.revision is not None:
            extra["revision"] = options.revision
        if local:
            extra["weights"] = _same_weights(folder, options.weights)
        shown = written(self.model, options.dimensions, extra)
        self.name = f"sentence-transformers:{shown}"
        self.tokenizer: Tokenizer = adapted(self.model, self._encoder.tokenizer.backend_tokenizer)
        self._limit = _longest(self._encoder)
        #: Longest text, in tokens of ``tokenizer``: special tokens and the prompt are not part of it.
        self.max_tokens = self._limit - self.tokenizer.count(self._prompts.passage)

    def __repr__(self) -> str:
        return f"TransformerEmbedder({self.name!r}, device={str(self._encoder.device)!r})"

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Embed passages: shape (len(texts), dimensions).

        Raises InvalidArgument for a text that is empty or longer than the model takes.
        """
        given = [self._prompts.passage + text for text in checked_texts(texts)]
        self._check_lengths(given, first=0)
        return self._encoded(given, progress=self._options.progress)

    def embed_query(self, text: str, *, instruction: str | None = None) -> FloatArray:
        """Embed one question: shape (dimensions,)."""
        vector: FloatArray = self.embed_queries([text], instruction=instruction)[0]
        return vector

    def embed_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> FloatArray:
        """Embed several questions in one go: shape (len(texts), dimensions)."""
        for text in texts:
            checked_query(text)
        given = [self._prompts.question(text, instruction, model=self.name) for text in texts]
        self._check_lengths(given, first=None)
        return self._encoded(given, first=None)

    async def embed_documents_async(self, texts: Sequence[str]) -> FloatArray:
        """As ``embed_documents``, in a thread: it is computing."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def embed_query_async(self, text: str, *, instruction: str | None = None) -> FloatArray:
        """As ``embed_query``, in a thread."""
        return await asyncio.to_thread(self.embed_query, text, instruction=instruction)

    async def embed_queries_async(
        self, texts: Sequence[str], *, instruction: str | None = None
    ) -> FloatArray:
        """As ``embed_queries``, in a thread."""
        return await asyncio.to_thread(self.embed_queries, texts, instruction=instruction)

    def _check_lengths(self, texts: Sequence[str], *, first: int | None) -> None:
        counts = np.array([self.tokenizer.count(text) for text in texts], dtype=np.int64)
        check_lengths(counts, self._limit, first=first)

    def _encoded(
        self, texts: list[str], *, first: int | None = 0, progress: bool = False
    ) -> FloatArray:
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        with self._turn:
            # An empty prompt: ours are in the texts already, and the model's default is not to be added.
            vectors = self._encoder.encode(
                texts,
                prompt="",
                batch_size=self._options.batch_size,
                show_progress_bar=progress,
                convert_to_numpy=True,
            )
        return normalised(np.array(vectors, dtype=np.float32), first=first)


def _opened(model: str, options: TransformerOptions) -> Any:
    try:
        return SentenceTransformer(
            model,
            device=options.device,
            truncate_dim=options.dimensions,
            local_files_only=options.local_files_only,
            trust_remote_code=options.trust_remote_code,
            revision=options.revision,
        )
    except (OSError, RuntimeError, TypeError, ValueError) as exc:
        raise InvalidArgument(f"The model {model!r} cannot be opened: {exc}") from exc


def _usual_prompts(encoder: Any, known: KnownModel | None) -> Prompts:
    """Those of the model's own configuration, else what it is known to want."""
    own: Mapping[str, str] = encoder.prompts or {}
    passage = next((own[name] for name in _PASSAGE_NAMES if own.get(name)), None)
    return prompts(own.get("query") or None, passage, known=known)


def _given(options: TransformerOptions, usual: Prompts) -> Prompts:
    query, passage = options.query_prompt, options.passage_prompt
    return Prompts(
        query=usual.query if query is None else query,
        passage=usual.passage if passage is None else passage,
        instruction=options.instruction_prompt or usual.instruction,
    )


def _longest(encoder: Any) -> int:
    """Tokens of the longest text that the model reads whole, without those it adds itself."""
    longest = encoder.max_seq_length
    if longest is None:
        raise EmbeddingError("The model does not say how long a text it takes; set max_seq_length.")
    return int(longest) - int(encoder.tokenizer.num_special_tokens_to_add())


def _same_weights(folder: Path, expected: str | None) -> str:
    """A short hash of the model in a folder; raises InvalidArgument if another one was expected."""
    found = _fingerprint(folder)
    if expected not in (None, found):
        raise InvalidArgument(
            f"The model in {folder} is no longer the one that made the vectors ({expected}, now "
            f"{found}): put the old one back, or make a collection with the new one."
        )
    return found


def _fingerprint(folder: Path) -> str:
    """Over names and sizes of all weights and settings, the settings, and samples of the weights.

    Training changes nearly all weights, so samples tell; reading gigabytes would take seconds.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".txt", ".safetensors", ".bin") and path.is_file():
            size = path.stat().st_size
            digest.update(f"{path.relative_to(folder)} {size}\n".encode())
            for sample in _samples(path, size):
                digest.update(sample)
    return digest.hexdigest()[:12]


def _samples(path: Path, size: int) -> Iterator[bytes]:
    if size <= _SAMPLES * _SAMPLE_BYTES:
        yield path.read_bytes()
        return
    with path.open("rb") as file:
        for number in range(_SAMPLES):
            file.seek(number * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
            yield file.read(_SAMPLE_BYTES)
