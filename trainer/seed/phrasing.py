"""How people ask: frames for a whole request and phrases for each value in it.

Deployments bring request templates of their own; none of the frames here appear in them.
"""

from __future__ import annotations

import random
from collections.abc import Container, Mapping, Sequence

from trainer.seed.tools import Slot, ToolFamily
from trainer.seed.values import Kind, Value, word
from trainer.seed.words import VERBS

FRAMES: tuple[str, ...] = (
    "{verb} {slots}",
    "please {verb} {slots}.",
    "can you {verb} {slots}?",
    "{slots}, {verb} it.",
    "i want you to {verb} {slots}.",
    "{slots}: {verb} that, please",
    "{slots}. {noun} to {verb}.",
    "{slots}, that is the {noun} to {verb}.",
    "{slots}, {verb} the {noun}",
    "{slots}, so {verb} the {noun}, will you?",
    "{slots}. that goes for the {noun}, {verb} it.",
    "{verb} the {noun} {slots}.",
    "{verb} the {noun} {slots}",
    "{verb} a {noun} {slots}.",
    "{verb} {noun} {slots}",
    "{verb} one {noun} {slots}.",
    "please {verb} the {noun} {slots}.",
    "please {verb} a {noun} {slots}",
    "can you {verb} a {noun} {slots}?",
    "can you {verb} the {noun} {slots}?",
    "could you {verb} a {noun} {slots}?",
    "could you please {verb} the {noun} {slots}?",
    "would you {verb} the {noun} {slots}?",
    "i need to {verb} a {noun} {slots}.",
    "i want to {verb} the {noun} {slots}.",
    "i'd like you to {verb} a {noun} {slots}.",
    "i would like to {verb} the {noun} {slots}.",
    "we have to {verb} the {noun} {slots}.",
    "we should {verb} a {noun} {slots}.",
    "let's {verb} a {noun} {slots}.",
    "time to {verb} the {noun} {slots}.",
    "help me {verb} a {noun} {slots}.",
    "go ahead and {verb} the {noun} {slots}.",
    "hi, {verb} the {noun} {slots}, thanks.",
    "hello! please {verb} a {noun} {slots}.",
    "quick one: {verb} the {noun} {slots}",
    "{verb} this {noun}: {slots}.",
    "a {noun} to {verb}: {slots}.",
    "one {noun} to {verb}, {slots}.",
    "{noun}, {slots}. please {verb} it.",
    "{slots}: {verb} the {noun}.",
    "{slots}. {verb} that {noun}, please.",
    "about the {noun} {slots}: {verb} it.",
    "there is a {noun} {slots}. can you {verb} it?",
    "i have a {noun} {slots} that you should {verb}.",
    "my boss wants me to {verb} a {noun} {slots}.",
    "they asked us to {verb} the {noun} {slots}.",
    "don't forget to {verb} the {noun} {slots}.",
    "it would be great if you could {verb} the {noun} {slots}.",
    "is it possible to {verb} a {noun} {slots}?",
    "next, {verb} the {noun} {slots}.",
    "ok now {verb} a {noun} {slots}.",
    "{verb} my {noun} {slots} please",
    "{verb} our {noun} {slots}.",
    "for the {noun}: {verb} it {slots}.",
    "{noun} {slots}, {verb} please",
    "{noun}: {slots}",
    "new request, {verb} the {noun} {slots}.",
    "somebody must {verb} the {noun} {slots}.",
    # Who means the only tool for a thing need not say what is done with it.
    "we need the {noun} {slots}.",
    "i need a {noun} {slots}",
    "a {noun} {slots}, please.",
    "the {noun} again, {slots}.",
    "what about a {noun} {slots}?",
    "see to the {noun} {slots}.",
    "somebody wants the {noun} {slots}.",
    "{slots}, it is about the {noun}.",
)

OPENINGS: dict[Kind, tuple[str, ...]] = {
    "person": (
        "{v} wants you to {verb} the {noun} {slots}.",
        "{v} asked for a {noun} {slots}",
        "{v} is waiting for the {noun} {slots}, so {verb} it.",
        "{v} came by for a {noun} {slots}.",
        "{v} and the {noun} {slots}: please {verb} it.",
        "{v} has ordered a {noun} {slots}, {verb} it",
        "{v} will {verb} the {noun} {slots}.",
        "it is {v} who is after the {noun} {slots}.",
        "tell {v} that we {verb} the {noun} {slots}",
    ),
    "place": (
        "in {v} they want a {noun} {slots}.",
        "{v} is where we {verb} the {noun} {slots}.",
        "{v} has a {noun} {slots}, {verb} it",
        "over in {v}, {verb} the {noun} {slots}.",
    ),
    "date": (
        "{v} is the day for the {noun} {slots}.",
        "on {v} we {verb} the {noun} {slots}",
        "{v}: {verb} a {noun} {slots}.",
        "come {v} they {verb} the {noun} {slots}.",
    ),
    "time": (
        "{v} is the hour to {verb} the {noun} {slots}.",
        "at {v} we {verb} a {noun} {slots}",
        "{v} sharp, the {noun} {slots}.",
    ),
    "amount": ("{v} is what the {noun} takes {slots}, {verb} it.", "{v} for the {noun} {slots}."),
    "duration": (
        "{v} is how long we {verb} the {noun} {slots}.",
        "for {v}, {verb} a {noun} {slots}",
    ),
}
"""Frames that begin with one of the values."""
_AT_THE_NOUN: dict[Kind, tuple[str, ...]] = {
    "ident": ("{n} {v}", "{n} {v}", "{n} no. {v}"),
    "code": ("{n} {v}",),
    "count": ("{n} {v}", "{v} {n}"),
    "amount": ("{v} {n}", "{v} of {n}"),
    "enum": ("{v} {n}", "{n} {v}"),
    "duration": ("{v} {n}", "{v} of {n}"),
    "place": ("{v} {n}", "{n} in {v}"),
}
"""How a value may stand with the thing itself."""
_PLAIN: dict[str, tuple[str, ...]] = {
    "person": (
        "for {v}",
        "with {v}",
        "to {v}",
        "from {v}",
        "on behalf of {v}",
        "{v}",
        "of {v}",
        "it is for {v}",
        "{v} asked for it",
        "{v} is the one",
    ),
    "place": (
        "in {v}",
        "at {v}",
        "near {v}",
        "to {v}",
        "from {v}",
        "{v}",
        "it goes to {v}",
        "over in {v}",
    ),
    "date": (
        "on {v}",
        "for {v}",
        "dated {v}",
        "by {v}",
        "{v}",
        "from {v}",
        "till {v}",
        "it is for {v}",
    ),
    "time": ("at {v}", "from {v}", "around {v}", "by {v}", "{v}", "till {v}", "{v} sharp"),
    "count": ("{v} {l}", "with {v} {l}", "for {v} {l}", "{v}", "to {v}", "{v} of them"),
    "amount": ("for {v}", "of {v}", "worth {v}", "at {v}", "{v}"),
    "ident": ("{v}", "number {v}", "no. {v}", "#{v}", "with number {v}", "it is {v}"),
    "code": ("{v}", "with code {v}", "under {v}", "({v})"),
    "text": ('titled "{v}"', 'called "{v}"', 'saying "{v}"', '"{v}"', "about '{v}'", "on '{v}'"),
    "enum": ("{v} {l}", "with {v} {l}", "as {v}", "{v}", "in {v}"),
    "duration": ("for {v}", "lasting {v}", "{v}", "over {v}", "{v} long"),
    "email": ("to {v}", "at {v}", "via {v}", "{v}", "using {v}"),
    "labels": ("with {v}", "tagged {v}", "for {v}", "including {v}", "covering {v}"),
}
_LABELLED: tuple[str, ...] = (
    "{l} {v}",
    "with {l} {v}",
    "the {l} is {v}",
    "{l}: {v}",
    "{l} = {v}",
    "using {v} as the {l}",
    "{v} as {l}",
    "{l} should be {v}",
    "set the {l} to {v}",
    "and {l} {v}",
    "whose {l} is {v}",
    "having {l} {v}",
    "take {v} for the {l}",
)
_YES = ("make it {l}", "{l}", "it is {l}", "{l} yes", "with {l} on", "{l}: yes", "{l} please",
        "and {l} too", "mark it {l}")  # fmt: skip
_NO = ("not {l}", "no {l}", "it is not {l}", "{l} no", "without {l}", "{l}: no", "with {l} off")

CHAT: tuple[str, ...] = (
    "hello", "hi there, how are you?", "good morning!", "thanks a lot", "that is all for today",
    "who are you?", "tell me a joke", "what is the meaning of {w}?", "i like {w} and {w}",
    "what do you think about {w}?", "how do i spell {w}?", "why is {w} so {w}?", "are you a robot?",
    "write a poem on {w}", "what can you do?", "i feel {w} today", "the {w} is {w} again",
    "is {w} better than {w}?", "explain {w} to me", "{w}?", "never mind", "my {w} broke",
)  # fmt: skip
"""Messages that ask for nothing a tool could do."""


def ask(
    rng: random.Random,
    tool: ToolFamily,
    given: Sequence[tuple[Slot, Value]],
    *,
    name_verb: bool = False,
    name_noun: bool = False,
    is_plain: bool = False,
) -> str:
    """Return a request for one call of `tool` that states the given values.

    Args:
        name_verb: the request must name the verb, because another tool shares the noun.
        name_noun: the request must name the noun, because another tool shares the verb.
        is_plain: values come where all of them stand, and the verb is the tool's.
    """
    kinds = [slot.kind for slot in tool.slots]
    terse = rng.random() < 0.15
    unclear = {
        slot.name
        for slot in tool.slots
        if terse or kinds.count(slot.kind) > 1 or (not slot.is_telling and rng.random() < 0.6)
    }
    rest = rng.sample(list(given), len(given))
    clear = {slot.kind for slot, _ in given if kinds.count(slot.kind) == 1 and not terse}

    def fits(frame: str) -> bool:
        return ("{verb}" in frame or not name_verb) and ("{noun}" in frame or not name_noun)

    frame = _take(rng, rest, clear, OPENINGS, share=0 if is_plain else 0.25)
    if not frame or not fits(frame):
        rest = rng.sample(list(given), len(given))
        frame = rng.choice([frame for frame in FRAMES if fits(frame)])
    noun = tool.noun
    if "{noun}" in frame:
        noun = (
            _take(rng, rest, clear, _AT_THE_NOUN, share=0 if is_plain else 0.3).replace("{n}", noun)
            or noun
        )
    verb = tool.verbs[0] if rng.random() < 0.5 else rng.choice(tool.verbs)
    is_foreign = "{noun}" in frame and not name_verb and not is_plain
    if is_foreign and rng.random() < 0.12:
        verb = rng.choice(VERBS)[0] if rng.random() < 0.5 else word(rng)
    slots = _joined(rng, [_phrase(rng, s, v, label=s.name in unclear) for s, v in rest], terse)
    if not slots:
        frame = frame.replace(" {slots}", "").replace("{slots}", "this").replace(",.", ".")
    text = _with_asides(rng, frame.format(verb=verb, noun=noun, slots=slots))
    return text if rng.random() < 0.35 else text[0].upper() + text[1:]


def _take(
    rng: random.Random,
    rest: list[tuple[Slot, Value]],
    clear: Container[Kind],
    patterns: Mapping[Kind, tuple[str, ...]],
    *,
    share: float,
) -> str:
    """Move a value out of `rest` into a pattern of its kind; "" where there is none, or no luck.

    Args:
        clear: the kinds whose values belong to one parameter only.
        share: how often it is done where it could be.
    """
    fitting = [pair for pair in rest if pair[0].kind in clear and pair[0].kind in patterns]
    if not fitting or rng.random() >= share:
        return ""
    chosen = rng.choice(fitting)
    rest.remove(chosen)
    return rng.choice(patterns[chosen[0].kind]).replace("{v}", chosen[1].said)


def _joined(rng: random.Random, phrases: Sequence[str], terse: bool) -> str:
    joint = ", " if terse else rng.choice((" ", " ", ", ", ", ", " and "))
    if len(phrases) > 2 and joint == ", " and rng.random() < 0.4:
        return f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    return joint.join(phrases)


def _phrase(rng: random.Random, slot: Slot, value: Value, *, label: bool) -> str:
    if slot.kind == "flag":
        return rng.choice(_YES if value.truth else _NO).format(l=slot.label)
    if label or rng.random() < 0.35:
        said = f'"{value.said}"' if slot.kind == "text" and " " in value.said else value.said
        return rng.choice(_LABELLED).format(l=slot.label, v=said)
    if rng.random() < 0.2 and slot.kind != "text":
        return f"{word(rng)} {value.said}" if rng.random() < 0.6 else f"{value.said} {word(rng)}"
    return rng.choice(_PLAIN[slot.kind]).format(l=slot.label, v=value.said)


def _with_asides(rng: random.Random, text: str) -> str:
    """Now and then add words that mean nothing, before or after the request."""
    if rng.random() < 0.8:
        return text
    aside = " ".join(word(rng) for _ in range(rng.randrange(1, 5)))
    return f"{aside}, {text}" if rng.random() < 0.5 else f"{text} {aside}"


__all__ = ["CHAT", "FRAMES", "OPENINGS", "ask"]
