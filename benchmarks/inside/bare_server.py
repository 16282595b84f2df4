"""The smallest server on the same SDK: what the SDK itself costs."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("bare", log_level="WARNING")


@server.tool()
async def hello(name: str) -> str:
    """Say hello."""
    return f"Hello {name}"


if __name__ == "__main__":
    server.run()
