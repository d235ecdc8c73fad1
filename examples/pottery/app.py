"""The agent of the pottery studio: what `tooln1-agent serve` serves."""

from __future__ import annotations

from examples.house import scratch
from examples.pottery.rules import entered_as_asked
from examples.pottery.tools import TOOLS
from examples.pottery.users import INSTRUCTIONS
from tooln1_agent import Agent
from tooln1_agent.limits import Limits
from tooln1_agent.messages import Sampling

agent = Agent(
    "seed",
    tools=list(TOOLS),
    instructions=INSTRUCTIONS,
    limits=Limits(max_turns=3),
    sampling=Sampling(max_tokens=128),  # its calls take 30 to 60
    rules=[entered_as_asked],
    scratch=scratch,
)
