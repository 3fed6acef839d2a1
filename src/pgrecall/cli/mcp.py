"""``pgrecall mcp``."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from pgrecall.cli.options import Collection, Url


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(mcp)


def mcp(
    collection: Collection = "default",
    tenant: Annotated[
        str, typer.Option(help="Only this tenant's documents; those of no tenant without it.")
    ] = "",
    url: Url = None,
) -> None:
    """Serve a collection to language models over the Model Context Protocol, on standard input and output."""
    from pgrecall.adapters.mcp import serve

    # The SDK waits for input in a thread that nothing can interrupt; who only reads leaves nothing undone.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(serve(collection, url=url, tenant_id=tenant))
