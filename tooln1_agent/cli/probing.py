"""`tooln1-agent probe`: write down what a model computes, for servers that claim to serve it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tooln1_agent.engines.base import Engine, ModelRequest, complete
from tooln1_agent.engines.local.model import Dtype
from tooln1_agent.engines.resolve import model_dir, resolve
from tooln1_agent.messages import Message, Sampling
from tooln1_agent.probe import FILE, Probe

_ASKED = ModelRequest(
    (Message(role="user", content="Say hello, and what you can do."),),
    (),
    Sampling(temperature=1.0, max_tokens=32, seed=0),  # likely tokens alone would tell less
)


def probe(
    model: Annotated[str, typer.Argument(help='The model: "seed", or a model directory.')],
    dtype: Annotated[Dtype, typer.Option(help="Number format to compute in.")] = "float32",
) -> None:
    """Write a model's probe.json, by which `--engine URL` knows a vLLM that serves the model."""
    directory = model_dir(model)
    asyncio.run(_probe(resolve(model, dtype=dtype))).write(directory)
    typer.echo(f"wrote {directory / FILE}")


async def _probe(engine: Engine) -> Probe:
    try:
        said = await complete(engine, _ASKED)
    finally:
        await engine.aclose()
    return Probe(
        prompt_ids=said.prompt_ids or (),
        completion_ids=said.completion_ids or (),
        logprobs=said.logprobs or (),
        base_logprobs=said.logprobs or (),
    )
