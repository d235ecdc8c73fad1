"""What the policy samples, what it is worth, and what of a policy is saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tooln1_agent.adapters import AdapterStore
from tooln1_agent.codec import Codec
from tooln1_agent.engines.local.model import base_name
from tooln1_agent.errors import AdapterError, ConfigError
from tooln1_agent.examples import Example
from tooln1_agent.renderers.tooln1 import TOOLN1
from tooln1_agent.reward import Reward
from trainer.config import GrpoConfig
from trainer.errors import Diverged
from trainer.policy import load_policy
from trainer.prefix import completion_logprobs
from trainer.rollout import TRUNCATED, prompt_ids, sample_groups

Make = Callable[..., list[Example]]


def sample(model_dir: Path, examples: list[Example], **settings: Any) -> Any:
    config = GrpoConfig(**({"group_size": 4, "max_tokens": 6, "lora_rank": 1} | settings))
    score = settings.pop("score", lambda text, **_: Reward(float(len(text) % 2), ""))
    policy = load_policy(model_dir, config)
    generator = torch.Generator().manual_seed(config.seed)
    return policy, sample_groups(policy, examples, config=config, generator=generator, score=score)


def test_sampled_logprobs_are_those_of_the_update(
    tiny_model_dir: Path, make_examples: Make
) -> None:
    policy, groups = sample(tiny_model_dir, make_examples(["on", "off", "on"]))
    found = completion_logprobs(
        policy.model,
        [group.prompt_ids for group in groups],
        [[rollout.completion_ids for rollout in group.rollouts] for group in groups],
    )
    rows = [rollout.logprobs for group in groups for rollout in group.rollouts]
    for row, logprobs in zip(found.values, rows, strict=True):
        torch.testing.assert_close(row[: len(logprobs)].detach(), torch.tensor(logprobs))


def test_groups_do_not_depend_on_how_many_are_sampled_together(
    tiny_model_dir: Path, make_examples: Make
) -> None:
    examples = make_examples(["on"] * 3)
    _, groups = sample(tiny_model_dir, examples, rows_per_batch=4)
    assert [group.example for group in groups] == examples
    assert all(len(group.rollouts) == 4 for group in groups)


def test_a_truncated_rollout_earns_nothing_and_is_marked(
    tiny_model_dir: Path, make_examples: Make
) -> None:
    _, (group,) = sample(tiny_model_dir, make_examples([""]), max_tokens=1)
    assert all(rollout.truncated for rollout in group.rollouts)
    assert all(rollout.reward == TRUNCATED for rollout in group.rollouts)
    assert not group.has_spread


def test_the_prompt_is_the_one_that_serving_renders(
    tiny_model_dir: Path, make_examples: Make
) -> None:
    (example,) = make_examples(["on"])
    codec = Codec.load(tiny_model_dir)
    assert list(prompt_ids(example, codec)) == codec.prompt_ids(example.messages, example.tools)


def test_a_policy_without_finite_probabilities_is_told_as_diverged(
    tiny_model_dir: Path, make_examples: Make
) -> None:
    config = GrpoConfig(group_size=2, max_tokens=2, lora_rank=1)
    policy = load_policy(tiny_model_dir, config)
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="lower --learning-rate"):
        sample_groups(policy, make_examples(["on"]), config=config, generator=torch.Generator())


def test_new_lora_changes_nothing_and_its_seed_decides_it(tiny_model_dir: Path) -> None:
    config = GrpoConfig(lora_rank=8)
    policy, again = (load_policy(tiny_model_dir, config) for _ in range(2))
    other = load_policy(tiny_model_dir, config.model_copy(update={"seed": 1}))
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        adapted = policy.model(ids).logits
    with policy.reference() as model:
        torch.testing.assert_close(model(ids).logits, adapted)
    firsts = [next(iter(p.trainable().values())) for p in (policy, again, other)]
    assert torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[0], firsts[2])


def test_sampling_may_have_a_precision_of_its_own(tiny_model_dir: Path) -> None:
    config = GrpoConfig(lora_rank=8, precision="bfloat16", sampling_precision="float32")
    assert load_policy(tiny_model_dir, config).sampler().dtype == torch.float32
    config = GrpoConfig(lora_rank=8, precision="bfloat16")
    assert load_policy(tiny_model_dir, config).sampler().dtype == torch.bfloat16


@pytest.mark.parametrize(("precision", "close"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_the_model_sampled_from_is_the_policy_of_the_moment(
    tiny_model_dir: Path, precision: str, close: float
) -> None:
    policy = load_policy(tiny_model_dir, GrpoConfig(lora_rank=8, precision=precision))
    ids, wanted = torch.tensor([[1, 2, 3]]), getattr(torch, precision)
    for size in (0.0, 0.05, 0.1):
        with torch.no_grad():
            for weight in policy.trainable().values():
                weight.add_(size)
            expected = policy.model(ids).logits
            found = policy.sampler()(ids).logits
        assert found.dtype == wanted
        torch.testing.assert_close(found.float(), expected, rtol=close, atol=close)


def test_a_saved_adapter_names_no_path_and_equal_weights_are_equal_files(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    policy = load_policy(tiny_model_dir, GrpoConfig(lora_rank=8))
    for name in ("one", "two"):
        policy.save_adapter(tmp_path / name)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert sorted(files) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads(files["adapter_config.json"])
    assert str(tiny_model_dir.parent) not in files["adapter_config.json"].decode()
    assert config["base_model_name_or_path"] == base_name(tiny_model_dir)
    assert config["target_modules"] == sorted(config["target_modules"])


def test_training_goes_on_from_a_saved_adapter(tiny_model_dir: Path, tmp_path: Path) -> None:
    config = GrpoConfig(lora_rank=8)
    policy = load_policy(tiny_model_dir, config)
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.add_(0.01)
    policy.save_adapter(tmp_path / "saved")
    adapter = AdapterStore(tmp_path / "adapters").add(
        tmp_path / "saved",
        base_model=policy.base_model,
        parent=None,
        prompt_version=TOOLN1.version,
        trained_on={},
        config_hash="",
    )
    known = load_policy(tiny_model_dir, config, start=adapter.path)
    assert known.trainable().keys() == policy.trainable().keys()
    assert all(torch.equal(w, policy.trainable()[n]) for n, w in known.trainable().items())
    with pytest.raises(ConfigError, match="go on from it with --lora-rank 8"):
        load_policy(tiny_model_dir, GrpoConfig(lora_rank=16), start=adapter.path)
    (adapter.path / "adapter_model.safetensors").unlink()
    assert len(load_file(tmp_path / "saved" / "adapter_model.safetensors")) == 28
    with pytest.raises(AdapterError, match=r"no adapter_model\.safetensors"):
        load_policy(tiny_model_dir, config, start=adapter.path)
