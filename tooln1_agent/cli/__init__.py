"""The `tooln1-agent` command."""

from tooln1_agent.cli.main import main

__all__ = ["main"]
