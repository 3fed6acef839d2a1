"""Collections out and in as a law, and what Qdrant and Pinecone document of their points and records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import pgrecall
from pgrecall import ChunkConfig, Collection, Database, Document, ImportOptions, VectorSource
from pgrecall.errors import InvalidArgument
from pgrecall.types import FloatArray
from tests.embedders import TinyEmbedder
from tests.test_queue import work

NUMBER = count()
CHUNKS = ChunkConfig(max_tokens=16, overlap_tokens=4, min_tokens=2)


class Seeing(TinyEmbedder):
    """Its vectors are not of length 1, and some are very short."""

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        lengths = np.array([[10.0 ** -(len(text) % 5)] for text in texts], dtype=np.float32)
        scaled: FloatArray = super().embed_documents(texts) * lengths
        return scaled

    def embed_images(self, images: Sequence[bytes]) -> FloatArray:
        return self.embed_documents([image.hex() for image in images])


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
names = words.filter(str.strip)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
prose = st.lists(
    st.sampled_from(
        [
            "# Head\n\n",
            "## Below\n\n",
            "one two three. ",
            "vier fünf\r\n",
            "\n\n",
            '"a", ',
            "\u2028x ",
        ]
    )
    | words,
    min_size=1,
    max_size=40,
).map(lambda parts: "".join(parts) + "end")


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text = draw(prose)
    pages = draw(st.lists(st.integers(0, len(text)), max_size=3, unique=True).map(sorted))
    return Document(
        uri=draw(names),
        text=text,
        title=draw(st.none() | words),
        metadata=draw(st.dictionaries(words, values, max_size=3)),
        tenant_id=draw(st.sampled_from(["", "t", 'tenant, "2"'])),
        mime_type=draw(st.sampled_from(["text/plain", "text/markdown"])),
        markup=draw(st.sampled_from([None, "plain", "markdown", "code"])),
        language=draw(st.sampled_from([None, "german"])),
        pages=tuple([0, *pages][: len(pages)]),
        notes=tuple(draw(st.lists(words, max_size=2))),
        media=draw(st.none() | st.none() | st.binary(min_size=1, max_size=20)),
        source=draw(st.none() | names),
    )


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
@pytest.mark.parametrize("storage", ["halfvec", "vector"])
# Without looking for the smallest counterexample: that would take minutes of a database's time.
@settings(
    max_examples=2,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    corpus=st.lists(documents(), min_size=1, max_size=8, unique_by=lambda d: (d.tenant_id, d.uri))
)
def test_out_and_in_is_the_identity(
    suffix: str, storage: Any, database_url: str, tmp_path: Path, corpus: list[Document]
) -> None:
    number = next(NUMBER)
    # Opened here: hypothesis minds what the threads of a pool do while it thinks of the next example.
    with pgrecall.connect(database_url) as db:
        made = [
            db.create_collection(
                f"{name} {number}", embedder=Seeing(), chunking=CHUNKS, storage=storage
            )
            for name in ("source", "target")
        ]
        assert made[0].ingest(corpus).failed == []
        file = tmp_path / f"out{number}{suffix}"
        written = made[0].export_chunks(file)
        assert written.documents == len(corpus)
        report = made[1].import_chunks(VectorSource(file))
        assert report.ingest.failed == []
        before, after = (stored(db.url, docs.name) for docs in made)
        assert after == before
        assert made[1].ingest(corpus).unchanged == len(corpus)
        assert db.verify().problems == []


def test_documents_without_text_are_counted(db: Database, tmp_path: Path) -> None:
    """A row is a chunk, and they have none."""
    docs = db.create_collection("docs", embedder=Seeing(), chunking=CHUNKS)
    with psycopg.connect(db.url) as connection:
        connection.execute(
            "SELECT pgrecall.enqueue('docs', 'd' || n, '') FROM generate_series(1, 3) AS n"
        )
    work(db.url, Seeing())
    docs.ingest(Document(uri="a", text="the tide"))
    for suffix in (".npy", ".csv", ".parquet"):
        report = docs.export_chunks(tmp_path / f"out{suffix}")
        assert (report.documents, report.chunks, report.without_chunks) == (1, 1, 3)
        copy = db.create_collection(suffix, embedder=Seeing(), chunking=CHUNKS)
        copy.import_chunks(VectorSource(tmp_path / f"out{suffix}"))
        assert (copy.status().documents, copy.search("tide")[0].uri) == (1, "a")


def stored(url: str, collection: str) -> list[tuple[Any, ...]]:
    """All that a collection holds of its documents and chunks, but numbers that count up."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            """
            SELECT d.tenant_id, d.uri, d.title, d.text, d.mime_type, d.markup, d.language, d.pages,
                   d.metadata::text, d.notes, d.content_hash, d.source, d.media, k.ordinal, k.start_offset,
                   k.end_offset, k.page, k.token_count, k.headings, k.header, k.content, k.content_hash,
                   k.metadata::text, k.uri, k.title, k.embedding::text, k.embedding_full::text
              FROM pgrecall.chunks AS k JOIN pgrecall.documents AS d USING (tenant_id, document_id)
              JOIN pgrecall.collections AS c USING (collection_id)
             WHERE c.name = %s ORDER BY d.tenant_id, d.uri, k.ordinal
            """,
            [collection],
        ).fetchall()


V = [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]
SPARSE = {"indices": [7, 9], "values": [0.5, 0.25]}
MULTI = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5]]


def points(*found: dict[str, Any]) -> dict[str, Any]:
    """A response of Qdrant's scroll."""
    result = {"points": list(found), "next_page_offset": None}
    return {"result": result, "status": "ok", "time": 0.001, "usage": None}


def dump(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def docs(db: Database) -> Collection:
    return db.create_collection("docs", embedder="given:m@3")


def test_points_of_qdrant(docs: Collection, tmp_path: Path) -> None:
    page = points(
        {
            "id": "5c56c793-69f3-4fbf-87e6-c4bf54c28c26",
            "payload": {"text": "Olives.", "score": 3, "version": "v2", "tags": ["a", "b"]},
            "vector": {"body": V[0], "title": V[1], "words": SPARSE, "tokens": MULTI},
            "shard_key": "eu",
            "order_value": 42,
        },
        {"id": 2, "payload": {"text": "Plums."}, "vector": {"words": SPARSE, "body": V[1]}},
        {"id": 3, "payload": {"text": "Pears."}, "vector": {"words": SPARSE, "tokens": MULTI}},
        {"id": 4, "payload": {"text": "Figs."}, "vector": MULTI},
        {"id": 5, "payload": None, "vector": V[2]},
        {"id": 6, "version": 7, "score": 0.5, "payload": {"text": "Limes."}, "vector": V[2]},
        {"id": 7, "payload": {"text": "Unasked."}},
    )
    file = dump(tmp_path / "scroll.jsonl", page)
    with pytest.raises(InvalidArgument, match="several in each row"):
        _ = VectorSource(dump(tmp_path / "one.jsonl", page["result"]["points"][0])).dimensions
    source = VectorSource(file, ImportOptions(vector_field="body"))
    assert source.dimensions == 3
    report = docs.import_chunks(source)
    assert report.ingest.new == 3
    first = docs.document("5c56c793-69f3-4fbf-87e6-c4bf54c28c26")
    assert first.metadata == {"score": 3, "version": "v2", "tags": ["a", "b"]}
    assert docs.document("6").metadata == {}
    assert report.left == {
        "vector title (another vector)": 1,
        "vector words (a sparse vector)": 2,
        "vector tokens (a multivector)": 1,
        "shard_key (no metadata)": 1,
        "order_value (no metadata)": 1,
        "version (no metadata)": 1,
        "score (no metadata)": 1,
    }
    told = {failure.uri: failure.reason for failure in report.ingest.failed}
    assert told.keys() == {"3", "4", "5", "7"}
    assert "sparse vectors and multivectors are not taken" in told["3"]
    assert "sparse vectors and multivectors are not taken" in told["4"]
    assert "no content" in told["5"]
    assert "no vector" in told["7"]


def record(identity: str, text: str, n: int, **more: Any) -> dict[str, Any]:
    """As Pinecone's fetch answers."""
    return {"id": identity, "values": V[n], "metadata": {"text": text, "year": n}, **more}


def test_records_of_pinecone_and_their_namespaces(docs: Collection, tmp_path: Path) -> None:
    def fetched(namespace: str, *records: dict[str, Any]) -> dict[str, Any]:
        vectors = {one["id"]: one for one in records}
        return {"vectors": vectors, "namespace": namespace, "usage": {"readUnits": 1}}

    file = dump(
        tmp_path / "fetch.jsonl",
        fetched("one", record("a", "Olives.", 0, sparseValues=SPARSE), record("b", "Plums.", 1)),
        fetched("two", record("a", "Pears.", 2), {**record("c", "Figs.", 0), "values": []}),
        fetched("", record("a", "Limes.", 1)),
        {"matches": [{**record("d", "Dates.", 1), "score": 0.9}], "namespace": "__default__"},
    )
    by_name = docs.import_chunks(VectorSource(file))
    assert by_name.ingest.new == 3
    assert [f.reason.partition(", ")[0] for f in by_name.ingest.failed] == [
        "Row 2",
        "Row 2",
        "Row 3",
    ]
    assert docs.document("a").metadata == {"year": 0, "namespace": "one"}
    docs.delete(["a", "b", "d"])

    report = docs.import_chunks(VectorSource(file, ImportOptions(tenant_field="namespace")))
    assert report.ingest.new == 5
    assert report.taken["namespace"] == "tenant"
    assert report.left == {"sparseValues (no metadata)": 1, "score (no metadata)": 1}
    texts = [docs.document("a", tenant_id=tenant).text for tenant in ("one", "two", "")]
    assert texts == ["Olives.", "Pears.", "Limes."]
    assert docs.document("a", tenant_id="one").metadata == {"year": 0}
    assert "sparse" in report.ingest.failed[0].reason
    together = ImportOptions(tenant_field="namespace", group_by="year")
    assert docs.import_chunks(VectorSource(file, together)).ingest.new == 4
    assert docs.document("1", tenant_id="one").text == "Plums."
    assert docs.document("1").text == "Limes.\n\nDates."


def test_documents_of_pinecone(docs: Collection, tmp_path: Path) -> None:
    """As its newer interface gives them: fields of any name, in one object."""
    one = {"_id": "a", "body": "Olives.", "dense": V[0], "sparse": SPARSE, "year": 1}
    page = {"documents": {"a": one}, "namespace": "n", "usage": {"read_units": 1}}
    options = ImportOptions(vector_field="dense", tenant_field="namespace")
    report = docs.import_chunks(VectorSource(dump(tmp_path / "page.json", page), options))
    assert (report.ingest.new, report.ingest.failed) == (1, [])
    assert docs.document("a", tenant_id="n").metadata == {"year": 1}
    assert report.left == {"sparse (a sparse vector)": 1}


def test_a_folder_for_pinecones_bulk_import(docs: Collection, tmp_path: Path) -> None:
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("values", pa.list_(pa.float32())),
            ("metadata", pa.string()),
            (
                "sparse_values",
                pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))]),
            ),
        ]
    )
    for number, (namespace, text) in enumerate([("__default__", "Olives."), ("fruit", "Plums.")]):
        folder = tmp_path / "import" / namespace
        folder.mkdir(parents=True)
        rows = [
            {"id": "a", "values": V[number], "metadata": json.dumps({"text": text, "n": number})},
            {"id": "b", "values": V[2], "metadata": None, "sparse_values": SPARSE},
        ]
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema), folder / "0.parquet")
        (folder / ".log").touch()
    options = ImportOptions(tenant_field="namespace")
    report = docs.import_chunks(VectorSource(tmp_path / "import", options))
    assert (report.layout, report.rows, report.ingest.new) == ("parquet", 4, 2)
    assert docs.document("a").metadata == {"n": 0}
    assert docs.document("a", tenant_id="fruit").text == "Plums."
    reasons = [failure.reason for failure in report.ingest.failed]
    assert [reason.partition(",")[0] for reason in reasons] == [
        "__default__/0.parquet",
        "fruit/0.parquet",
    ]
    assert all("no content" in reason for reason in reasons)


def test_a_field_and_a_key_of_one_name(docs: Collection, tmp_path: Path) -> None:
    row = {"id": "a", "text": "Olives.", "vector": V[0], "year": 2, "kind": "tree"}
    file = dump(tmp_path / "rows.jsonl", {**row, "metadata": {"year": 1, "kind": "tree"}})
    report = docs.import_chunks(VectorSource(file))
    assert docs.document("a").metadata == {"year": 2, "kind": "tree"}
    assert report.left == {"year (in the metadata, of another value than the field)": 1}


def test_points_that_the_client_of_qdrant_itself_dumps(docs: Collection, tmp_path: Path) -> None:
    qdrant = pytest.importorskip("qdrant_client", reason="needs pip install qdrant-client")
    models = qdrant.models
    client = qdrant.QdrantClient(":memory:")
    cosine = models.Distance.COSINE
    many = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    client.create_collection(
        "fruit",
        vectors_config={
            "body": models.VectorParams(size=3, distance=cosine),
            "tokens": models.VectorParams(size=2, distance=cosine, multivector_config=many),
        },
        sparse_vectors_config={"words": models.SparseVectorParams()},
    )
    client.upsert(
        "fruit",
        [
            models.PointStruct(
                id=n,
                payload={"page_content": text, "metadata": {"n": n}},
                vector={
                    "body": V[n],
                    "tokens": MULTI,
                    "words": models.SparseVector(**SPARSE),
                },
            )
            for n, text in enumerate(["Olives.", "Plums."])
        ],
    )
    found, _ = client.scroll("fruit", with_payload=True, with_vectors=True)
    file = dump(
        tmp_path / "points.jsonl", *(json.loads(point.model_dump_json()) for point in found)
    )
    report = docs.import_chunks(VectorSource(file))
    assert (report.ingest.new, report.ingest.failed) == (2, [])
    assert report.left == {"vector tokens (a multivector)": 2, "vector words (a sparse vector)": 2}
    hit = docs.search(np.array(V[1]), mode="vector", k=1)[0]
    assert (hit.text, hit.metadata) == ("Plums.", {"n": 1})
