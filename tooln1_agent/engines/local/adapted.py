"""A base model with any number of LoRA adapters beside it.

Of a small base a copy is kept for each adapter, with the adapter merged into its weights: decoding
is then as fast as the base alone, adapters take turns at no cost, and loading one disturbs nobody.
A large base is kept once; peft switches its adapters between two forwards.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tooln1_agent.engines.local.scoring import check_probe
from tooln1_agent.errors import AdapterError

MERGE_BELOW = 300_000_000
"""Largest base, in weights, of which an adapter gets a copy of its own."""

_WEIGHTS = "adapter_model.safetensors"


class AdaptedModel:
    """Owns a base model and its adapters. Only `prepare` may be called beside other methods."""

    def __init__(self, base: Any, *, merge_below: int = MERGE_BELOW) -> None:
        self._base = base
        self._is_small = sum(weight.numel() for weight in base.parameters()) < merge_below
        self._merged: dict[str, Any] = {}
        self._wrapped: Any = None  # the large base with its adapters, while it has any
        self._versions: set[str] = set()
        self.config = base.config
        self._attention = base.config._attn_implementation

    def prepare(self, version: str, path: Path) -> Any:
        """Do the slow part of `load`, beside whatever runs; pass the result to it.

        Raises:
            AdapterError: the directory holds no adapter that fits this base, or the model computes
                something else with it than its trainer did.
        """
        if not (path / _WEIGHTS).is_file():
            raise AdapterError(f"adapter {version!r}: no {_WEIGHTS} in {str(path)!r}")
        if version in self._versions or not self._is_small:
            return None
        base = copy.deepcopy(self._base)
        base.config._attn_implementation = self._attention  # it changes while rows sample
        model = AdaptedModel(base, merge_below=0)
        model._read(version, path)
        merged = model._wrapped.merge_and_unload()
        check_probe(merged, path)
        return merged

    def load(self, version: str, path: Path, *, prepared: Any = None) -> None:
        """Read an adapter from its directory; an adapter that is loaded is left alone.

        Raises:
            AdapterError: as `prepare` does.
        """
        if version in self._versions:
            return
        prepared = prepared or self.prepare(version, path)
        if prepared is not None:
            self._versions.add(version)
            self._merged[version] = prepared
            return
        self._read(version, path)
        try:
            with self.using(version) as model:
                check_probe(model, path)
        except AdapterError:
            self.unload(version)
            raise

    def unload(self, version: str) -> None:
        """Forget an adapter; one that is not loaded is no error."""
        if version not in self._versions:
            return
        self._versions.remove(version)
        if self._merged.pop(version, None) is not None or self._wrapped is None:
            return
        if self._versions:
            self._wrapped.set_adapter(next(iter(self._versions)))
            if version in self._wrapped.peft_config:
                self._wrapped.delete_adapter(version)
        else:
            self._base = self._wrapped.unload()
            self._wrapped = None

    def _read(self, version: str, path: Path) -> None:
        """Put an adapter's weights beside the base's, or raise AdapterError and change nothing."""
        self._versions.add(version)
        try:
            problem = self._add(version, path)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            problem = str(error)
        if problem:
            self.unload(version)
            raise AdapterError(
                f"adapter {version!r} in {str(path)!r} does not fit this base model: {problem}"
            )

    def _add(self, version: str, path: Path) -> str:
        """Wrap the base if need be and read the weights; return what does not fit, or ""."""
        from peft import PeftConfig, PeftModel  # slow, and many an engine never has an adapter

        config = PeftConfig.from_pretrained(path)
        if config.peft_type != "LORA":
            return f"it is of type {config.peft_type!r}, not LoRA"
        config.inference_mode = True
        if self._wrapped is None:
            self._wrapped = PeftModel(self._base, config, adapter_name=version)
        read = self._wrapped.load_adapter(path, adapter_name=version)
        self._wrapped.eval()
        missing = [key for key in read.missing_keys if f".{version}." in key]
        odd = missing or read.unexpected_keys
        return f"weights are missing or unknown, {odd[0]!r} among them" if odd else ""

    @contextmanager
    def using(self, version: str | None) -> Iterator[Any]:
        """Yield the model with this adapter at work, or the base alone.

        Raises:
            AdapterError: it is not loaded; the base never answers in its place.
        """
        if version is not None and version not in self._versions:
            raise AdapterError(f"adapter {version!r} is not loaded")
        if version in self._merged:
            yield self._merged[version]
        elif self._wrapped is None:
            yield self._base
        elif version is None:
            with self._wrapped.disable_adapter():
                yield self._wrapped
        else:
            self._wrapped.set_adapter(version)
            yield self._wrapped
