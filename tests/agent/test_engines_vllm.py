"""What the vLLM engine makes of servers that are wrong, absent or no vLLM at all.

That it is right about a real vLLM is tested against one, in tests/e2e.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tooln1_agent.codec import Codec
from tooln1_agent.engines.base import ModelRequest, complete
from tooln1_agent.engines.http import HttpEngine
from tooln1_agent.engines.pool import PooledEngine
from tooln1_agent.engines.resolve import SEED_DIR
from tooln1_agent.engines.servers import running
from tooln1_agent.engines.vllm.engine import VllmEngine
from tooln1_agent.engines.vllm.launch import child
from tooln1_agent.engines.vllm.process import VllmProcess
from tooln1_agent.engines.vllm.running import RunningServer
from tooln1_agent.errors import ConfigError, EngineBusy, EngineDown, EngineError
from tooln1_agent.messages import Message
from tooln1_agent.probe import Probe
from tooln1_agent.prompt import Segment

ASK = ModelRequest((Message(role="user", content="hi"),), ())
CODEC = Codec.load(SEED_DIR)
END = CODEC.end_id


class Server:
    """Answers as vLLM does: says nothing but the closing token, with log-prob -1."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes
        """Fields of a completion's events that are otherwise."""
        self.status = 200
        self.vocabulary: dict[int, str] | None = {}
        """Tokens that are others than ours; None says nothing about tokens."""
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/version":
            return httpx.Response(200, json={"version": "0.32.0"})
        if request.url.path == "/v1/models":
            card = {"id": "base", "parent": None, "max_model_len": 1024}
            return httpx.Response(200, json={"data": [card]})
        if request.url.path == "/tokenize":
            return self.tokens(json.loads(request.content)["prompt"])
        if self.status != 200:
            return httpx.Response(self.status, headers={"Retry-After": "9"}, text="full")
        self.bodies.append(json.loads(request.content))
        return self.completion(self.bodies[-1])

    def tokens(self, text: str) -> httpx.Response:
        if self.vocabulary is None:
            return httpx.Response(404)
        ids = [*CODEC.encode([Segment(text, True)]), *self.vocabulary]
        texts = [self.vocabulary.get(token, CODEC.token(token)) for token in ids]
        return httpx.Response(200, json={"tokens": ids, "token_strs": texts})

    def completion(self, body: dict[str, Any]) -> httpx.Response:
        choice = {
            "index": 0,
            "token_ids": [END],
            "logprobs": {"token_logprobs": [self.logprob(body)]},
            "prompt_token_ids": body["prompt"],
            "finish_reason": "stop",
        }
        event = {"model": body["model"], "choices": [choice | self.changes.get("choice", {})]}
        event |= {name: value for name, value in self.changes.items() if name != "choice"}
        content = f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode()
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=content)

    def logprob(self, body: dict[str, Any]) -> float:
        return -1.0


def engine(
    handler: Callable[[httpx.Request], httpx.Response], model: Path = SEED_DIR
) -> VllmEngine:
    transport = httpx.MockTransport(handler)
    return VllmEngine(model, RunningServer("http://vllm", "key"), transport=transport)


async def test_every_sampling_parameter_is_sent_and_the_servers_limit_holds() -> None:
    server = Server()
    made = engine(server)
    completion = await complete(made, ASK)
    assert completion.completion_ids == (END,)
    assert completion.logprobs == (-1.0,)
    assert made.info.context_limit == 1024
    decided = {"temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty"}
    assert decided | {"presence_penalty", "frequency_penalty"} <= server.bodies[-1].keys()


async def test_a_server_that_is_no_vllm_is_told_apart() -> None:
    with pytest.raises(ConfigError, match="no vLLM at http://vllm"):
        await engine(lambda _: httpx.Response(404)).start()


async def test_logprobs_after_temperature_are_no_good_to_learn_from() -> None:
    class Processed(Server):
        def logprob(self, body: dict[str, Any]) -> float:
            return 0.0 if "allowed_token_ids" in body else -1.0

    with pytest.raises(ConfigError, match="--logprobs-mode raw_logprobs"):
        await engine(Processed()).start()


async def test_a_server_of_other_tokens_is_refused() -> None:
    server = Server()
    server.vocabulary = {5: "other"}
    with pytest.raises(
        ConfigError, match=r"http://vllm serves a model of other tokens.*5 is 'other'"
    ):
        await engine(server).start()


async def test_a_text_that_is_cut_otherwise_is_no_other_vocabulary() -> None:
    server = Server()
    server.vocabulary = {5: CODEC.token(5)}
    await engine(server).start()


async def test_a_server_that_does_not_tell_its_tokens_is_taken_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    server.vocabulary = None
    await engine(server).start()
    assert "http://vllm has no /tokenize" in caplog.text


@pytest.mark.parametrize(("logprob", "fits"), [(-1.05, True), (-1.2, False)])
async def test_a_server_of_other_weights_is_refused_where_the_model_has_a_probe(
    tmp_path: Path, logprob: float, fits: bool
) -> None:
    shutil.copytree(SEED_DIR, tmp_path / "model")
    figures = (logprob, logprob)
    probe = {"prompt_ids": (1, 2), "completion_ids": (3, 4)}
    Probe.model_validate(probe | {"logprobs": figures, "base_logprobs": figures}).write(
        tmp_path / "model"
    )
    made = engine(Server(), tmp_path / "model")
    if fits:
        await made.start()
        return
    with pytest.raises(ConfigError, match=r"another model than that in .*probe\.json"):
        await made.start()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "other"}, "'other' answers"),
        ({"choice": {"token_ids": None}}, "no token ids"),
        ({"choice": {"logprobs": None}}, "one log-prob for each"),
        ({"choice": {"prompt_token_ids": [1]}}, "another prompt"),
        ({"choice": {"finish_reason": "abort"}}, "'abort'"),
        ({"choice": {"finish_reason": None}}, "in the middle"),
    ],
)
async def test_an_answer_that_cannot_be_vouched_for_is_an_error(
    changes: dict[str, Any], said: str
) -> None:
    server = Server()
    made = engine(server)
    await made.start()
    server.changes = changes
    with pytest.raises(EngineError, match=said):
        await complete(made, ASK)


@pytest.mark.parametrize(("status", "error"), [(503, EngineBusy), (500, EngineDown)])
async def test_a_full_server_and_a_broken_one_are_told_apart(
    status: int, error: type[EngineError]
) -> None:
    server = Server()
    made = engine(server)
    await made.start()
    server.status = status
    with pytest.raises(error):
        await complete(made, ASK)


def test_a_directory_asks_vllm_in_ids_and_a_name_asks_anything_in_chat() -> None:
    assert isinstance(running(["http://a:1/v1"], "seed"), VllmEngine)
    assert isinstance(running(["http://a:1/v1", "http://b:1"], str(SEED_DIR)), PooledEngine)
    chat = running(["http://a:1/v1"], "gpt")
    assert isinstance(chat, HttpEngine)
    assert chat.info.base_model == "gpt"
    with pytest.raises(ConfigError, match="'local', 'vllm', or the URL"):
        running(["vlm"], "seed")


def test_an_interpreter_without_vllm_is_refused_with_advice() -> None:
    with pytest.raises(ConfigError, match=r"pip install vllm.*--vllm-python"):
        child(SEED_DIR, python=Path(sys.executable))
    with pytest.raises(ConfigError, match="cannot run '/no/python'"):
        child(SEED_DIR, python=Path("/no/python"))


async def test_arguments_for_vllm_are_handed_on_after_ours(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    more = ["--tensor-parallel-size 2 --data-parallel-size 4", "--max-loras 8"]
    made = child(SEED_DIR, python=python, arguments=more, log_file=tmp_path / "vllm.log")
    with pytest.raises(EngineDown):
        await made.start()
    await made.aclose()
    words = (tmp_path / "vllm.log").read_text().split()
    assert words[-6:] == " ".join(more).split()
    assert words.index("--enable-lora") < words.index("--tensor-parallel-size")


def process(tmp_path: Path, code: str) -> VllmProcess:
    return VllmProcess(
        [sys.executable, "-c", code],
        root="http://127.0.0.1:1",
        api_key="key",
        environment={},
        log_file=tmp_path / "vllm.log",
        back_off_s=0.01,
    )


async def test_a_vllm_that_does_not_come_up_is_told_with_its_last_words(tmp_path: Path) -> None:
    made = process(tmp_path, "print('no kernel image'); raise SystemExit(3)")
    with pytest.raises(EngineDown, match=r"code 3 before it answered(.|\n)*no kernel image"):
        await made.start()
    with pytest.raises(EngineDown, match="not up"):
        made.check()
    await made.aclose()
    assert not [thread for thread in threading.enumerate() if thread.name == "vllm"]
