"""Other stores, read with their vectors: tables as their adapters lay them out, and Chroma."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import psycopg
import pytest

import pgrecall
from pgrecall import Database, ImportOptions, VectorSource, errors
from tests.acceptance.conftest import Cli, cli, lines, process

__all__ = ["cli", "process"]

V = ["[1,0,0]", "[0,1,0]", "[0,0,1]"]


def sql(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements)


LANGCHAIN_V1 = """
    CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar NOT NULL UNIQUE, cmetadata json);
    CREATE TABLE langchain_pg_embedding (
        id varchar PRIMARY KEY, collection_id uuid REFERENCES langchain_pg_collection ON DELETE CASCADE,
        embedding vector, document varchar, cmetadata jsonb);
    INSERT INTO langchain_pg_collection VALUES
        ('00000000-0000-0000-0000-000000000001', 'fruit', NULL),
        ('00000000-0000-0000-0000-000000000002', 'tools', NULL);
    INSERT INTO langchain_pg_embedding VALUES
        ('a', '00000000-0000-0000-0000-000000000001', '[1,0,0]', 'Olives.', '{"source": "o", "year": 2021}'),
        ('b', '00000000-0000-0000-0000-000000000001', '[0,1,0]', 'Quinces.', '{"source": "q"}'),
        ('c', '00000000-0000-0000-0000-000000000002', '[0,0,1]', 'Hammers.', '{}');
"""
LANGCHAIN_V2 = """
    CREATE TABLE passages (langchain_id uuid PRIMARY KEY, content text NOT NULL, embedding vector(3) NOT NULL,
                           year integer, langchain_metadata json);
    INSERT INTO passages VALUES
        ('00000000-0000-0000-0000-00000000000a', 'Olives.', '[1,0,0]', 2021, '{"source": "o"}'),
        ('00000000-0000-0000-0000-00000000000b', 'Quinces.', '[0,1,0]', NULL, NULL);
"""
LLAMA_INDEX = """
    CREATE TABLE data_fruit (id bigserial PRIMARY KEY, text varchar NOT NULL, metadata_ json, node_id varchar,
        embedding halfvec(3),
        text_search_tsv tsvector GENERATED ALWAYS AS (to_tsvector('english', text)) STORED);
    INSERT INTO data_fruit (text, metadata_, node_id, embedding) VALUES
        ('Olives.', '{"source": "o", "year": 2021, "_node_content": "{}", "_node_type": "TextNode"}',
         'a', '[1,0,0]'),
        ('Quinces.', '{"source": "q", "_node_content": "{}", "_node_type": "TextNode"}', 'b', '[0,1,0]');
"""
HAYSTACK = """
    CREATE TABLE haystack_documents (id varchar(128) PRIMARY KEY, embedding vector(3), content text,
        blob_data bytea, blob_meta jsonb, blob_mime_type varchar(255), meta jsonb);
    INSERT INTO haystack_documents (id, embedding, content, meta) VALUES
        ('a', '[1,0,0]', 'Olives.', '{"source": "o", "year": 2021}'), ('b', '[0,1,0]', 'Quinces.', '{}');
"""
SUPABASE = """
    CREATE TABLE documents (id bigserial PRIMARY KEY, content text, metadata jsonb, embedding vector(3),
        created_at timestamptz DEFAULT '2026-01-01T00:00:00Z', fts tsvector);
    INSERT INTO documents (content, metadata, embedding) VALUES
        ('Olives.', '{"source": "o", "year": 2021}', '[1,0,0]'), ('Quinces.', NULL, '[0,1,0]');
"""


@pytest.mark.parametrize(
    ("layout", "statements", "options", "left"),
    [
        ("LangChain (v1)", LANGCHAIN_V1, {"collection": "fruit"}, ["collection_id"]),
        ("LangChain (v2)", LANGCHAIN_V2, {}, []),
        ("LlamaIndex", LLAMA_INDEX, {}, ["_node_content", "_node_type", "id", "text_search_tsv"]),
        ("Haystack", HAYSTACK, {}, ["blob_data", "blob_meta", "blob_mime_type"]),
        ("a table", SUPABASE, {"table": "public.documents"}, ["fts"]),
    ],
)
def test_tables_as_others_lay_them_out(
    layout: str, statements: str, options: dict[str, str], left: list[str], db: Database
) -> None:
    sql(db.url, statements)
    source = VectorSource(db.url, ImportOptions(**options))
    assert source.dimensions == 3
    docs = db.create_collection("docs", embedder="given:m@3")
    report = docs.import_chunks(source)
    assert (report.layout, report.rows, report.ingest.new) == (layout, 2, 2)
    assert report.ingest.failed == []
    assert sorted(name.partition(" ")[0] for name in report.left) == left
    found = docs.search(np.array([1.0, 0, 0]), mode="vector", k=1, where={"year": 2021})[0]
    assert found.text == "Olives."
    assert found.vector_score == pytest.approx(1)
    assert found.metadata["source"] == "o"
    if layout == "a table":
        assert found.metadata["created_at"].startswith("2026-01-01T00:00:00")
    again = docs.import_chunks(VectorSource(db.url, ImportOptions(**options)))
    assert again.ingest.unchanged == 2


def test_a_hand_written_table_with_names_of_its_own(db: Database) -> None:
    sql(
        db.url,
        """
        CREATE SCHEMA app;
        CREATE TABLE app.kb (slug text, body_md text, emb_a vector(3), emb_b double precision[], tags text[]);
        INSERT INTO app.kb VALUES ('a', 'Olives.', '[1,0,0]', '{0,1,0}', '{x,y}'),
            ('b', 'Quinces.', NULL, '{0,NaN,0}', NULL), ('c', NULL, '[1,0,0]', '{0,1}', NULL),
            ('d', 'Plums.', '[0,0,0]', '{0,0,0}', NULL);
        """,
    )
    docs = db.create_collection("docs", embedder="given:m@3")
    options = {"table": "app.kb", "id_field": "slug", "content_field": "body_md"}
    report = docs.import_chunks(VectorSource(db.url, ImportOptions(**options)))
    told = {failure.uri: failure.reason for failure in report.ingest.failed}
    assert told["b"] == "Row 2 has no vector."
    assert told["c"].startswith("Row 3 has no content")
    assert "zeros" in told["d"]
    assert report.left == {"emb_b (of type _float8)": 4}
    assert docs.document("a").metadata == {"tags": ["x", "y"]}
    other = VectorSource(db.url, ImportOptions(**options, vector_field="emb_b"))
    report = docs.import_chunks(other)
    assert report.ingest.changed == 1
    assert "NaN" in report.ingest.failed[0].reason
    with pytest.raises(errors.InvalidArgument, match=r"no table 'nothing'"):
        VectorSource(db.url, ImportOptions(table="nothing"))


def test_what_cannot_be_told_apart_is_asked_for(db: Database) -> None:
    with pytest.raises(errors.InvalidArgument, match="there: none"):
        VectorSource(db.url)
    sql(db.url, LANGCHAIN_V1 + HAYSTACK)
    with pytest.raises(errors.InvalidArgument, match=r"--table NAME.*public.haystack_documents"):
        VectorSource(db.url)
    with pytest.raises(errors.InvalidArgument, match=r"--source-collection.*fruit, tools"):
        VectorSource(db.url, ImportOptions(table="langchain_pg_embedding"))


def test_out_and_in_on_the_command_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "olives.txt").write_text("Olives ripen in November.")
    cli("ingest", tmp_path / "olives.txt")
    (written,) = lines(cli("export", "default", tmp_path / "out.csv", "--json"))
    assert (written["documents"], written["chunks"]) == (1, 1)
    done = cli("import", tmp_path / "out.csv", "-c", "copy")
    assert done.returncode == 1
    assert "--embedder" in done.stderr
    done = cli("import", tmp_path / "out.csv", "-c", "copy", "--embedder", "static")
    assert done.returncode == 0, done.stderr
    assert "1 new" in done.stdout
    assert "Olives" in cli("search", "november olives", "-c", "copy").stdout
    file = tmp_path / "rows.jsonl"
    good = {"id": "x", "text": "Quinces.", "values": [0.5, 0.5], "extra": 1}
    file.write_text(json.dumps(good) + "\n" + json.dumps({**good, "values": [1]}) + "\n")
    arguments = ["import", file, "-c", "rows", "--embedder", "given:m"]
    done = cli(*arguments)
    assert done.returncode == 0
    assert "taken: values as vector" in done.stdout
    assert "x: Row 2 has a vector of 1 dimensions, and the collection has 2." in done.stderr
    assert cli(*arguments, "--strict").returncode == 1


def test_awaited(database_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder="given:m@2")
            chunk = pgrecall.EmbeddedChunk(content="Olives.", embedding=[1.0, 0.0])
            report = await docs.add_chunks(pgrecall.EmbeddedDocument(uri="u", chunks=[chunk]))
            assert report.new == 1
            written = await docs.export_chunks(tmp_path / "out.npy")
            assert np.load(written.files[0]).tolist() == [[1.0, 0.0]]
            copy = await db.create_collection("copy", embedder="given:m@2")
            done = await copy.import_chunks(VectorSource(tmp_path / "out.npy"))
            assert done.ingest.new == 1

    asyncio.run(main())


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").touch()
    with pytest.raises(errors.InvalidArgument, match="known kind"):
        VectorSource(tmp_path / "rows.txt")
    with pytest.raises(errors.UnreadableSource, match="no file"):
        VectorSource(tmp_path / "none.csv")
    with pytest.raises(errors.UnreadableSource, match="no folder of Chroma and has no Parquet"):
        VectorSource(tmp_path)
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))
    with pytest.raises(errors.UnreadableSource, match=r"a\.jsonl beside it"):
        VectorSource(tmp_path / "a.npy")
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    with pytest.raises(errors.UnreadableSource, match="no Parquet"):
        VectorSource(tmp_path / "b.parquet")


def test_chroma(db: Database, tmp_path: Path) -> None:
    chromadb = pytest.importorskip("chromadb", reason="needs pip install '.[chroma]'")
    settings = chromadb.config.Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(str(tmp_path), settings)
    made = client.create_collection("fruit", embedding_function=None)
    made.add(
        ids=["a", "b", "bare"],
        documents=["Olives.", "Quinces.", None],
        embeddings=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        metadatas=[{"year": 2021, "source": "o"}, None, None],
    )
    report = db.create_collection("docs", embedder="given:m@3").import_chunks(
        VectorSource(tmp_path)
    )
    assert (report.layout, report.ingest.new) == ("Chroma", 2)
    assert [failure.uri for failure in report.ingest.failed] == ["bare"]
    found = db.collection("docs").search(np.array([1.0, 0, 0]), mode="vector", k=1)[0]
    assert (found.text, found.metadata) == ("Olives.", {"year": 2021, "source": "o"})


def test_tables_that_langchain_itself_makes(db: Database) -> None:
    pytest.importorskip("langchain_postgres", reason="needs pip install langchain-postgres")
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_postgres import PGEngine, PGVectorStore

    engine = PGEngine.from_connection_string(
        db.url.replace("postgresql://", "postgresql+psycopg://")
    )
    engine.init_vectorstore_table("passages", vector_size=3)
    store = PGVectorStore.create_sync(engine, DeterministicFakeEmbedding(size=3), "passages")
    store.add_texts(["Olives.", "Quinces."], metadatas=[{"source": "o"}, {"source": "q"}])
    docs = db.create_collection("docs", embedder="given:m@3")
    report = docs.import_chunks(VectorSource(db.url))
    assert (report.layout, report.ingest.new, report.ingest.failed) == ("LangChain (v2)", 2, [])
    asked = np.array(DeterministicFakeEmbedding(size=3).embed_query("Olives."), np.float32)
    assert docs.search(asked, mode="vector", k=1)[0].text == "Olives."


def test_tables_that_llama_index_itself_makes(db: Database) -> None:
    pytest.importorskip(
        "llama_index.vector_stores.postgres",
        reason="needs pip install llama-index-vector-stores-postgres",
    )
    from llama_index.core.schema import TextNode
    from llama_index.vector_stores.postgres import PGVectorStore

    url = db.url.replace("postgresql://", "postgresql+psycopg://")
    store = PGVectorStore(
        connection_string=url,
        async_connection_string=url,
        table_name="fruit",
        embed_dim=3,
        hybrid_search=True,
    )
    store.add(
        [
            TextNode(id_="a", text="Olives.", metadata={"source": "o"}, embedding=[1.0, 0.0, 0.0]),
            TextNode(id_="b", text="Quinces.", metadata={"source": "q"}, embedding=[0.0, 1.0, 0.0]),
        ]
    )
    docs = db.create_collection("docs", embedder="given:m@3")
    report = docs.import_chunks(VectorSource(db.url))
    assert (report.layout, report.ingest.new, report.ingest.failed) == ("LlamaIndex", 2, [])
    found = docs.search(np.array([0.0, 1.0, 0.0]), mode="vector", k=1)[0]
    assert (found.uri, found.metadata["source"]) == ("b", "q")
