"""What goes over a socket: pieces leave at once, and a connection serves the next call too."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from tooln1_agent.engines.wire import Wire, events
from tooln1_agent.server.run import listen

_PIECE = b'data: {"choices": []}\n\n'
_DONE = b"data: [DONE]\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_small_pieces_are_not_held_back_for_an_acknowledgement() -> None:
    seen: list[int] = []

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()
        await writer.wait_closed()

    listener = listen("127.0.0.1", 0)
    async with await asyncio.start_server(note, sock=listener):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        await reader.read()
        writer.close()
        await writer.wait_closed()
    assert seen == [1]


class Counting:
    """A model server that streams, and counts the connections that it is asked on."""

    def __init__(self, *, ends: bool) -> None:
        self._answering: list[asyncio.Task[None] | None] = []
        self._ends = ends

    @property
    def connections(self) -> int:
        return len(self._answering)

    async def left(self) -> None:
        """Wait until everybody has gone."""
        await asyncio.gather(*filter(None, self._answering))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after another."""
        self._answering.append(asyncio.current_task())
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(len(b"{}"))
                writer.write(_HEAD + _chunk(_PIECE) + _chunk(_DONE))
                await writer.drain()
                if self._ends:
                    await asyncio.sleep(0.01)
                    writer.write(b"0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _ask_thrice(server: Counting) -> list[int]:
    async with await asyncio.start_server(server.answer, "127.0.0.1", 0) as listening:
        host, port = listening.sockets[0].getsockname()
        wire = Wire(f"http://{host}:{port}")
        found = []
        for _ in range(3):
            async with wire.post("/", {}) as response:
                found.append(len([event async for event in events(response)]))
        await wire.aclose()
        await server.left()
    return found


async def test_streams_one_after_another_share_a_connection() -> None:
    server = Counting(ends=True)
    assert await _ask_thrice(server) == [1, 1, 1]
    assert server.connections == 1


async def test_a_server_that_never_ends_its_reply_keeps_nobody_waiting() -> None:
    server = Counting(ends=False)
    assert await _ask_thrice(server) == [1, 1, 1]
    assert server.connections == 3
