"""What is said to vLLM's `/v1/completions`, and what its answers hold.

Every sampling parameter is sent: one that is left out takes its value from the generation
configuration of the model's directory. The log-probs are those of vLLM's mode `raw_logprobs`:
of the plain model, before temperature and nucleus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tooln1_agent.errors import EngineDown, EngineError
from tooln1_agent.messages import Sampling

_ENDS = ("stop", "length")


def completion_body(
    prompt_ids: Sequence[int], sampling: Sampling, *, model: str, end_ids: Sequence[int]
) -> dict[str, Any]:
    """Return the body that asks for one streamed completion.

    Stop strings are not passed on: we cut the text, so that every engine cuts it alike.

    Args:
        model: the name of the base model, or the version of an adapter.
        end_ids: the only tokens that end a completion.
    """
    return {
        "model": model,
        "prompt": list(prompt_ids),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or 0,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "stop_token_ids": list(end_ids),
        "ignore_eos": True,
        "skip_special_tokens": False,
        "logprobs": 0,
        "return_token_ids": True,
        "stream": True,
    }


def forced_body(prompt_ids: Sequence[int], token: int, *, model: str) -> dict[str, Any]:
    """Return the body that has vLLM sample just this token: so one hears its log-prob.

    vLLM's own `prompt_logprobs` would take one request for a whole text, but beside other
    requests and with LoRA switched on it ends the engine (0.32, on a CPU).
    """
    greedy = Sampling(max_tokens=1)
    return {
        **completion_body(prompt_ids, greedy, model=model, end_ids=()),
        "allowed_token_ids": [token],
    }


class Sampled:
    """A completion while its events come in."""

    def __init__(self, *, model: str) -> None:
        """Expect the completion of a model, which each event has to name."""
        self._model = model
        self.prompt_ids: tuple[int, ...] = ()
        """What vLLM says it was given."""
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.finish_reason: str | None = None

    def add(self, event: Mapping[str, Any]) -> list[int]:
        """Take an event; return the token ids that it brings.

        Raises:
            EngineError: ids or log-probs are missing, or another model answers.
            EngineDown: vLLM gave the completion up.
        """
        if event.get("model") != self._model:
            raise EngineError(f"{self._model!r} was asked, but {event.get('model')!r} answers")
        fresh: list[int] = []
        for choice in event.get("choices") or ():
            self.prompt_ids = tuple(choice.get("prompt_token_ids") or self.prompt_ids)
            fresh += self._add_tokens(choice)
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if self.finish_reason is not None and self.finish_reason not in _ENDS:
            raise EngineDown(f"vLLM ended a completion with {self.finish_reason!r}; try again")
        return fresh

    def cut(self, count: int) -> None:
        """Keep the first ids only, where a stop string has ended the text."""
        del self.ids[count:], self.logprobs[count:]
        self.finish_reason = "stop"

    def _add_tokens(self, choice: Mapping[str, Any]) -> list[int]:
        ids = choice.get("token_ids")
        logprobs = (choice.get("logprobs") or {}).get("token_logprobs") or []
        if ids is None or len(ids) != len(logprobs):
            raise EngineError(
                "vLLM sent no token ids, or not one log-prob for each; version 0.10.2 or later "
                "is needed"
            )
        self.ids += ids
        self.logprobs += logprobs
        return list(ids)
