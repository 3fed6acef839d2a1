from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrecall.load import read
from pgrecall.load.html import render
from pgrecall.types import Document, Failure


def text(body: str) -> str:
    return render(body).text()


def one(folder: Path, content: str | bytes) -> Document | Failure:
    path = folder / "page.html"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (item,) = read([path])
    return item


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<h1>A</h1><p>b</p><h3>C <em>d</em></h3>", "# A\n\nb\n\n### C d"),
        ("<p>one\n  two&nbsp;three<br>four</p>", "one two three\nfour"),
        ("<p>a<b>b</b>c <a href=x>link</a> <code>f()</code></p>", "abc link `f()`"),
        ("<p>see <img alt='the chart' src=x> here</p>", "see the chart here"),
        ("<ul><li>a<li>b</ul>", "- a\n- b"),
        ("<p>x</p><ol><li>a</li><li>b</li></ol><p>y</p>", "x\n\n1. a\n2. b\n\ny"),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "- a\n  - b\n- c"),
        ("<ul><li><p>a</p><p>b</p></li></ul>", "- a\n\n  b"),
        ("<blockquote><p>a<br>b</p></blockquote>", "> a\n> b"),
        ("<pre><code class='language-py'>if x:\n    y\n</code></pre>", "```py\nif x:\n    y\n```"),
        ("<pre>a ``` b</pre>", "````\na ``` b\n````"),
        (
            "<table><tr><th>a</th><th>b</th></tr><tr><td>1|2</td><td><p>3</p><p>4</p></td></tr></table>",
            "| a | b |\n| --- | --- |\n| 1\\|2 | 3 4 |",
        ),
        ("<table><tr><td><h2>Layout</h2><p>x</p></td></tr></table>", "## Layout\n\nx"),
        (
            "<table><tr><td>a</td><td><table><tr><td>b</td><td>c</td></tr></table></td></tr></table>",
            "| a | b c |\n| --- | --- |",
        ),
        ("<p># not a heading</p>", "\\# not a heading"),
        ("<script>x</script><style>y</style><p>z</p><noscript>n</noscript>", "z"),
        ("<p hidden>a</p><p style='display: none'>b</p><p aria-hidden=true>c</p><p>d</p>", "d"),
        ("<h2>T<a class=headerlink href='#t'>¶</a></h2>", "## T"),
        ("<p>un<p>closed <b>tags", "un\n\nclosed tags"),
        ("<dl><dt>term<dd>meaning</dl>", "term\n\nmeaning"),
        ("a &lt;b&gt; &amp; &#0; c", "a <b> & \ufffd c"),
    ],
)
def test_structure_becomes_markdown(body: str, expected: str) -> None:
    assert text(body) == expected


def test_main_content_wins_over_the_rest() -> None:
    content = "<p>" + "content " * 40 + "</p>"
    page = f"<div>teaser</div><main><nav>menu</nav>{content}</main><footer>imprint</footer>"
    assert text(page) == ("content " * 40).strip()
    assert text(page.replace("main>", "article>")) == ("content " * 40).strip()


def test_boilerplate_goes_where_there_is_no_main() -> None:
    links = "".join(f"<li><a href=x>Link {number}</a></li>" for number in range(9))
    page = (
        f"<header><h1>Name</h1>slogan</header><ul class='main-menu'>{links}</ul>"
        "<p>The text of the page, which says something.</p><div role=contentinfo>imprint</div>"
        "<aside>advertisement</aside>"
    )
    assert text(page) == "# Name\n\nThe text of the page, which says something."


def test_list_of_links_that_is_content_stays() -> None:
    links = "".join(f"<li><a href=x>Chapter {number}</a></li>" for number in range(3))
    assert text(f"<h1>Index</h1><ul>{links}</ul>").count("Chapter") == 3


def test_links_between_paragraphs_go_if_they_are_many() -> None:
    """Boxes that no name gives away: a menu, readers' favourites, what a banner asks."""

    def links(count: int, name: str) -> str:
        return "".join(f"<div><a href=/{n}>{name} number {n}</a></div>" for n in range(count))

    words = "It says something about the matter, in as many words as a paragraph of prose has. "
    page = (
        f"<div id=top>{links(12, 'Section')}</div>"
        "<div>Accept our cookies? <a href=c>Accept them all</a></div>"
        f"<h1>The matter</h1><div>by Ann</div><div>{words}</div>"
        f"<div>{links(3, 'Source')}</div><div>{words}</div>"
        f"<h3>Most read</h3><a href=x><div><h4>A card</h4><p>{words}</p></div></a>{links(9, 'Story')}"
    )
    expected = ["# The matter", "by Ann", words.strip()]
    expected += [f"Source number {n}" for n in range(3)] + [words.strip()]
    assert text(page).split("\n\n") == expected
    assert text(f"<p>A list.</p>{links(30, 'Name')}").count("Name") == 30  # nothing else is there
    unlinked = links(30, "Term").replace("href", "name")
    assert text(f"<p>{words}</p>{unlinked}<p>{words}</p>").count("Term") == 30


def test_page_that_is_all_navigation_is_kept() -> None:
    assert text("<nav><ul><li>one</li><li>two</li></ul></nav>") == "- one\n- two"


def test_head_becomes_title_and_metadata(tmp_path: Path) -> None:
    item = one(
        tmp_path,
        "<html lang=de><head><title>Der\n Titel</title><meta name=Description content='Über uns'>"
        "<meta name=author content='Jörg'><meta charset=utf-8></head>"
        "<body><p>Text</p></body></html>",
    )
    assert isinstance(item, Document)
    assert item.title == "Der Titel"
    assert item.metadata == {"lang": "de", "description": "Über uns", "author": "Jörg"}
    assert (item.text, item.markup, item.mime_type) == ("Text", "markdown", "text/html")


def test_title_without_a_title_element(tmp_path: Path) -> None:
    item = one(tmp_path, "<h1>Heading</h1><p>x")
    assert isinstance(item, Document)
    assert item.title == "Heading"
    item = one(tmp_path, "<p>x")
    assert isinstance(item, Document)
    assert item.title == "page"


@pytest.mark.parametrize(
    "content",
    [
        "<meta charset='windows-1251'><p>Привет".encode("cp1251"),
        "<meta http-equiv=Content-Type content='text/html; charset=koi8-r'><p>Привет".encode(
            "koi8-r"
        ),
        "<meta charset=koi8-r><p>Привет".encode("utf-8-sig"),  # the mark is right, the tag is not
        "<meta charset=no-such-thing><p>Привет".encode(),
        "<p>Привет".encode("utf-16"),
    ],
)
def test_charset(tmp_path: Path, content: bytes) -> None:
    item = one(tmp_path, content)
    assert isinstance(item, Document)
    assert item.text == "Привет"


def test_page_without_text(tmp_path: Path) -> None:
    item = one(tmp_path, "<html><body><div id=root></div><script>app()</script></body></html>")
    assert isinstance(item, Failure)
    assert "no text" in item.reason


@pytest.mark.parametrize(
    "tags",
    [
        ("<div>", "</div>"),
        ("<ul><li>", "</li></ul>"),
        ("<blockquote>", "</blockquote>"),
        ("<b>", "</b>"),
        ("<table><tr><td>", "</td></tr></table>"),
        ("<div class=menu>", "</div>"),
        ("<a>", "</a>"),
        ("<article>", "</article>"),
        ("<div>", ""),
        ("<pre>", ""),
        ("<nav>x", "</nav>"),
    ],
)
def test_deep_nesting_costs_no_more_than_its_length(tags: tuple[str, str]) -> None:
    opening, closing = tags
    started = time.process_time()
    found = text(opening * 30_000 + "inside" + closing * 30_000 + "<p>after</p>")
    assert time.process_time() - started < 5
    assert "inside" in found
    assert ("after" in found) == (tags[0] != "<article>")


@given(st.text(st.sampled_from("<>/ab p=\"'!-&;#1\n\0é"), max_size=200))
def test_anything_can_be_rendered(source: str) -> None:
    assert "\0" not in text(source)


def test_navigation_of_docbook_is_left_out() -> None:
    bar = "<table><tr><td><a href=p>Prev</a></td><td>Chapter 5. Long Title of It</td></tr></table>"
    page = f"<div class=navheader>{bar}</div><h2>T</h2><p>words of it</p><div class=navfooter>{bar}</div>"
    assert text(page) == "## T\n\nwords of it"
