"""JSON Schema as it is safe to run on schemas from strangers: bounded work, no network.

The keywords are jsonschema's, each of them counted; those that run regular expressions or compare
every item with every other are replaced.
"""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from tool_registry.calls import canonical_json
from tool_registry.patterns import matches

__all__ = ["first_errors", "validator_for"]

MAX_STEPS = 50_000
"""Keywords tried, weighted by the size of their values, for one set of arguments."""
MAX_NESTING = 120
"""Keywords within keywords. Well below Python's recursion limit: the library that resolves
references does not survive meeting that (a Rust panic, which is no ``Exception``)."""

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


@dataclass(slots=True)
class _Effort:
    """What one validation has spent so far."""

    steps: int = 0
    nesting: int = 0

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS or self.nesting > MAX_NESTING:
            raise _TooCostlyError


_effort: ContextVar[_Effort] = ContextVar("_effort")


class _TooCostlyError(Exception):
    """Stops a validation that has used up its steps."""


def validator_for(schema: dict[str, Any]) -> Any:
    """A validator for a schema known to be sound: 2020-12 unless it says draft-07."""
    cls = _DRAFT_7 if "draft-07" in str(schema.get("$schema", "")) else _DRAFT_2020
    return cls(schema, registry=Registry())  # an empty registry never fetches


def first_errors(validator: Any, instance: Any, *, limit: int) -> list[ValidationError] | None:
    """At most ``limit`` errors, none if valid; None where checking would cost too much."""
    token = _effort.set(_Effort())
    try:
        return list(islice(validator.iter_errors(instance), limit))
    except (_TooCostlyError, RecursionError, OverflowError, Unresolvable):
        return None
    finally:
        _effort.reset(token)


def _counted(keyword: Keyword) -> Keyword:
    def count(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        effort = _effort.get()
        effort.nesting += 1
        try:
            effort.spend(1 + (len(value) if isinstance(value, list | dict) else 0))
            yield from keyword(validator, value, instance, schema) or ()
        finally:
            effort.nesting -= 1

    return count


def _pattern(validator: Any, value: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, str):
        return
    _effort.get().spend(len(instance) // 4)
    if not matches(value, instance):
        yield ValidationError(f"does not match {value!r}")


def _pattern_properties(
    validator: Any, value: dict[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, subschema in value.items():
        for name, item in instance.items():
            if matches(pattern, name):
                yield from validator.descend(item, subschema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    patterns = schema.get("patternProperties", {})
    extra = [
        name
        for name in instance
        if name not in schema.get("properties", {})
        and not any(matches(pattern, name) for pattern in patterns)
    ]
    if value is False and extra:
        surplus = {name: instance[name] for name in extra}
        yield ValidationError("has properties that do not exist", instance=surplus)
    elif isinstance(value, dict):
        for name in extra:
            yield from validator.descend(instance[name], value, path=name)


def _unique_items(
    validator: Any, value: bool, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if value and isinstance(instance, list):
        seen = {canonical_json(item) for item in instance}
        if len(seen) < len(instance):
            yield ValidationError("has repeated items")


def _unchecked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    yield from ()


_OURS: dict[str, Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
    "unevaluatedProperties": _unchecked,  # its search for what is evaluated runs patterns
    "unevaluatedItems": _unchecked,
}


def _bounded(base: Any) -> Any:
    keywords = {**base.VALIDATORS, **_OURS}
    make: Any = extend  # untyped in the stubs
    return make(base, {name: _counted(keyword) for name, keyword in keywords.items()})


_DRAFT_7 = _bounded(Draft7Validator)
_DRAFT_2020 = _bounded(Draft202012Validator)
