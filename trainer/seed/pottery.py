"""The deployment on which the seed model is measured while it trains: a pottery studio.

Its tool names, parameter names and request templates occur nowhere in the training world.
"""

from __future__ import annotations

from typing import Any

from tool_registry.tool import ToolSpec
from trainer.seed.deployment import Deployment, Errand
from trainer.seed.values import Conventions

_STRING, _INTEGER = {"type": "string"}, {"type": "integer"}


def _spec(
    name: str, description: str, *, optional: tuple[str, ...] = (), **properties: Any
) -> ToolSpec:
    schema = {
        "type": "object",
        "properties": properties,
        "required": [param for param in properties if param not in optional],
    }
    return ToolSpec(name=name, description=description, parameters=schema)


def _said(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"type": schema["type"], "description": description} | schema


_TOOLS = (
    _spec("fire_kiln", "Fire a kiln.", optional=("overnight",),
          kiln=_said(_INTEGER, "Which kiln"), firing_day=_said(_STRING, "Day of the firing"),
          ignition_hour=_said(_STRING, "When it is lit"),
          overnight=_said({"type": "boolean"}, "Whether it stays on")),
    _spec("mix_glaze", "Mix a glaze for a potter.", potter=_said(_STRING, "Who needs it"),
          grams=_said(_INTEGER, "How many grams"), shade=_said(_STRING, "Name of the shade")),
    _spec("reserve_wheel", "Reserve a potter's wheel.", potter=_said(_STRING, "Who will use it"),
          wheel_day=_said(_STRING, "Which day"), wheel_hour=_said(_STRING, "From which hour")),
    _spec("knead_clay", "Knead clay.", kilos={"type": "number"},
          clay_sort=_said({"type": "string", "enum": ["stoneware", "porcelain", "earthenware"]},
                          "Sort")),
    _spec("host_workshop", "Host a workshop.", tutor=_said(_STRING, "Who leads it"),
          held_in=_said(_STRING, "Town"), workshop_day=_said(_STRING, "Day of the workshop"),
          heads=_said(_INTEGER, "How many people")),
    _spec("wrap_mug", "Wrap a mug as a present.", optional=("ribbon",),
          mug_no=_said(_STRING, "Number of the mug"), wrapped_for=_said(_STRING, "Who gets it"),
          ribbon=_said(_STRING, "Ribbon or not")),
    _spec("lend_mold", "Lend a mold.", mold_no=_said(_STRING, "Number of the mold"),
          borrower=_said(_STRING, "Who borrows it"), back_day=_said(_STRING, "Day it comes back")),
    _spec("ring_potter", "Ring a potter.", potter=_said(_STRING, "Whom"),
          to_say=_said(_STRING, "What to say")),
)  # fmt: skip

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

POTTERY = Deployment(
    name="pottery",
    instructions="You run the desk of a pottery studio.",
    tools=_TOOLS,
    errands=_ERRANDS,
    smalltalk=(
        "Lovely day, isn't it?", "Which clay is best for {text}?", "Did you hear about the {text}?",
        "Thank you, see you tomorrow!", "Paint my bike in the colors of {text}.",
        "Find me a flight because of the {text}.", "Who invented {text}?",
    ),
    conventions=Conventions(
        date="dotted", time="12h", person="as_said", ident="hash", flag="yes_no"
    ),
)  # fmt: skip
"""Eight tools with house conventions that the schemas do not state."""
