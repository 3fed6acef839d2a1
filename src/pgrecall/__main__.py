"""``python -m pgrecall`` is the command."""

from __future__ import annotations

from pgrecall.cli import main

main()
