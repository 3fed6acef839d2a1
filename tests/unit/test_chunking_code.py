"""Where code can be cut in languages that write definitions differently, and patterns that meet the worst."""

from __future__ import annotations

import time

import pytest

from pgrecall.chunking.boundaries import places
from pgrecall.chunking.code import definitions
from pgrecall.chunking.parser import Parser

#: (what stands above, the definition, what follows and is none)
CODE = {
    "C": (
        "/* Adds. */\n",
        "static int\nadd(int a,\n    int b)\n{",
        "\tstruct node *n = first;\n\tif (n) {\n",
    ),
    "C on one line": ("", "int add(int a, struct node *b) {", "  for (;;) {\n"),
    "C struct": ("// A node.\n", "struct node {", "  struct node *next;\n"),
    "C++": ("", "bool Table::Get(const Slice& key) const {", "  return find(key);\n"),
    "Java": ("@Override\n", "public final void write(int[] out) throws IOException {", "  a();\n"),
    "Java, annotated in line": ("", "@Test public void adds() {", "  assertTrue(a(1));\n"),
    "C#": ("[Test]\n", "public async Task<int> Add(int a)\n{", "    using (var x = y)\n    {\n"),
    "C# property": ("", "public string Name\n{", "    get { return name; }\n"),
    "Kotlin": ("/** Reads. */\n", "@Throws(IOException::class) fun read(): Int {", "  val x = 1\n"),
    "Go": ("// Add adds.\n", "func (t *Table) Add(a int) (int, error) {", "\tx := 1\n"),
    "Go type": ("", "type Table struct {", "\trows int\n"),
    "Rust": ("#[inline]\n", "impl<'a> Iterator for Rows<'a> {", "    type_of(x)\n"),
    "Rust fn": ("/// Adds.\n", "pub(crate) unsafe fn add(a: u32) -> u32 {", "    match a {\n"),
    "JavaScript": ("", "export default async function add(a) {", "  while (a) {\n"),
    "TypeScript": ("", "export const add = (a: number): number => {", "  return a\n"),
    "Ruby": ("# Adds.\n", "def add(a)", "  a + 1\n"),
    "PHP": ("", "public static function add(int $a): int\n{", "    if ($a) {\n"),
    "SQL": ("-- Adds.\n", "CREATE OR REPLACE FUNCTION add(a int)", "  SELECT a;\n"),
}


@pytest.mark.parametrize("language", CODE)
def test_definitions_begin_with_what_stands_above_them(language: str) -> None:
    above, definition, after = CODE[language]
    text = f"\nx\n{above}{definition}\n{after}{above}{definition}\n"
    begin = above + definition
    found = [text[start:] for start, _ in definitions(text)]
    assert [rest.startswith(begin) for rest in found] == [True, True], [r[:30] for r in found]


UNITS = [
    *(
        "# ",
        "`",
        "|",
        "[",
        "![",
        "[a](",
        " ",
        "\t",
        "\r",
        "\n",
        "\r\n",
        "\n \n",
        "_",
        "*",
        "-",
        "=",
    ),
    *(
        ">",
        "> ",
        "~",
        ": ",
        ". ",
        '."',
        "{#",
        "}",
        "(",
        "a(",
        "a()\n",
        "a(\n",
        "(b)\n",
        "@a ",
        "@a\n",
    ),
    *("// c\n", "# c\n", "[A]\n", "int\n", "a b\n", "a\n---\n", "- x\n", "1. ", "|a|\n", "```\n"),
    *(
        "struct ",
        "const a = ",
        "public ",
        "def f():\n",
        "create ",
        "---\n",
        "x" * 999 + "\n",
        "\u3002",
    ),
]


@pytest.mark.parametrize("unit", UNITS, ids=repr)
@pytest.mark.parametrize("start", ["", "# a", "\na("], ids=repr)
def test_patterns_take_time_in_proportion(start: str, unit: str) -> None:
    assert seconds(start, unit, 40_000) < 10 * seconds(start, unit, 10_000) + 0.02


def seconds(start: str, unit: str, size: int) -> float:
    """Processor time, the better of two."""
    text = start + unit * (size // len(unit)) + "b\nend\n"
    taken = []
    for _ in range(2):
        began = time.process_time()
        places(text, "code")
        places(text, "plain")
        Parser().read(text, 0, ends=True)
        taken.append(time.process_time() - began)
    return min(taken)
