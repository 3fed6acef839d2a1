"""A local server that speaks Cohere's protocols of reranking and of embedding; see vendor_server.

The relevance of a text is the share of the question's words that it holds. The vector of a text depends
on nothing but the text, the side (its input_type) and the dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.vendor_server import Answer, Body, Fault, VendorServer, vector

__all__ = ["CohereServer", "Fault", "relevance", "vector"]

DIMENSIONS = {"embed-v4.0": 1536, "embed-english-light-v3.0": 384}
MAX_TEXTS = 96


def relevance(question: str, text: str) -> float:
    words = question.lower().split()
    return sum(word in text.lower() for word in words) / len(words)


class CohereServer(VendorServer):
    """Listens on a free local port while it is entered."""

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def keys(self) -> list[str]:
        return [
            request.headers["authorization"].removeprefix("Bearer ") for request in self.requests
        ]

    def error_body(self, error: Mapping[str, str]) -> str:
        return json.dumps(dict(error))

    def answer_to(self, path: str, body: Body, fault: Fault) -> Answer:
        if path == "/v2/rerank":
            results = _results(body)
            found = fault.spoil(results) if fault.spoil else results
            return Answer(content=json.dumps({"id": "x", "results": found}))
        if path != "/v2/embed":
            return Answer(content=self.error_body({"message": f"no {path} here"}), status=404)
        if len(body["texts"]) > MAX_TEXTS:
            return Answer(content=self.error_body({"message": "too many texts"}), status=400)
        rows = _rows(body)
        found = fault.spoil(rows) if fault.spoil else rows
        told = {"id": "x", "response_type": "embeddings_by_type", "texts": body["texts"]}
        return Answer(content=json.dumps({**told, "embeddings": {"float": found}}))


def _results(body: Body) -> list[dict[str, Any]]:
    """Best first, as Cohere answers."""
    scores = [relevance(body["query"], text) for text in body["documents"]]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [{"index": index, "relevance_score": scores[index]} for index in order]


def _rows(body: Body) -> list[list[float]]:
    dimensions = body.get("output_dimension") or DIMENSIONS[body["model"]]
    return [vector(text, body["input_type"], dimensions).tolist() for text in body["texts"]]
