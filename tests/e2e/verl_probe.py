"""What verl makes of an exported directory; runs in verl's environment, and prints JSON.

python verl_probe.py CONFIG.yaml < completions.json

CONFIG is what `train.sh --cfg job` printed. On the standard input come lists: an example, the
completion ids that a model server, which alone is not real here, is to say to its prompt, and what
to change in its `extra_info`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import hydra
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.utils import hf_tokenizer
from verl.utils.config import validate_config
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn
from verl.workers.rollout.replica import TokenOutput

from tooln1_agent.errors import ConfigError


class Server:
    """Says what it was given, and keeps what it was asked."""

    def __init__(self, completion_ids: list[int]) -> None:
        self._completion_ids = completion_ids
        self.asked: list[list[int]] = []

    async def generate(self, *, prompt_ids: list[int], **_: Any) -> TokenOutput:
        self.asked.append(prompt_ids)
        return TokenOutput(token_ids=self._completion_ids)


class Probe:
    """verl's own parts, set up as its trainer sets them up, without Ray and without a GPU."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.tokenizer = hf_tokenizer(config.actor_rollout_ref.model.path)
        self.dataset = RLHFDataset(config.data.train_files, self.tokenizer, config.data)
        self.rewards = RewardLoopWorker(config)
        agent = config.actor_rollout_ref.rollout.agent
        (self.loop,) = OmegaConf.load(agent.agent_loop_config_path)
        assert self.loop.name == agent.default_agent_loop

    async def answer(
        self, example: str, completion_ids: list[int], changes: dict[str, Any]
    ) -> dict[str, Any]:
        """Roll out one row as verl's worker does, and score it; or say what was refused."""
        found = [row for row in self.dataset if row["extra_info"]["example"] == example]
        columns = collate_fn(found)
        row = {key: value[0] for key, value in columns.items() if isinstance(value, np.ndarray)}
        row["extra_info"] |= changes
        server = Server(completion_ids)
        loop = hydra.utils.instantiate(
            self.loop,
            trainer_config=DictConfigWrap(self.config),
            server_manager=server,
            tokenizer=self.tokenizer,
            processor=None,
            dataset_cls=RLHFDataset,
            data_config=DictConfigWrap(self.config.data),
        )
        try:
            output = await loop.run({}, **row)
        except ConfigError as error:
            return {"refused": str(error)}
        (asked,) = server.asked
        return {
            "asked": asked,
            "trained_on": output.prompt_ids,
            "response": output.response_ids,
            "reward": await self._score(row, output),
        }

    async def _score(self, row: dict[str, Any], output: Any) -> float:
        prompts, responses = torch.tensor([output.prompt_ids]), torch.tensor([output.response_ids])
        ids = torch.cat([prompts, responses], dim=1)
        tensors = {
            "prompts": prompts,
            "responses": responses,
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
        }
        others = {**row, "tool_extra_fields": output.extra_fields}
        columns = {key: np.array([value], dtype=object) for key, value in others.items()}
        data = DataProto(batch=TensorDict(tensors, batch_size=1), non_tensor_batch=columns)
        return (await self.rewards.compute_score(data))["reward_score"]


def _check(config: DictConfig) -> None:
    """Let verl check the settings, but for the LoRA ranks of vLLM, which is not there."""
    checked = config.copy()
    checked.actor_rollout_ref.rollout.name = "sglang"
    validate_config(checked, use_reference_policy=True, use_critic=False)


async def main() -> None:
    """Probe, and print what came of it."""
    config = OmegaConf.load(sys.argv[1])
    _check(config)
    probe = Probe(config)
    answers = [await probe.answer(*asked) for asked in json.load(sys.stdin)]
    settings = OmegaConf.to_container(config, resolve=True)
    found = {"config": settings, "rows": len(probe.dataset), "answers": answers}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
