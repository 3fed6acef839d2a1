"""Source code: the text as it is, and which language it is."""

from __future__ import annotations

from collections.abc import Iterator

from pgrecall.load.source import OpenFile
from pgrecall.load.text import text_document
from pgrecall.types import Document

#: language: its suffixes
_LANGUAGES = {
    "python": ".py .pyi .pyx .pxd",
    "javascript": ".js .mjs .cjs .jsx",
    "typescript": ".ts .tsx .mts .cts",
    "java": ".java",
    "c": ".c .h",
    "cpp": ".cpp .cc .cxx .hpp .hh .hxx .tcc .ipp",
    "csharp": ".cs",
    "go": ".go",
    "rust": ".rs",
    "ruby": ".rb",
    "php": ".php",
    "swift": ".swift",
    "kotlin": ".kt .kts",
    "scala": ".scala",
    "groovy": ".groovy .gradle",
    "dart": ".dart",
    "lua": ".lua",
    "perl": ".pl .pm",
    "r": ".r",
    "julia": ".jl",
    "haskell": ".hs",
    "ocaml": ".ml .mli",
    "erlang": ".erl .hrl",
    "elixir": ".ex .exs",
    "clojure": ".clj .cljs .cljc",
    "lisp": ".lisp .el .scm",
    "fortran": ".f .f90 .f95",
    "assembly": ".s .asm",
    "zig": ".zig",
    "nim": ".nim",
    "shell": ".sh .bash .zsh .fish",
    "powershell": ".ps1 .psm1",
    "batch": ".bat .cmd",
    "sql": ".sql .psql",
    "css": ".css .scss .sass .less",
    "vue": ".vue",
    "svelte": ".svelte",
    "xml": ".xml .xsd .xsl .xslt .svg .plist",
    "json": ".json .json5 .jsonc",
    "yaml": ".yaml .yml",
    "toml": ".toml",
    "ini": ".ini .cfg .conf .properties .env",
    "protobuf": ".proto",
    "graphql": ".graphql .gql",
    "terraform": ".tf .tfvars",
    "cmake": ".cmake",
    "make": ".mk",
    "nix": ".nix",
    "diff": ".diff .patch",
}
_BY_SUFFIX = {
    suffix: language for language, suffixes in _LANGUAGES.items() for suffix in suffixes.split()
}
_MIME = {
    "css": "text/css",
    "javascript": "text/javascript",
    "json": "application/json",
    "python": "text/x-python",
    "toml": "application/toml",
    "xml": "application/xml",
    "yaml": "application/yaml",
}
SUFFIXES = {suffix: _MIME.get(name, f"text/x-{name}") for suffix, name in _BY_SUFFIX.items()}


def load(file: OpenFile) -> Iterator[Document]:
    """One document, its language in the metadata. Raises UnreadableSource."""
    language = _BY_SUFFIX.get(file.suffix)
    metadata = {"language": language} if language else {}
    yield text_document(file, title=file.name, markup="code", metadata=metadata)
