"""Images in a collection: read within bounds, embedded, stored small, found by words and by pictures."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

import pgrecall
from pgrecall import Document, Image, LoadOptions, errors
from pgrecall.embed.offline import sees
from pgrecall.load import read
from pgrecall.pictures import LONGEST, MAX_PIXELS, opened, thumbnail
from pgrecall.tokens import open_tokenizer
from pgrecall.types import FloatArray

pil = pytest.importorskip("PIL.Image", reason="needs the extra images")
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class Eye:
    """Sees the mean colour of a picture, and knows what colours are called."""

    name = "eye"
    dimensions = 4
    max_tokens = 512
    tokenizer = open_tokenizer("wordllama")

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        rows = [[text.count(colour) for colour in COLOURS] + [0.01] for text in texts]
        return self._scaled(rows)

    def embed_query(self, text: str) -> FloatArray:
        vector: FloatArray = self.embed_documents([text])[0]
        return vector

    def embed_images(self, images: Sequence[bytes]) -> FloatArray:
        means = [np.asarray(opened(image)).mean((0, 1)) / 255 for image in images]
        return self._scaled([[*mean, 0.01] for mean in means])

    @staticmethod
    def _scaled(rows: Any) -> FloatArray:
        vectors = np.array(rows, np.float32).reshape(-1, 4)
        scaled: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return scaled


def picture(colour: Any = "red", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    buffer = io.BytesIO()
    pil.new(options.pop("mode", "RGB"), size, colour).save(
        buffer, options.pop("format", "PNG"), **options
    )
    return buffer.getvalue()


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    formats = {"red": "png", "green": "jpg", "blue": "webp"}
    for colour, suffix in formats.items():
        kind = "JPEG" if suffix == "jpg" else suffix.upper()
        (folder / f"my-{colour}_car.{suffix}").write_bytes(picture(COLOURS[colour], format=kind))
    (folder / "note.txt").write_text("A red bicycle leans on a red wall.")
    return folder


def test_pictures_and_texts_in_one_collection(db: pgrecall.Database, album: Path) -> None:
    docs = db.create_collection("album", embedder=Eye())
    plan = docs.plan([album])
    report = docs.ingest([album])
    assert (report.new, report.chunks, report.embedded, report.failed) == (4, 4, 4, [])
    assert (plan.new, plan.embedded, plan.tokens) == (4, 4, report.tokens)
    assert docs.ingest([album]).unchanged == 4

    blue = docs.search("something blue", mode="vector", k=1)[0]
    assert blue.image == blue.uri == str(album / "my-blue_car.webp")
    assert blue.metadata == {"image": "image/webp", "width": 40, "height": 30}
    assert blue.text == "my blue car"
    like_red = docs.search(Image(picture((200, 10, 10))), k=2)
    assert {Path(hit.uri).name for hit in like_red} == {"my-red_car.png", "note.txt"}
    assert [hit.image for hit in docs.search("bicycle", mode="text")] == [None]
    by_path = docs.search(Image(album / "my-green_car.jpg"), where={"image": "image/jpeg"})
    assert [hit.title for hit in by_path] == ["my green car"]

    assert db.verify().healthy
    stored = docs.document(str(album / "my-red_car.png"))
    assert stored.media is not None
    assert opened(stored.media).size == (40, 30)
    (album / "my-red_car.png").write_bytes(picture(COLOURS["blue"]))
    assert docs.ingest([album]).changed == 1


def test_another_generation_sees_the_stored_pictures(db: pgrecall.Database, album: Path) -> None:
    class Other(Eye):
        name = "other"

    docs = db.create_collection("album", embedder=Eye())
    docs.ingest([album])
    (album / "my-blue_car.webp").unlink()
    report = docs.reindex(embedder=Other())
    assert (report.documents, report.failed) == (4, [])
    docs.activate()
    assert docs.search("blue", mode="vector", k=1)[0].title == "my blue car"
    evaluated = db.evaluate_models(
        pgrecall.Evaluation(embedders=[Eye(), "static"]), collection="album"
    )
    assert [model.documents for model in evaluated.models] == [4, 1]
    assert evaluated.models[1].failed == 3


def test_awaited(database_url: str, album: Path) -> None:
    async def main() -> Any:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("album", embedder=Eye())
            await docs.ingest([album])
            return await docs.search(Image(album / "my-green_car.jpg"), k=1)

    assert asyncio.run(main())[0].title == "my green car"


def test_an_embedder_of_texts_refuses_pictures_one_by_one(
    db: pgrecall.Database, album: Path
) -> None:
    docs = db.create_collection("texts")
    # Passed over in a folder, as all that is no text is.
    assert docs.ingest([album]).new == 1
    named = [album / "my-red_car.png", album / "my-green_car.jpg", album / "my-blue_car.webp"]
    report = docs.ingest(named)
    assert [failure.uri for failure in report.failed] == [str(path) for path in named]
    assert all("but an image; leave it out" in failure.reason for failure in report.failed)
    given = [Document(uri=colour, text=colour, media=picture(colour)) for colour in COLOURS]
    report = docs.ingest([*given, Document(uri="text", text="text")])
    assert (report.new, len(report.failed)) == (1, 3)
    assert all("static takes texts and no images" in f.reason for f in report.failed)
    with pytest.raises(errors.InvalidArgument, match="takes texts and no images"):
        docs.search(Image(picture()))
    handed_over = docs.enqueue([album])
    assert (handed_over.queued, handed_over.unchanged) == (0, 1)
    assert [f.uri for f in docs.enqueue(named[:1]).failed] == [str(named[0])]


@pytest.mark.parametrize("storage", ["halfvec", "vector"])
def test_through_the_queue(
    db: pgrecall.Database, database_url: str, album: Path, storage: Any
) -> None:
    docs = db.create_collection("album", embedder=Eye(), storage=storage)
    assert docs.enqueue([album, Document(uri="a", text="", media=picture())]).queued == 5
    for path in album.glob("my-*"):
        path.unlink()
    drain(database_url, Eye())
    assert docs.search("blue", mode="vector", k=1)[0].metadata["image"] == "image/webp"
    assert docs.search("red", mode="vector", k=1)[0].vector_score == pytest.approx(1, abs=1e-3)
    assert {docs.document(uri).media is None for uri in ("a", str(album / "note.txt"))} == {
        True,
        False,
    }
    assert db.verify().healthy
    assert db.queue_status().failed == 0


def test_the_queue_names_what_cannot_be_embedded(db: pgrecall.Database, database_url: str) -> None:
    docs = db.create_collection("texts")
    docs.enqueue([Document(uri="red", text="red", media=picture())])
    drain(database_url)
    (failed,) = db.failed_jobs()
    assert "static takes texts and no images" in failed.error
    with psycopg.connect(database_url) as connection:
        # As any SQL client may.
        connection.execute(
            "SELECT pgrecall.enqueue('texts', 'u', 'words', media => %s)", [picture()]
        )


def drain(url: str, *embedders: Any) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(url) as db:
            options = pgrecall.WorkerOptions(drain=True)
            await db.work(embedders=embedders, options=options)

    asyncio.run(main())


def test_names_tell_what_an_embedder_takes() -> None:
    assert sees("sentence-transformers:clip-ViT-B-32")
    assert sees("sentence-transformers:sentence-transformers/clip-ViT-L-14")
    for name in ("static", "openai:text-embedding-3-small", "openai:mine", "given:m@3", "Eye"):
        assert not sees(name)
    assert not sees("sentence-transformers:all-MiniLM-L6-v2")


def test_questions_of_pictures(db: pgrecall.Database, tmp_path: Path) -> None:
    docs = db.create_collection("album", embedder=Eye())
    docs.ingest([Document(uri="a", text="", media=picture())])
    assert db.verify().healthy
    assert docs.search(["red", Image(picture())], mode="vector")[0].uri == "a"
    with pytest.raises(errors.InvalidArgument, match="needs words"):
        docs.search(Image(picture()), mode="hybrid")
    with pytest.raises(errors.UnreadableSource, match="The image cannot be read"):
        docs.search(Image(tmp_path / "none.png"))
    with pytest.raises(errors.InvalidArgument, match="The image cannot be read"):
        docs.search(Image(b"no image"))


def bomb(side: int) -> bytes:
    """A PNG of side * side pixels, in a few kilobytes: the header is what counts."""

    def part(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)

    header = side.to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0])
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", body) + part(b"IEND", b"")


@pytest.mark.parametrize("side", [8_001, 10_000, 60_000])
def test_bombs_are_refused_before_they_unpack(side: int) -> None:
    with pytest.raises(errors.UnreadableSource, match=f"{MAX_PIXELS:,} is the limit"):
        thumbnail(bomb(side))


def test_what_files_may_hold(tmp_path: Path) -> None:
    frames = [pil.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    moving = io.BytesIO()
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    assert opened(moving.getvalue()).getpixel((0, 0)) == (255, 0, 0)
    clear = picture((0, 0, 0, 0), mode="RGBA")
    assert opened(clear).getpixel((0, 0)) == (255, 255, 255)
    exif = pil.Exif()
    exif[0x0112], exif[0x010E] = 6, "A ship in the fog"
    turned = thumbnail(picture(size=(2000, 1000), format="JPEG", exif=exif))
    assert opened(turned.data).size == (LONGEST // 2, LONGEST)
    assert (turned.width, turned.height, turned.description) == (2000, 1000, "A ship in the fog")
    for damaged in (picture()[:40], b"\x89PNG\r\n\x1a\n", picture(format="JPEG")[:200], b""):
        with pytest.raises(errors.UnreadableSource, match="The image cannot be read"):
            opened(damaged)
    paths = []
    for name, data in {"a.png": clear, "b.gif": b"GIF8", "c.jpg": b"text", "d": clear}.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    kinds = [type(item).__name__ for item in read(paths, LoadOptions(images=True))]
    assert kinds == ["Document", "Failure", "Failure", "Document"]


def test_search_by_image_on_the_command_line(database_url: str, album: Path) -> None:
    def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pgrecall", *arguments, "--url", database_url]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert cli("search").returncode == 2
    with pgrecall.connect(database_url) as db:
        db.create_collection("default").ingest([Document(uri="a", text="words")])
    asked = cli("search", "--image", str(album / "my-red_car.png"))
    assert asked.returncode == 1
    assert "takes texts and no images" in asked.stderr
