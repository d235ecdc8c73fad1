"""`POST /v1/chat/completions`: one interaction, in agent mode or in client mode.

The loop records a turn before its tools run and before the last piece of its text goes out; the
closing chunk and `[DONE]` come after that.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from tooln1_agent.loop import new_interaction, one_turn, run_interaction
from tooln1_agent.run_events import RunEvent, RunResult
from tooln1_agent.server.answers import Head, completion_body
from tooln1_agent.server.auth import Principal
from tooln1_agent.server.bodies import read_json
from tooln1_agent.server.chunks import ChunkWriter
from tooln1_agent.server.episodes import episode_of
from tooln1_agent.server.intake import ChatOrder, read_order
from tooln1_agent.server.problems import ApiError, as_api_error
from tooln1_agent.server.service import Service
from tooln1_agent.server.streams import DONE, EventStream, first_of, sse, unless_gone
from tooln1_agent.telemetry import BASE
from tooln1_agent.transcript import Interaction


def routes(service: Service) -> APIRouter:
    """Return the route of chat completions."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        authorization = request.headers.get("authorization")
        principal = service.keys.principal(authorization, right="chat")
        body = await read_json(request, max_bytes=service.config.max_body_bytes)
        order = read_order(body, defaults=service.agent.sampling, config=service.config)
        _check_model(service, order.model)
        return await _answer(service, request, order, principal)

    return router


async def _answer(
    service: Service, request: Request, order: ChatOrder, principal: Principal
) -> Response:
    interaction = _interaction(service, order, principal)
    asked: list[str | None] = []  # the adapter of each model call

    def adapter_now() -> str | None:
        asked.append(service.pointer.version())
        return asked[-1]

    events = _run(service, order, interaction, adapter=adapter_now)
    if order.stream:
        # The first event comes before the status line, so that a refusal still gets its own.
        patience_s = service.config.keep_alive_s
        first = await first_of(request, events, patience_s=patience_s)
        adapter = asked[0]
        head = _head(service, order, interaction, adapter)
        writer = ChunkWriter(head, may_call=bool(order.tools), include_usage=order.include_usage)
        content = _chunks(writer, first, events)
        headers = _headers(interaction, adapter)
        return EventStream(content, headers=headers, first=first, keep_alive_s=patience_s)
    result = await unless_gone(request, _result(events))
    adapter = result.interaction.turns[-1].completion.adapter
    head = _head(service, order, interaction, adapter)
    answer = completion_body(head, result, may_call=bool(order.tools))
    return JSONResponse(answer, headers=_headers(interaction, adapter))


def _check_model(service: Service, name: str) -> None:
    if name not in service.served_names:
        known = ", ".join(map(repr, service.served_names))
        raise ApiError(
            404,
            f"model {name!r:.80} is not served here; served: {known} (the operator can add names "
            "to served_names)",
            param="model",
            code="model_not_found",
        )


def _interaction(service: Service, order: ChatOrder, principal: Principal) -> Interaction:
    """Begin the record of a request."""
    agent, messages, tools = service.agent, order.messages, order.tools
    episode = None
    if order.is_client_mode:
        episode = episode_of(service.store, messages, principal=principal.name)
    else:
        tools = agent.registry.specs
        messages = agent.prompt_messages(messages)
    return new_interaction(
        service.engine,
        messages,
        tools=tools,
        episode=episode,
        agent=agent.name,
        principal=principal.name,
        no_train=order.no_train,
    )


async def _run(
    service: Service,
    order: ChatOrder,
    interaction: Interaction,
    *,
    adapter: Callable[[], str | None],
) -> AsyncGenerator[RunEvent, None]:
    """Run the interaction and count what happens."""
    agent = service.agent
    sampling, recorder, whole = order.sampling, service.store, not order.stream
    if order.is_client_mode:
        run = one_turn(
            service.engine,
            interaction,
            sampling=sampling,
            adapter=adapter,
            recorder=recorder,
            whole=whole,
        )
    else:
        run = run_interaction(
            service.engine,
            interaction,
            registry=agent.registry,
            sampling=sampling,
            adapter=adapter,
            limits=agent.limits,
            deps=service.deps,
            recorder=recorder,
            whole=whole,
        )
    async with aclosing(run) as events:
        async for event in events:
            service.metrics.count_event(event)
            yield event


async def _result(events: AsyncGenerator[RunEvent, None]) -> RunResult:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, RunResult):
                return event
    raise AssertionError("a run ends with its result or raises")


async def _chunks(
    writer: ChunkWriter, first: Awaitable[RunEvent], events: AsyncGenerator[RunEvent, None]
) -> AsyncGenerator[str, None]:
    """Yield the stream's text; an error on the way is told in it, for the status has gone out."""
    async with aclosing(events):
        try:
            yield sse(writer.opening())
            for chunk in writer.of(await first):
                yield sse(chunk)
            async for event in events:
                for chunk in writer.of(event):
                    yield sse(chunk)
        except Exception as error:  # around a server request
            yield sse(as_api_error(error).body())
        yield DONE


def _head(
    service: Service, order: ChatOrder, interaction: Interaction, adapter: str | None
) -> Head:
    return Head(
        interaction=interaction.id,
        created=int(time.time()),
        model=order.model,
        fingerprint=f"{service.engine.info.base_model}@{adapter or BASE}",
    )


def _headers(interaction: Interaction, adapter: str | None) -> dict[str, str]:
    return {"x-interaction-id": interaction.id, "x-adapter": adapter or BASE}
