"""Opens what a server needs, as the command line and the agent's module say together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tooln1_agent.adapters import AdapterStore
from tooln1_agent.agent import Agent
from tooln1_agent.cli.targets import load_agent
from tooln1_agent.config import ServeConfig
from tooln1_agent.engines.base import Engine
from tooln1_agent.engines.resolve import half_the_cores, model_dir, resolve
from tooln1_agent.errors import ConfigError
from tooln1_agent.replay.store import ReplayStore

DEFAULT_STORE = Path("tooln1.db")
_EMBEDDED = ("max_batch", "queue_limit", "token_budget", "prefill_tokens", "dtype", "threads")
"""Settings of the embedded engine alone."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server is made of."""

    agent: Agent
    engine: Engine
    store: ReplayStore
    adapters: AdapterStore


@contextmanager
def open_parts(target: str, config: ServeConfig) -> Iterator[Parts]:
    """Yield the parts; the store is closed at the end.

    Raises:
        ConfigError: the agent, the model or a setting is wrong.
        StoreError: the store cannot be opened, or is of a newer version.
    """
    agent = load_agent(target)
    engine = engine_of(agent, config)
    with ExitStack() as stack:
        store = agent.recorder if config.store is None else None
        if not isinstance(store, ReplayStore):
            store = stack.enter_context(ReplayStore(config.store or DEFAULT_STORE))
        yield Parts(agent, engine, store, AdapterStore(config.adapters))


def engine_of(agent: Agent, config: ServeConfig) -> Engine:
    """Return the engine of the configured model, else of the agent's own.

    Raises:
        ConfigError: model, engine and their settings do not go together; ModelNotFound.
    """
    model = config.model if config.model is not None else agent.model
    given = {
        name: value
        for name in ("context_limit", *_EMBEDDED)
        if (value := getattr(config, name)) is not None
    }
    if not isinstance(model, str):
        if given or config.engine is not None:
            raise ConfigError(
                f"{', '.join([*given, 'engine'])}: the agent {agent.name!r} brings an engine of "
                "its own; set it there, or name a model with --model"
            )
        return model
    if config.engine in (None, "local"):
        return _resolve(model, given)
    if wrong := given.keys() - {"context_limit"}:
        raise _only_embedded(wrong)
    return _elsewhere(model, config)


def _elsewhere(model: str, config: ServeConfig) -> Engine:
    """Return an engine outside of this process."""
    from tooln1_agent.engines import servers  # slow, and not for everyone

    assert config.engine is not None
    if config.engine == "vllm":
        return servers.own_vllm(
            model_dir(model),
            python=config.vllm_python,
            arguments=config.vllm_args,
            log_file=config.vllm_log,
            context_limit=config.context_limit,
        )
    key = config.engine_api_key
    return servers.running(
        config.engine.split(","),
        model,
        api_key=None if key is None else key.get_secret_value(),
        context_limit=config.context_limit,
    )


def _only_embedded(names: Iterable[str]) -> ConfigError:
    return ConfigError(f"{', '.join(sorted(names))}: only the embedded engine has that")


def _resolve(model: str, options: dict[str, Any]) -> Engine:
    is_embedded = not model.startswith(("http://", "https://", "scripted:"))
    if not is_embedded and (wrong := options.keys() - {"context_limit"}):
        raise _only_embedded(wrong)
    if is_embedded:
        options = {"threads": half_the_cores(), **options}
    try:
        return resolve(model, **options)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"model {model!r} needs {error.name!r}, which is not installed; run "
            "`pip install 'tooln1-agent[local]'`"
        ) from error
