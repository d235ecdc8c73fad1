"""What runs a model: in this process, behind a chat server, or from a script."""

from tooln1_agent.engines.resolve import model_dir, resolve

__all__ = ["model_dir", "resolve"]
