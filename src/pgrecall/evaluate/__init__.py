"""How well models do on a user's own documents, measured side by side."""

from __future__ import annotations

from pgrecall.evaluate.models import evaluate
from pgrecall.evaluate.questions import JudgedQuestion, read_questions
from pgrecall.evaluate.report import ModelReport, ModelResult
from pgrecall.evaluate.sample import Evaluation

__all__ = [
    "Evaluation",
    "JudgedQuestion",
    "ModelReport",
    "ModelResult",
    "evaluate",
    "read_questions",
]
