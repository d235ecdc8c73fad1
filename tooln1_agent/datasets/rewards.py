"""Our reward, called as TRL and as verl call theirs, on the rows that `export` wrote for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from tool_registry.tool import ToolSpec
from tooln1_agent.examples import Target
from tooln1_agent.reward import score

_TARGET: TypeAdapter[Target] = TypeAdapter(Target)
_TOOLS: TypeAdapter[tuple[ToolSpec, ...]] = TypeAdapter(tuple[ToolSpec, ...])


def verl_reward(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
) -> float:
    """Return 0.0 or 1.0 for a reply; what verl calls `compute_score`.

    Args:
        solution_str: what verl decoded, without special tokens.
        extra_info: of the row. `trainer.verl_loop` adds the `reply` as it was sampled, which counts
            then, and whether it is `truncated`.
    """
    told = extra_info or {}
    if told.get("truncated"):
        return 0.0
    truth = json.loads(ground_truth)
    return score(
        told.get("reply", solution_str),
        tools=_TOOLS.validate_python(truth["tools"]),
        target=_TARGET.validate_python(truth["target"]),
    ).value


def trl_reward(
    completions: Sequence[Any],
    target: Sequence[str],
    tools: Sequence[str],
    **_: Any,
) -> list[float]:
    """Return 0.0 or 1.0 for each reply; one of TRL's `reward_funcs`.

    Args:
        completions: texts, or lists of messages of which the first is the reply.
        target: the column of targets, each as JSON text.
        tools: the column of tools, each as JSON text.
    """
    return [
        score(
            said if isinstance(said, str) else said[0]["content"],
            tools=_TOOLS.validate_json(offered),
            target=_TARGET.validate_json(right),
        ).value
        for said, right, offered in zip(completions, target, tools, strict=True)
    ]
