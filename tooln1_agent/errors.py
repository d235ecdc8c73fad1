"""What raises in the runtime, all under one root.

ToolN1Error
├── ConfigError          a setting, flag or file is wrong; says which and what to write instead
├── ModelNotFound        a model directory or tokenizer is missing or of the wrong kind
├── EngineError          a model call failed
│   ├── ContextTooLong   the prompt does not fit the declared context limit
│   ├── EngineBusy       the queue is full; carries `retry_after_s`
│   ├── EngineDown       the engine cannot be reached
│   └── EngineRefused    a model server understood and said no; carries its `status`
├── StoreError           the replay store cannot be used as asked
│   ├── StoreTooNew      written by a newer version of this package
│   └── UnknownRecord    no such interaction, turn or example
├── LabelRefused         a label is not allowed or makes no sense for its turn
│   └── QuotaUsed        its author may give no more today; carries `retry_after_s`
├── AdapterError         an adapter is missing, damaged, or for another base
└── DataError            a line of an imported file does not have the declared form
    └── RowRefused       one row gives no example; carries `reason`, by which rows are counted

What a model or a tool gets wrong never raises: it is a fault, a failed result or a reward of 0.
"""

from __future__ import annotations


class ToolN1Error(Exception):
    """Root of what this package raises on purpose."""


class ConfigError(ToolN1Error):
    """A setting is wrong."""


class ModelNotFound(ToolN1Error):
    """A model directory or tokenizer is missing or unfit."""


class EngineError(ToolN1Error):
    """A model call failed."""


class ContextTooLong(EngineError):
    """The prompt and the wanted completion do not fit the context limit."""

    def __init__(self, *, prompt_tokens: int, max_tokens: int, limit: int) -> None:
        self.prompt_tokens, self.max_tokens, self.limit = prompt_tokens, max_tokens, limit
        super().__init__(
            f"the prompt has {prompt_tokens} tokens and up to {max_tokens} are to be generated, "
            f"but this model's context limit is {limit}; send fewer tools or shorter messages, "
            "or lower max_tokens"
        )


class EngineBusy(EngineError):
    """The queue is full; try again after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class EngineDown(EngineError):
    """The engine cannot be reached or has stopped."""


class EngineRefused(EngineError):
    """A model server understood a request and said no."""

    def __init__(self, message: str, *, status: int) -> None:
        self.status = status
        super().__init__(message)


class StoreError(ToolN1Error):
    """The replay store cannot be used as asked."""


class StoreTooNew(StoreError):
    """The store was written by a newer version."""


class UnknownRecord(StoreError):
    """No such interaction, turn or example."""


class LabelRefused(ToolN1Error):
    """A label is not allowed or makes no sense for its turn."""


class QuotaUsed(LabelRefused):
    """An author has given as many labels as a day allows; more after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class AdapterError(ToolN1Error):
    """An adapter is missing, damaged, or for another base."""


class DataError(ToolN1Error):
    """A line of an imported file is not of the declared form."""


class RowRefused(DataError):
    """One row of a data set gives no example; importing goes on with the next."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else reason)
