"""The shared prompt against whole rows: the same log-probs, the same gradients, in both forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.attention.flex_attention import create_mask
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tooln1_agent.errors import ConfigError
from trainer.errors import UnsupportedModel
from trainer.packed_mask import block_mask, score_mask
from trainer.prefix import PrefixForm, completion_logprobs
from trainer.tree_attention import shared_beginning

VOCABULARY = 97
PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [20, 21], [30, 31, 32, 33]]
COMPLETIONS = [
    [[1, 2, 3, 4, 5], [1, 2], [9]],
    [[40, 41, 42, 43, 44, 45, 46, 47]],
    [[50], [51, 52, 53]],
]
LENGTHS = [len(completion) for group in COMPLETIONS for completion in group]
ALIKE = [[5, 6, 7, 8, 9, 10, 11], [5, 6, 7, 8, 20], [5, 6, 7, 8, 9, 31]]
"""Prompts that begin with the same tools, say: a tree computes those once for all."""
FORMS: list[PrefixForm] = ["tree", "cached", "packed"]
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": None,
    "pad_token_id": None,
}  # fmt: skip


def make_model(
    family: Literal["qwen3", "llama"] = "qwen3",
    *,
    lora: bool = True,
    attention: str = "sdpa",
    dropout: float = 0.0,
    **changes: Any,
) -> Any:
    """A small random model; LoRA's second matrix too, whose zeros would hide half the gradient."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        if family == "qwen3":
            shape = SHAPE | {"tie_word_embeddings": True, "head_dim": 8} | changes
            model = Qwen3ForCausalLM(Qwen3Config(**shape, attn_implementation=attention))
        else:
            shape = SHAPE | {"tie_word_embeddings": False} | changes
            model = LlamaForCausalLM(LlamaConfig(**shape, attn_implementation=attention))
        if lora:
            settings = LoraConfig(
                r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=dropout
            )
            model = get_peft_model(model, settings)
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.fixture(params=["qwen3-lora", "qwen3-whole", "llama-lora", "llama-whole"])
def model(request: pytest.FixtureRequest) -> Any:
    family, kind = request.param.split("-")
    return make_model(family, lora=kind == "lora")


def whole_rows(
    model: Any,
    *,
    padding: Literal["left", "right"],
    temperature: float = 1.0,
    prompts: Sequence[list[int]] = PROMPTS,
) -> list[Tensor]:
    """The plain way: one row for each completion, its prompt before it, padded to one width."""
    pairs = [(p, c) for p, group in zip(prompts, COMPLETIONS, strict=True) for c in group]
    width = max(len(prompt) + len(completion) for prompt, completion in pairs)
    rows, masks, starts = [], [], []
    for prompt, completion in pairs:
        ids, pad = prompt + completion, [0] * (width - len(prompt) - len(completion))
        real = [1] * len(ids)
        rows.append(pad + ids if padding == "left" else ids + pad)
        masks.append(pad + real if padding == "left" else real + pad)
        starts.append(len(prompt) + (len(pad) if padding == "left" else 0))
    mask = torch.tensor(masks)
    logits = model(
        input_ids=torch.tensor(rows),
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
    ).logits.float()
    logprobs = (logits / temperature).log_softmax(-1)
    return [
        row[start - 1 : start - 1 + len(c)].gather(1, torch.tensor(c)[:, None])[:, 0]
        for row, start, (_, c) in zip(logprobs, starts, pairs, strict=True)
    ]


def gradients(model: Any, total: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    total.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).norm() / expected.norm()).detach())


def check_parity(
    model: Any,
    form: PrefixForm,
    *,
    padding: Literal["left", "right"] = "right",
    prompts: Sequence[list[int]] = PROMPTS,
) -> dict[str, Tensor]:
    """Compare log-probs and every tensor's gradient with whole rows; return the gradients."""
    torch.manual_seed(0)
    weights = torch.randn(6, 8)
    rows = whole_rows(model, padding=padding, prompts=prompts)
    expected = gradients(
        model, sum((w[: len(r)] * r).sum() for w, r in zip(weights, rows, strict=True))
    )
    values, mask = completion_logprobs(model, prompts, COMPLETIONS, form=form)
    assert mask.sum(dim=1).tolist() == LENGTHS
    for value, row in zip(values, rows, strict=True):
        assert relative_error(value[: len(row)], row) <= 1e-5
        assert not value[len(row) :].any()
    actual = gradients(model, (weights * values * mask).sum())
    assert actual.keys() == expected.keys()
    for name, gradient in actual.items():
        assert relative_error(gradient, expected[name]) <= 1e-5, name
    return actual


@pytest.mark.parametrize("prompts", [PROMPTS, ALIKE])
@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("form", FORMS)
def test_logprobs_and_gradients_equal_those_of_whole_rows(
    model: Any, form: PrefixForm, padding: Literal["left", "right"], prompts: list[list[int]]
) -> None:
    found = check_parity(model, form, padding=padding, prompts=prompts)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert sorted(found) == sorted(trained)
    assert all(gradient.norm() > 0 for gradient in found.values())


@pytest.mark.parametrize("form", FORMS)
def test_eager_attention_hides_the_same_tokens(form: PrefixForm) -> None:
    check_parity(make_model(attention="eager"), form)


@pytest.mark.parametrize("form", ["tree", "packed"])
def test_rows_of_one_pass_can_be_checkpointed(form: PrefixForm) -> None:
    model = make_model()
    plain = check_parity(model, form)
    model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    for name, gradient in check_parity(model, form).items():
        assert relative_error(gradient, plain[name]) <= 1e-5, name


def test_a_model_that_drops_its_cache_is_refused() -> None:
    model = make_model()
    model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    with pytest.raises(UnsupportedModel, match="use form='packed'"):
        completion_logprobs(model, PROMPTS, COMPLETIONS, form="cached")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("changes", [{"dropout": 0.1}, {"attention_dropout": 0.1}])
def test_dropout_is_refused_while_it_is_active(changes: dict[str, float], form: PrefixForm) -> None:
    model = make_model(**changes)
    completion_logprobs(model, PROMPTS, COMPLETIONS, form=form)
    model.train()
    with pytest.raises(UnsupportedModel, match=r"dropout of 0\.1 is active"):
        completion_logprobs(model, PROMPTS, COMPLETIONS, form=form)


@pytest.mark.parametrize("form", FORMS)
def test_layers_with_a_window_are_refused(form: PrefixForm) -> None:
    model = make_model(use_sliding_window=True, sliding_window=4, max_window_layers=1)
    with pytest.raises(UnsupportedModel, match="sliding"):
        completion_logprobs(model, PROMPTS, COMPLETIONS, form=form)


@pytest.mark.parametrize("form", FORMS)
def test_the_temperature_divides_the_logits(form: PrefixForm) -> None:
    model = make_model()
    expected = whole_rows(model, padding="right", temperature=0.7)
    found = completion_logprobs(model, PROMPTS, COMPLETIONS, form=form, temperature=0.7)
    for value, row in zip(found.values, expected, strict=True):
        assert relative_error(value[: len(row)], row) <= 1e-5


def places(model: Any) -> list[int]:
    """Return a list that grows by how many places go through the first layer."""
    seen: list[int] = []
    body = model.get_base_model().base_model
    body.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:2].numel()))
    return seen


@pytest.mark.parametrize("form", FORMS)
def test_an_equal_prompt_is_computed_once(form: PrefixForm) -> None:
    model = make_model()
    seen = places(model)
    once = completion_logprobs(model, [PROMPTS[0]], [[[1, 2, 3], [4, 5]]], form=form)
    cost = sum(seen)
    seen.clear()
    twice = completion_logprobs(model, [PROMPTS[0]] * 2, [[[1, 2, 3]], [[4, 5]]], form=form)
    assert sum(seen) == cost
    assert torch.equal(once.values, twice.values)


def test_a_tree_computes_once_what_prompts_begin_with() -> None:
    model = make_model()
    seen = places(model)
    completion_logprobs(model, ALIKE, [[[1, 2]], [[3]], [[4, 5]]], form="tree")
    assert sum(seen) == 4 + 3 * (3 + 1)  # the root, three ends of prompts, a token of each reply


@pytest.mark.parametrize(
    ("rows", "shared"),
    [
        ([[1, 2, 3, 4]], 0),  # nobody to share with
        ([[1, 2, 3, 4], [1, 2, 3, 4, 5]], 3),  # the last id of a row stays its own
        ([[1, 2, 3], [1, 9]], 0),  # less than half of the longer
        ([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 6]], 2),
    ],
)
def test_prompts_share_a_root_if_most_of_them_is_the_same(
    rows: list[list[int]], shared: int
) -> None:
    assert shared_beginning(rows) == shared


class Widest(TorchDispatchMode):
    """Counts the logits of the largest tensor over the vocabulary."""

    elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.dim() > 1 and found.shape[-1] == VOCABULARY:
            self.elements = max(self.elements, found.numel())
        return found


@pytest.mark.parametrize("form", FORMS)
def test_logits_are_made_of_the_completions_tokens_alone(form: PrefixForm) -> None:
    model = make_model("llama")
    twice = [group * 2 for group in COMPLETIONS]  # more tokens than the output layer has columns
    with Widest() as widest:
        completion_logprobs(model, PROMPTS, twice, form=form).values.sum().backward()
    assert widest.elements == 2 * sum(LENGTHS) * VOCABULARY


@pytest.mark.parametrize("form", FORMS)
def test_completions_of_one_token_are_what_the_prompt_predicts(form: PrefixForm) -> None:
    model = make_model()
    found = completion_logprobs(model, [[1, 2, 3]], [[[7], [8]]], form=form)
    logits = model(input_ids=torch.tensor([[1, 2, 3]])).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(found.values[:, 0], logits[[7, 8]])


@pytest.mark.parametrize(
    ("prompts", "completions"),
    [([[]], [[[1]]]), ([[1]], [[[]]]), ([[1]], [[]]), ([[1], [2]], [[[1]]])],
)
def test_empty_and_unmatched_lists_are_refused(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[Sequence[int]]]
) -> None:
    with pytest.raises(ValueError, match="every prompt"):
        completion_logprobs(torch.nn.Linear(1, 1), prompts, completions)


# FlexAttention


def test_blocks_hide_what_the_scores_hide() -> None:
    segment = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 3, 4, 4, 0, 0, 0]])
    blocks = create_mask(block_mask(segment).mask_mod, 2, 1, 8, 8, device="cpu")
    assert torch.equal(blocks, score_mask(segment, torch.float32) == 0)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch's compiler
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_flex_attention_computes_what_the_explicit_mask_does(
    family: Literal["qwen3", "llama"], bfloat16: bool
) -> None:
    model = make_model(family)
    eager = torch.compiler.set_stance("force_eager")  # compiling takes a minute on a CPU
    with eager, torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        expected = completion_logprobs(model, PROMPTS, COMPLETIONS, form="packed").values
        found = completion_logprobs(model, PROMPTS, COMPLETIONS, form="flex").values
        again = completion_logprobs(model, PROMPTS, COMPLETIONS, form="packed").values
        cached = completion_logprobs(model, PROMPTS, COMPLETIONS, form="cached").values
    tolerance = 2e-2 if bfloat16 else 1e-5
    assert relative_error(found, expected) <= tolerance
    assert torch.equal(again, expected)  # other masks go where they went before
    assert relative_error(cached, expected) <= tolerance


def test_flex_attention_with_gradient_is_refused_on_a_cpu() -> None:
    with pytest.raises(ConfigError, match="prefix_form='packed'"):
        completion_logprobs(make_model(), PROMPTS, COMPLETIONS, form="flex")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_under_flex_attention_are_those_of_the_explicit_mask(checkpointing: bool) -> None:
    model = make_model(head_dim=16).cuda()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
    packed, flex = (
        gradients(model, completion_logprobs(model, PROMPTS, COMPLETIONS, form=form).values.sum())
        for form in ("packed", "flex")
    )
    for name, gradient in flex.items():
        assert relative_error(gradient, packed[name]) <= 1e-4, name
