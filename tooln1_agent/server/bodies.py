"""Request bodies: read within a size, parsed as strict JSON, and checked against a model."""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from tool_registry.subschemas import json_depth
from tooln1_agent.server.problems import ApiError, bad_request

MAX_DEPTH = 96
"""Brackets open at once; far above any real request, far below what recursion can bear."""
_SHOWN_CHARS = 80

Model = TypeVar("Model", bound=BaseModel)


async def read_json(request: Request, *, max_bytes: int) -> Any:
    """Return the body as JSON.

    Raises:
        ApiError: 413 over the limit, 415 for another media type, 400 for what is not JSON.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ApiError(415, f"content-type {media_type!r} is not supported; send application/json")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return loads(bytes(body), what="the request body")


def loads(text: bytes | str, *, what: str, param: str | None = None) -> Any:
    """Parse strict JSON: no NaN, no infinities, no half surrogates, bounded depth.

    Raises:
        ApiError: 400 that says what is wrong with `what`.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if json_depth(value) > MAX_DEPTH:
            raise RecursionError
        _refuse_half_surrogates(text, value)
    except RecursionError as error:
        raise bad_request(
            f"{what} nests more than {MAX_DEPTH} levels deep", param=param, code="invalid_json"
        ) from error
    except ValueError as error:
        raise bad_request(
            f"{what} is not valid JSON: {error}", param=param, code="invalid_json"
        ) from error
    return value


def check(model: type[Model], value: Any) -> Model:
    """Return `value` as a `model`.

    Raises:
        ApiError: 400 that names the first parameter at fault.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _explain(error, known=model.model_fields) from error


def _explain(error: ValidationError, *, known: Any) -> ApiError:
    first = error.errors(include_url=False, include_context=False)[0]
    param = param_path(first["loc"])
    if first["type"] == "extra_forbidden":
        return bad_request(
            f"unsupported parameter {param!r}; remove it",
            param=param,
            code="unsupported_parameter",
        )
    if first["type"] == "missing":
        return bad_request(f"{param!r} is required", param=param, code="missing_parameter")
    what = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] == "value_error" else f", got {first['input']!r:.{_SHOWN_CHARS}}"
    prefix = f"{param}: " if param else ""
    return bad_request(f"{prefix}{what}{shown}", param=param or None, code="invalid_value")


def param_path(location: tuple[int | str, ...]) -> str:
    """Write a location the way OpenAI does: `messages[0].content`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(
        413, f"the request body is larger than {max_bytes} bytes", code="request_too_large"
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _refuse_half_surrogates(text: bytes | str, value: Any) -> None:
    """Refuse strings that no UTF-8 file could hold; only escapes can smuggle them in."""
    escape: Any = b"\\u" if isinstance(text, bytes) else "\\u"
    if escape in text:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("a string holds half a surrogate pair") from error
