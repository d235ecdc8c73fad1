"""How verl samples for us: from prompt ids that were exported, and with the reply read our way.

Runs inside of verl (0.9.1), in its environment; nothing of ours imports it. verl's own loop would
write prompts with the model's chat template, and its reward managers take special tokens out of
replies, which in some models are `<think>` and `<tool_call>`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from tooln1_agent.codec import Codec
from tooln1_agent.errors import ConfigError

_codec = cache(Codec.load)


class ToolN1Loop(SingleTurnAgentLoop):  # type: ignore[misc]  # verl is not there to be checked
    """Samples one reply to the prompt of a row; verl makes one of these for each rollout."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """Return the sampled ids, with the reply's text, as the reward function wants it.

        Raises:
            ConfigError: the row was written for another tokenizer.
        """
        told, codec = row["extra_info"], _codec(self.tokenizer.name_or_path)
        if told["tokenizer"] != codec.hash:
            raise ConfigError(
                f"these examples were written for the tokenizer {told['tokenizer']}, and the model "
                f"at {self.tokenizer.name_or_path!r} has {codec.hash}; export them again with "
                "--model"
            )
        self._prompt_ids = list(told["prompt_ids"])
        output = await super().run(sampling_params, **row)
        ids = output.response_ids
        output.extra_fields["reply"] = codec.decode(ids)
        output.extra_fields["truncated"] = not ids or ids[-1] not in codec.end_ids
        return output

    async def ct_build_initial_tokens(self, *_: Any, **__: Any) -> list[int]:
        """Return the exported ids, in the place of what the chat template would give."""
        return self._prompt_ids
