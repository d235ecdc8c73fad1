"""An agent without tools of its own: every request of a benchmark brings the tools it is about."""

from __future__ import annotations

from tooln1_agent import Agent

agent = Agent("seed", name="benchmark")
