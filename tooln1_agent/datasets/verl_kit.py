"""A directory that verl trains from: examples, reward function, agent loop and launch script.

The settings are those of verl 0.9.1; where ours of GRPO have a counterpart there, it is set alike.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tooln1_agent.datasets.writing import write_parquet
from tooln1_agent.errors import ConfigError, DataError

EXAMPLES, REWARD, LOOP, SCRIPT = "train.parquet", "reward.py", "agent_loop.yaml", "train.sh"
"""The files of the directory."""

_PROMPTS_PER_STEP = 16

_REWARD_FILE = '''\
"""The reward of 0.0 or 1.0 that the gate goes by, too, by the name that verl asks for."""

from tooln1_agent.datasets.rewards import verl_reward as compute_score

__all__ = ["compute_score"]
'''
_LOOP_FILE = """# Samples from the prompt ids of the rows, which are those that are served.
- name: tooln1
  _target_: trainer.verl_loop.ToolN1Loop
"""
_SCRIPT_FILE = """#!/usr/bin/env bash
# GRPO with LoRA in verl 0.9.1. The Python that runs it (PYTHON) needs verl with vLLM, tooln1-agent
# and tokenizers. MODEL may name another copy of the model; the tokenizer must be the same.
# What else verl can be told goes behind: ./train.sh trainer.n_gpus_per_node=4
set -euo pipefail
HERE=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
MODEL=${{MODEL:-{model}}}
MODEL=$(cd "$MODEL" && pwd)

exec "${{PYTHON:-python3}}" -m verl.trainer.main_ppo \\
{settings}
    "$@"
"""


def write_kit(path: Path, rows: Sequence[dict[str, Any]], *, model: Path) -> int:
    """Write a new directory for verl; return how many examples are in it.

    Args:
        rows: of `exports.verl_row`, for the tokenizer of `model`.

    Raises:
        ConfigError: there is something at `path`, or it cannot be made.
        DataError: there are no rows; nothing is written.
    """
    if not rows:
        raise DataError(f"there is nothing to write, so {str(path)!r} was not made")
    try:
        with TemporaryDirectory(prefix=".tmp-", dir=path.parent) as scratch:
            made = Path(scratch) / path.name
            _write_files(made, rows, model)
            made.rename(path)
    except OSError as error:
        raise ConfigError(
            f"cannot make {str(path)!r}: {error}; --to verl makes a new directory, in one that is "
            "there already"
        ) from error
    return len(rows)


def _write_files(path: Path, rows: Sequence[dict[str, Any]], model: Path) -> None:
    path.mkdir()
    write_parquet(path / EXAMPLES, rows)
    (path / REWARD).write_text(_REWARD_FILE, encoding="utf-8")
    (path / LOOP).write_text(_LOOP_FILE, encoding="utf-8")
    longest = max(len(row["extra_info"]["prompt_ids"]) for row in rows)
    script = _script(model, longest_prompt=longest, examples=len(rows))
    (path / SCRIPT).write_text(script, encoding="utf-8")
    (path / SCRIPT).chmod(0o755)


def _script(model: Path, *, longest_prompt: int, examples: int) -> str:
    settings = _settings(longest_prompt=longest_prompt, examples=examples)
    lines = [f'    "{key}={value}" \\' for key, value in settings.items()]
    return _SCRIPT_FILE.format(model=shlex.quote(str(model.resolve())), settings="\n".join(lines))


def _settings(*, longest_prompt: int, examples: int) -> dict[str, str | int | float | bool]:
    """Return verl's settings by name; the script's shell fills in what begins with a `$`."""
    prompts = min(_PROMPTS_PER_STEP, examples)  # verl drops a batch that is not full
    policy = "actor_rollout_ref"
    return {
        "algorithm.adv_estimator": "grpo",
        "data.train_files": f"'$HERE/{EXAMPLES}'",
        "data.val_files": f"'$HERE/{EXAMPLES}'",  # has to be named; what is learned the gate judges
        "data.train_batch_size": prompts,
        "data.max_prompt_length": longest_prompt,
        "data.max_response_length": 256,
        f"{policy}.model.path": "'$MODEL'",
        f"{policy}.model.lora_rank": 16,
        f"{policy}.model.lora_alpha": 32,
        f"{policy}.actor.ppo_mini_batch_size": prompts,
        f"{policy}.actor.use_dynamic_bsz": True,
        f"{policy}.actor.ppo_max_token_len_per_gpu": max(16384, 2 * (longest_prompt + 256)),
        f"{policy}.actor.optim.lr": 2e-5,  # for 1 to 10 billion parameters
        f"{policy}.actor.optim.weight_decay": 0.0,
        f"{policy}.actor.use_kl_loss": True,
        f"{policy}.actor.kl_loss_coef": 0.001,
        f"{policy}.rollout.name": "vllm",
        f"{policy}.rollout.n": 8,
        f"{policy}.rollout.tensor_model_parallel_size": 1,
        f"{policy}.rollout.load_format": "safetensors",  # LoRA is pushed onto a loaded base
        f"{policy}.rollout.agent.default_agent_loop": "tooln1",
        f"{policy}.rollout.agent.agent_loop_config_path": f"'$HERE/{LOOP}'",
        "reward.custom_reward_function.path": f"'$HERE/{REWARD}'",
        "trainer.project_name": "tooln1-agent",
        "trainer.experiment_name": "grpo",
        "trainer.n_gpus_per_node": 1,
        "trainer.total_epochs": 3,
        "trainer.save_freq": 20,
        "trainer.val_before_train": False,
        "trainer.logger": "[console]",
    }
