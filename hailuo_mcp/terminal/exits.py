"""How a command ends: the exit codes, what each means, and which one a failure has."""

from hailuo_mcp.errors import HailuoError, NotConfigured, NotReady, Unconfirmed

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_UNCONFIRMED, EXIT_UNFINISHED, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130
EXITS = {
    EXIT_OK: "Done; what was asked for is on stdout.",
    EXIT_FAILED: "Refused, failed or not found; the sentence on stderr says what to do.",
    EXIT_USAGE: "The command line or a setting is wrong; nothing was sent.",
    EXIT_UNCONFIRMED: "Sent, outcome unknown: it may have been paid for. Look before asking again.",
    EXIT_UNFINISHED: "The video is not finished yet; nothing is lost, ask again later.",
    EXIT_INTERRUPTED: "Stopped with Ctrl-C. What was paid for stays in the journal.",
}


def code_of(error: HailuoError) -> int:
    """The exit code of a failure."""
    kinds: list[tuple[type[HailuoError], int]] = [
        (Unconfirmed, EXIT_UNCONFIRMED),
        (NotReady, EXIT_UNFINISHED),
        (NotConfigured, EXIT_USAGE),
    ]
    return next((code for kind, code in kinds if isinstance(error, kind)), EXIT_FAILED)
