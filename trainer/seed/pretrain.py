"""From-scratch training of the seed model: a resumable loop over freshly drawn episodes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen3Config, Qwen3ForCausalLM

from tooln1_agent.codec import Codec
from tooln1_agent.prompt import calls_text, text_of
from tooln1_agent.renderers.tooln1 import TOOLN1
from trainer.seed.casing import Casing, casing_of
from trainer.seed.packing import SHAPES, Batch, draw_round
from trainer.seed.state import SHIFT, State, export, shipped_weights
from trainer.seed.tokenizer import save_tokenizer, train_tokenizer
from trainer.seed.world import draw_episode
from trainer.tree_attention import attend_by_tree


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """One training run of the seed model; its fields are the recipe."""

    steps: int = 5400
    """Optimizer steps; the last `decay` share of them lowers the learning rate to zero."""
    seed: int = 1
    vocab_size: int = 4608
    hidden: int = 256
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 128
    """Wide heads copy: a match on one of thousands of words needs room in one head."""
    intermediate: int = 448
    round_scenes: int = 192
    """Scenes drawn at a time, then sorted into batches; checkpoints fall between rounds."""
    prompt_weight: float = 0.1
    """Loss weight of prompt tokens; reply tokens have 1."""
    prompt_share: float = 0.15
    """For how much of the run prompt tokens are learned at all: until copying has been learned."""
    plain_share: float = 0.65
    """For how much of the run people ask plainly: until values are copied and linked well."""
    muon_lr: float = 5e-3
    adam_lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: int = 100
    decay: float = 0.35
    average: float = 0.995
    """Decay per step of the running average of the weights, which is what is shipped."""
    checkpoint_s: float = 240.0
    """Seconds between checkpoints."""
    compile: bool = True

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.kv_heads=} must divide {self.heads=}")
        if not 0.0 < self.decay <= 1.0:
            raise ValueError(f"{self.decay=} must lie in (0, 1]")


Report = Callable[[int, dict[str, float]], None]


def pretrain(
    config: PretrainConfig, work_dir: Path, *, export_dir: Path | None, report: Report
) -> Path:
    """Train, or go on from the checkpoint in `work_dir`; returns the model directory written.

    Args:
        export_dir: gets the averaged model at each checkpoint; default is `work_dir`/model.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    export_dir = export_dir or work_dir / "model"
    codec = prepare_tokenizer(config, work_dir)
    torch.manual_seed(config.seed)
    model = Qwen3ForCausalLM(model_config(config, codec))
    model.register_parameter(SHIFT, torch.nn.Parameter(torch.zeros(config.hidden)))
    attend_by_tree(model.model)
    casing = casing_of(codec, size=config.vocab_size)
    state = State(model, _optimizers(model, config))
    state.resume(work_dir)
    body = _compiled(model.model) if config.compile else model.model
    saved_at = time.monotonic()
    while state.step < config.steps:
        for batch in round_at(config, codec, state.step):
            started = time.monotonic()
            _set_learning_rates(state.optimizers, config, state.step)
            loss, reply_loss = _losses(model, body, batch, casing)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            state.advance(longest_memory=config.average)
            speed = batch.ids.numel() / (time.monotonic() - started)
            report(
                state.step,
                {"loss": loss.item(), "reply_loss": reply_loss.item(), "tokens_per_s": speed},
            )
        if time.monotonic() - saved_at > config.checkpoint_s or state.step >= config.steps:
            state.save(work_dir)
            weights = shipped_weights(state, casing)
            meta = {"step": state.step, **asdict(config)}
            export(model.config, weights, export_dir, tokenizer=work_dir, meta=meta)
            saved_at = time.monotonic()
    return export_dir


def prepare_tokenizer(config: PretrainConfig, work_dir: Path) -> Codec:
    """Load the run's tokenizer, or train it on the world's texts when there is none yet."""
    if not (work_dir / "tokenizer.json").exists():
        rng = random.Random(config.seed)
        episodes = (draw_episode(rng, max_tools=4) for _ in range(12_000))
        texts = (
            text_of(TOOLN1.render(episode.messages, episode.tools))
            + f" {episode.think} {calls_text(episode.calls)} {episode.answer}"
            for episode in episodes
        )
        save_tokenizer(train_tokenizer(texts, vocab_size=config.vocab_size), work_dir)
    return Codec.load(work_dir)


def model_config(config: PretrainConfig, codec: Codec) -> Qwen3Config:
    """Return the transformers configuration of the seed model."""
    return Qwen3Config(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim,
        intermediate_size=config.intermediate,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=codec.end_id,
        pad_token_id=config.vocab_size - 9,
    )


def round_at(config: PretrainConfig, codec: Codec, step: int) -> list[Batch]:
    """Return the batches of the round that starts at a step: a pure function of both."""
    stages = ((0.02, 1), (0.05, 2), (0.1, 4), (0.2, 7), (1.0, 10))
    progress = min(1.0, step / config.steps)
    return draw_round(
        random.Random(f"{config.seed} {step}"),
        codec,
        scenes=config.round_scenes,
        max_tools=next(tools for end, tools in stages if progress <= end),
        prompt_weight=config.prompt_weight if progress < config.prompt_share else 0.0,
        is_plain=progress < config.plain_share,
    )


def _compiled(body: Any) -> Any:
    """Return the body compiled once for each shape of `packing`; all of them are kept."""
    torch._dynamo.config.recompile_limit = len(SHAPES)
    return torch.compile(body, dynamic=False)


def _losses(model: Any, body: Any, batch: Batch, casing: Casing) -> tuple[Tensor, Tensor]:
    """Return the weighted loss, and the plain mean over reply tokens.

    Args:
        body: the model without its embedding and its output layer, maybe compiled.
    """
    rows = casing.rows(model.model.embed_tokens.weight, getattr(model, SHIFT))
    weights = batch.weights.flatten()
    places = weights.nonzero().squeeze(1)
    weights, targets = weights[places], batch.targets.flatten()[places]
    with torch.autocast("cpu", torch.bfloat16):
        hidden = body(
            inputs_embeds=functional.embedding(batch.ids, rows),
            position_ids=batch.positions,
            attention_mask=batch.mask,
            tree=batch.tree,
            use_cache=False,
        ).last_hidden_state
        logits = hidden.flatten(0, 1).index_select(0, places) @ rows.T
    losses = functional.cross_entropy(logits.float(), targets, reduction="none")
    reply_loss = losses.detach()[weights == 1.0].mean()
    return (losses * weights).sum() / weights.sum(), reply_loss


def _optimizers(model: torch.nn.Module, config: PretrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings and norms."""
    inner: list[torch.nn.Parameter] = []
    outer: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        (inner if weight.ndim == 2 and "embed" not in name else outer).append(weight)
    return [
        torch.optim.Muon(
            inner,
            lr=config.muon_lr,
            weight_decay=config.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(outer, lr=config.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _set_learning_rates(
    optimizers: Sequence[torch.optim.Optimizer], config: PretrainConfig, step: int
) -> None:
    left = max(0, config.steps - step) / (config.steps * config.decay)
    factor = min(1.0, (step + 1) / config.warmup, left)
    for optimizer, rate in zip(optimizers, (config.muon_lr, config.adam_lr), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
