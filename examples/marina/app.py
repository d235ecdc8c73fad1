"""The agent of the marina: what `tooln1-agent serve` serves."""

from __future__ import annotations

from examples.house import house_agent
from examples.marina.rules import entered_as_asked
from examples.marina.tools import TOOLS
from examples.marina.users import INSTRUCTIONS

agent = house_agent(tools=TOOLS, instructions=INSTRUCTIONS, rule=entered_as_asked)
