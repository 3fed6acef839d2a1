"""Make the PDF files of the demo corpus from the texts in ``examples/pdf``.

    pip install reportlab
    python examples/make_pdf.py

The same text gives the same bytes, so that a rebuild changes nothing in the repository.
In the texts an empty line ends a paragraph, ``# `` begins the title and ``## `` a section, which
gets a new page.
"""

from __future__ import annotations

from pathlib import Path

from reportlab import rl_config
from reportlab.lib.pagesizes import A5
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate

HERE = Path(__file__).parent
SOURCES = HERE / "pdf"
TARGET = HERE / "solar-system" / "guides"

BODY = ParagraphStyle(
    "body", fontName="Times-Roman", fontSize=9.5, leading=12.2, spaceAfter=6, alignment=4
)
TITLE = ParagraphStyle("title", parent=BODY, fontName="Times-Bold", fontSize=18, leading=24)
SECTION = ParagraphStyle("section", parent=BODY, fontName="Times-Bold", fontSize=12, leading=16)


def main() -> None:
    """Write one PDF for each text."""
    rl_config.invariant = 1  # no time stamp and no random id
    for source in sorted(SOURCES.glob("*.txt")):
        write(source, TARGET / f"{source.stem}.pdf")


def write(source: Path, target: Path) -> None:
    """Set one text in type, with a running head and page numbers."""
    blocks = source.read_text(encoding="utf-8").strip().split("\n\n")
    title = blocks[0].removeprefix("# ")

    def decorate(canvas: Canvas, _: SimpleDocTemplate) -> None:
        canvas.setFont("Times-Italic", 8)
        canvas.drawString(18 * mm, A5[1] - 11 * mm, title)
        canvas.drawCentredString(A5[0] / 2, 9 * mm, str(canvas.getPageNumber()))

    template = SimpleDocTemplate(
        str(target),
        pagesize=A5,
        title=title,
        author="The pgrecall authors",
        leftMargin=18 * mm,
        rightMargin=18 * mm,
        topMargin=17 * mm,
        bottomMargin=16 * mm,
    )
    template.build(flowables(blocks), onFirstPage=decorate, onLaterPages=decorate)
    print(f"{target.name}: {template.page} pages, {target.stat().st_size:,} bytes")


def flowables(blocks: list[str]) -> list[Flowable]:
    """The blocks as paragraphs; each section but the first begins a page."""
    made: list[Flowable] = []
    sections = 0
    for block in blocks:
        if block.startswith("# "):
            made.append(Paragraph(block[2:], TITLE))
        elif block.startswith("## "):
            sections += 1
            made += [PageBreak()] if sections > 1 else []
            made.append(Paragraph(block[3:], SECTION))
        else:
            made.append(Paragraph(block, BODY))
    return made


if __name__ == "__main__":
    main()
