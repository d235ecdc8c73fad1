"""The agent of the pottery studio: what `tooln1-agent serve` serves."""

from __future__ import annotations

from examples.house import house_agent
from examples.pottery.rules import entered_as_asked
from examples.pottery.tools import TOOLS
from examples.pottery.users import INSTRUCTIONS

agent = house_agent(tools=TOOLS, instructions=INSTRUCTIONS, rule=entered_as_asked)
