"""What a client is told when a request cannot be served: one form for every error.

The form is OpenAI's: `{"error": {"message", "type", "param", "code"}}`. Tracebacks go to the log.
"""

from __future__ import annotations

import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from tooln1_agent.errors import (
    ContextTooLong,
    EngineBusy,
    EngineDown,
    LabelRefused,
    QuotaUsed,
    StoreError,
    ToolN1Error,
    UnknownRecord,
)

log = logging.getLogger("tooln1_agent.server")

_DOWN_RETRY_AFTER_S = 5.0
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_CODES = {404: "not_found", 405: "method_not_allowed"}


class ApiError(Exception):
    """A request is refused; the message says what was expected and what to do next."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after_s = retry_after_s
        super().__init__(message)

    def body(self) -> dict[str, Any]:
        """Return the error object that goes on the wire."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else None)
        return {
            "error": {
                "message": self.message,
                "type": kind or "invalid_request_error",
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> Response:
        """Return the whole answer, with the headers that belong to its status."""
        headers: dict[str, str] = {}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers=headers)


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """Return a 400 that names the parameter at fault."""
    return ApiError(400, message, param=param, code=code)


def as_api_error(error: Exception) -> ApiError:
    """Say in the API's terms what went wrong; what is nobody's business becomes a plain 500."""
    match error:
        case ApiError():
            return error
        case ContextTooLong():
            return bad_request(str(error), param="messages", code="context_length_exceeded")
        case EngineBusy():
            return ApiError(429, str(error), code="busy", retry_after_s=error.retry_after_s)
        case EngineDown():
            log.error("the engine is down: %s", error)
            return ApiError(
                503,
                "the model cannot be reached right now; try again shortly",
                code="engine_down",
                retry_after_s=_DOWN_RETRY_AFTER_S,
            )
        case UnknownRecord():
            return ApiError(404, str(error), code="not_found")
        case QuotaUsed():
            return ApiError(429, str(error), code="label_quota", retry_after_s=error.retry_after_s)
        case LabelRefused():
            return ApiError(400, str(error), code="label_refused")
        case StoreError():
            log.error("the store failed: %s", error)
            return ApiError(503, "the replay store cannot be used right now", code="store_error")
        case ToolN1Error():
            log.error("a request failed", exc_info=error)
            return ApiError(500, "the server could not complete the request", code="internal")
        case _:
            log.error("a request failed unexpectedly", exc_info=error)
            return ApiError(500, "internal server error; the log has details", code="internal")


def install(app: FastAPI) -> None:
    """Make the errors of an app leave in the one form; `Guard` sees to what is unforeseen."""

    async def ours(request: Request, error: Exception) -> Response:
        return as_api_error(error).response()

    async def routing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        known = {404: f"no such path: {request.method} {request.url.path}"}
        known[405] = f"{request.url.path} does not take {request.method}"
        message = known.get(error.status_code, str(error.detail))
        code = _CODES.get(error.status_code)
        response = ApiError(error.status_code, message, code=code).response()
        response.headers.update(error.headers or {})
        return response

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(ToolN1Error, ours)
    app.add_exception_handler(HTTPException, routing)
