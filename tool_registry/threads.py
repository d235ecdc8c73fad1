"""Runs a blocking function beside the event loop, in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

__all__ = ["run_in_thread"]

T = TypeVar("T")


async def run_in_thread(fn: Callable[[], T]) -> T:
    """What ``fn`` returns; the caller's context variables are visible to it.

    ``fn`` must not raise. A thread cannot be stopped: when the caller is cancelled, ``fn`` goes
    on and its value is dropped. A daemon thread, rather than one of a pool, so that functions
    that never return neither starve later calls nor keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = copy_context()

    def deliver(value: T) -> None:
        if not future.done():
            future.set_result(value)

    def work() -> None:
        value = context.run(fn)
        with suppress(RuntimeError):  # the loop may be closed by now; nobody waits any more
            loop.call_soon_threadsafe(deliver, value)

    threading.Thread(target=work, name="tool", daemon=True).start()
    return await future
