"""How a vLLM of our own is started: interpreter, arguments, environment.

What the caller adds comes last on the command line, and vLLM takes the last of two values.
"""

from __future__ import annotations

import os
import secrets
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tooln1_agent.engines.local.model import base_name
from tooln1_agent.engines.vllm.process import VllmProcess
from tooln1_agent.errors import ConfigError

_HOST = "127.0.0.1"
_GPU_DEVICES = ("nvidia[0-9]*", "kfd", "dri/renderD*", "accel*")

_BOOT = """
import ctypes, os, runpy, signal, sys
parent = int(sys.argv.pop(1))
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() != parent:
    sys.exit("the server that started this is gone")
runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
"""
"""Runs vLLM's server as a process that ends with its parent, however that ends."""

_ON_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",  # or the first request waits for a C++ compiler, if there is one
}
_CPU_ARGUMENTS = (
    "--enforce-eager",
    *("--dtype", "bfloat16"),
    "--no-enable-chunked-prefill",  # a seeded request whose prompt is cut in two ends vLLM 0.32
)
_OURS = "TOOLN1_"
_RANKS = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
"""Of the processes that torchrun started: vLLM reads them too, and is none of these."""


def child(
    model_dir: Path,
    *,
    python: Path | None = None,
    arguments: Sequence[str] = (),
    log_file: Path = Path("vllm.log"),
    context_limit: int | None = None,
) -> VllmProcess:
    """Return the process that is going to serve a model directory, on a free port of its own.

    Args:
        python: the interpreter that has vLLM; this one if not given.
        arguments: for vLLM; each may hold several words.

    Raises:
        ConfigError: that interpreter has no vLLM.
        ModelNotFound: the directory holds no model.
    """
    interpreter = str(python or sys.executable)
    _check_has_vllm(interpreter)
    port, api_key = _free_port(), secrets.token_urlsafe(32)
    has_gpu = any(any(Path("/dev").glob(pattern)) for pattern in _GPU_DEVICES)
    limit = () if context_limit is None else ("--max-model-len", str(context_limit))
    command = [
        *(interpreter, "-c", _BOOT, str(os.getpid())),
        *("--model", str(model_dir.resolve()), "--served-model-name", base_name(model_dir)),
        *("--host", _HOST, "--port", str(port)),
        *("--enable-lora", "--max-loras", "2", "--max-cpu-loras", "4"),
        *("--generation-config", "vllm", "--logprobs-mode", "raw_logprobs"),
        "--disable-uvicorn-access-log",
        *(() if has_gpu else _CPU_ARGUMENTS),
        *limit,
        *_words(arguments),
    ]
    return VllmProcess(
        command,
        root=f"http://{_HOST}:{port}",
        api_key=api_key,
        environment=_environment(os.environ, api_key=api_key, has_gpu=has_gpu),
        log_file=log_file,
    )


def _environment(ours: Mapping[str, str], *, api_key: str, has_gpu: bool) -> dict[str, str]:
    """Return the child's environment: ours without our secrets, Python's paths and our ranks."""
    kept = {
        name: value
        for name, value in ours.items()
        if not name.startswith(_OURS) and name not in {"PYTHONPATH", "PYTHONHOME", *_RANKS}
    }
    return {
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        **({} if has_gpu else _ON_CPU),
        **kept,
        "VLLM_API_KEY": api_key,  # whoever can load adapters can change what is said
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    }


def _words(arguments: Iterable[str]) -> list[str]:
    return [word for argument in arguments for word in shlex.split(argument)]


def _check_has_vllm(interpreter: str) -> None:
    code = "import importlib.util as u; raise SystemExit(u.find_spec('vllm') is None)"
    try:
        found = subprocess.run([interpreter, "-c", code], capture_output=True, check=False)
    except OSError as error:
        raise ConfigError(f"cannot run {interpreter!r}: {error.strerror}") from error
    if found.returncode:
        raise ConfigError(
            f"there is no vLLM for {interpreter!r}; install it into an environment of its own "
            "(pip install vllm) and name that environment's interpreter with --vllm-python"
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
