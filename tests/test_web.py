"""Pages and sitemaps: what is fetched, what is not, and what stays in step."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import pgrecall
from pgrecall import LoadOptions
from pgrecall.collection import Collection
from pgrecall.load.web import client
from pgrecall.load.web.addresses import is_public
from pgrecall.types import IngestReport
from tests.embedders import TinyEmbedder
from tests.web_server import Served, Site

OPTIONS = LoadOptions(allow_private=True)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "DELAY", 0.0)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture
def docs(database_url: str) -> Iterator[Collection]:
    with pgrecall.connect(database_url) as db:
        yield db.create_collection("docs", embedder=TinyEmbedder())


def take(docs: Collection, *urls: str) -> IngestReport:
    return docs.ingest(urls, options=OPTIONS, sync=True)


def stored(docs: Collection) -> set[str]:
    return {hit.uri.rpartition("/")[2] for hit in docs.search("text", mode="vector", k=100)}


def reason(report: IngestReport) -> str:
    (failure,) = report.failed
    return failure.reason


def test_a_page_is_sent_again_only_if_it_changed(docs: Collection, site: Site) -> None:
    url = site.page("/olives", "Olives", ETag='"1"')
    assert take(docs, url + "#top").new == 1
    assert docs.document(url).title == "Olives"
    assert docs.document(url).text == "# Olives\n\nOlives text."
    again = take(docs, url)
    assert (again.unchanged, again.removed, site.asked[-1][2]) == (1, 0, 304)
    site.page("/olives", "Figs", ETag='"2"')
    assert take(docs, url).changed == 1
    # With other options, the same page makes another document.
    other = LoadOptions(allow_private=True, metadata={"shelf": 3})
    assert docs.ingest(url, options=other).changed == 1


def test_a_page_whose_document_is_not_there_is_sent(docs: Collection, site: Site) -> None:
    url = site.page("/olives", "Olives", ETag='"1"')
    take(docs, url)
    docs.delete(url)
    assert take(docs, url).new == 1


def test_a_sitemap_stays_in_step(docs: Collection, site: Site) -> None:
    urls = [site.page(f"/{name}", name, ETag='"1"') for name in ("a", "b", "c")]
    sitemap = site.sitemap("/sitemap.xml", *urls, urls[0] + "#part")
    docs.ingest(pgrecall.Document(uri=f"{site.url}/given", text="Given text."))
    assert take(docs, sitemap).new == 3
    site.sitemap("/sitemap.xml", urls[0], urls[1], site.page("/d", "d"))
    del site.pages["/b"]
    report = take(docs, sitemap)
    assert (report.new, report.unchanged, report.removed) == (1, 1, 2)
    assert "404" in reason(report)
    assert stored(docs) == {"a", "d", "given"}


def test_what_cannot_be_fetched_has_not_gone(docs: Collection, site: Site) -> None:
    urls = [site.page(f"/{name}", name) for name in ("a", "b")]
    sitemap = site.sitemap("/sitemap.xml", *urls)
    take(docs, sitemap)
    site.pages["/a"].status = 503
    assert take(docs, sitemap).removed == 0
    for broken in (Served(status=500), Served(b"<?xml version='1.0'?><urlset><url>")):
        site.pages["/sitemap.xml"] = broken
        report = take(docs, sitemap)
        assert (report.removed, len(report.failed)) == (0, 1)
    site.sitemap("/sitemap.xml")
    assert take(docs, sitemap).removed == 0, "an empty sitemap is a mistake"
    assert stored(docs) == {"a", "b"}


def test_indexes_and_gzip_and_other_sites(docs: Collection, site: Site) -> None:
    inner = site.sitemap("/inner.xml", site.page("/a", "a"), "http://elsewhere.example/x")
    packed = site.sitemap("/packed.xml.gz", site.page("/b", "b"))
    site.pages["/packed.xml.gz"].body = gzip.compress(site.pages["/packed.xml.gz"].body)
    index = site.sitemap("/index.xml", inner, packed, f"{site.url}/index.xml", index=True)
    assert (take(docs, index).new, stored(docs)) == (2, {"a", "b"})


def test_a_part_that_cannot_be_read_keeps_its_pages(docs: Collection, site: Site) -> None:
    parts = [site.sitemap(f"/{name}.xml", site.page(f"/{name}", name)) for name in ("a", "b")]
    index = site.sitemap("/index.xml", *parts, index=True)
    take(docs, index)
    site.pages["/b.xml"].status = 503
    del site.pages["/a"]
    site.sitemap("/a.xml", site.page("/c", "c"))
    report = take(docs, index)
    assert (report.new, report.removed, len(report.failed)) == (1, 0, 1)
    del site.pages["/b.xml"]
    assert take(docs, index).removed == 0
    del site.pages["/index.xml"]
    assert take(docs, index).removed == 0
    assert stored(docs) == {"a", "b", "c"}


@pytest.mark.parametrize("down", ["/a.xml", "/index.xml"])
def test_a_page_in_place_of_a_sitemap_removes_nothing(
    down: str, docs: Collection, site: Site
) -> None:
    parts = [site.sitemap(f"/{name}.xml", site.page(f"/{name}", name)) for name in ("a", "b")]
    index = site.sitemap("/index.xml", *parts, index=True)
    take(docs, index)
    site.page(down, "We are down for maintenance")
    report = take(docs, index)
    assert (report.new, report.removed, "where a sitemap should be" in reason(report)) == (
        0,
        0,
        True,
    )
    assert stored(docs) == {"a", "b"}


def test_bombs_and_endless_indexes(
    docs: Collection, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_BYTES", 100_000)
    monkeypatch.setattr("pgrecall.load.web.sitemap.MAX_BYTES", 100_000)
    site.sitemap("/bomb.xml.gz", site.page("/a", "a"))
    site.pages["/bomb.xml.gz"].body = gzip.compress(
        site.pages["/bomb.xml.gz"].body + b" " * 2_000_000
    )
    assert "longer than" in reason(take(docs, f"{site.url}/bomb.xml.gz"))
    for level in range(5):
        site.sitemap(f"/{level}.xml", f"{site.url}/{level + 1}.xml", index=True)
    assert "too deeply" in reason(take(docs, f"{site.url}/0.xml"))


def test_formats_by_content_type(docs: Collection, site: Site) -> None:
    site.pages["/data?x=1"] = Served(b"id,text\n7,The seventh text\n", kind="text/csv")
    site.pages["/readme.md"] = Served(b"# Read\n\nThe readme text.", kind="text/plain")
    site.pages["/image"] = Served(b"\x89PNG\r\n\x1a\n" + bytes(50), kind="image/png")
    report = take(docs, *(site.url + path for path in site.pages))
    assert (report.new, reason(report)[:20]) == (2, "The file is not text")
    assert stored(docs) == {"data?x=1#7", "readme.md"}
    assert docs.document(f"{site.url}/readme.md").title == "Read"


def test_robots_are_told(docs: Collection, site: Site) -> None:
    site.pages["/robots.txt"] = Served(
        b"User-agent: *\nDisallow: /*secret\nCrawl-delay: 0.3\n", kind="text/plain"
    )
    report = take(docs, site.page("/a", "a"), site.page("/a/secret", "b"), site.page("/c", "c"))
    assert (report.new, "robots" in reason(report)) == (2, True)
    assert "/a/secret" not in site.paths()
    assert site.paths().count("/robots.txt") == 1
    assert report.seconds > 0.3, "the site asked for pauses"
    site.pages["/robots.txt"] = Served(status=503)
    assert "robots.txt cannot be read" in reason(take(docs, f"{site.url}/a"))
    assert stored(docs) == {"a", "c"}


def test_redirects(docs: Collection, site: Site) -> None:
    site.page("/new", "new")
    site.pages["/old"] = Served(status=301, headers={"Location": "/new"})
    site.pages["/loop"] = Served(status=302, headers={"Location": "/loop"})
    site.pages["/file"] = Served(status=302, headers={"Location": "file:///etc/passwd"})
    assert take(docs, f"{site.url}/old").new == 1
    assert stored(docs) == {"old"}
    assert "more than 5 times" in reason(take(docs, f"{site.url}/loop"))
    assert "no web address" in reason(take(docs, f"{site.url}/file"))


def test_private_networks_are_closed(docs: Collection, site: Site) -> None:
    report = docs.ingest(site.page("/a", "a"))
    assert "private network" in reason(report)
    assert "--allow-private" in reason(report)
    assert site.asked == []


def test_a_name_that_changes_its_mind(
    docs: Collection, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: what was checked is what is connected to, at every hop."""
    resolve = socket.getaddrinfo
    answers: list[str] = []

    def rebinding(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "rebind.example":
            answers.append("asked")
            return resolve("127.0.0.1", port, *args, **kwargs)
        if host == "203.0.114.1":
            raise AssertionError("a checked address is not resolved again")
        return resolve(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    port = site.url.rpartition(":")[2]
    report = docs.ingest(f"http://rebind.example:{port}/a")
    assert "private network" in reason(report)
    assert site.asked == []
    answers.clear()
    allowed = docs.ingest(f"http://rebind.example:{port}/a", options=OPTIONS)
    assert "404" in reason(allowed)
    assert site.asked[-1][1]["Host"] == f"rebind.example:{port}"
    assert len(answers) == 2, "the name is resolved once for robots.txt and once for the page"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_slow_and_long_pages(docs: Collection, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(60 * 2**20))
    site.pages["/big"] = Served(bomb, headers={"Content-Encoding": "gzip"})
    assert "longer than" in reason(take(docs, f"{site.url}/big"))
    site.pages["/drip"] = Served(b"<p>" + bytes(100), drip=0.05)
    monkeypatch.setattr(client, "WHOLE", 0.3)
    report = take(docs, f"{site.url}/drip")
    assert "took longer" in reason(report)
    assert report.seconds < 3


def test_awaited(database_url: str, site: Site) -> None:
    sitemap = site.sitemap("/s.xml", *(site.page(f"/{n}", f"n{n}", ETag='"1"') for n in range(20)))

    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=TinyEmbedder())
            assert (await docs.ingest(sitemap, options=OPTIONS, sync=True)).new == 20
            site.sitemap("/s.xml", *(f"{site.url}/{n}" for n in range(19)))
            report = await docs.ingest(sitemap, options=OPTIONS, sync=True)
            assert (report.unchanged, report.removed) == (19, 1)
            assert "private" in reason(await docs.ingest(sitemap))

    asyncio.run(main())
