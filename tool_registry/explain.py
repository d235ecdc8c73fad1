"""What is wrong with a call's arguments, in words that a model can act on.

Each sentence says where, what was expected and what came instead; names that exist are listed.
"""

import json
from typing import Any

from jsonschema.exceptions import ValidationError

__all__ = ["explain", "quoted_names"]

MAX_SHOWN_CHARS = 80
MAX_SHOWN_NAMES = 30

_SENTENCES = {
    "minimum": "expected at least {0}",
    "maximum": "expected at most {0}",
    "exclusiveMinimum": "expected more than {0}",
    "exclusiveMaximum": "expected less than {0}",
    "multipleOf": "expected a multiple of {0}",
    "minLength": "expected at least {0} characters",
    "maxLength": "expected at most {0} characters",
    "minItems": "expected at least {0} items",
    "maxItems": "expected at most {0} items",
    "minProperties": "expected at least {0} properties",
    "maxProperties": "expected at most {0} properties",
    "pattern": "expected text matching {0}",
    "uniqueItems": "expected items without repetition",
    "const": "expected {0}",
}


def explain(error: ValidationError) -> str:
    """One sentence for one error of a validator from ``dialect``."""
    path = _path(error)
    match error.validator:
        case "required":
            missing = [name for name in _wanted(error) if name not in _found(error)]
            names = quoted_names(missing)
            return f"{path}: missing {names}" if _is_nested(error) else f"missing argument {names}"
        case "additionalProperties":
            return _explain_unknown(error, path)
        case "enum":
            expected = f"expected one of {_listed(_wanted(error))}"
        case "type":
            expected = f"expected {_types(_wanted(error))}"
        case "anyOf" | "oneOf":
            return _explain_branches(error, path)
        case keyword if keyword in _SENTENCES:
            expected = _SENTENCES[keyword].format(_shown(_wanted(error)))
        case _:
            return f"{path}: {error.message[:200]}"
    return f"{path}: {expected}, got {_got(_found(error))}"


def quoted_names(names: list[str]) -> str:
    """``"a", "b"``; the rest is counted when there are many."""
    return _listed(sorted(names))


def _explain_unknown(error: ValidationError, path: str) -> str:
    known = list(error.schema.get("properties", {})) if isinstance(error.schema, dict) else []
    names = quoted_names(list(_found(error)))
    where = f"{path}: unknown {names}" if _is_nested(error) else f"unknown argument {names}"
    return f"{where}; known: {quoted_names(known)}" if known else f"{where}; it takes none"


def _explain_branches(error: ValidationError, path: str) -> str:
    """Blame the branch that came closest: of the right type, with the fewest errors."""
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    if not branches:
        return f"{path}: {_got(_found(error))} fits more than one of the allowed forms"
    close = [errors for errors in branches.values() if not _is_wrong_type(errors[0])]
    if close:
        return explain(min(close, key=len)[0])
    types = [name for (first, *_) in branches.values() for name in _type_names(first)]
    return f"{path}: expected {' or '.join(dict.fromkeys(types))}, got {_got(_found(error))}"


def _wanted(error: ValidationError) -> Any:
    return error.validator_value


def _found(error: ValidationError) -> Any:
    return error.instance


def _is_nested(error: ValidationError) -> bool:
    return len(error.absolute_path) > 0


def _is_wrong_type(error: ValidationError) -> bool:
    return error.validator == "type" and not error.relative_path


def _type_names(error: ValidationError) -> list[str]:
    value = _wanted(error)
    return [value] if isinstance(value, str) else list(value)


def _types(value: Any) -> str:
    return value if isinstance(value, str) else " or ".join(value)


def _path(error: ValidationError) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    return "arguments" + "".join(parts)


def _got(value: Any) -> str:
    kinds: dict[type, str] = {dict: "object ", list: "array "}
    return kinds.get(type(value), "") + _shown(value)


def _listed(values: list[Any]) -> str:
    shown = ", ".join(_shown(value) for value in values[:MAX_SHOWN_NAMES])
    rest = len(values) - MAX_SHOWN_NAMES
    return f"{shown} and {rest} more" if rest > 0 else shown


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 1] + "…"
