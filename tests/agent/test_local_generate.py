"""The sampling core against transformers' own generation and against plain forward passes."""

import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tooln1_agent.engines.local.attention import supports
from tooln1_agent.engines.local.generate import Wanted, generate, sample_rows
from tooln1_agent.messages import Sampling

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [3, 4], [20, 21, 22, 23]]
NO_END = ()


@pytest.fixture(scope="module", params=["full", "sliding"])
def model(request):
    """Return a random model: one whose prompts are shared while decoding, one where not."""
    torch.manual_seed(0)
    is_sliding = request.param == "sliding"
    config = Qwen3Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        initializer_range=0.5,  # far from uniform, so that the paths can be told apart
        eos_token_id=None,
        pad_token_id=0,
        use_sliding_window=is_sliding,
        sliding_window=16 if is_sliding else None,
        layer_types=["sliding_attention", "full_attention"] if is_sliding else None,
    )
    assert supports(config) != is_sliding
    return Qwen3ForCausalLM(config).eval()


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def run(model, prompts, *, n=1, end_ids=NO_END, generator=None, **sampling):
    return generate(
        model,
        prompts,
        n=n,
        sampling=Sampling(**sampling),
        end_ids=end_ids,
        generator=generator or seeded(),
    )


def reference(model, prompt, tokens):
    ids = torch.tensor([prompt])
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False
    )
    return made[0, len(prompt) :].tolist()


def test_greedy_equals_transformers_token_for_token_in_a_ragged_batch(model):
    samples = run(model, PROMPTS, max_tokens=40)
    for prompt, [sample] in zip(PROMPTS, samples, strict=True):
        assert list(sample.ids) == reference(model, prompt, 40)


def test_a_row_ends_at_any_closing_token_while_others_go_on(model):
    full = [reference(model, prompt, 40) for prompt in PROMPTS]
    ends = [next(token for token in full[row] if token not in full[1]) for row in (0, 2)]
    samples = run(model, PROMPTS, end_ids=ends, max_tokens=40)
    for [sample], ids in zip(samples, full, strict=True):
        closing = [place for place, token in enumerate(ids) if token in ends]
        assert list(sample.ids) == (ids[: closing[0] + 1] if closing else ids)
        assert sample.finish_reason == ("stop" if closing else "length")
    assert {sample.finish_reason for [sample] in samples} == {"stop", "length"}


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_every_family_that_shares_prompts_says_what_transformers_says(family):
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": None}
    none = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    config = AutoConfig.for_model(family, **sizes, **heads, **none, initializer_range=0.5)
    assert supports(config)
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config).eval()
    for prompt, group in zip(PROMPTS, run(model, PROMPTS, n=2, max_tokens=20), strict=True):
        assert [list(sample.ids) for sample in group] == [reference(model, prompt, 20)] * 2


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_logprobs_equal_those_of_a_full_forward_pass(model, top_p):
    samples = run(model, PROMPTS, n=4, temperature=0.8, top_p=top_p, max_tokens=30)
    for prompt, group in zip(PROMPTS, samples, strict=True):
        for sample in group:
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *sample.ids]])).logits[0]
            chosen = logits.log_softmax(-1)[len(prompt) - 1 : -1]
            expected = chosen.gather(-1, torch.tensor(sample.ids).unsqueeze(-1)).squeeze(-1)
            assert torch.tensor(sample.logprobs) == pytest.approx(expected, abs=1e-5)


def test_samples_of_a_prompt_differ_and_a_seed_repeats_them(model):
    first, again, other = (
        run(model, PROMPTS, n=4, generator=seeded(seed), temperature=1.0, max_tokens=20)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert all(len({sample.ids for sample in group}) == 4 for group in first)


def test_samples_do_not_depend_on_what_is_sampled_beside_them(model):
    settings = {"n": 4, "temperature": 1.0, "max_tokens": 20}
    assert run(model, PROMPTS, **settings)[:1] == run(model, PROMPTS[:1], **settings)


def test_draws_follow_the_models_probabilities(model):
    [group] = run(model, [PROMPTS[0]], n=4000, temperature=1.0, max_tokens=1)
    with torch.no_grad():
        probs = model(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1)
    counts = torch.bincount(torch.tensor([sample.ids[0] for sample in group]), minlength=64)
    assert counts / 4000 == pytest.approx(probs, abs=0.03)


def test_top_p_keeps_to_the_likeliest_tokens(model):
    with torch.no_grad():
        probs = model(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1)
    ordered, ids = probs.sort(descending=True)
    size = int((ordered.cumsum(0) < 0.8).sum()) + 1
    [group] = run(model, [PROMPTS[0]], n=2000, temperature=1.0, top_p=0.8, max_tokens=1)
    assert {sample.ids[0] for sample in group} <= set(ids[:size].tolist())
    assert size < 64


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_top_k_keeps_to_so_many_of_the_likeliest_tokens(model, top_p):
    with torch.no_grad():
        probs = model(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1)
    best = probs.topk(5)
    kept = best.values / best.values.sum()
    size = int((kept.cumsum(0) < top_p).sum()) + 1 if top_p < 1 else 5
    [group] = run(model, [PROMPTS[0]], n=1000, temperature=1.0, top_k=5, top_p=top_p, max_tokens=1)
    assert {sample.ids[0] for sample in group} == set(best.indices[:size].tolist())


SETTINGS = [
    {"temperature": 0.7},
    {"temperature": 1.0, "top_p": 0.6},
    {"temperature": 1.0, "top_k": 3},
    {"temperature": 1.6, "top_k": 9, "top_p": 0.8},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_sampling_logprobs_are_those_of_what_was_drawn_from(model, settings):
    [[sample]] = run(model, PROMPTS[:1], max_tokens=12, **settings)
    with torch.no_grad():
        logits = model(torch.tensor([[*PROMPTS[0], *sample.ids]])).logits[0]
    for place, token in enumerate(sample.ids):
        # By hand, token by token: temperature, then the likeliest k, then of these the nucleus.
        probs = (logits[len(PROMPTS[0]) - 1 + place] / settings["temperature"]).softmax(-1)
        ordered, ids = probs.sort(descending=True)
        ordered = ordered[: settings.get("top_k", 64)]
        ordered = ordered / ordered.sum()
        top_p = settings.get("top_p", 1.0)
        size = int((ordered.cumsum(0) < top_p).sum()) + 1 if top_p < 1 else len(ordered)
        place_in_order = ids.tolist().index(token)
        assert place_in_order < size
        expected = math.log(ordered[place_in_order] / ordered[:size].sum())
        assert sample.sampling_logprobs[place] == pytest.approx(expected, abs=1e-4)


def test_sampling_logprobs_are_told_only_where_they_differ_and_are_0_if_greedy(model):
    [[plain]] = run(model, PROMPTS[:1], temperature=1.0, max_tokens=5)
    assert plain.sampling_logprobs is None
    [[greedy]] = run(model, PROMPTS[:1], max_tokens=5)
    assert greedy.sampling_logprobs == (0.0,) * 5
    assert all(logprob < 0 for logprob in greedy.logprobs)


def test_rows_of_one_batch_keep_their_own_settings(model):
    alone = Sampling(temperature=1.0, seed=7, max_tokens=12)

    def sampled(*settings):
        rows = [Wanted(PROMPTS[0], each) for each in settings]
        return sample_rows(model, rows, end_ids=NO_END, generator=seeded())

    [by_itself] = sampled(alone)
    hot = Sampling(temperature=1.5, max_tokens=3)
    greedy, neighbour, same = sampled(Sampling(max_tokens=20), hot, alone)
    assert list(greedy.ids) == reference(model, PROMPTS[0], 20)
    assert len(neighbour.ids) == 3
    assert same.ids == by_itself.ids


def test_rows_that_leave_do_not_change_those_that_stay(model):
    lengths = [3, 70, 9, 1, 300, 2, 2, 5, 2]  # past two blocks of memory, whole groups gone early
    rows = [Wanted(PROMPTS[n // 3], Sampling(max_tokens=size)) for n, size in enumerate(lengths)]
    samples = sample_rows(model, rows, end_ids=NO_END, generator=seeded())
    for row, sample, size in zip(rows, samples, lengths, strict=True):
        assert list(sample.ids) == reference(model, row.prompt_ids, size)


def test_sampling_leaves_a_model_in_training_fit_for_gradients(model):
    model.train()
    try:
        [[sample]] = run(model, PROMPTS[:1], max_tokens=5)
        assert model.training
        loss = model(torch.tensor([[*PROMPTS[0], *sample.ids]])).logits.sum()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
    finally:
        model.zero_grad()
        model.eval()


def test_no_prompts_give_no_samples(model):
    assert run(model, [], n=3) == []
