"""What a user of `Agent` relies on."""

import asyncio
import json
import subprocess
import sys

import pytest

from tool_registry import RunContext, tool
from tool_registry.errors import DuplicateTool
from tooln1_agent import Agent, Limits, Message, ReplayStore, RunResult, Sampling, ScriptedEngine
from tooln1_agent.errors import ConfigError

ADD = '<think>add</think><tool_call>[{"name": "add", "arguments": {"a": 1, "b": 2}}]</tool_call>'
ANSWER = "<think>done</think>It is 3."


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


async def test_a_plain_function_and_a_tool_work_alike():
    for given in (add, tool(add)):
        agent = Agent(ScriptedEngine([ADD, ANSWER]), tools=[given])
        result = await agent.run("1 + 2?")
        assert result.output == "It is 3."
        assert result.interaction.turns[0].results[0].content == "3"


def test_run_sync_works_again_and_again():
    agent = Agent(ScriptedEngine([ANSWER, ANSWER]))
    assert [agent.run_sync("?").output for _ in range(2)] == ["It is 3."] * 2


async def test_run_sync_inside_a_loop_says_what_to_write():
    with pytest.raises(RuntimeError, match=r"await agent\.run"):
        Agent(ScriptedEngine([ANSWER])).run_sync("?")


async def test_a_stream_ends_with_the_result():
    agent = Agent(ScriptedEngine([ADD, ANSWER]), tools=[add])
    events = [event async for event in agent.run_stream("1 + 2?")]
    assert isinstance(events[-1], RunResult)


async def test_instructions_come_first_and_a_conversation_can_go_on():
    engine = ScriptedEngine([ANSWER, "<think>t</think>Bye."])
    agent = Agent(engine, instructions="Be brief.")
    first = await agent.run("1 + 2?")
    await agent.run([*first.messages[1:], Message(role="user", content="thanks")])
    shown = [(m.role, m.content) for m in engine.requests[1].messages]
    assert shown == [
        ("system", "Be brief."),
        ("user", "1 + 2?"),
        ("assistant", "It is 3."),
        ("user", "thanks"),
    ]


async def test_an_empty_conversation_is_refused():
    with pytest.raises(ValueError, match="at least one message"):
        await Agent(ScriptedEngine([ANSWER])).run([])


async def test_tools_get_deps_of_the_declared_type():
    def who(context: RunContext[str]) -> str:
        """Tell."""
        return context.deps

    call = '<think>w</think><tool_call>[{"name": "who", "arguments": {}}]</tool_call>'
    agent = Agent(ScriptedEngine([call, ANSWER]), tools=[who], deps_type=str)
    with pytest.raises(TypeError, match="expects deps of type str, got int"):
        await agent.run("?", deps=3)  # type: ignore[arg-type]
    result = await agent.run("?", deps="me")
    assert result.interaction.turns[0].results[0].content == "me"


async def test_runs_at_once_do_not_mix():
    def reply(request):
        last = request.messages[-1]
        if last.role == "tool":
            return f"<think>t</think>{last.content}"
        call = {"name": "add", "arguments": {"a": int(last.content), "b": 1}}
        return f"<think>t</think><tool_call>{json.dumps([call])}</tool_call>"

    agent = Agent(ScriptedEngine(reply), tools=[add])
    results = await asyncio.gather(*(agent.run(str(n)) for n in range(50)))
    assert [result.output for result in results] == [str(n + 1) for n in range(50)]


async def test_a_store_given_by_path_keeps_runs(tmp_path):
    path = tmp_path / "replay.db"
    async with Agent(ScriptedEngine([ADD, ANSWER]), tools=[add], store=path, name="sums") as agent:
        result = await agent.run("1 + 2?", principal="ann", no_train=True)
    with ReplayStore(path) as store:
        record = store.interaction(result.interaction.id)
    assert record == result.interaction
    assert (record.agent, record.principal, record.no_train) == ("sums", "ann", True)


async def test_a_store_that_was_passed_in_stays_open():
    with ReplayStore(":memory:") as store:
        async with Agent(ScriptedEngine([ANSWER]), store=store) as agent:
            await agent.run("?")
        assert store.count() == 1


async def test_limits_and_sampling_apply():
    engine = ScriptedEngine([ADD] * 9)
    agent = Agent(
        engine, tools=[add], limits=Limits(max_turns=3), sampling=Sampling(temperature=0.3)
    )
    assert (await agent.run("?")).stop == "max_turns"
    assert {request.sampling.temperature for request in engine.requests} == {0.3}


def test_two_tools_of_one_name_are_refused_at_once():
    with pytest.raises(DuplicateTool, match="add"):
        Agent("seed", tools=[add, add])


def test_a_model_is_looked_up_at_first_use():
    agent = Agent("no-such-model")
    with pytest.raises(ConfigError, match="no-such-model"):
        _ = agent.engine


LIGHT = """
import sys
import tooln1_agent
assert not [m for m in sys.modules if m.startswith(("tooln1_agent.", "pydantic"))], "heavy import"
from tooln1_agent import Agent, ReplayStore, ScriptedEngine
def add(a: int, b: int) -> int:
    "Add."
    return a + b
agent = Agent(ScriptedEngine(["<think>t</think>ok"]), tools=[add], store=ReplayStore(":memory:"))
assert agent.run_sync("hi").output == "ok"
heavy = {"torch", "transformers", "peft", "vllm", "accelerate", "fastapi"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_scripted_agent_runs_without_machine_learning_libraries():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_package_exports_what_it_lists():
    import tooln1_agent

    assert set(tooln1_agent.__all__) <= set(dir(tooln1_agent))
    assert all(getattr(tooln1_agent, name) for name in tooln1_agent.__all__)
    with pytest.raises(AttributeError, match="Agnt"):
        _ = tooln1_agent.Agnt
