"""How a server is set up: defaults, then a TOML file, then the environment, then flags.

The file is `tooln1.toml` in the working directory unless another is named; its `[serve]` table
holds the fields of `ServeConfig`. A variable is `TOOLN1_` and the field in capitals; lists are
written as JSON there.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from tooln1_agent.config_file import chosen_file, nearest, read_table, read_toml, refuse_unknown
from tooln1_agent.errors import ConfigError
from tooln1_agent.gate import GateConfig

ENV_PREFIX = "TOOLN1_"
MIN_SECRET_CHARS = 16

Right = Literal["chat", "label", "metrics", "admin"]
LogLevel = Literal["debug", "info", "warning", "error"]


class ApiKey(BaseModel):
    """One key: who holds it and what it allows."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(min_length=1, max_length=64)
    """Recorded with each interaction and label; never the key itself."""
    secret: SecretStr | None = None
    """The key in clear; prefer `sha256`."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Hex digest of the key, so that the file gives nothing away."""
    rights: tuple[Right, ...] = ("chat",)
    """`chat`, `label` (own interactions), `metrics`; `admin` is all of them on everything."""

    @model_validator(mode="after")
    def _one_form_of_the_key(self) -> Self:
        if (self.secret is None) == (self.sha256 is None):
            raise ValueError(f"key {self.name!r} needs exactly one of 'secret' and 'sha256'")
        if self.secret is not None and len(self.secret.get_secret_value()) < MIN_SECRET_CHARS:
            raise ValueError(f"key {self.name!r}: a secret has at least {MIN_SECRET_CHARS} letters")
        return self


class ServeConfig(BaseSettings):
    """Everything `tooln1-agent serve` can be told."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENV_PREFIX, use_attribute_docstrings=True
    )

    config: Path | None = None
    """TOML file to read; ./tooln1.toml if it exists."""
    model: str | None = None
    """Model in place of the agent's own: 'seed', a model directory, or a URL."""
    engine: str | None = None
    """What runs the model: 'local', 'vllm' (started for it), or URLs of servers, with commas."""
    engine_api_key: SecretStr | None = None
    """Key for the servers of `engine`; best given as variable TOOLN1_ENGINE_API_KEY."""
    vllm_python: Path | None = None
    """Interpreter that has vLLM, for engine 'vllm'; this one if not given."""
    vllm_args: tuple[str, ...] = ()
    """Further arguments for vLLM, e.g. '--tensor-parallel-size 2'."""
    vllm_log: Path = Path("vllm.log")
    """File that takes what vLLM prints."""
    store: Path | None = None
    """Replay store (SQLite file), made if absent; the agent's own, else ./tooln1.db."""
    adapters: Path = Path("adapters")
    """Directory of adapters; its live one is served and watched for changes."""
    host: str = "127.0.0.1"
    """Address to listen on; other than loopback needs API keys."""
    port: int = Field(default=8300, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one."""
    context_limit: int | None = Field(default=None, ge=1)
    """Most tokens of prompt and completion together; the model's own limit if not given."""
    max_batch: int | None = Field(default=None, ge=1)
    """Most model calls that run side by side in the embedded engine."""
    queue_limit: int | None = Field(default=None, ge=1)
    """Most model calls that wait in the embedded engine before new ones are refused (429)."""
    token_budget: int | None = Field(default=None, ge=1)
    """Most tokens of which the embedded engine keeps keys and values (docs/serving.md)."""
    prefill_tokens: int | None = Field(default=None, ge=1)
    """Prompt tokens that the embedded engine computes between two tokens of running calls."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Number format of the embedded engine's weights; float32 if not given."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of the embedded engine; half the cores if not given, for a trainer beside it."""
    api_keys: tuple[ApiKey, ...] = ()
    """Keys that may use the API; none is allowed on loopback only."""
    api_key_file: Path | None = None
    """TOML file with further [[api_keys]] tables (name, sha256 or secret, rights)."""
    insecure: bool = False
    """Serve beyond loopback without API keys."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names that the Host header may give; loopback names always may."""
    allowed_origins: tuple[str, ...] = ()
    """Origins (https://app.example) whose web pages may call the API."""
    served_names: tuple[str, ...] = ()
    """Further names that a request's `model` may give, beside the agent's and the base model's."""
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    """Largest request body."""
    max_messages: int = Field(default=512, ge=1)
    """Most messages in one request."""
    max_tools: int = Field(default=128, ge=1)
    """Most tools in one request."""
    labels_per_day: int = Field(default=2000, ge=0)
    """Most labels that one key may give by feedback in a day (UTC)."""
    adapter_poll_s: float = Field(default=0.5, gt=0)
    """Seconds between two looks at which adapter is live."""
    keep_alive_s: float = Field(default=15.0, gt=0)
    """Seconds of silence after which a stream gets a comment, so that proxies keep it open."""
    grace_s: float = Field(default=30.0, ge=0)
    """Seconds that running requests get to finish when the server is told to stop."""
    log_level: LogLevel = "info"
    """Least severe messages that are logged."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the file named by `config` below the environment."""
        assert isinstance(init_settings, InitSettingsSource)
        path = init_settings.init_kwargs.get("config")
        known = set(ServeConfig.model_fields) - {"config"}
        table = {} if path is None else read_table(Path(path), "serve", known=known)
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=table)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @model_validator(mode="after")
    def _keys_beyond_loopback(self) -> Self:
        has_keys = bool(self.api_keys) or self.api_key_file is not None
        if not (has_keys or self.is_loopback or self.insecure):
            raise ValueError(
                f"host {self.host!r} can be reached from other machines, but no API key is "
                "configured; add api_keys or api_key_file, serve on 127.0.0.1, or say --insecure"
            )
        names = [key.name for key in self.api_keys]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"api_keys: {sorted(twice)} occur more than once; names are unique")
        return self


def load_config(flags: Mapping[str, Any] | None = None, *, file: Path | None = None) -> ServeConfig:
    """Merge all sources; flags that are None count as not given.

    Raises:
        ConfigError: names the setting, what was expected, and for an unknown one the nearest.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    path = chosen_file(file)
    _refuse_near_misses(os.environ)
    try:
        config = ServeConfig(**given, config=path)
        if config.api_key_file is None:
            return config
        keys = config.api_keys + _read_keys(config.api_key_file)
        return ServeConfig.model_validate({**given, "config": path, "api_keys": keys})
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error
    except SettingsError as error:
        raise ConfigError(f"{error}; lists are written as JSON in the environment") from error


def load_gate_config(file: Path | None = None) -> GateConfig:
    """Read the `[gate]` table of the settings file; what it leaves out is at its default.

    Raises:
        ConfigError: names the setting and what was expected.
    """
    path = chosen_file(file)
    table = {} if path is None else read_table(path, "gate", known=GateConfig.model_fields)
    try:
        return GateConfig.model_validate(table)
    except ValidationError as error:
        raise ConfigError(f"{path}: [gate] {_explain(error)}") from error


def _read_keys(path: Path) -> tuple[ApiKey, ...]:
    content = read_toml(path)
    refuse_unknown(content, ("api_keys",), where=f"{path}: table")
    entries = content.get("api_keys")
    if not entries or not isinstance(entries, list):
        raise ConfigError(f"{str(path)!r} holds no [[api_keys]] table")
    return tuple(ApiKey.model_validate(entry) for entry in entries)


def _refuse_near_misses(environment: Mapping[str, str]) -> None:
    """Refuse a variable that is almost one of ours; others may belong to other programs."""
    names = [ENV_PREFIX + name.upper() for name in ServeConfig.model_fields]
    for variable in environment:
        if variable.startswith(ENV_PREFIX) and variable not in names:
            close = difflib.get_close_matches(variable, names, n=1, cutoff=0.9)
            if close:
                raise ConfigError(
                    f"variable {variable!r} does not exist; did you mean {close[0]!r}?"
                )


def _explain(error: ValidationError) -> str:
    lines = []
    for entry in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in entry["loc"])
        what = entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            what = f"no such setting{nearest(where, sorted(ServeConfig.model_fields))}"
        lines.append(f"{where}: {what}" if where else what)
    return "; ".join(lines)
