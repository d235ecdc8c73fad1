"""The people of the home office: what they ask, how they put it, and what they meant by it.

They know the house's conventions and never say them. `traffic` and `held_out` never share a text,
whatever the seeds.
"""

from __future__ import annotations

from functools import partial

from examples.home_office.tools import TOOLS
from trainer.seed.deployment import Deployment, Errand, Request
from trainer.seed.values import Conventions

__all__ = ["DEPLOYMENT", "INSTRUCTIONS", "Request", "held_out", "traffic"]

INSTRUCTIONS = "You look after a home office."

CONVENTIONS = Conventions(
    date="dotted", time="24h", person="as_said", place="as_said", ident="hash", flag="yes_no"
)
"""The house's way of writing things."""

_ERRANDS = (
    Errand("hail_courier", {"addressee": "person", "courier_city": "place", "fetch_day": "date"},
           ("Would you please hail a courier for {addressee} to {courier_city} on {fetch_day}?",
            "We must hail a courier, {fetch_day}, for {addressee} in {courier_city}.",
            "A courier for {addressee}: day {fetch_day}, city {courier_city}. Hail one.",
            "I need a courier on {fetch_day} to {courier_city}, addressee {addressee}."),
           ("Would you please hail a courier for {addressee}?",
            "We must hail a courier on {fetch_day}.")),
    Errand("book_callback", {"caller": "person", "dial_day": "date", "talk_time": "time"},
           ("Would you please book a callback for {caller} on {dial_day} at {talk_time}?",
            "We must book a callback with {caller}, {dial_day}, {talk_time}.",
            "A callback for {caller} at {talk_time} on {dial_day}, book it.",
            "{caller} rang us, so book a callback on {dial_day} at {talk_time}."),
           ("Would you please book a callback with {caller}?",
            "We must book a callback on {dial_day}.")),
    Errand("restock_stationery", {"supply": "text", "packs": "count", "rush": "flag"},
           ("Would you please restock the stationery, {packs} packs of \"{supply}\"?",
            "We must restock {packs} packs of '{supply}', {rush}.",
            "Stationery is low: restock \"{supply}\", {packs} packs, {rush}",
            "{packs} packs of \"{supply}\" to restock the stationery drawer."),
           ("Would you please restock the stationery with \"{supply}\"?",),
           {"rush": ("no rush", "it is a rush")}),
    Errand("jot_mileage", {"kilometers": "amount", "driven_city": "place", "drive_day": "date"},
           ("Would you please jot mileage to {driven_city}, {kilometers} kilometers, {drive_day}?",
            "We must jot mileage: {driven_city}, {kilometers} kilometers, {drive_day}.",
            "I drove {kilometers} kilometers to {driven_city} on {drive_day}, jot the mileage.",
            "On {drive_day} I drove to {driven_city}, so jot {kilometers} kilometers of mileage."),
           ("Would you please jot the mileage to {driven_city} on {drive_day}?",)),
    Errand("dim_lights", {"corner": "enum", "percent": "count"},
           ("Would you please dim the {corner} lights to {percent} percent?",
            "We must dim the lights, {corner}, {percent} percent.",
            "It is too bright, dim the lights in the {corner} to {percent} percent.",
            "In the {corner} the lights should dim to {percent} percent."),
           ("Would you please dim the lights in the {corner}?",)),
    Errand("chase_debtor", {"debtor": "person", "debt_no": "ident", "wording": "text"},
           ("Would you please chase the debtor {debtor} about {debt_no}?",
            "We must chase debtor {debtor}, debt {debt_no}, and write \"{wording}\".",
            "A debtor to chase: {debtor}, debt no. {debt_no}.",
            "Debt {debt_no} is overdue, chase {debtor} with the words '{wording}'."),
           ("Would you please chase the debtor {debtor}?",)),
)  # fmt: skip

DEPLOYMENT = Deployment(
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

traffic = DEPLOYMENT.requests
"""Requests as they come in live, by seed and count; equal seeds give equal requests."""

held_out = partial(DEPLOYMENT.requests, held_out=True)
"""Requests to measure on, none of which `traffic` ever gives."""
