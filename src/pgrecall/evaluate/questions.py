"""Questions to measure with, and what answers them: from files, or pieces of the texts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pgrecall.errors import InvalidArgument, UnreadableSource
from pgrecall.types import Document

#: Names of the question's text and of its number in JSON lines; BEIR writes "text" and "_id".
_TEXTS, _NUMBERS = ("question", "query", "text"), ("_id", "id", "query_id")
#: Words of a piece of a text: about as many as a question has.
WORDS = 8


@dataclass(frozen=True, slots=True)
class JudgedQuestion:
    """A question, and how relevant documents are to it, where that is known."""

    text: str
    #: Uri -> grade: 0 for not relevant, 1 and more for relevant.
    relevant: Mapping[str, int] = field(default_factory=dict)


def read_questions(path: str | Path, qrels: str | Path | None = None) -> list[JudgedQuestion]:
    """Questions from a file: one a line, or JSON lines such as
    ``{"question": "...", "relevant": ["uri"]}``; ``relevant`` may also map uris to grades.

    With ``qrels``, a file of judgements as TREC (``query 0 uri grade``) or BEIR (tab-separated ``query uri
    grade`` under a heading) has them, the lines have an ``_id``: ``{"_id": "q1", "text": "..."}``.

    Raises UnreadableSource, and InvalidArgument for a line that is neither.
    """
    judged = None if qrels is None else _read_qrels(qrels)
    lines = enumerate(_lines(path, "questions"), 1)
    found = [_question(line, number, judged) for number, line in lines if line.strip()]
    if not found:
        raise InvalidArgument(f"{path} holds no question: write one a line.")
    if judged is not None and not any(question.relevant for question in found):
        raise InvalidArgument(
            f'No question of {path} has judgements in {qrels}: each needs its "_id" there.'
        )
    return found


def known_items(documents: Iterable[Document]) -> list[JudgedQuestion]:
    """A piece of each text, which its document answers: a question where nobody wrote any."""
    return [
        JudgedQuestion(piece, {document.uri: 1})
        for document in documents
        if (piece := _piece(document.text))
    ]


def _piece(text: str) -> str:
    words = text.split()
    start = max(0, len(words) - WORDS) // 2
    return " ".join(words[start : start + WORDS])[:240]


def _lines(path: str | Path, what: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise UnreadableSource(f"The {what} in {path} cannot be read: {exc}.") from exc


def _question(
    line: str, number: int, judged: Mapping[str, Mapping[str, int]] | None
) -> JudgedQuestion:
    if not line.lstrip().startswith("{"):
        return JudgedQuestion(line.strip())
    try:
        values = json.loads(line)
        relevant = values.get("relevant") or {}
        if isinstance(relevant, list):
            relevant = dict.fromkeys(relevant, 1)
        grades = {str(uri): int(grade) for uri, grade in relevant.items()}
        text = next(values[name] for name in _TEXTS if name in values)
    except (ValueError, StopIteration, TypeError, AttributeError) as exc:
        raise InvalidArgument(
            f'Line {number} of the questions is no {{"question": "...", "relevant": ["uri"]}}: {exc!r}.'
        ) from exc
    if not isinstance(text, str) or not text.strip():
        raise InvalidArgument(f"The question of line {number} is empty.")
    if judged is not None:
        identity = next((str(values[name]) for name in _NUMBERS if name in values), "")
        grades |= judged.get(identity, {})
    return JudgedQuestion(text, grades)


def _read_qrels(path: str | Path) -> Mapping[str, Mapping[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for number, line in enumerate(_lines(path, "judgements"), 1):
        # Uris may have blanks in them, where tabs divide.
        parts = line.split("\t") if "\t" in line else line.split()
        if not parts or (number == 1 and not _is_number(parts[-1])):
            continue
        if len(parts) not in (3, 4) or not _is_number(parts[-1]):
            raise InvalidArgument(
                f"Line {number} of {path} is no judgement: write QUERY 0 URI GRADE (TREC) or QUERY, URI "
                "and GRADE with tabs between (BEIR)."
            )
        found[parts[0]][parts[-2]] = int(parts[-1])
    return found


def _is_number(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True
