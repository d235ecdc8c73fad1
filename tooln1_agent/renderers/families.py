"""Which renderer a model's prompts are written with: told by its tokenizer's added tokens."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from tooln1_agent.errors import ConfigError, ModelNotFound
from tooln1_agent.renderers.hermes import HERMES
from tooln1_agent.renderers.llama import LLAMA
from tooln1_agent.renderers.mistral import MISTRAL
from tooln1_agent.renderers.renderer import Renderer
from tooln1_agent.renderers.tooln1 import TOOLN1

RENDERERS = {renderer.name: renderer for renderer in (TOOLN1, HERMES, LLAMA, MISTRAL)}
"""All renderers by name."""

MARK = "tooln1_renderer"
"""The key of `tokenizer_config.json` that names the renderer, whatever the added tokens say."""

_FAMILIES = (HERMES, LLAMA, MISTRAL)
"""What added tokens can tell: `tooln1` writes the tokens of `hermes`, so it has to be named."""


def choose_renderer(added: AbstractSet[str], *, name: str | None = None) -> Renderer:
    """Return the renderer of a model.

    Args:
        added: the tokenizer's added tokens.
        name: the renderer that the model directory names, if it does.

    Raises:
        ConfigError: there is no renderer of that name.
        ModelNotFound: the tokenizer lacks a token of the one named; or, with none named, it is
            of no known family, or of more than one.
    """
    if name is not None:
        return _named(name, added)
    fitting = [r for r in _FAMILIES if not _missing(r, added) and added.isdisjoint(r.not_with)]
    if len(fitting) == 1:
        return fitting[0]
    found = " and ".join(renderer.name for renderer in fitting)
    raise ModelNotFound(
        f"this tokenizer has the control tokens of {found or 'no family that can be rendered'}; "
        f"there are renderers for {_known()}. If the model was trained on prompts of one of these "
        f'forms, name it in tokenizer_config.json: "{MARK}": "hermes", for example. For another '
        "form write a renderer (docs/prompts.md)"
    )


def _named(name: str, added: AbstractSet[str]) -> Renderer:
    if name not in list(RENDERERS):
        raise ConfigError(
            f"there is no renderer {name!r}; {MARK} in tokenizer_config.json may be one of: "
            f"{_known()}"
        )
    renderer = RENDERERS[name]
    if missing := _missing(renderer, added):
        raise ModelNotFound(
            f"the {name!r} renderer writes {', '.join(missing)}, which this tokenizer does not "
            f"have as added tokens; add them, or name another renderer: {_known()}"
        )
    return renderer


def _missing(renderer: Renderer, added: AbstractSet[str]) -> list[str]:
    return [token for token in renderer.controls if token not in added]


def _known() -> str:
    return ", ".join(f"{r.name} ({' '.join(r.controls)})" for r in RENDERERS.values())
