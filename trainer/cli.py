"""`tooln1-agent retrain` and `sft`. Loads without torch; the learner is imported when one runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tooln1_agent.errors import ConfigError
from trainer.durations import seconds
from trainer.errors import Diverged, NoSpread
from trainer.options import given, with_settings

NO_SPREAD = 3
DIVERGED = 4

Store = Annotated[Path, typer.Option(help="Replay store to learn from.")]
Model = Annotated[str, typer.Option(help="Base model: 'seed' or a model directory.")]
Out = Annotated[Path, typer.Option(help="Adapter directory; runs are kept in it.")]
Start = Annotated[
    str, typer.Option("--from", help="Start from the 'live' adapter or afresh from 'base'.")
]
Gate = Annotated[bool, typer.Option(help="Judge the adapter on held-out examples.")]
Promote = Annotated[bool, typer.Option(help="Make it live if it passes.")]
File = Annotated[
    Path | None,
    typer.Option(help="TOML file whose tables retrain and gate set what flags do not."),
]
Plan = Annotated[bool, typer.Option("--plan", help="Say what would be learned from; do nothing.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the newest unfinished run.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of torch; half of the cores if not given.")
]
Judge = Annotated[
    str | None,
    typer.Option(
        "--agent",
        help="MODULE:AGENT whose tools and rules judge `verify` targets; examples of tools that "
        "it has no more are left out.",
    ),
]
Sampler = Annotated[
    str, typer.Option(help="Who samples rollouts: 'local', 'vllm' (started for it), or URLs.")
]
VllmPython = Annotated[
    Path | None, typer.Option(help="Interpreter that has vLLM, for --sampler vllm.")
]
VllmArgs = Annotated[
    list[str] | None, typer.Option("--vllm-arg", help="Further argument for vLLM.")
]
PushEvery = Annotated[
    int, typer.Option(min=1, help="With every how manieth update vLLM gets the weights.")
]
Every = Annotated[str | None, typer.Option(help="Keep running, and train this often, such as 6h.")]
MinNew = Annotated[int, typer.Option(min=1, help="With --every: fewest new examples to train on.")]
ADAPTERS = Path("adapters")


@with_settings()
def retrain(
    store: Store,
    model: Model = "seed",
    out: Out = ADAPTERS,
    plan: Plan = False,
    resume: Resume = False,
    start: Start = "live",
    threads: Threads = None,
    agent: Judge = None,
    sampler: Sampler = "local",
    vllm_python: VllmPython = None,
    vllm_args: VllmArgs = None,
    push_every: PushEvery = 1,
    gate: Gate = True,
    promote: Promote = True,
    every: Every = None,
    min_new: MinNew = 200,
    config: File = None,
    **settings: Any,
) -> None:
    """Learn from labelled traffic: GRPO with LoRA, then the gate, then live if it passed.

    Exit codes: 0 an adapter was trained (the gate may still have refused it), 2 a setting or
    input is wrong, 3 every group was all right or all wrong and nothing was learned, 4 the
    training diverged.
    """
    changes = given(settings)
    if resume and (plan or every):
        raise ConfigError("--resume goes with neither --plan nor --every")
    from trainer.command import Command  # imports torch
    from trainer.distributed import joined
    from trainer.vllm_sampler import SamplerChoice

    try:
        with joined():
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


@with_settings("steps", "prompts_per_step", "thoughts", "learning_rate")
def sft(
    store: Store,
    model: Model = "seed",
    out: Out = ADAPTERS,
    start: Start = "live",
    gate: Gate = True,
    promote: Promote = True,
    config: File = None,
    **settings: Any,
) -> None:
    """Learn from the gold calls of labels: `retrain --method sft`, which has further options."""
    retrain(
        store=store,
        model=model,
        out=out,
        start=start,
        method="sft",
        gate=gate,
        promote=promote,
        config=config,
        **settings,
    )


def _start(word: str) -> Literal["live", "base"]:
    match word:
        case "live" | "base":
            return word
        case _:
            raise ConfigError(f"--from {word!r}: expected 'live' or 'base'")
