"""The agent of the home office: what `tooln1-agent serve` serves."""

from __future__ import annotations

from examples.home_office.rules import entered_as_asked
from examples.home_office.tools import TOOLS
from examples.home_office.users import INSTRUCTIONS
from examples.house import house_agent

agent = house_agent(tools=TOOLS, instructions=INSTRUCTIONS, rule=entered_as_asked)
