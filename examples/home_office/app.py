"""The agent of the home office: what `tooln1-agent serve` serves."""

from __future__ import annotations

from examples.home_office.tools import TOOLS
from examples.home_office.users import INSTRUCTIONS
from tooln1_agent import Agent

agent = Agent("seed", tools=list(TOOLS), instructions=INSTRUCTIONS)
