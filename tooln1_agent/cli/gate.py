"""`tooln1-agent gate`: judge a candidate adapter against the live one on held-out traffic."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tooln1_agent.adapters import AdapterStore
from tooln1_agent.cli.output import print_json
from tooln1_agent.cli.targets import load_agent
from tooln1_agent.config import load_gate_config
from tooln1_agent.engines.resolve import resolve
from tooln1_agent.errors import AdapterError
from tooln1_agent.examples import Example
from tooln1_agent.gate import GateConfig, GateReport
from tooln1_agent.gate_run import promote_if_passed, run_gate
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.reward import Score
from tooln1_agent.verifier import examples_for, score_by

NOT_PASSED = 1


def gate(
    store: Annotated[Path, typer.Argument(help="The replay store that the examples come from.")],
    adapters: Annotated[Path, typer.Argument(help="The directory of adapters.")],
    candidate: Annotated[
        str | None, typer.Argument(help="Version to judge; the newest if not given.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="The base model: 'seed', a model directory, or a URL.")
    ] = "seed",
    context_limit: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of prompt and completion together.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest reply, in tokens.")] = 512,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make the candidate live if it passes.")
    ] = False,
    agent: Annotated[
        str | None,
        typer.Option(
            help="MODULE:AGENT whose tools and rules judge `verify` targets; examples of tools "
            "that it has no more are left out."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file whose table gate sets the limits.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the report as JSON.")] = False,
) -> None:
    """Judge a candidate adapter; exit code 1 where it does not pass."""
    if not adapters.is_dir():
        raise AdapterError(f"there is no directory {str(adapters)!r} of adapters")
    limits = load_gate_config(config)
    known = AdapterStore(adapters)
    chosen = candidate or _newest(known)
    loaded = None if agent is None else load_agent(agent)
    with ReplayStore(store, create=False) as opened:
        examples = [e for e in examples_for(opened, loaded).examples if e.split == "holdout"]
    judge = partial(_judge, known, examples, chosen, model, limits, context_limit, max_tokens)
    report = asyncio.run(judge(score_by(loaded)))
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        typer.echo("\n".join(report.lines()))
    if promote and promote_if_passed(known, report):
        typer.echo(f"live: {report.candidate}")
    if report.outcome != "pass":
        raise typer.Exit(NOT_PASSED)


async def _judge(
    store: AdapterStore,
    examples: list[Example],
    candidate: str,
    model: str,
    config: GateConfig,
    context_limit: int | None,
    max_tokens: int,
    score: Score,
) -> GateReport:
    engine = resolve(model, context_limit=context_limit)
    await engine.start()
    try:
        return await run_gate(
            engine,
            examples,
            store=store,
            candidate=candidate,
            config=config,
            max_tokens=max_tokens,
            score=score,
        )
    finally:
        await engine.aclose()


def _newest(store: AdapterStore) -> str:
    adapters = store.list()
    if not adapters:
        raise AdapterError(
            f"{str(store.root)!r} holds no adapter; train one with `tooln1-agent retrain`"
        )
    return adapters[-1].version
