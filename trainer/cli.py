"""`tooln1-agent retrain` and `sft`. Loads without torch; the learner is imported when one runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tooln1_agent.errors import ConfigError
from trainer.durations import seconds
from trainer.errors import Diverged, NoSpread

NO_SPREAD = 3
DIVERGED = 4


def retrain(
    store: Annotated[Path, typer.Option(help="Replay store to learn from.")],
    model: Annotated[str, typer.Option(help="Base model: 'seed' or a model directory.")] = "seed",
    out: Annotated[Path, typer.Option(help="Adapter directory; runs are kept in it.")] = Path(
        "adapters"
    ),
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be learned from; do nothing.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest unfinished run.")
    ] = False,
    start: Annotated[
        str, typer.Option("--from", help="Start from the 'live' adapter or afresh from 'base'.")
    ] = "live",
    steps: Annotated[int | None, typer.Option(help="Most optimizer steps [60].")] = None,
    time_limit: Annotated[
        str | None, typer.Option(help="Most time spent training, such as 5m.")
    ] = None,
    prompts_per_step: Annotated[int | None, typer.Option(help="Prompts a step [16].")] = None,
    group_size: Annotated[int | None, typer.Option(help="Rollouts a prompt [8].")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest rollout, and longest reply in the gate [256].")
    ] = None,
    context_limit: Annotated[
        int | None,
        typer.Option(help="Most tokens of prompt and reply together [the model's]."),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Of sampling [1.0].")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of AdamW [by the model's size; 3e-3 for the seed].")
    ] = None,
    lora_rank: Annotated[
        int | None, typer.Option(help="A rank that vLLM serves: 1, 8, 16, 32, ... [16].")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="grpo, sft (on gold calls), or sft+grpo [grpo]."),
    ] = None,
    sft_steps: Annotated[
        int | None, typer.Option(help="Of sft+grpo: steps on gold calls [20].")
    ] = None,
    thoughts: Annotated[
        str | None,
        typer.Option(help="Before gold calls: a 'short' thought, or the policy's 'own' [short]."),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="tool_n1, grpo, dr_grpo, dapo, cispo or gspo [tool_n1]."),
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="Weight of the KL divergence from the base [0.001].")
    ] = None,
    refill: Annotated[
        float | None,
        typer.Option(help="Further prompts in place of flat groups, per prompt [1.0]."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="float32, or bfloat16 where the processor has it [float32]."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of torch [half of the cores].")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of order, sampling and new weights [0].")
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints [5].")
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(
            help="MODULE:AGENT whose tools and rules judge `verify` targets; examples of tools "
            "that it has no more are left out."
        ),
    ] = None,
    sampler: Annotated[
        str,
        typer.Option(help="Who samples rollouts: 'local', 'vllm' (started for it), or URLs."),
    ] = "local",
    vllm_python: Annotated[
        Path | None, typer.Option(help="Interpreter that has vLLM, for --sampler vllm.")
    ] = None,
    vllm_args: Annotated[
        list[str] | None, typer.Option("--vllm-arg", help="Further argument for vLLM.")
    ] = None,
    push_every: Annotated[
        int, typer.Option(min=1, help="With every how manieth update vLLM gets the weights.")
    ] = 1,
    gate: Annotated[bool, typer.Option(help="Judge the adapter on held-out examples.")] = True,
    promote: Annotated[bool, typer.Option(help="Make it live if it passes.")] = True,
    every: Annotated[
        str | None, typer.Option(help="Keep running, and train this often, such as 6h.")
    ] = None,
    min_new: Annotated[
        int, typer.Option(min=1, help="With --every: fewest new examples to train on.")
    ] = 200,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file whose [retrain] and [gate] set what flags do not."),
    ] = None,
    shuffle_labels: Annotated[bool, typer.Option("--shuffle-labels", hidden=True)] = False,
) -> None:
    """Learn from labelled traffic: GRPO with LoRA, then the gate, then live if it passed.

    Exit codes: 0 an adapter was trained (the gate may still have refused it), 2 a setting or
    input is wrong, 3 every group was all right or all wrong and nothing was learned, 4 the
    training diverged.
    """
    changes = _given(
        steps=steps,
        time_limit_s=None if time_limit is None else seconds(time_limit),
        prompts_per_step=prompts_per_step,
        group_size=group_size,
        max_tokens=max_tokens,
        context_limit=context_limit,
        temperature=temperature,
        learning_rate=learning_rate,
        lora_rank=lora_rank,
        method=method,
        sft_steps=sft_steps,
        thoughts=thoughts,
        loss=loss,
        beta=beta,
        refill=refill,
        precision=precision,
        seed=seed,
        checkpoint_every=checkpoint_every,
        shuffle_labels=shuffle_labels or None,
    )
    if resume and (plan or every):
        raise ConfigError("--resume goes with neither --plan nor --every")
    from trainer.command import Command  # imports torch
    from trainer.vllm_sampler import SamplerChoice

    command = Command(
        store=store,
        model=model,
        out=out,
        start=_start(start),
        gate=gate,
        promote=promote,
        file=config,
        threads=threads,
        agent=agent,
        sampler=SamplerChoice(sampler, vllm_python, tuple(vllm_args or ()), push_every),
    )
    try:
        if plan:
            command.plan(changes)
        elif every is not None:
            command.every(changes, every_s=seconds(every), min_new=min_new)
        elif resume:
            command.resume(changes)
        else:
            command.once(changes)
    except (NoSpread, Diverged) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(NO_SPREAD if isinstance(error, NoSpread) else DIVERGED) from error


def sft(
    store: Annotated[Path, typer.Option(help="Replay store to learn from.")],
    model: Annotated[str, typer.Option(help="Base model: 'seed' or a model directory.")] = "seed",
    out: Annotated[Path, typer.Option(help="Adapter directory; runs are kept in it.")] = Path(
        "adapters"
    ),
    start: Annotated[
        str, typer.Option("--from", help="Start from the 'live' adapter or afresh from 'base'.")
    ] = "live",
    steps: Annotated[int | None, typer.Option(help="Most optimizer steps [60].")] = None,
    prompts_per_step: Annotated[int | None, typer.Option(help="Examples a step [16].")] = None,
    thoughts: Annotated[
        str | None,
        typer.Option(help="Before the calls: a 'short' thought, or the policy's 'own' [short]."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of AdamW [by the model's size; 3e-3 for the seed].")
    ] = None,
    gate: Annotated[bool, typer.Option(help="Judge the adapter on held-out examples.")] = True,
    promote: Annotated[bool, typer.Option(help="Make it live if it passes.")] = True,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file whose [retrain] and [gate] set what flags do not."),
    ] = None,
) -> None:
    """Learn from the gold calls of labels: `retrain --method sft`, which has further options."""
    retrain(
        store=store,
        model=model,
        out=out,
        start=start,
        method="sft",
        steps=steps,
        prompts_per_step=prompts_per_step,
        thoughts=thoughts,
        learning_rate=learning_rate,
        gate=gate,
        promote=promote,
        config=config,
    )


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _start(word: str) -> Literal["live", "base"]:
    match word:
        case "live" | "base":
            return word
        case _:
            raise ConfigError(f"--from {word!r}: expected 'live' or 'base'")
