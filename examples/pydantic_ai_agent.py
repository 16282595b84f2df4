"""A Pydantic AI agent that makes a video. Offline: a stand-in plays the model, the API is simulated.

pip install 'pydantic-ai-slim[mcp]'
python examples/pydantic_ai_agent.py
"""

import asyncio
import os
import sys

from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent, ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.function import AgentInfo, FunctionModel
from stand_in import SERVER, WISH, next_step


def play(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    parts = [part for message in messages for part in message.parts]
    step = next_step([(p.tool_name, p.model_response_str()) for p in parts if isinstance(p, ToolReturnPart)])
    print(f"The model says: {step}")
    return ModelResponse([TextPart(step) if isinstance(step, str) else ToolCallPart(*step)])


async def main() -> None:
    hailuo = MCPToolset(StdioTransport(sys.executable, ["-m", "hailuo_mcp", *SERVER], env=dict(os.environ)))
    agent = Agent(FunctionModel(play), toolsets=[hailuo])  # or a real model: Agent("anthropic:claude-...", ...)
    async with agent:
        result = await agent.run(WISH)
    print(result.output)


asyncio.run(main())
