"""One vLLM server and its endpoints: what it serves, completions, log-probs, adapters."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tooln1_agent.engines.vllm.api import Sampled, forced_body
from tooln1_agent.engines.wire import Wire, events
from tooln1_agent.errors import AdapterError, ConfigError, EngineDown, EngineRefused

log = logging.getLogger("tooln1_agent.engines.vllm")

_COMPLETIONS = "/v1/completions"


class Served(NamedTuple):
    """The base model of a server."""

    name: str
    context_limit: int


class Client:
    """Asks one vLLM server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @property
    def root(self) -> str:
        """Address of the server."""
        return self._wire.root

    async def served(self) -> Served:
        """Return what is served.

        Raises:
            ConfigError: this is no vLLM.
        """
        try:
            version = (await self._wire.get_json("/version")).get("version")
        except EngineRefused:
            version = None
        if version is None:
            raise ConfigError(
                f"there is no vLLM at {self._wire.root}; for a chat server of another kind, name "
                "its model in place of a model directory"
            )
        base = next(card for card in (await self._cards()).values() if card.get("parent") is None)
        log.info("vLLM %s at %s serves %s", version, self._wire.root, base["id"])
        return Served(str(base["id"]), int(base["max_model_len"]))

    @asynccontextmanager
    async def completion(self, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        """Open a completion's stream."""
        async with self._wire.post(_COMPLETIONS, body) as response:
            yield response

    async def sampled(self, body: Mapping[str, Any]) -> Sampled:
        """Return a whole completion."""
        sampled = Sampled(model=body["model"])
        async with self.completion(body) as response:
            async for event in events(response):
                sampled.add(event)
        return sampled

    async def scores(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, model: str
    ) -> tuple[float, ...]:
        """Return the log-probs of given completion ids, in nats, under the plain model."""
        ids = [*prompt_ids, *completion_ids]
        forced = await asyncio.gather(
            *(
                self.sampled(forced_body(ids[:place], ids[place], model=model))
                for place in range(len(prompt_ids), len(ids))
            )
        )
        return tuple(sampled.logprobs[0] for sampled in forced)

    async def tokens(self, text: str) -> list[tuple[int, str]] | None:
        """Return the ids of a text and what each stands for; None where the server does not say."""
        body = {"prompt": text, "add_special_tokens": False, "return_token_strs": True}
        try:
            async with self._wire.post("/tokenize", body) as response:
                said = json.loads(await response.aread())
        except EngineRefused:
            return None
        return list(zip(said["tokens"], said["token_strs"], strict=True))

    async def load(self, version: str, path: Path) -> None:
        """Load an adapter under its version; one that is loaded from this path is left alone.

        Raises:
            AdapterError: vLLM does not take it; says why.
        """
        place = (await self._cards()).get(version, {}).get("root")
        if place == str(path):
            return
        if place is not None:  # the same weights, but nobody says that they stay where they are
            await self.unload(version)
        try:
            async with self._wire.post(
                "/v1/load_lora_adapter", {"lora_name": version, "lora_path": str(path)}
            ):
                return
        except (EngineRefused, EngineDown) as error:  # 500 is its answer to a broken directory
            refusal = error
        if (await self._cards()).get(version, {}).get("root") == str(path):
            return  # somebody was faster
        raise AdapterError(
            f"vLLM does not take adapter {version!r} in {str(path)!r}: {refusal}. The path must be "
            "the same for vLLM, and the rank within its --max-lora-rank"
        ) from refusal

    async def unload(self, version: str) -> None:
        """Unload an adapter; one that is gone with its server is no error."""
        try:
            async with self._wire.post("/v1/unload_lora_adapter", {"lora_name": version}):
                pass
        except (EngineRefused, EngineDown) as error:
            log.info("vLLM had no adapter %s to unload: %s", version, error)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._wire.aclose()

    async def _cards(self) -> dict[str, dict[str, Any]]:
        """Return what `/v1/models` says of the base and of each adapter, by name."""
        return {card["id"]: card for card in (await self._wire.get_json("/v1/models"))["data"]}
