"""Whether a vLLM serves our model, and in a way that can be learned from.

Nobody but its operator knows what a server runs. What can be seen of it from outside is which
tokens its ids stand for, and which log-probs it gives a fixed text.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from tooln1_agent.codec import Codec
from tooln1_agent.engines.vllm.api import completion_body
from tooln1_agent.engines.vllm.client import Client
from tooln1_agent.errors import AdapterError, ConfigError
from tooln1_agent.messages import Sampling
from tooln1_agent.probe import FILE, TOLERANCE, Probe, mean_gap, read_probe
from tooln1_agent.prompt import Segment

log = logging.getLogger("tooln1_agent.engines.vllm")

_TRIAL = Sampling(temperature=2.0, max_tokens=16, seed=0)
_TEXT = 'Turn the light on at 17:45.\n{"rooms": [1, -2.5, true]} naïve Größe, Привет, 東京 🙂'
"""Takes tokens from many corners of a vocabulary."""


async def check_server(client: Client, directory: Path, codec: Codec, *, base: str) -> None:
    """Return when a server may be asked for the model of a directory.

    Args:
        base: the name under which it serves its base model.

    Raises:
        ConfigError: its tokens or weights are others, or its log-probs not the plain model's.
    """
    await _check_vocabulary(client, directory, codec)
    await _check_logprobs(client, codec, base=base)
    await _check_weights(client, directory, base=base)


async def check_adapter(client: Client, version: str, directory: Path, *, base: str) -> None:
    """Raise AdapterError where a loaded adapter computes something else than its trainer did."""
    probe = await asyncio.to_thread(read_probe, directory)
    if probe is None:
        return
    try:
        probe.check(await _served(client, probe, model=version))
    except AdapterError as error:
        off = mean_gap(await _served(client, probe, model=base), probe.base_logprobs)
        if off <= TOLERANCE:
            raise
        raise AdapterError(
            f"{error}; its base model is {off:.3f} nats off too: is {client.root} serving another?"
        ) from error


async def _check_vocabulary(client: Client, directory: Path, codec: Codec) -> None:
    """Compare which ids a text has; or, since texts are cut differently, what those ids stand for.

    Raises:
        ConfigError: they differ.
    """
    text = _TEXT + "".join(map(codec.token, codec.end_ids))
    tokens = await client.tokens(text)
    if tokens is None:
        log.warning("%s has no /tokenize; its tokens are not compared with ours", client.root)
        return
    if [token for token, _ in tokens] == codec.encode([Segment(text, True)]):
        return
    wrong = [(token, there) for token, there in tokens if codec.token(token) != there]
    if wrong:
        token, there = wrong[0]
        raise ConfigError(
            f"vLLM at {client.root} serves a model of other tokens than those in "
            f"{str(directory)!r}: {token} is {there!r} there and {codec.token(token)!r} here; "
            "name the directory of the model that it serves with --model"
        )


async def _check_logprobs(client: Client, codec: Codec, *, base: str) -> None:
    """Raise ConfigError unless sampled log-probs are the plain model's at any temperature."""
    prompt_ids = codec.encode([Segment("Log-probs of the plain model.", False)])
    body = completion_body(prompt_ids, _TRIAL, model=base, end_ids=codec.end_ids)
    sampled = await client.sampled(body)
    plain = await client.scores(prompt_ids, sampled.ids, model=base)
    off = mean_gap(sampled.logprobs, plain)
    if off > TOLERANCE:
        raise ConfigError(
            f"the log-probs of vLLM at {client.root} are {off:.2f} nats off the plain model's; "
            "start it with --logprobs-mode raw_logprobs"
        )


async def _check_weights(client: Client, directory: Path, *, base: str) -> None:
    """Raise ConfigError where the base model computes something else than the directory's."""
    probe = await asyncio.to_thread(read_probe, directory)
    if probe is None:
        return
    off = mean_gap(await _served(client, probe, model=base), probe.logprobs)
    if not off <= TOLERANCE:  # NaN is no figure either
        raise ConfigError(
            f"vLLM at {client.root} serves another model than that in {str(directory)!r}: the "
            f"log-probs of its {FILE} are {off:.3f} nats off, {TOLERANCE} are allowed. Name the "
            "directory of the model that it serves with --model"
        )


async def _served(client: Client, probe: Probe, *, model: str) -> tuple[float, ...]:
    return await client.scores(probe.prompt_ids, probe.completion_ids, model=model)
