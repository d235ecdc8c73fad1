"""What a docstring says of a function and of each parameter: Google, NumPy or Sphinx style."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import griffe

__all__ = ["Description", "describe"]


class Description(NamedTuple):
    """The prose of a docstring, and its words on each parameter."""

    text: str
    parameters: dict[str, str]


def describe(fn: Callable[..., Any]) -> Description:
    """Read the docstring of ``fn``; sections on returns, errors and examples are left out."""
    target = fn.func if isinstance(fn, partial) else fn
    with griffe.logger.disable():  # it reports untyped parameters, which is how ours are written
        sections = griffe.Docstring(inspect.getdoc(target) or "").parse("auto")
    paragraphs: list[str] = []
    parameters: dict[str, str] = {}
    for section in sections:
        if isinstance(section, griffe.DocstringSectionText):
            paragraphs.append(section.value.strip())
        elif isinstance(section, griffe.DocstringSectionAdmonition) and section.title:
            paragraphs.append(f"{section.title}: {section.value.contents.strip()}")
        elif isinstance(
            section,
            griffe.DocstringSectionParameters | griffe.DocstringSectionOtherParameters,
        ):
            for entry in section.value:
                parameters[entry.name] = " ".join(entry.description.split())
    return Description("\n\n".join(filter(None, paragraphs)), parameters)
