from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tooln1_agent.errors import ConfigError
from trainer.command import settings
from trainer.config import GrpoConfig, default_learning_rate
from trainer.durations import seconds


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"updates_per_batch": 2, "temperature": 0.7}, "ratio would be wrong"),
        ({"updates_per_batch": 2, "logged_replies": True}, "with logged_replies"),
        ({"updates_per_batch": 2, "show_gold": True}, "with show_gold"),
        ({"kl_on_flat": "keep", "beta": 0.0}, "keeps nothing"),
        ({"method": "sft+grpo", "sft_steps": 20, "steps": 20}, "leaves none of steps=20 to GRPO"),
        ({"gradient_checkpointing": True, "prefix_form": "cached"}, "drops the cache"),
        ({"context_limit": 256, "max_tokens": 256}, "no room for a prompt"),
        ({"lora_rank": 12}, "16"),
        ({"group_size": 1}, "greater than or equal to 2"),
        ({"temperature": 0.0}, "greater than 0"),
        ({"stesp": 3}, "stesp"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        GrpoConfig(**fields)


def test_a_bad_setting_is_told_by_its_flag() -> None:
    with pytest.raises(ConfigError, match=r"^--lora-rank: .*16"):
        settings({"lora_rank": 12})
    with pytest.raises(ConfigError, match=r"^kl_on_flat='keep'"):
        settings({"kl_on_flat": "keep", "beta": 0.0})


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "tooln1.toml"
    file.write_text("[retrain]\nsteps = 7\nbeta = 0.5\n")
    found = settings({"steps": 9}, file=file)
    assert (found.steps, found.beta, found.group_size) == (9, 0.5, 8)
    file.write_text("[retrain]\nstep = 7\n")
    with pytest.raises(ConfigError, match="'steps'"):
        settings({}, file=file)


def test_every_setting_is_described() -> None:
    assert all(field.description for field in GrpoConfig.model_fields.values())


def test_the_upper_clip_is_the_set_one_then_the_variants_then_the_lower() -> None:
    assert GrpoConfig(clip_low=0.1).upper_clip == 0.1
    assert GrpoConfig(loss="dapo").upper_clip == 0.28
    assert GrpoConfig(loss="dapo", clip_high=0.5).upper_clip == 0.5


def test_each_variant_has_its_clips() -> None:
    cispo, gspo = GrpoConfig(loss="cispo"), GrpoConfig(loss="gspo")
    assert (cispo.lower_clip, cispo.upper_clip) == (1.0, 4.0)
    assert (gspo.lower_clip, gspo.upper_clip) == (3e-4, 4e-4)


def test_the_form_of_the_shared_prompt_follows_from_device_and_memory() -> None:
    frugal = GrpoConfig(gradient_checkpointing=True)
    assert (GrpoConfig().form_on("cpu"), frugal.form_on("cpu")) == ("tree", "tree")
    assert (GrpoConfig().form_on("cuda"), frugal.form_on("cuda")) == ("cached", "packed")
    assert GrpoConfig(shard=True).form_on("cuda") == "packed"
    assert GrpoConfig(prefix_form="packed").form_on("cpu") == "packed"


def test_settings_that_differ_have_another_hash() -> None:
    assert GrpoConfig().hash() == GrpoConfig().hash() != GrpoConfig(seed=1).hash()


def test_larger_models_get_lower_rates() -> None:
    rates = [default_learning_rate(size) for size in (10**6, 10**8, 7 * 10**9, 10**11)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 3e-3


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("5m", 300), ("6h", 21600), ("1.5 d", 129600)]
)
def test_durations_are_read(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["6", "h", "-1h", "0s", "6 weeks", ""])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 6h"):
        seconds(text)
