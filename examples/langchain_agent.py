"""A LangChain agent that makes a video. Offline: a stand-in plays the model, the API is simulated.

    pip install 'langchain>=1.5,<2' 'langchain-mcp-adapters>=0.3,<0.4'
    python examples/langchain_agent.py

The adapters need version 1 of the MCP SDK and hailuo-mcp needs version 2, so give LangChain an environment of its own
and have the `hailuo-mcp` program on the PATH.
"""

import asyncio
import os
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from stand_in import SERVER, WISH, next_step


class StandIn(BaseChatModel):
    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        step = next_step([(m.name, str(m.content)) for m in messages if isinstance(m, ToolMessage)])
        print(f"The model says: {step}")
        if isinstance(step, str):
            return ChatResult(generations=[ChatGeneration(message=AIMessage(step))])
        call = {"name": step[0], "args": step[1], "id": f"call-{len(messages)}"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])

    def bind_tools(self, tools: Any, **_: Any) -> "StandIn":
        return self

    @property
    def _llm_type(self) -> str:
        return "stand-in"


async def main() -> None:
    server = {"transport": "stdio", "command": "hailuo-mcp", "args": SERVER, "env": dict(os.environ)}
    # One session for the whole talk: without it the adapters start a server for each call.
    async with MultiServerMCPClient({"hailuo": server}).session("hailuo") as session:
        agent = create_agent(StandIn(), await load_mcp_tools(session))  # or the name of a real model
        result = await agent.ainvoke({"messages": [("user", WISH)]})
    print(result["messages"][-1].text)


asyncio.run(main())
