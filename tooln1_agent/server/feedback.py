"""`POST /v1/feedback`: what a turn should have done, as a label event in the store."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from tooln1_agent.errors import UnknownRecord
from tooln1_agent.feedback import Feedback
from tooln1_agent.replay.labels import LabelPolicy
from tooln1_agent.server.auth import Principal
from tooln1_agent.server.bodies import check, read_json
from tooln1_agent.server.service import Service


def routes(service: Service) -> APIRouter:
    """Return the route of feedback."""
    router = APIRouter()
    policy = LabelPolicy(max_labels_per_author_per_day=service.config.labels_per_day)

    @router.post("/v1/feedback")
    async def feedback(request: Request) -> Response:
        authorization = request.headers.get("authorization")
        principal = service.keys.principal(authorization, right="label")
        body = await read_json(request, max_bytes=service.config.max_body_bytes)
        given = check(Feedback, body)
        _check_owner(service, given.interaction, principal)
        event = given.label(author=principal.name, now=datetime.now(UTC))
        service.store.add_label(event, policy=policy)
        service.metrics.labels.labels(event.source, event.verdict).inc()
        return JSONResponse(
            {
                "object": "feedback",
                "interaction": event.interaction,
                "turn": event.turn,
                "verdict": given.verdict,
                "source": event.source,
            }
        )

    return router


def _check_owner(service: Service, interaction: str, principal: Principal) -> None:
    """Let nobody but its principal and admins see that an interaction exists."""
    owner = service.store.interaction(interaction).principal
    if owner != principal.name and not principal.may("admin"):
        raise UnknownRecord(f"there is no interaction {interaction!r} in the replay store")
