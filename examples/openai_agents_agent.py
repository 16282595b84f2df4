"""An agent of the OpenAI Agents SDK that makes a video. Offline: a stand-in plays the model, the API is simulated.

pip install openai-agents
python examples/openai_agents_agent.py
"""

import asyncio
import os
import sys

from agents import Agent, Runner, set_tracing_disabled
from agents.mcp import MCPServerStdio
from agents.testing import ModelCall, ModelStep, ScriptedModel, assistant_message, function_call
from stand_in import SERVER, WISH, next_step

CALL_SECONDS = 60  # the SDK's own 5 are too few for check_status with wait_seconds=45


def play(call: ModelCall) -> list:
    items = [item for item in call.input if isinstance(item, dict)]
    names = {item["call_id"]: item["name"] for item in items if item.get("type") == "function_call"}
    answers = [item for item in items if item.get("type") == "function_call_output"]
    step = next_step([(names[answer["call_id"]], str(answer["output"])) for answer in answers])
    print(f"The model says: {step}")
    return [assistant_message(step) if isinstance(step, str) else function_call(*step, call_id=f"call-{len(answers)}")]


async def main() -> None:
    set_tracing_disabled(True)  # it would send traces to the internet
    program = {"command": sys.executable, "args": ["-m", "hailuo_mcp", *SERVER], "env": dict(os.environ)}
    async with MCPServerStdio(program, client_session_timeout_seconds=CALL_SECONDS) as hailuo:
        model = ScriptedModel([ModelStep.respond(play)] * 10)  # or the name of a real one
        result = await Runner.run(Agent("Film maker", model=model, mcp_servers=[hailuo]), WISH)
    print(result.final_output)


asyncio.run(main())
