"""The people of the pottery studio: what they ask, how they put it, and what they meant by it.

They know the house's conventions and never say them. `traffic` and `held_out` never share a text,
whatever the seeds.
"""

from __future__ import annotations

from functools import partial

from examples.pottery.tools import TOOLS
from trainer.seed.deployment import Deployment, Errand
from trainer.seed.values import Conventions

INSTRUCTIONS = "You run the desk of a pottery studio."

CONVENTIONS = Conventions(date="dotted", time="12h", person="as_said", ident="hash", flag="yes_no")
"""The house's way of writing things."""

_ERRANDS = (
    Errand("fire_kiln",
           {"kiln": "count", "firing_day": "date", "ignition_hour": "time", "overnight": "flag"},
           ("Fire kiln {kiln} on {firing_day}, lit at {ignition_hour}.",
            "On {firing_day} at {ignition_hour} we fire kiln {kiln}, {overnight}.",
            "Kiln {kiln} is full, so fire it {firing_day} {ignition_hour}, keep it {overnight}."),
           ("Fire kiln {kiln} on {firing_day}.", "We want a kiln fired on {firing_day}."),
           {"overnight": ("not overnight", "overnight")}),
    Errand("mix_glaze", {"potter": "person", "grams": "count", "shade": "text"},
           ("{potter} needs {grams} grams of glaze in '{shade}'.",
            "Mix me {grams} g of the glaze \"{shade}\" for {potter}",
            "Glaze wanted by {potter}: \"{shade}\", {grams} grams."),
           ("Mix {grams} grams of glaze for {potter}.",)),
    Errand("reserve_wheel", {"potter": "person", "wheel_day": "date", "wheel_hour": "time"},
           ("Keep a wheel free for {potter} on {wheel_day} from {wheel_hour}.",
            "{potter} would love a wheel, {wheel_day}, {wheel_hour}",
            "Reserve a wheel: {potter}, day {wheel_day}, hour {wheel_hour}."),
           ("Reserve a wheel for {potter} on {wheel_day}.",)),
    Errand("knead_clay", {"kilos": "amount", "clay_sort": "enum"},
           ("Knead {kilos} kilos of {clay_sort}.",
            "We are out of {clay_sort}, knead {kilos} kg of clay.",
            "{kilos} kilos of {clay_sort} clay to knead for tomorrow"),
           ("Knead some {clay_sort} clay.",)),
    Errand("host_workshop",
           {"tutor": "person", "held_in": "place", "workshop_day": "date", "heads": "count"},
           ("{tutor} will lead a workshop in {held_in} on {workshop_day} for {heads} people.",
            "Host a workshop with tutor {tutor} in {held_in}, {workshop_day}, {heads} heads.",
            "Workshop for {heads} in {held_in}, {workshop_day}, {tutor} leads it."),
           ("Host a workshop with {tutor} in {held_in}.",)),
    Errand("wrap_mug", {"mug_no": "ident", "wrapped_for": "person", "ribbon": "flag"},
           ("Wrap mug {mug_no} as a present for {wrapped_for}, {ribbon}.",
            "Mug {mug_no} is a present for {wrapped_for}, wrap it",
            "{wrapped_for} gets mug {mug_no}. Wrap it {ribbon}."),
           ("Wrap a mug for {wrapped_for}.",),
           {"ribbon": ("without ribbon", "with ribbon")}),
    Errand("lend_mold", {"mold_no": "ident", "borrower": "person", "back_day": "date"},
           ("{borrower} takes mold {mold_no} and returns it on {back_day}.",
            "Lend mold {mold_no} to {borrower} until {back_day}.",
            "Mold {mold_no} goes to {borrower}, back {back_day}."),
           ("Lend {borrower} a mold until {back_day}.",)),
    Errand("ring_potter", {"potter": "person", "to_say": "text"},
           ("Ring {potter} and say \"{to_say}\".", "{potter} must hear this by phone: \"{to_say}\"",
            "Ring up {potter}: '{to_say}'."),
           ("Ring {potter}.",)),
)  # fmt: skip

DEPLOYMENT = Deployment(
    name="pottery",
    instructions=INSTRUCTIONS,
    tools=tuple(entry.spec for entry in TOOLS),
    errands=_ERRANDS,
    smalltalk=(
        "Lovely day, isn't it?", "Which clay is best for {text}?", "Did you hear about the {text}?",
        "Thank you, see you tomorrow!", "Paint my bike in the colors of {text}.",
        "Find me a flight because of the {text}.", "Who invented {text}?",
    ),
    conventions=CONVENTIONS,
)  # fmt: skip

traffic = DEPLOYMENT.requests
"""Requests as they come in live, by seed and count; equal seeds give equal requests."""

held_out = partial(DEPLOYMENT.requests, held_out=True)
"""Requests to measure on, none of which `traffic` ever gives."""
