"""A comparison of models as a picture: bars, one panel for each figure.

SVG by hand: a page of text that every browser shows, where a plotting package would add 30 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pgrecall.evaluate.report import ModelReport, ModelResult

#: A figure: its heading, and for each model a value (None: none) with how it is written.
Panel = tuple[str, list[tuple[float | None, str]]]

_NAMES, _BAR, _VALUE, _ROW, _TOP = 260, 120, 80, 24, 64
_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2")


def to_svg(report: ModelReport) -> str:
    """The figures of a report, a row for each model, as a standalone SVG."""
    panels = _panels(report.models)
    width = _NAMES + len(panels) * (_BAR + _VALUE)
    height = _TOP + _ROW * len(report.models) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(8, 20, _caption(report), size=14),
    ]
    for row, model in enumerate(report.models):
        parts.append(_text(8, _TOP + _ROW * row + 15, _shortened(model.embedder)))
        if model.error is not None:
            parts.append(
                _text(_NAMES, _TOP + _ROW * row + 15, f"failed: {model.error}"[:120], "#b00020")
            )
    for column, panel in enumerate(panels):
        parts += _drawn(panel, _NAMES + column * (_BAR + _VALUE), report.models)
    return "\n".join([*parts, "</svg>\n"])


def _panels(models: Sequence[ModelResult]) -> list[Panel]:
    names = next((list(m.metrics) for m in models if m.metrics), [])
    panels: list[Panel] = [
        (name, [(m.metrics.get(name), f"{m.metrics.get(name, 0):.3f}") for m in models])
        for name in names
    ]
    panels += [
        (
            "documents/s",
            [(m.documents_per_second, f"{m.documents_per_second or 0:,.1f}") for m in models],
        ),
        ("p50 of a question, ms", [(m.p50_ms, f"{m.p50_ms or 0:.1f}") for m in models]),
        ("MB on disk", [(m.bytes, f"{(m.bytes or 0) / 1e6:.1f}") for m in models]),
        ("US dollars, list price", [(m.cost, f"{m.cost or 0:.4f}") for m in models]),
    ]
    return panels


def _drawn(panel: Panel, x: int, models: Sequence[ModelResult]) -> list[str]:
    heading, values = panel
    longest = max((value or 0 for value, _ in values), default=0) or 1
    parts = [_text(x, _TOP - 12, heading, "#555")]
    for row, (value, written) in enumerate(values):
        y = _TOP + _ROW * row
        if models[row].error is not None:
            continue
        if value is not None:
            length = _BAR * value / longest
            colour = _COLOURS[row % len(_COLOURS)]
            parts.append(
                f'<rect x="{x}" y="{y}" width="{length:.1f}" height="{_ROW - 6}" fill="{colour}"/>'
            )
            parts.append(_text(x + int(length) + 4, y + 14, written))
        else:
            parts.append(_text(x, y + 14, "unknown", "#999"))
    return parts


def _caption(report: ModelReport) -> str:
    kind = "pieces of the texts" if report.known_item else f"{report.judged} judged questions"
    return f"{report.documents} documents, {kind}, {report.mode} search"


def _shortened(name: str) -> str:
    return name if len(name) <= 38 else f"…{name[-37:]}"


def _text(x: int, y: int, text: str, colour: str = "black", *, size: int = 12) -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" font-size="{size}">{escape(text)}</text>'
