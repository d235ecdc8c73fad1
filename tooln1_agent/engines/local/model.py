"""The base model of a directory: its weights, and a name that its content alone decides."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from tooln1_agent.codec import Codec
from tooln1_agent.errors import ConfigError, ModelNotFound

Dtype = Literal["float32", "bfloat16"]

_WHOLE_FILE_BYTES = 64 << 20
_BLOCK_BYTES, _BLOCKS = 64 << 10, 256
_INSTALL = "pip install 'tooln1-agent[local]'"


def load_base(model_dir: str | Path, dtype: Dtype = "float32") -> Any:
    """Load a causal language model, ready to sample from. No code of the directory is run.

    Raises:
        ModelNotFound: there is no model, or none in safetensors.
        ConfigError: torch or transformers is not installed.
    """
    path = Path(model_dir)
    _weight_files(path)
    try:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError as error:
        raise ConfigError(
            f"running {str(path)!r} in process needs {error.name!r}; install it with {_INSTALL}"
        ) from error
    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"cannot load the model in {str(path)!r}: {error}") from error
    return model.eval()


def base_name(model_dir: str | Path) -> str:
    """Name a base model by kind and content, wherever its directory lies. Needs no torch.

    Two directories share a name if their weights and configurations are the same. Of files over
    64 MiB the header and 256 blocks spread over the file stand for the whole.

    Raises:
        ModelNotFound: there is no model, or none in safetensors.
    """
    path = Path(model_dir)
    files = _weight_files(path)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config.pop("transformers_version", None)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for file in files:
        _add_content(digest, file)
    is_seed = (path / "training.json").is_file()
    kind = "tooln1-seed" if is_seed else str(config.get("model_type", "model"))
    return f"{kind}-{digest.hexdigest()[:12]}"


def declared_limit(model_dir: Path, codec: Codec) -> int:
    """Return the context limit of the configuration. Needs no torch.

    Raises:
        ModelNotFound: none is declared, or the tokenizer is of another model.
    """
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    if codec.vocab_size > config.get("vocab_size", 0):
        raise ModelNotFound(
            f"the tokenizer in {str(model_dir)!r} has {codec.vocab_size} tokens, its model only "
            f"{config.get('vocab_size', 0)}; they do not belong together"
        )
    limit = config.get("max_position_embeddings")
    if not isinstance(limit, int):
        raise ModelNotFound(
            f"config.json in {str(model_dir)!r} does not declare max_position_embeddings"
        )
    return limit


def _weight_files(path: Path) -> list[Path]:
    if not (path / "config.json").is_file():
        raise ModelNotFound(
            f"no model in {str(path)!r}: expected a directory in the Hugging Face layout "
            "(config.json, tokenizer.json, *.safetensors)"
        )
    files = sorted(path.glob("model*.safetensors"))
    if not files:
        raise ModelNotFound(
            f"no weights in {str(path)!r}: expected model*.safetensors; pickled weights are not "
            "read, convert them first"
        )
    return files


def _add_content(digest: Any, file: Path) -> None:
    size = file.stat().st_size
    digest.update(f"{file.name}:{size}".encode())
    with file.open("rb") as stream:
        if size <= _WHOLE_FILE_BYTES:
            digest.update(stream.read())
            return
        for block in range(_BLOCKS):
            stream.seek(block * (size - _BLOCK_BYTES) // (_BLOCKS - 1))
            digest.update(stream.read(_BLOCK_BYTES))
