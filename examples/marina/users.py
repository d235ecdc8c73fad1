"""The people of the marina: what they ask, how they put it, and what they meant by it.

They know the house's conventions and never say them. `traffic` and `held_out` never share a text,
whatever the seeds.
"""

from __future__ import annotations

from functools import partial

from examples.marina.tools import TOOLS
from trainer.seed.deployment import Deployment, Errand
from trainer.seed.values import Conventions

INSTRUCTIONS = "You answer for a small marina."

CONVENTIONS = Conventions(
    date="slashed", time="24h", person="surname_first", ident="plain", flag="on_off", duration="m"
)
"""The house's way of writing things."""

_ERRANDS = (
    Errand("dock_boat", {"boat_name": "text", "boat_feet": "count", "dock_day": "date"},
           ("The boat \"{boat_name}\", {boat_feet} feet long, will dock on {dock_day}.",
            "Dock us on {dock_day}: boat '{boat_name}', {boat_feet} feet.",
            "A boat of {boat_feet} feet comes in on {dock_day}, dock it as \"{boat_name}\".",
            "Room to dock \"{boat_name}\" on {dock_day}? She is a boat of {boat_feet} feet."),
           ("The boat \"{boat_name}\" will dock on {dock_day}.",
            "Dock a boat of {boat_feet} feet.")),
    Errand("lift_mast", {"mast_no": "ident", "lift_hour": "time"},
           ("Lift mast {mast_no} at {lift_hour}.",
            "Mast {mast_no} must come off, lift it at {lift_hour}.",
            "At {lift_hour} the crane is free, so lift mast {mast_no}.",
            "Could the crane lift my mast, number {mast_no}, {lift_hour}?"),
           ("Lift mast {mast_no} for me.", "Could the crane lift my mast at {lift_hour}?")),
    Errand("tour_coast", {"pilot": "person", "coast_day": "date"},
           ("{pilot} will be the pilot when we tour the coast on {coast_day}.",
            "Tour the coast with {pilot}, {coast_day}.",
            "On {coast_day} we tour the coast, pilot {pilot}.",
            "A tour of the coast on {coast_day}, {pilot} steers."),
           ("Tour the coast on {coast_day}.", "{pilot} wants to tour the coast.")),
    Errand("refill_tank", {"tank_sort": "enum", "tank_amount": "amount"},
           ("Refill the {tank_sort} tank with {tank_amount} liters.",
            "My {tank_sort} tank is low, refill {tank_amount} liters.",
            "{tank_amount} liters of {tank_sort} to refill a tank.",
            "Tank to refill: {tank_sort}, {tank_amount} liters."),
           ("Refill the {tank_sort} tank.",)),
    Errand("warm_sauna", {"sauna_hour": "time", "steam_length": "duration"},
           ("Warm the sauna at {sauna_hour} for {steam_length}.",
            "We are wet and cold: sauna warm at {sauna_hour}, {steam_length} of steam.",
            "{steam_length} of sauna from {sauna_hour}, warm it for us."),
           ("Warm the sauna for {steam_length}.", "Warm the sauna at {sauna_hour}.")),
    Errand("dry_sail", {"sail_owner": "person", "sail_heat": "flag"},
           ("Dry the sail of {sail_owner}, {sail_heat}.",
            "The sail that belongs to {sail_owner} is wet, dry it {sail_heat}.",
            "{sail_owner} left a wet sail, dry it."),
           ("Dry a sail {sail_heat}.",),
           {"sail_heat": ("without heat", "with heat")}),
    Errand("pack_basket", {"basket_friend": "person", "basket_food": "labels"},
           ("Pack a basket with {basket_food} for {basket_friend}.",
            "{basket_friend} gets a basket, pack {basket_food}.",
            "A basket for {basket_friend}: {basket_food}. Pack it."),
           ("Pack a basket for {basket_friend}.",)),
    Errand("fetch_guest", {"guest_city": "place", "guest_hour": "time"},
           ("Fetch our guest from {guest_city} at {guest_hour}.",
            "A guest waits in {guest_city}, fetch her at {guest_hour}.",
            "{guest_hour}, {guest_city}: there is a guest to fetch.",
            "Our guest is in {guest_city} at {guest_hour}, go and fetch him."),
           ("Fetch a guest from {guest_city}.", "Fetch our guest at {guest_hour}.")),
)  # fmt: skip

DEPLOYMENT = Deployment(
    name="marina",
    instructions=INSTRUCTIONS,
    tools=tuple(entry.spec for entry in TOOLS),
    errands=_ERRANDS,
    smalltalk=(
        "How calm the sea is today!", "Is {text} good for a sick stomach?", "Who owns the harbor?",
        "Many thanks from all of us on board.", "Sing me a song of {text}.",
        "Order a pizza with {text}.", "Have you ever seen {text}?", "Bake a cake named {text}.",
        "Draw me a picture of {text}.",
    ),
    conventions=CONVENTIONS,
)  # fmt: skip

traffic = DEPLOYMENT.requests
"""Requests as they come in live, by seed and count; equal seeds give equal requests."""

held_out = partial(DEPLOYMENT.requests, held_out=True)
"""Requests to measure on, none of which `traffic` ever gives."""
