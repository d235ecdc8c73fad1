"""BFCL's rule: each argument is one of a list of acceptable values.

Follows the behaviour of the AST checker of the Berkeley Function-Calling Leaderboard (gorilla,
`bfcl-eval`, Python categories), peculiarities included, so that a score here means what it means
there. Types are compared as Python's own, so 1 is not 1.0 and True is not 1, but values inside
lists and objects only by `==`; a parameter of type number takes an integer. Strings are compared
without case, spaces and some punctuation. Among the acceptable values "" means that the argument
may be left out (and, for a string, may be empty).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.examples import Possible, PossibleCall

_IGNORED = re.compile(r"[ ,./\-_*^]")
_TYPES: dict[str, type] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}


def matches_possible(
    calls: Sequence[ToolCall], *, tools: Sequence[ToolSpec], target: Possible
) -> str | None:
    """Return None where the calls are acceptable, else what is wrong with them in a few words.

    Each expected call takes the first call that meets it and is not taken yet, in any order.
    """
    if len(calls) != len(target.calls):
        return "another number of calls was expected"
    specs = {spec.name: spec for spec in tools}
    left = list(calls)
    wrong = ""
    for wanted in target.calls:
        for index, call in enumerate(left):
            problem = _call_problem(call, wanted, specs.get(wanted.name))
            if problem is None:
                del left[index]
                break
            wrong = problem
        else:
            return wrong if len(calls) == 1 else "no call meets one of those expected"
    return None


def _call_problem(call: ToolCall, wanted: PossibleCall, spec: ToolSpec | None) -> str | None:
    """Return what keeps `call` from meeting `wanted`."""
    if call.name != wanted.name:
        return "other tools were expected"
    schema = {} if spec is None else spec.parameters
    properties = _dict(schema.get("properties"))
    for name in _list(schema.get("required", [])):
        if name not in call.arguments:
            return "a required argument is missing"
    for name, value in call.arguments.items():
        if name not in wanted.arguments or (spec is not None and name not in properties):
            return "an argument was not expected"
        if not _is_acceptable(value, wanted.arguments[name], _dict(properties.get(name))):
            return "other arguments were expected"
    for name, options in wanted.arguments.items():
        if name not in call.arguments and "" not in options:
            return "an argument is missing"
    return None


def _is_acceptable(value: Any, options: Sequence[Any], schema: dict[str, Any]) -> bool:
    expected = _TYPES.get(str(schema.get("type")))
    if expected is float and type(value) is int:
        value = float(value)
    given = next((type(option) for option in options if option != ""), None)
    if expected is None:  # a schema without a type, or with several
        expected = given
    if type(value) is not expected:
        # A value of another type than the schema's (a variable's name, say) counts where the
        # acceptable ones are of that type too.
        return type(value) is given and value in options
    if isinstance(value, dict):
        return any(_meets_object(value, option) for option in options)
    if isinstance(value, str):
        return _plain(value) in map(_plain, options)
    if isinstance(value, list):
        return _is_acceptable_list(value, options, _dict(schema.get("items")))
    return value in options


def _is_acceptable_list(value: list[Any], options: Sequence[Any], items: dict[str, Any]) -> bool:
    lists = [option or [] for option in options if isinstance(option, list) or option == ""]
    if "type" in items and not any(_has_item_types(value, option, items) for option in lists):
        return False
    if items.get("type") == "object":
        return any(
            len(value) == len(option) and all(map(_meets_object, value, option)) for option in lists
        )
    made = [_plain(item) for item in value]
    return any(made == [_plain(item) for item in option] for option in lists)


def _has_item_types(value: list[Any], option: list[Any], items: dict[str, Any]) -> bool:
    """Whether every item has the type that the schema gives, or that the option's items have."""
    expected = _TYPES.get(str(items.get("type")))
    given = next((type(item) for item in option if item != ""), None)
    return all(type(item) in (expected, given) for item in value)


def _meets_object(value: Any, option: Any) -> bool:
    """Whether an object has one of the acceptable values under each of the option's keys."""
    if not isinstance(value, dict) or not isinstance(option, dict):
        return False
    for key, item in value.items():
        if key not in option or _plain(item) not in map(_plain, _list(option[key])):
            return False
    return all(key in value or "" in _list(acceptable) for key, acceptable in option.items())


def _plain(value: Any) -> Any:
    """Bring a string to the form in which strings are compared; leave other values alone."""
    if not isinstance(value, str):
        return value
    return _IGNORED.sub("", value).lower().replace("'", '"')


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
