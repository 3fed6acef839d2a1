from __future__ import annotations

import io
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgrecall.errors import InvalidArgument
from pgrecall.load import LoadOptions, Source, discover, load, read
from pgrecall.types import Document, Failure


def tree(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")


def names(
    root: Path, *sources: str | os.PathLike[str], options: LoadOptions | None = None
) -> list[str]:
    """What is found, relative to the root; failures with an exclamation mark before them."""
    out = []
    for item in discover(sources or [root], options):
        relative = item.uri.removeprefix(f"{root.as_posix()}/")
        out.append(f"!{relative}" if isinstance(item, Failure) else relative)
    return out


def failure(source: object) -> Failure:
    (item,) = discover([source])  # type: ignore[list-item]  # some are wrong on purpose
    assert isinstance(item, Failure)
    return item


def test_folder_is_walked_sorted_without_hidden_and_binary_files(tmp_path: Path) -> None:
    tree(tmp_path, "b.md", "a/z.txt", "a/b/c.py", ".git/config", ".hidden/x.md", "photo.png")
    tree(tmp_path, "node_modules/left-pad/index.js", "LICENSE")
    assert names(tmp_path) == ["LICENSE", "a/b/c.py", "a/z.txt", "b.md"]


def test_hidden_files_on_request_but_never_git(tmp_path: Path) -> None:
    tree(tmp_path, ".github/notes.md", ".git/config", "a.md")
    assert names(tmp_path, options=LoadOptions(hidden=True)) == [".github/notes.md", "a.md"]


def test_gitignore_nested_negated_and_anchored(tmp_path: Path) -> None:
    tree(tmp_path, "a.log", "keep.log", "build/x.md", "sub/build/y.md", "sub/a.md", "sub/b.md")
    tree(tmp_path, "sub/deep/a.md", "root.md", "sub/root.md")
    (tmp_path / ".gitignore").write_text("*.log\n!keep.log\n/root.md\nbuild/\n# a comment\n")
    (tmp_path / "sub/.gitignore").write_text("a.md\n!build/\n")
    (tmp_path / "sub/deep/.gitignore").write_text("!a.md\n")
    assert names(tmp_path) == [
        "keep.log",
        "sub/b.md",
        "sub/build/y.md",
        "sub/deep/a.md",
        "sub/root.md",
    ]
    assert "a.log" in names(tmp_path, options=LoadOptions(gitignore=False))


def test_gitignore_of_the_repository_above_the_folder(tmp_path: Path) -> None:
    tree(tmp_path, ".git/config", "docs/_build/x.md", "docs/a.md")
    (tmp_path / ".gitignore").write_text("docs/_build\n")
    assert names(tmp_path, tmp_path / "docs") == ["docs/a.md"]
    assert names(tmp_path, tmp_path / "docs/_build") == ["docs/_build/x.md"]


def test_gitignore_with_a_pattern_that_is_no_pattern(tmp_path: Path) -> None:
    tree(tmp_path, "a.md", "b.md")
    (tmp_path / ".gitignore").write_bytes(b"!\n[z-a\n\xff\xfe\nb.md\n")
    assert names(tmp_path) == ["a.md"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("docs/*.md", ["docs/a.md"]),
        ("docs/**/*.md", ["docs/a.md", "docs/x/b.md", "docs/x/y/c.md"]),
        ("**/c.md", ["docs/x/y/c.md"]),
        ("docs/x/?.md", ["docs/x/b.md"]),
        ("doc[s]/*/y", ["docs/x/y/c.md"]),
        ("docs/*", ["docs/a.md", "docs/n.txt", "docs/x/b.md", "docs/x/y/c.md"]),
        ("docs/*.pdf", ["!docs/*.pdf"]),
        ("nowhere/*.md", ["!nowhere/*.md"]),
    ],
)
def test_globs(tmp_path: Path, pattern: str, found: list[str]) -> None:
    tree(tmp_path, "docs/a.md", "docs/x/b.md", "docs/x/y/c.md", "docs/n.txt", "other/d.md")
    assert names(tmp_path, str(tmp_path / pattern)) == found


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    tree(tmp_path, "a[1].md")
    assert names(tmp_path, tmp_path / "a[1].md") == ["a[1].md"]


def test_uri_does_not_depend_on_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "docs/a.md")
    uris = set()
    for folder, source in (
        (".", "docs"),
        ("docs", "."),
        ("docs", "a.md"),
        ("docs", "../docs/*.md"),
    ):
        monkeypatch.chdir(tmp_path / folder)
        uris |= {item.uri for item in discover([source])}
        monkeypatch.chdir(tmp_path)
    assert uris == {(tmp_path / "docs/a.md").as_posix()}


def test_missing_and_senseless_sources_are_failures(tmp_path: Path) -> None:
    assert failure(tmp_path / "none.md").reason == "There is no such file or folder."
    assert "not a int" in failure(3).reason
    assert "\0" not in failure("a\0b").uri
    (tmp_path / "empty").mkdir()
    assert failure(tmp_path / "empty").reason == "The folder holds nothing to load."


def test_one_path_instead_of_a_list(tmp_path: Path) -> None:
    tree(tmp_path, "a.md")
    assert [item.uri for item in discover(str(tmp_path))] == [(tmp_path / "a.md").as_posix()]


@pytest.mark.parametrize(
    ("archives", "said"),
    [
        (["a.zip"], "The archive a.zip was passed over; unpack it"),
        (["a.zip", "sub/b.tar.gz"], "2 archives were passed over (a.zip and sub/b.tar.gz); unpack"),
        (
            ["a.7z", "b.RAR", "c.tgz", "sub/d.zst"],
            "4 archives were passed over (such as a.7z and b.RAR); unpack",
        ),
    ],
)
@pytest.mark.parametrize("pattern", ["", "**/*"])
def test_archives_of_a_folder_are_one_note(
    tmp_path: Path, archives: list[str], said: str, pattern: str
) -> None:
    tree(tmp_path, "a.md", "photo.png", "module.so", *archives)
    source, notes = os.path.join(tmp_path, pattern), list[tuple[str, str]]()
    found = [*discover([source], note=lambda *note: notes.append(note))]
    assert [item.uri for item in found] == [(tmp_path / "a.md").as_posix()]
    ((of, note),) = notes
    assert of == source
    assert note.startswith(said)


def test_programs_and_pictures_of_a_folder_are_not_worth_a_note(tmp_path: Path) -> None:
    tree(tmp_path, "a.md", "photo.png", "module.so", "tool.whl", ".hidden.zip", "out/b.zip")
    (tmp_path / ".gitignore").write_text("out/")
    notes: list[tuple[str, str]] = []
    assert len([*read([tmp_path], note=lambda *note: notes.append(note))]) == 1
    assert notes == []


def test_pipe_socket_and_device_neither_hang_nor_raise(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    assert "pipe" in failure(tmp_path / "pipe.md").reason
    (found,) = read([tmp_path])
    assert isinstance(found, Failure)
    assert "pipe" in found.reason
    assert "device" in failure("/dev/null").reason
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/s.md")
        assert "socket" in failure(f"{short}/s.md").reason


def test_links_that_lead_nowhere_or_in_circles(tmp_path: Path) -> None:
    tree(tmp_path, "a/real.md")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "gone.md").symlink_to(tmp_path / "missing.md")
    (tmp_path / "self.md").symlink_to(tmp_path / "self.md")
    assert names(tmp_path) == ["!a/loop", "a/real.md", "!gone.md", "!self.md"]
    unfollowed = names(tmp_path, options=LoadOptions(follow_symlinks=False))
    assert unfollowed == ["a/real.md"]


def test_links_that_multiply_are_entered_once(tmp_path: Path) -> None:
    for level in range(12):
        folder = tmp_path / f"d{level}"
        folder.mkdir()
        (folder / "file.md").write_text("x")
        for link in ("one", "two"):
            (folder / link).symlink_to(tmp_path / f"d{level + 1}")
    (tmp_path / "d12").mkdir()
    found = [name for name in names(tmp_path, tmp_path / "d0") if not name.startswith("!")]
    assert len(found) == 12


def test_linked_file_and_folder_are_followed(tmp_path: Path) -> None:
    tree(tmp_path, "outside/x.md", "root/a.md")
    (tmp_path / "root/linked").symlink_to(tmp_path / "outside")
    (tmp_path / "root/link.md").symlink_to(tmp_path / "outside/x.md")
    assert names(tmp_path / "root") == ["a.md", "link.md", "linked/x.md"]


def test_file_that_is_gone_when_it_is_loaded(tmp_path: Path) -> None:
    tree(tmp_path, "a.md", "b.md")
    found = discover([tmp_path])
    next(found)
    (tmp_path / "b.md").unlink()
    (source,) = found
    assert isinstance(source, Source)
    (item,) = load(source)
    assert isinstance(item, Failure)
    assert item.reason == "The file cannot be read: No such file or directory."


def test_folder_that_is_gone_when_it_is_entered(tmp_path: Path) -> None:
    tree(tmp_path, "a.md", "z/b.md")
    found = discover([tmp_path])
    next(found)
    (tmp_path / "z/b.md").unlink()
    (tmp_path / "z").rmdir()
    (item,) = found
    assert isinstance(item, Failure)
    assert item.reason.startswith("The folder cannot be read")


def test_discovery_is_lazy(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.md", "b/2.md")

    def endless() -> Iterator[Path]:
        while True:
            yield tmp_path

    found = discover(endless())
    assert [next(found).uri.rpartition("/")[2] for _ in range(5)] == [
        *("1.md", "2.md", "1.md", "2.md", "1.md")
    ]


def test_deep_folders(tmp_path: Path) -> None:
    # Built step by step: the whole path is longer than a system call takes.
    start = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(300):
            Path("d" * 10).mkdir()
            os.chdir("d" * 10)
        Path("x.md").write_text("deep")
    finally:
        os.chdir(start)
    assert names(tmp_path) == ["/".join(["d" * 10] * 300) + "/x.md"]


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
def test_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    for byte in (b"\xe9", b"\xe8"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf" + byte + b".md")).write_text("text")
    documents = list(read([tmp_path]))
    assert [item.uri.rpartition("/")[2] for item in documents] == [r"caf\xe8.md", r"caf\xe9.md"]
    assert all(isinstance(item, Document) for item in documents)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def feed(text: str, **options: object) -> list[Document | Failure]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return list(read(["-"], LoadOptions(**options)))  # type: ignore[arg-type]  # by name

    (plain,) = feed("hello")
    assert isinstance(plain, Document)
    assert (plain.uri, plain.text, plain.markup) == ("stdin", "hello", "plain")
    (markdown,) = feed("# Title\n\nx", stdin_name="notes.md")
    assert isinstance(markdown, Document)
    assert (markdown.title, markdown.markup) == ("Title", "markdown")
    (large,) = feed("hello", max_bytes=4)
    assert isinstance(large, Failure)
    (empty,) = feed("")
    assert empty == Failure(uri="stdin", reason="The file is empty.")


def test_given_documents_are_cleaned_and_completed() -> None:
    options = LoadOptions(tenant_id="t", metadata={"team": "docs"})
    given = Document(uri="u", text="a\0b", metadata={"n": float("nan"), "team": "own"})
    (item,) = discover([given], options)
    assert isinstance(item, Document)
    assert (item.text, item.tenant_id) == ("ab", "t")
    assert item.metadata == {"n": None, "team": "docs"}
    assert len(item.notes) == 2


@pytest.mark.parametrize(
    "document",
    [
        Document(uri="u", text="  \n"),
        Document(uri="", text="x"),
        Document(uri="u", text=3),  # type: ignore[arg-type]
        Document(uri="u", text="x", metadata={"k": object()}),
        Document(uri="u", text="x", metadata=[1]),  # type: ignore[arg-type]
        Document(uri="u", text="x", pages=None),  # type: ignore[arg-type]
        Document(uri="u", text="x", pages=("one",)),  # type: ignore[arg-type]
    ],
)
def test_documents_that_cannot_be_stored_are_failures(document: Document) -> None:
    assert failure(document).reason


def test_options_are_checked() -> None:
    with pytest.raises(InvalidArgument, match="encoding"):
        LoadOptions(encoding="utf-99")
    with pytest.raises(InvalidArgument, match="encoding"):
        LoadOptions(encoding="base64")
    with pytest.raises(InvalidArgument, match="max_bytes"):
        LoadOptions(max_bytes=0)


def test_options_reach_every_document(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\nteam: own\nlang: en\n---\ntext")
    (tmp_path / "b.jsonl").write_text('{"text": "row"}')
    options = LoadOptions(tenant_id="t", metadata={"team": "docs"})
    documents = [item for item in read([tmp_path], options) if isinstance(item, Document)]
    assert [item.tenant_id for item in documents] == ["t", "t"]
    assert [item.metadata for item in documents] == [
        {"team": "docs", "lang": "en"},
        {"team": "docs"},
    ]
