"""One deployment's traffic through a real server: what is left of it is a replay store.

People ask, in agent mode or with tools of their own, and say what they think of the answer, or do
not. All that the store learns of what they meant came in over HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from examples.demo_config import DemoConfig
from examples.demo_people import Mood, People, Served
from examples.demo_processes import DemoError, serving
from examples.demo_traffic import send_all
from tool_registry import Tool
from trainer.seed.deployment import Request


async def play(
    app: str,
    asked: Sequence[tuple[Request, Mood]],
    *,
    tools: Iterable[Tool],
    instructions: str,
    config: DemoConfig,
) -> list[Served]:
    """Serve an agent, let every person ask and speak their mind, and stop the server.

    Args:
        app: MODULE:AGENT, as `tooln1-agent serve` takes it.
        tools: those that people in client mode bring and run: the agent's own.
        instructions: the system message that they send, which is the agent's.
        config: where the store and the adapters are, which model, how many at once.

    Raises:
        DemoError: a request failed.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    async with serving(app, config.serve_flags, log=config.out / "server.log") as server:
        people = People(server.url, tools=tools, instructions=instructions)
        try:

            async def one(person: tuple[Request, Mood]) -> Served:
                served = await people.ask(*person)
                if served.error:
                    raise DemoError(f"{served.error} (see {server.log})")
                await people.tell(served)
                return served

            return await send_all(asked, one, concurrency=config.concurrency)
        finally:
            await people.aclose()
