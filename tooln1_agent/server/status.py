"""What is served and how it is doing: models, health, readiness, metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from tooln1_agent.errors import StoreError
from tooln1_agent.server.problems import ApiError
from tooln1_agent.server.service import Service
from tooln1_agent.telemetry import BASE


def routes(service: Service) -> APIRouter:
    """Return the routes that only look."""
    router = APIRouter()

    def model(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 0, "owned_by": "tooln1-agent"}

    def admit(request: Request, right: Any) -> None:
        service.keys.principal(request.headers.get("authorization"), right=right)

    @router.get("/v1/models")
    async def models(request: Request) -> Response:
        admit(request, "chat")
        listed = [model(name) for name in service.served_names]
        return JSONResponse({"object": "list", "data": listed})

    @router.get("/v1/models/{name:path}")
    async def one_model(request: Request, name: str) -> Response:
        admit(request, "chat")
        if name not in service.served_names:
            raise ApiError(404, f"model {name!r:.80} is not served here", code="model_not_found")
        return JSONResponse(model(name))

    @router.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get("/readyz")
    async def readyz() -> Response:
        checks = readiness(service)
        ready = all(check == "ok" for check in checks.values())
        body = {"ready": ready, "checks": checks, "adapter": service.pointer.version() or BASE}
        return JSONResponse(body, 200 if ready else 503)

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        admit(request, "metrics")
        return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return router


def readiness(service: Service) -> dict[str, str]:
    """Return for each part "ok" or what keeps it from serving."""
    return {
        "engine": "ok" if service.engine.is_started else "not started",
        "store": _store(service),
        "adapter": "ok" if service.pointer.is_settled else "the live adapter does not serve yet",
    }


def _store(service: Service) -> str:
    try:
        service.store.check_writable()
    except StoreError:
        return "not writable"
    return "ok"
