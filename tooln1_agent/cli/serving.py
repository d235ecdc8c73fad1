"""`tooln1-agent serve`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from tooln1_agent.config import ServeConfig, load_config


def _option(field: str, *names: str, show: bool = True) -> Any:
    """Return an option that explains itself as the setting of that name does."""
    setting = ServeConfig.model_fields[field]
    has_default = show and setting.default not in (None, (), False)
    shown = f" [default: {setting.default}]" if has_default else ""
    return typer.Option(*names, help=f"{setting.description}{shown}", show_default=False)


def serve(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:AGENT",
            help="The agent: package.module:agent or path/to/file.py:agent.",
        ),
    ],
    config: Annotated[Path | None, _option("config")] = None,
    model: Annotated[str | None, _option("model")] = None,
    engine: Annotated[str | None, _option("engine")] = None,
    vllm_python: Annotated[Path | None, _option("vllm_python")] = None,
    vllm_args: Annotated[list[str] | None, _option("vllm_args", "--vllm-arg")] = None,
    vllm_log: Annotated[Path | None, _option("vllm_log")] = None,
    store: Annotated[Path | None, _option("store")] = None,
    adapters: Annotated[Path | None, _option("adapters")] = None,
    host: Annotated[str | None, _option("host")] = None,
    port: Annotated[int | None, _option("port")] = None,
    context_limit: Annotated[int | None, _option("context_limit")] = None,
    max_batch: Annotated[int | None, _option("max_batch")] = None,
    queue_limit: Annotated[int | None, _option("queue_limit")] = None,
    token_budget: Annotated[int | None, _option("token_budget")] = None,
    prefill_tokens: Annotated[int | None, _option("prefill_tokens")] = None,
    dtype: Annotated[str | None, _option("dtype")] = None,
    threads: Annotated[int | None, _option("threads")] = None,
    api_key_file: Annotated[Path | None, _option("api_key_file")] = None,
    insecure: Annotated[bool | None, _option("insecure", "--insecure")] = None,
    allowed_hosts: Annotated[list[str] | None, _option("allowed_hosts", "--allowed-host")] = None,
    allowed_origins: Annotated[
        list[str] | None, _option("allowed_origins", "--allowed-origin")
    ] = None,
    served_names: Annotated[list[str] | None, _option("served_names", "--served-name")] = None,
    max_body_bytes: Annotated[int | None, _option("max_body_bytes")] = None,
    max_messages: Annotated[int | None, _option("max_messages")] = None,
    max_tools: Annotated[int | None, _option("max_tools")] = None,
    adapter_poll_s: Annotated[float | None, _option("adapter_poll_s")] = None,
    grace_s: Annotated[float | None, _option("grace_s")] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
) -> None:
    """Serve an agent over HTTP, in the API of OpenAI's chat completions.

    Each setting can also stand in tooln1.toml, table [serve], or in a variable TOOLN1_<NAME>.
    """
    flags = {name: value or None for name, value in locals().items() if name != "target"}
    flags["port"], flags["grace_s"] = port, grace_s  # whose 0 is a value
    file = flags.pop("config")
    asyncio.run(_serve(target, load_config(flags, file=file)))


async def _serve(target: str, config: ServeConfig) -> None:
    from tooln1_agent.cli.startup import open_parts
    from tooln1_agent.server.app import create_app
    from tooln1_agent.server.run import serve as serve_app
    from tooln1_agent.telemetry import set_up_logging

    set_up_logging(config.log_level)
    with open_parts(target, config) as parts:
        app = create_app(
            parts.agent,
            engine=parts.engine,
            store=parts.store,
            adapters=parts.adapters,
            config=config,
        )

        def say(address: str) -> None:
            typer.echo(f"serving {parts.agent.name!r} at {address}/v1")
            typer.echo(f"  model {parts.engine.info.base_model}, adapters {config.adapters}")
            typer.echo(f"  store {parts.store.path}")

        await serve_app(app, config, engine=parts.engine, on_ready=say)
