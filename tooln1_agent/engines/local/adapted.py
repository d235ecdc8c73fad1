"""A base model with any number of LoRA adapters beside it, one of them at work at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tooln1_agent.errors import AdapterError

_WEIGHTS = "adapter_model.safetensors"


class AdaptedModel:
    """Owns a base model; it is wrapped by peft while there is an adapter. Not thread-safe."""

    def __init__(self, base: Any) -> None:
        self._base = base
        self._wrapped: Any = None
        self._versions: set[str] = set()

    def load(self, version: str, path: Path) -> None:
        """Read an adapter from its directory; an adapter that is loaded is left alone.

        Raises:
            AdapterError: the directory holds no adapter that fits this base.
        """
        if version in self._versions:
            return
        if not (path / _WEIGHTS).is_file():
            raise AdapterError(f"adapter {version!r}: no {_WEIGHTS} in {str(path)!r}")
        from peft import PeftModel  # slow to import, and many an engine never has an adapter

        try:
            if self._wrapped is None:
                self._wrapped = PeftModel.from_pretrained(self._base, path, adapter_name=version)
            else:
                self._wrapped.load_adapter(path, adapter_name=version)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise AdapterError(
                f"adapter {version!r} in {str(path)!r} does not fit this base model: {error}"
            ) from error
        self._wrapped.eval()
        self._versions.add(version)

    def unload(self, version: str) -> None:
        """Forget an adapter; one that is not loaded is no error."""
        if version not in self._versions:
            return
        self._versions.remove(version)
        if not self._versions:
            self._base = self._wrapped.unload()
            self._wrapped = None
            return
        self._wrapped.set_adapter(next(iter(self._versions)))
        self._wrapped.delete_adapter(version)

    @contextmanager
    def using(self, version: str | None) -> Iterator[Any]:
        """Yield the model with this adapter at work, or the base alone."""
        if self._wrapped is None:
            yield self._base
        elif version is None:
            with self._wrapped.disable_adapter():
                yield self._wrapped
        else:
            self._wrapped.set_adapter(version)
            yield self._wrapped
