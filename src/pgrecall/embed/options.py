"""How an embedder is written as one line, and the options that all remote ones share.

    MODEL[@DIMENSIONS][?query_prompt=...&passage_prompt=...]

Options that change what a vector means are part of an embedder's name: under its name, and by the
text's hash, a vector is found again and reused. Others (address, limits) can be written there too, but
the name does not keep them; a key cannot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from pgrecall.embed.models import KnownModel
from pgrecall.embed.retry import Backoff
from pgrecall.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """What is put in front of texts before they are embedded."""

    query: str = ""
    passage: str = ""
    #: In front of a question that comes with an instruction, ``{instruction}`` in it; None: refused.
    instruction: str | None = None

    def question(self, text: str, instruction: str | None, *, model: str) -> str:
        """The question as the model reads it; raises InvalidArgument for an instruction it cannot use."""
        if instruction is None:
            return self.query + text
        if self.instruction is None:
            raise InvalidArgument(
                f"{model} was not trained to follow instructions: leave instruction out, or open it "
                'with instruction_prompt="Instruct: {instruction}\\nQuery: " if it was.'
            )
        return self.instruction.replace("{instruction}", instruction) + text


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions:
    """How a provider is used. Times are in seconds."""

    #: ``None``: the model's own. Other lengths are for models that can shorten.
    dimensions: int | None = None
    #: Put in front of questions and of passages. ``None``: what the model is known to want.
    query_prompt: str | None = None
    passage_prompt: str | None = None
    #: The same for questions with an instruction: ``{instruction}`` stands for it.
    instruction_prompt: str | None = None
    #: Longest text the model takes. ``None``: what is known of it, else 512.
    max_tokens: int | None = None
    #: Counts them: a name or the path of a tokenizer.json. ``None``: the model's own, else a cautious one.
    tokenizer: str | None = None
    #: Requests under way at a time, at most. How many of these are used adapts to the server.
    concurrency: int = 16
    #: Requests and tokens per minute. ``None``: no limit but what the server's answers say.
    rpm: int | None = None
    tpm: int | None = None
    #: For one attempt.
    timeout: float = 60.0
    #: For one request with all its attempts, from when its first may be sent.
    deadline: float = 300.0
    #: The same for a query, where someone waits: from the beginning.
    query_deadline: float = 30.0
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        positive = ("max_tokens", "concurrency", "rpm", "tpm", "timeout", "deadline")
        for name in (*positive, "query_deadline"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InvalidArgument(f"The option {name} has to be positive.")
        if self.instruction_prompt is not None and "{instruction}" not in self.instruction_prompt:
            raise InvalidArgument('The option instruction_prompt needs "{instruction}" in it.')

    def prompts(self, known: KnownModel | None) -> Prompts:
        """As given, else as the model is known to want them."""
        return prompts(self.query_prompt, self.passage_prompt, self.instruction_prompt, known=known)

    def named(self, model: str, known: KnownModel | None, /, **more: str) -> str:
        """The model and all that changes its vectors; what is usual for it is not written.

        Raises InvalidArgument for a length of vectors that the model cannot give.
        """
        check_dimensions(model, self.dimensions, known)
        natural = known is not None and self.dimensions == known.dimensions
        identified = identity(self.prompts(known), prompts(known=known))
        return written(model, None if natural else self.dimensions, {**identified, **more})


def prompts(
    query: str | None = None,
    passage: str | None = None,
    instruction: str | None = None,
    *,
    known: KnownModel | None,
) -> Prompts:
    """Those given, else the known model's."""
    return Prompts(
        query=_first(query, known.query_prompt if known else ""),
        passage=_first(passage, known.passage_prompt if known else ""),
        instruction=instruction or (known.instruction if known else None),
    )


def _first(given: str | None, usual: str) -> str:
    return usual if given is None else given


def identity(used: Prompts, usual: Prompts) -> dict[str, str]:
    """The prompts that are not the usual ones, as options of a name."""
    pairs = {
        "query_prompt": (used.query, usual.query),
        "passage_prompt": (used.passage, usual.passage),
        "instruction_prompt": (used.instruction or "", usual.instruction or ""),
    }
    return {name: mine for name, (mine, theirs) in pairs.items() if mine != theirs}


def check_dimensions(model: str, asked: int | None, known: KnownModel | None) -> None:
    """Raise InvalidArgument for a length of vectors that the model cannot give."""
    if asked is None:
        return
    if asked < 1:
        raise InvalidArgument(f"{model} has at least one dimension, not {asked}.")
    if known is None or known.gives(asked):
        return
    own, shorter = known.dimensions, known.shorter
    if not shorter:
        raise InvalidArgument(f"{model} always has {own} dimensions, not {asked}.")
    if isinstance(shorter, range):
        raise InvalidArgument(f"{model} has {shorter[0]} to {own} dimensions, not {asked}.")
    listed = ", ".join(map(str, (*shorter, own)))
    raise InvalidArgument(f"{model} has {listed} dimensions, not {asked}.")


def written(model: str, dimensions: int | None, options: Mapping[str, str]) -> str:
    """``MODEL[@DIMENSIONS][?OPTIONS]``, as ``parsed`` reads it."""
    shown = model if dimensions is None else f"{model}@{dimensions}"
    return f"{shown}?{urlencode(options, quote_via=quote)}" if options else shown


Options = TypeVar("Options")


def parsed(kind: type[Options], model: str, options: Mapping[str, Any]) -> tuple[str, Options]:
    """Model and options from ``MODEL[@DIMENSIONS][?OPTIONS]`` and a mapping; raises InvalidArgument."""
    name, given = split(model)
    given = {option: _typed(kind, option, value) for option, value in given.items()}
    for option in given.keys() & options.keys():
        if options[option] not in (None, given[option]):
            raise InvalidArgument(
                f"The name asks for {given[option]} {option} and the option for {options[option]}; "
                "leave one of them out."
            )
    known = [option.name for option in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted((given.keys() | options.keys()) - set(known)):
        raise InvalidArgument(
            f"There is no option {', '.join(unknown)}; there are: {', '.join(known)}."
        )
    return name, kind(**{**options, **given})


def _typed(kind: type[Any], option: str, value: Any) -> Any:
    """The value of an option that was written in a name."""
    annotation = {field.name: str(field.type) for field in fields(kind)}.get(option, "str")
    for type_, number in (("int", int), ("float", float)):
        if annotation.startswith(type_):
            try:
                return number(value)
            except ValueError as exc:
                raise InvalidArgument(f"The option {option} is a number, not {value!r}.") from exc
    if option == "api_key" or not annotation.startswith(("str", "Literal")):
        raise InvalidArgument(f"The option {option} cannot be written in a name; pass it as one.")
    return value


def split(model: str) -> tuple[str, dict[str, Any]]:
    """The model, and the options that are written behind it. Raises InvalidArgument."""
    front, _, query = model.partition("?")
    given: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    name, at, digits = front.rpartition("@")
    if not at:
        return front, given
    # In a folder's name, @ may mean anything.
    if not re.fullmatch(r"[0-9]+", digits):
        if "/" in front:
            return front, given
        raise InvalidArgument(f"After @ comes a number of dimensions, like @1024; got {digits!r}.")
    return name, {**given, "dimensions": int(digits)}
