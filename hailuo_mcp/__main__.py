"""`python -m hailuo_mcp` is `hailuo-mcp`."""

from hailuo_mcp.cli import main

main()
