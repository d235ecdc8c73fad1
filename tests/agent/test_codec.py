"""Which renderer a tokenizer gets, and which tokenizers are refused, in words that help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from tests.agent.families import FAMILIES, llama, qwen, sentencepiece_unigram, tokenizer_json
from tooln1_agent.codec import Codec
from tooln1_agent.errors import ConfigError, ModelNotFound
from tooln1_agent.messages import Message
from tooln1_agent.prompt import ours, theirs


def with_added(tokenizer: Tokenizer, *texts: str) -> str:
    tokenizer.add_special_tokens(list(texts))
    return str(tokenizer.to_str())


def with_flag(text: str, **flags: Any) -> str:
    """Return the Qwen-like tokenizer with an added token's flags changed."""
    spec = json.loads(tokenizer_json("hermes"))
    for token in spec["added_tokens"]:
        if token["content"] == text:
            token.update(flags)
    return json.dumps(spec)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "tooln1"])
def test_the_added_tokens_tell_the_family(family: str) -> None:
    version = Codec(tokenizer_json(family)).prompt_version
    assert version.startswith(FAMILIES[family].renderer)


def test_a_model_directory_can_name_its_renderer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(tokenizer_json("hermes"))
    assert Codec.load(tmp_path).prompt_version == "hermes-1"
    (tmp_path / "tokenizer_config.json").write_text('{"tooln1_renderer": "tooln1"}')
    assert Codec.load(tmp_path).prompt_version == "tooln1-chatml-1"


@pytest.mark.parametrize("name", ["hermès", ["hermes"], 1])
def test_a_renderer_that_does_not_exist_is_refused(tmp_path: Path, name: Any) -> None:
    (tmp_path / "tokenizer.json").write_text(tokenizer_json("hermes"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tooln1_renderer": name}))
    with pytest.raises(ConfigError, match=r"no renderer .*tokenizer_config.*llama"):
        Codec.load(tmp_path)


def test_a_tokenizer_config_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(tokenizer_json("hermes"))
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelNotFound, match=r"tokenizer_config.json' is not JSON"):
        Codec.load(tmp_path)


def test_an_unknown_family_is_refused_with_those_that_are_known() -> None:
    plain = Tokenizer(models.BPE({"a": 0}, []))
    with pytest.raises(ModelNotFound, match=r"no family.*tooln1.*hermes.*llama.*mistral.*prompts"):
        Codec(with_added(plain, "<start_of_turn>", "<end_of_turn>"))


def test_a_tokenizer_of_two_families_has_to_say_which() -> None:
    both = with_added(llama(), "<|im_start|>", "<|im_end|>")
    with pytest.raises(ModelNotFound, match=r'hermes and llama.*"tooln1_renderer"'):
        Codec(both)
    assert Codec(both, renderer="llama").prompt_version == "llama-1"


@pytest.mark.parametrize("token", ["[SYSTEM_PROMPT]", "<SPECIAL_20>"])
def test_another_generation_of_mistral_is_not_taken_for_the_third(token: str) -> None:
    with pytest.raises(ModelNotFound, match="no family"):
        Codec(with_added(sentencepiece_unigram(), token))


def test_a_renderer_whose_tokens_are_missing_is_refused() -> None:
    with pytest.raises(ModelNotFound, match=r"'llama' renderer writes <\|begin_of_text\|>"):
        Codec(tokenizer_json("hermes"), renderer="llama")


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
@pytest.mark.parametrize("text", ["<|im_end|>", "<think>"])
def test_a_control_token_that_takes_in_its_surroundings_is_refused(text: str, flag: str) -> None:
    with pytest.raises(ModelNotFound, match=f"{text!r}.*{flag}".replace("|", r"\|")):
        Codec(with_flag(text, **{flag: True}))


def test_a_control_token_that_the_normalizer_changes_is_refused() -> None:
    spec = json.loads(with_flag("<think>", normalized=True))
    assert Codec(json.dumps(spec)).prompt_version == "hermes-1"
    spec["normalizer"] = {"type": "Prepend", "prepend": "▁"}
    with pytest.raises(ModelNotFound, match=r"'<think>'.*normalized"):
        Codec(json.dumps(spec))


def test_other_added_tokens_may_have_any_flags() -> None:
    tokenizer = qwen()
    tokenizer.add_tokens([AddedToken("<mask>", lstrip=True), AddedToken("word", single_word=True)])
    codec, plain = Codec(tokenizer.to_str()), Codec(tokenizer_json("hermes"))
    segments = [ours("<|im_start|>a word <mask>"), theirs("word <mask>")]
    assert codec.encode(segments) == plain.encode(segments)


def test_stretches_are_joined_so_that_trust_leaves_no_seam() -> None:
    codec = Codec(tokenizer_json("hermes"))
    text = "You may call these functions"
    whole = codec.encode([theirs(text)])
    assert codec.encode([theirs(text[:5]), ours(text[5:9]), theirs(text[9:])]) == whole
    assert codec.encode([ours("<|im"), theirs("_end|>")]) == codec.encode([theirs("<|im_end|>")])


def test_what_a_tokenizer_does_not_know_stays_unknown() -> None:
    tokenizer = Tokenizer(models.BPE({"<unk>": 0, "a": 1}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<unk>"])
    codec = Codec(with_added(tokenizer, "<|im_start|>", "<|im_end|>"))
    assert codec.encode([theirs("a b")]) == [1, 0]


def test_encoding_the_text_of_a_benign_prompt_gives_its_ids() -> None:
    codec = Codec(tokenizer_json("llama"))
    ids = codec.prompt_ids([Message(role="user", content="hello")], [])
    tokenizer = Tokenizer.from_str(tokenizer_json("llama"))
    text = tokenizer.decode(ids, skip_special_tokens=False)
    assert tokenizer.encode(text, add_special_tokens=False).ids == ids
