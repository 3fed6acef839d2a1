"""Vectors made elsewhere: chunks that come with theirs, and collections in and out of files."""

from __future__ import annotations

import csv
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pgrecall
from pgrecall import (
    Collection,
    Database,
    EmbeddedChunk,
    EmbeddedDocument,
    ImportOptions,
    VectorSource,
    errors,
)
from pgrecall.exchange.documents import placed
from pgrecall.types import FloatArray
from tests.embedders import TinyEmbedder

D = 4


@pytest.fixture
def docs(db: Database) -> Collection:
    return db.create_collection("docs", embedder=f"given:elsewhere@{D}")


def unit(n: int) -> FloatArray:
    vector = np.random.default_rng(n).normal(size=D)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def one(uri: str, n: int, content: str | None = None) -> EmbeddedDocument:
    chunk = EmbeddedChunk(content=content or f"Passage {n} of {uri}.", embedding=unit(n))
    return EmbeddedDocument(uri=uri, chunks=[chunk], metadata={"n": n})


def stored(url: str) -> list[tuple[Any, ...]]:
    """All that a collection holds of its documents and chunks, without numbers that count up."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            """
            SELECT c.name, d.tenant_id, d.uri, d.title, d.text, d.mime_type, d.markup, d.language, d.pages,
                   d.metadata::text, d.notes, d.content_hash, k.ordinal, k.start_offset, k.end_offset, k.page,
                   k.token_count, k.headings, k.header, k.content, k.content_hash, k.embedding::text
              FROM pgrecall.chunks AS k JOIN pgrecall.documents AS d USING (tenant_id, document_id)
              JOIN pgrecall.collections AS c USING (collection_id)
             ORDER BY c.name, d.tenant_id, d.uri, k.ordinal
            """
        ).fetchall()


def of(rows: list[tuple[Any, ...]], name: str) -> list[tuple[Any, ...]]:
    return [row[1:] for row in rows if row[0] == name]


def reasons(report: pgrecall.IngestReport) -> dict[str, str]:
    return {failure.uri: failure.reason for failure in report.failed}


def test_documents_come_with_chunks_and_vectors(docs: Collection) -> None:
    text = "Olives ripen in November. Quinces ripen in October."
    chunks = [
        EmbeddedChunk(content="Olives ripen in November.", embedding=unit(1)),
        EmbeddedChunk(content="Quinces ripen in October.", embedding=np.array(unit(2)), start=26),
    ]
    report = docs.add_chunks(EmbeddedDocument(uri="ripe", text=text, chunks=chunks, title="Fruit"))
    assert (report.new, report.chunks, report.embedded, report.failed) == (1, 2, 0, [])
    hit = docs.search(np.array(unit(2)), k=1, mode="vector")[0]
    assert (hit.text, hit.start, hit.end, hit.title) == (
        "Quinces ripen in October.",
        26,
        51,
        "Fruit",
    )
    assert hit.vector_score == pytest.approx(1, abs=1e-3)
    assert docs.document("ripe").text == text
    assert docs.search("quinces", mode="text")[0].start == 26


def test_chunks_that_leave_text_out_are_no_fault(docs: Collection, db: Database) -> None:
    chunk = EmbeddedChunk(content="Two.", embedding=unit(1))
    docs.add_chunks(EmbeddedDocument(uri="gaps", text="One. Two. Three.", chunks=[chunk]))
    with psycopg.connect(db.url) as connection:
        assert connection.execute("SELECT given FROM pgrecall.documents").fetchall() == [(True,)]
    assert db.verify().problems == []


def test_without_a_text_the_chunks_make_it(docs: Collection) -> None:
    chunks = [EmbeddedChunk(content=f"Part {n}.", embedding=unit(n)) for n in range(3)]
    docs.add_chunks([EmbeddedDocument(uri="parts", chunks=chunks)])
    text = docs.document("parts").text
    assert text == "Part 0.\n\nPart 1.\n\nPart 2."
    hit = docs.search(unit(2), k=1, mode="vector")[0]
    assert text[hit.start : hit.end] == hit.text == "Part 2."


def test_what_is_as_it_was_is_skipped_and_the_rest_swapped_whole(
    docs: Collection, database_url: str
) -> None:
    docs.add_chunks([one("a", 1), one("b", 2)])
    again = docs.add_chunks([one("a", 1), one("b", 2)])
    assert (again.unchanged, again.new, again.changed, again.chunks) == (2, 0, 0, 0)
    moved = one("b", 3, content="Passage 2 of b.")
    moved = EmbeddedDocument(uri="b", chunks=moved.chunks, metadata={"n": 2})
    report = docs.add_chunks([one("a", 1), moved])
    assert (report.unchanged, report.changed, report.chunks) == (1, 1, 1), "only the vector changed"
    assert docs.search(unit(3), k=1, mode="vector")[0].vector_score == pytest.approx(1, abs=1e-3)
    shorter = EmbeddedDocument(
        uri="a", text="One. Two.", chunks=[EmbeddedChunk(content="Two.", embedding=unit(4))]
    )
    docs.add_chunks(shorter)
    assert [row[18] for row in of(stored(database_url), "docs") if row[1] == "a"] == ["Two."]


BAD: dict[str, tuple[Any, str]] = {
    "short": ([1.0, 2.0], "a vector of 2 dimensions, and the collection has 4"),
    "nan": ([1.0, math.nan, 0.0, 0.0], "NaN"),
    "infinite": ([1.0, math.inf, 0.0, 0.0], "infinity"),
    "zero": ([0.0] * D, "zeros"),
    "none": (None, "no vector"),
    "words": (["a", "b", "c", "d"], "not a row of numbers"),
    "table": ([[1.0] * D], "shape"),
}


def test_a_bad_vector_is_named_and_stops_nothing(docs: Collection) -> None:
    def broken(name: str) -> EmbeddedDocument:
        chunks = [
            EmbeddedChunk(content="Sound.", embedding=unit(1)),
            EmbeddedChunk(content="Broken.", embedding=BAD[name][0]),
        ]
        return EmbeddedDocument(uri=name, chunks=chunks)

    report = docs.add_chunks([one("first", 1), *map(broken, BAD), one("last", 2)])
    assert report.new == 2
    told = reasons(report)
    assert told.keys() == BAD.keys()
    for name, (_, reason) in BAD.items():
        assert told[name].startswith("Chunk 1 "), told[name]
        assert reason in told[name]


def test_what_is_no_document_is_named(docs: Collection) -> None:
    chunk = EmbeddedChunk(content="Here.", embedding=unit(1))
    elsewhere = EmbeddedChunk(content="Here.", embedding=unit(1), start=3)
    report = docs.add_chunks(
        [
            EmbeddedDocument(uri="same", chunks=[chunk]),
            EmbeddedDocument(uri="same", chunks=[chunk]),
            EmbeddedDocument(uri="bare", chunks=[]),
            EmbeddedDocument(uri="absent", chunks=[chunk], text="There."),
            EmbeddedDocument(uri="shifted", chunks=[elsewhere], text="Here. Here."),
            EmbeddedDocument(uri="blank", chunks=[EmbeddedChunk(content=" ", embedding=unit(1))]),
            EmbeddedDocument(uri="half \ud800", chunks=[chunk]),
            pgrecall.Failure(uri="read", reason="Row 9 is not JSON."),
        ]
    )
    told = reasons(report)
    assert report.new == 1
    assert "earlier" in told["same"]
    assert "no chunks" in told["bare"]
    assert "does not stand in" in told["absent"]
    assert "at 3" in told["shifted"]
    assert "no content" in told["blank"]
    assert told["read"] == "Row 9 is not JSON."
    assert "half \ud800" in told


def test_lengths_that_half_precision_cannot_hold_are_scaled_for_the_cosine(
    docs: Collection,
) -> None:
    big = EmbeddedChunk(content="Big.", embedding=unit(5) * 1e9)
    tiny = EmbeddedChunk(content="Tiny.", embedding=unit(6) * 1e-9)
    report = docs.add_chunks([EmbeddedDocument(uri="odd", chunks=[big, tiny])])
    assert not report.failed
    for n in (5, 6):
        assert docs.search(unit(n), k=1, mode="vector")[0].vector_score == pytest.approx(
            1, abs=1e-3
        )


@given(
    text=st.text(alphabet="ab \n", min_size=1, max_size=60),
    cuts=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 20)), min_size=1, max_size=8),
)
def test_chunks_without_offsets_are_slices(text: str, cuts: list[tuple[int, int]]) -> None:
    # No two begin at one place.
    pieces = [text[start : start + size] for start, size in sorted(dict(cuts).items())]
    pieces = [piece for piece in pieces if piece.strip()]
    if not pieces:
        return
    chunks = [EmbeddedChunk(content=piece, embedding=unit(1)) for piece in pieces]
    made = placed(EmbeddedDocument(uri="u", chunks=chunks, text=text), text, len)
    assert [text[c.start : c.end] for c in made] == pieces
    assert all(a.start < b.start for a, b in pairwise(made))


def test_a_name_stands_for_a_model_that_is_not_here(db: Database) -> None:
    declared = pgrecall.declare_embedder("openai:text-embedding-3-small", 8)
    made = db.create_collection("named", embedder=declared)
    chunk = EmbeddedChunk(content="Olives.", embedding=np.eye(8)[0])
    assert made.add_chunks(EmbeddedDocument(uri="u", chunks=[chunk])).new == 1
    assert made.embedder_name == "openai:text-embedding-3-small@8"
    # In a process that has the name only.
    again = db.collection("named")
    assert again.add_chunks(EmbeddedDocument(uri="v", chunks=[chunk])).new == 1, "without a key"
    assert again.search(np.eye(8)[0], mode="vector")[0].text == "Olives."
    with pytest.raises(errors.CredentialsMissing):
        again.search("olives")
    with pytest.raises(errors.InvalidArgument, match="given:NAME@99"):
        pgrecall.declare_embedder("openai:text-embedding-ada-002", 99)
    with pytest.raises(errors.InvalidArgument, match="ask with an embedding"):
        db.create_collection("unnamed", embedder="given:m@8").search("olives")


def test_a_generation_that_is_being_built_embeds_the_text_itself(
    db: Database, docs: Collection
) -> None:
    docs.add_chunks([one("a", 1)])
    tiny = TinyEmbedder()
    docs.reindex(embedder=tiny)
    docs.add_chunks([one("b", 2), one("a", 3)])
    assert {item.lacking for item in docs.generations()} == {0}
    stale = db.collection("docs")
    docs.activate()
    assert docs.search("Passage 2 of b.", k=1)[0].uri == "b"
    with pytest.raises(errors.InvalidArgument, match="is searched with tiny now"):
        stale.add_chunks([one("c", 1)])


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_a_collection_goes_out_and_comes_back_as_it_was(
    suffix: str, db: Database, database_url: str, tmp_path: Path
) -> None:
    tiny = TinyEmbedder()
    small = pgrecall.ChunkConfig(max_tokens=24, overlap_tokens=6, min_tokens=4)
    source = db.create_collection("source", embedder=tiny, chunking=small)
    text = "# Fruit\n\n" + "\r\n".join(
        f'Line "{n}", says the tide; it is; \u2028 \u00e9.' for n in range(40)
    )
    strange = {"n": 1e22, "list": [1, None, {"a": "\n"}], "": "empty", "float": 0.1}
    source.ingest(
        [
            pgrecall.Document(uri='a, b\n"c"', text=text, markup="markdown", metadata=strange),
            pgrecall.Document(
                uri="d", text=text, title="", tenant_id="t", language="german", pages=(0, 30)
            ),
            *(pgrecall.Document(uri=f"n{n}", text=f"Number {n}.") for n in range(300)),
        ]
    )
    file = tmp_path / f"out{suffix}"
    written = source.export_chunks(file)
    assert written.documents == 302
    assert sorted(written.files) == sorted(tmp_path.iterdir()), "nothing half written is left"
    target = db.create_collection("target", embedder=tiny, chunking=small)
    report = target.import_chunks(VectorSource(file))
    assert (report.layout, report.ingest.new, report.ingest.failed) == ("pgrecall", 302, [])
    assert report.ingest.chunks == report.rows == written.chunks
    rows = stored(database_url)
    assert of(rows, "target") == of(rows, "source")
    again = target.import_chunks(VectorSource(file)).ingest
    assert (again.unchanged, again.chunks) == (302, 0)


def test_a_file_with_a_row_missing_loses_that_document_only(
    docs: Collection, tmp_path: Path
) -> None:
    chunks = [EmbeddedChunk(content=f"Part {n}.", embedding=unit(n)) for n in range(3)]
    docs.add_chunks([EmbeddedDocument(uri="parts", chunks=chunks), one("a", 1), one("b", 2)])
    file = tmp_path / "out.csv"
    docs.export_chunks(file)
    with file.open(newline="") as lines:
        rows = list(csv.reader(lines))
    kept = [row for row in rows if row[8] != "Part 1."]
    with file.open("w", newline="") as lines:
        csv.writer(lines).writerows(kept)
    docs.delete(["parts", "a", "b"])
    report = docs.import_chunks(VectorSource(file)).ingest
    assert report.new == 2
    assert "3 chunks, and the rows of 2 follow" in reasons(report)["parts"]


def rows_of(path: Path, lines: list[Any]) -> Path:
    path.write_text(
        "".join(f"{json.dumps(line) if not isinstance(line, str) else line}\n" for line in lines)
    )
    return path


def test_rows_of_others_name_what_is_wrong_with_them(docs: Collection, tmp_path: Path) -> None:
    row = {"content": "Olives.", "embedding": unit(1).tolist()}
    file = rows_of(
        tmp_path / "rows.jsonl",
        [
            {"id": 1, **row, "metadata": {"kind": "fruit"}, "year": 2021, "score": 0.5},
            {"id": 1, **row},
            {"id": 2, **row, "embedding": [1.0]},
            {"id": 3, **row, "embedding": [0.0] * D},
            "{broken",
            {"id": 4, "embedding": unit(1).tolist()},
            {"id": 5, "content": "No vector."},
            row,
            {"id": 6, **row, "embedding": [math.nan] * D},
            {"id": 7, **row},
        ],
    )
    report = docs.import_chunks(VectorSource(file))
    assert (report.rows, report.ingest.new) == (10, 2)
    told = [failure.reason for failure in report.ingest.failed]
    for row_number, reason in {
        2: "earlier",
        3: "1 dimensions",
        4: "zeros",
        5: "JSON",
        6: "no content",
    }.items():
        assert any(t.startswith(f"Row {row_number} ") and reason in t for t in told), (
            row_number,
            told,
        )
    for row_number, reason in {7: "no vector", 8: "no id", 9: "NaN"}.items():
        assert any(t.startswith(f"Row {row_number} ") and reason in t for t in told), (
            row_number,
            told,
        )
    assert docs.document("1").metadata == {"kind": "fruit", "year": 2021}
    assert report.left == {"score (no metadata)": 1}
    assert report.taken["embedding"] == "vector"


QDRANT = {
    "result": {
        "points": [
            {
                "id": "p1",
                "payload": {"page_content": "Olives.", "metadata": {"year": 1}},
                "vector": {"": unit(1).tolist(), "words": {"indices": [1], "values": [0.5]}},
            },
            {"id": 2, "payload": {"page_content": "Quinces."}, "vector": unit(2).tolist()},
        ],
        "next_page_offset": None,
    },
    "status": "ok",
}
PINECONE = {
    "namespace": "",
    "vectors": {
        "p1": {"id": "p1", "values": unit(1).tolist(), "metadata": {"text": "Olives.", "year": 1}},
        "2": {"id": "2", "values": unit(2).tolist(), "metadata": {"text": "Quinces."}},
    },
}


@pytest.mark.parametrize("response", [QDRANT, PINECONE], ids=["qdrant", "pinecone"])
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_responses_of_qdrant_and_pinecone(
    response: dict[str, Any], suffix: str, docs: Collection, tmp_path: Path
) -> None:
    file = rows_of(tmp_path / f"dump{suffix}", [response])
    report = docs.import_chunks(VectorSource(file))
    assert (report.ingest.new, report.ingest.failed) == (2, [])
    assert docs.document("p1").text == "Olives."
    assert docs.document("p1").metadata == {"year": 1}
    assert docs.search(unit(2), k=1, mode="vector")[0].uri == "2"


def test_a_point_with_several_vectors_needs_a_name(docs: Collection, tmp_path: Path) -> None:
    both = {"title": unit(1).tolist(), "body": unit(2).tolist()}
    point = {"id": 1, "payload": {"text": "Olives."}, "vector": both}
    file = rows_of(tmp_path / "points.jsonl", [point])
    report = docs.import_chunks(VectorSource(file))
    assert "--vector-field" in report.ingest.failed[0].reason
    report = docs.import_chunks(VectorSource(file, ImportOptions(vector_field="body")))
    assert (report.ingest.new, report.left) == (1, {"vector title (another vector)": 1})
    assert docs.search(unit(2), k=1, mode="vector")[0].vector_score == pytest.approx(1, abs=1e-3)


def test_rows_are_put_together_into_documents(docs: Collection, tmp_path: Path) -> None:
    lines = [
        {
            "id": f"{name}{part}",
            "content": f"{name} part {part}.",
            "embedding": unit(10 * part + ord(name)).tolist(),
            "metadata": {"source": name, "part": part, "kind": "fruit"},
        }
        for part in (2, 0, 1)
        for name in "ab"
    ]
    file = rows_of(tmp_path / "rows.jsonl", lines)
    options = ImportOptions(group_by="source", order_by="part", tenant_id="t")
    report = docs.import_chunks(VectorSource(file, options))
    assert (report.ingest.new, report.ingest.chunks) == (2, 6)
    found = docs.document("a", tenant_id="t")
    assert found.text == "a part 0.\n\na part 1.\n\na part 2."
    assert found.metadata == {"source": "a", "kind": "fruit"}
    assert report.left == {"part (differs within a document)": 6}
