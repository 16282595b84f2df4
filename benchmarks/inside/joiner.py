"""Joins clips as the server does, in a process that is awake. Lines as in plain_scripts.py: clips, target, exact."""

import json
import sys
import time
from pathlib import Path

from hailuo_mcp.joining import join


def main() -> None:
    """Join what stdin says, line by line."""
    sys.stdout.write("0\n")
    sys.stdout.flush()
    for line in sys.stdin:
        clips, target, exact = json.loads(line)
        begin = time.perf_counter()
        join([Path(clip) for clip in clips], Path(target), exact=exact)
        sys.stdout.write(f"{time.perf_counter() - begin}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
