"""The server as its clients meet it: a process, over standard input and output."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from pgrecall import AsyncCollection, Collection, Database, Document
from tests.acceptance.conftest import command
from tests.adapters.conftest import FRUIT

pytest.importorskip("mcp", reason="the extra mcp")

from mcp import Client, StdioServerParameters, stdio_client
from mcp_types import CallToolResult, TextContent, Tool

from pgrecall.adapters.mcp import server

Ask = Callable[[Client], Awaitable[Any]]
Serve = Callable[..., Any]


@pytest.fixture
def serve(db: Database, docs: Collection) -> Serve:
    """``serve(ask, *arguments)``: what ``ask`` gets from a client of ``pgrecall mcp``."""

    def run(ask: Ask, *arguments: str) -> Any:
        program, *rest = command("mcp", "--collection", "notes", "--url", db.url, *arguments)
        parameters = StdioServerParameters(command=program, args=rest, env=dict(os.environ))

        async def main() -> Any:
            async with Client(stdio_client(parameters)) as client:
                return await ask(client)

        return asyncio.run(main())

    return run


@pytest.fixture
def call(docs: Collection) -> Callable[..., CallToolResult]:
    """One call of a tool of the server in this process."""

    def run(name: str, **arguments: Any) -> CallToolResult:
        async def main() -> CallToolResult:
            async with Client(server(docs)) as client:
                return await client.call_tool(name, arguments)

        return asyncio.run(main())

    return run


def structure(answer: CallToolResult) -> dict[str, Any]:
    assert not answer.is_error, answer.content
    found = answer.structured_content
    assert isinstance(found, dict)
    return found


def text(answer: CallToolResult) -> str:
    (shown,) = texts(answer)
    return shown


def texts(answer: CallToolResult) -> list[str]:
    return [block.text for block in answer.content if isinstance(block, TextContent)]


def test_a_client_lists_the_tools_and_calls_each(serve: Serve, docs: Collection) -> None:
    async def ask(client: Client) -> tuple[list[Tool], list[CallToolResult]]:
        question = {"question": "when are olives ripe"}
        return (await client.list_tools()).tools, [
            await client.call_tool("search", {**question, "where": {"year": {"$lt": 2000}}}),
            await client.call_tool("context", {**question, "max_tokens": 40}),
            await client.call_tool("fetch_document", {"uri": "garden.md"}),
            await client.call_tool("search", {**question, "where": {"year": {"$near": 2000}}}),
            await client.call_tool("fetch_document", {"uri": "nothing.md"}),
        ]

    tools, (found, packed, read, misunderstood, missing) = serve(ask)
    assert [tool.name for tool in tools] == ["search", "context", "fetch_document"]

    (passage,) = structure(found)["passages"]
    (hit,) = docs.search("when are olives ripe", k=5, where={"year": {"$lt": 2000}}, tenant_id="")
    assert passage["uri"] == "quinces.md"
    assert (passage["text"], passage["start"], passage["end"]) == (hit.text, hit.start, hit.end)
    assert passage["metadata"] == {"year": 1999}
    assert json.loads(text(found)) == structure(found)

    context = structure(packed)
    assert 0 < context["tokens"] <= 40
    cited = context["citations"][0]
    sources = f"[1] garden.md {cited['start']}-{cited['end']}"
    assert texts(packed) == [context["text"], sources], "what fetch_document takes stands beside it"
    assert FRUIT in cited["quote"]
    assert context["text"].startswith("[1] The garden")

    document = structure(read)
    assert FRUIT in document["text"]
    assert (document["title"], document["metadata"]["year"]) == ("The garden", 2021)
    assert document["end"] == document["length"] == len(document["text"])
    assert (document["page"], document["last_page"]) == (1, 2)

    assert misunderstood.is_error
    assert "nknown operator $near" in text(misunderstood)
    assert missing.is_error
    assert "no document 'nothing.md'" in text(missing)


def test_a_language_model_is_told_what_each_tool_and_argument_is_for(docs: Collection) -> None:
    async def main() -> tuple[list[Tool], str | None]:
        async with Client(server(docs)) as client:
            return (await client.list_tools()).tools, client.instructions

    tools, instructions = asyncio.run(main())
    assert instructions is not None
    for tool in tools:
        assert tool.name in instructions
        assert tool.description is not None
        assert "Use it" in tool.description
        assert "\n    " not in tool.description
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert tool.output_schema is not None
        described = tool.input_schema["properties"].values()
        assert all(argument["description"] for argument in described)
    required = {tool.name: tool.input_schema["required"] for tool in tools}
    assert required == {"search": ["question"], "context": ["question"], "fetch_document": ["uri"]}
    k = tools[0].input_schema["properties"]["k"]
    assert (k["default"], k["minimum"], k["maximum"]) == (5, 1, 50)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search", {"question": ""}),
        ("search", {"question": "olives", "k": 0}),
        ("search", {"question": "olives", "mode": "telepathy"}),
        ("search", {"question": "olives", "where": [1]}),
        ("context", {"question": "olives", "max_tokens": 0}),
        ("fetch_document", {}),
        ("fetch_document", {"uri": "garden.md", "start": -1}),
    ],
    ids=str,
)
def test_a_wrong_argument_is_an_error_that_the_model_reads(
    call: Callable[..., CallToolResult], tool: str, arguments: dict[str, Any]
) -> None:
    answer = call(tool, **arguments)
    assert answer.is_error
    assert f"Error executing tool {tool}" in text(answer)


def test_a_document_is_read_piece_by_piece(
    call: Callable[..., CallToolResult], docs: Collection
) -> None:
    pieces: list[dict[str, Any]] = []
    while not pieces or pieces[-1]["end"] < pieces[-1]["length"]:
        start = pieces[-1]["end"] if pieces else 0
        answer = call("fetch_document", uri="garden.md", start=start, max_characters=30)
        pieces.append(structure(answer))
    assert "".join(piece["text"] for piece in pieces) == docs.document("garden.md").text
    assert [piece["page"] for piece in pieces] == [1, 1, 2]
    beyond = structure(call("fetch_document", uri="garden.md", start=10_000))
    assert (beyond["text"], beyond["start"]) == ("", 10_000)


def test_a_context_without_passages_says_so(call: Callable[..., CallToolResult]) -> None:
    answer = call("context", question="olives", where={"year": 1})
    assert text(answer) == "No passages were found."
    assert structure(answer)["citations"] == []


def test_no_client_leaves_its_tenant(database_url: str) -> None:
    import pgrecall

    async def main(docs: AsyncCollection, tenant_id: str) -> tuple[set[str], list[bool]]:
        served = server(docs, tenant_id=tenant_id, options={"tenant_id": "b", "k": 9})
        async with Client(served) as client:
            asked = {"question": "olives", "where": {"$not": {"x": 1}}}
            found = structure(await client.call_tool("search", asked))
            reads = [await client.call_tool("fetch_document", {"uri": uri}) for uri in ("a", "b")]
            return {passage["uri"] for passage in found["passages"]}, [
                not answer.is_error for answer in reads
            ]

    async def everyone() -> list[tuple[set[str], list[bool]]]:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("tenants")
            await docs.ingest(
                [Document(uri=name, text=f"Olives of {name}.", tenant_id=name) for name in "ab"]
            )
            return [await main(docs, tenant_id) for tenant_id in ("a", "b", "")]

    assert asyncio.run(everyone()) == [
        ({"a"}, [True, False]),
        ({"b"}, [False, True]),
        (set(), [False, False]),
    ]


@pytest.fixture
def process(db: Database, docs: Collection) -> Iterator[subprocess.Popen[str]]:
    """``pgrecall mcp`` with pipes, before its first message."""
    with subprocess.Popen(
        command("mcp", "-c", "notes", "--url", db.url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        yield started
        started.kill()


def test_nothing_but_the_protocol_is_on_standard_output(process: subprocess.Popen[str]) -> None:
    messages = [
        HELLO,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        request(2, "tools/call", {"name": "search", "arguments": {"question": "olives"}}),
        request(3, "tools/call", {"name": "search", "arguments": {"question": ""}}),
        request(4, "tools/call", {"name": "nothing", "arguments": {}}),
    ]
    answers = [answer for message in messages if (answer := exchange(process, message))]
    rest, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, "it ends when its client leaves"
    assert rest == ""
    assert [answer["id"] for answer in answers] == [1, 2, 3, 4]
    assert "Traceback" not in complaints


def test_ctrl_c_ends_it_while_its_client_is_there(process: subprocess.Popen[str]) -> None:
    assert exchange(process, HELLO)["id"] == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == -signal.SIGINT


def exchange(process: subprocess.Popen[str], message: dict[str, Any]) -> dict[str, Any]:
    """Send a message; the next line is its answer, if it is a request."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline()) if "id" in message else {}
    return answer


def request(number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def test_a_collection_that_is_not_there_ends_the_command(db: Database) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pgrecall", "mcp", "-c", "nothing", "--url", db.url],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error:")
    assert "Traceback" not in done.stderr


HELLO = request(
    1,
    "initialize",
    {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
)
