"""The people of the home office: what they ask, how they put it, and what they meant by it.

They know the house's conventions and never say them. `traffic` and `held_out` never share a text,
whatever the seeds.
"""

from __future__ import annotations

from examples.home_office.tools import TOOLS
from trainer.seed.deployment import Deployment, Errand, Request
from trainer.seed.values import Conventions

__all__ = ["INSTRUCTIONS", "OFFICE_DEPLOYMENT", "Request", "held_out", "traffic"]

INSTRUCTIONS = "You look after a home office."

CONVENTIONS = Conventions(
    date="dotted", time="24h", person="surname_first", place="as_said", ident="hash", flag="yes_no"
)
"""The house's way of writing things."""

_ERRANDS = (
    Errand("summon_courier", {"addressee": "person", "headed_to": "place", "fetch_day": "date"},
           ("A courier should come on {fetch_day}, the packet goes to {addressee} in {headed_to}.",
            "Summon a courier to {headed_to} for {addressee}, {fetch_day}.",
            "Courier on {fetch_day} please: {addressee}, {headed_to}",
            "I need a courier {fetch_day}, town {headed_to}, addressee {addressee}."),
           ("Summon a courier for {addressee} on {fetch_day}.",
            "A courier to {headed_to}, please.")),
    Errand("book_callback", {"caller": "person", "callback_day": "date", "callback_hour": "time"},
           ("{caller} rang, book a callback on {callback_day} at {callback_hour}.",
            "Book a callback with {caller}: {callback_day}, {callback_hour}",
            "I'll call {caller} back on {callback_day} {callback_hour}, book it.",
            "Callback for {caller} at {callback_hour} on {callback_day}, will you?"),
           ("Book a callback with {caller}.", "Book a callback on {callback_day}.")),
    Errand("restock_stationery", {"supply": "text", "packs": "count", "rush": "flag"},
           ("We run out of \"{supply}\", restock {packs} packs.",
            "Restock {packs} packs of '{supply}', {rush}.",
            "Stationery: {packs} packs of \"{supply}\" wanted, {rush}",
            "{packs} new packs of \"{supply}\" for the stationery drawer."),
           ("Restock the stationery with \"{supply}\".",),
           {"rush": ("no rush", "it is a rush")}),
    Errand("jot_mileage", {"kilometers": "amount", "driven_to": "place", "driven_on": "date"},
           ("I drove {kilometers} km to {driven_to} on {driven_on}, jot it.",
            "Jot mileage: {driven_to}, {kilometers} kilometers, {driven_on}.",
            "{kilometers} kilometers of mileage to {driven_to}, driven {driven_on}",
            "On {driven_on} it was {kilometers} km to {driven_to}. Jot the mileage."),
           ("Jot the mileage to {driven_to} on {driven_on}.",)),
    Errand("dim_lights", {"corner": "enum", "percent": "count"},
           ("Dim the {corner} lights to {percent} percent.",
            "Lights in the {corner}: {percent} percent",
            "It is too bright in the {corner}, dim it to {percent}.",
            "{percent} percent light is enough for the {corner}."),
           ("Dim the lights in the {corner}.",)),
    Errand("chase_debtor", {"debtor": "person", "debt_ref": "ident", "wording": "text"},
           ("{debtor} still owes us {debt_ref}, chase this debtor.",
            "Chase debtor {debtor} about debt {debt_ref} and write \"{wording}\".",
            "Debt {debt_ref} is overdue. Chase {debtor} with the words '{wording}'.",
            "Chase {debtor}, debt no. {debt_ref}"),
           ("Chase debtor {debtor}.",)),
)  # fmt: skip

OFFICE_DEPLOYMENT = Deployment(
    name="home office",
    instructions=INSTRUCTIONS,
    tools=tuple(entry.spec for entry in TOOLS),
    errands=_ERRANDS,
    smalltalk=(
        "What a lovely morning!", "Any idea why {text} is so popular?", "You did well, thanks.",
        "Play me a song on {text}.", "Sell my old guitar to {text}.", "Who painted {text}?",
        "Rent a boat named {text}.", "Tell your maker hello.", "Where does {text} come from?",
    ),
    conventions=CONVENTIONS,
)  # fmt: skip


def traffic(seed: int, count: int) -> list[Request]:
    """Return requests as they come in live; equal seeds give equal requests."""
    return OFFICE_DEPLOYMENT.requests(seed, count)


def held_out(seed: int, count: int) -> list[Request]:
    """Return requests to measure on, none of which `traffic` ever gives."""
    return OFFICE_DEPLOYMENT.requests(seed, count, held_out=True)
