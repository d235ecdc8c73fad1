"""The rival that trains nothing: corrections put into the prompt, nearest requests first."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from tooln1_agent.examples import Example
from tooln1_agent.messages import Message
from tooln1_agent.prompt import calls_text
from trainer.demonstration import gold_calls

Place = Literal["exchanges", "instructions"]
"""Past exchanges before the request, or lines under the instructions."""


class Nearest:
    """Finds the texts most alike by the cosine of their TF-IDF vectors."""

    def __init__(self, texts: Sequence[str]) -> None:
        words = [Counter(_words(text)) for text in texts]
        found_in = Counter(word for counts in words for word in counts)
        self._weight = {word: math.log(1 + len(texts) / n) for word, n in found_in.items()}
        self._vectors = [self._vector(counts) for counts in words]

    def __call__(self, text: str, k: int) -> list[int]:
        """Return the places of the k nearest texts, nearest first."""
        wanted = self._vector(Counter(_words(text)))
        likeness = [
            sum(weight * vector.get(word, 0.0) for word, weight in wanted.items())
            for vector in self._vectors
        ]
        return sorted(range(len(likeness)), key=lambda i: -likeness[i])[:k]

    def _vector(self, counts: Counter[str]) -> dict[str, float]:
        raw = {word: n * self._weight.get(word, 0.0) for word, n in counts.items()}
        length = math.sqrt(sum(weight**2 for weight in raw.values())) or 1.0
        return {word: weight / length for word, weight in raw.items()}


def with_examples(
    questions: Sequence[Example], labelled: Sequence[Example], *, k: int, place: Place
) -> list[Example]:
    """Return the questions with the k nearest labelled requests, and their right calls, shown."""
    known = [example for example in labelled if gold_calls(example) is not None]
    nearest = Nearest([user_text(example) for example in known])
    shown = []
    for question in questions:
        chosen = [known[i] for i in reversed(nearest(user_text(question), k))]  # nearest last
        messages = _put(question.messages, chosen, place)
        shown.append(question.model_copy(update={"messages": messages}))
    return shown


def user_text(example: Example) -> str:
    """Return what the user said first."""
    return next(message.content for message in example.messages if message.role == "user")


def _put(
    messages: Sequence[Message], chosen: Sequence[Example], place: Place
) -> tuple[Message, ...]:
    head = [message for message in messages if message.role == "system"]
    rest = [message for message in messages if message.role != "system"]
    if place == "exchanges":
        return (*head, *(m for example in chosen for m in _exchange(example)), *rest)
    lines = [f"Request: {user_text(e)}\nCalls: {calls_text(gold_calls(e) or ())}" for e in chosen]
    said = "\n".join([*(message.content for message in head), "Requests handled well:", *lines])
    return (Message(role="system", content=said), *rest)


def _exchange(example: Example) -> list[Message]:
    calls = gold_calls(example) or ()
    asked = Message(role="user", content=user_text(example))
    if not calls:
        return [asked, Message(role="assistant", content="No function fits this request.")]
    made = Message(role="assistant", tool_calls=calls)
    done = [Message(role="tool", content="done", tool_call_id=call.id) for call in calls]
    return [asked, made, *done]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
