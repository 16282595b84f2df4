"""File handles, which connections need as well: a system gives each program only so many."""

import errno
import os

USED_UP = "this program has as many files and connections open as the system allows it"
REMEDY = "Try again in a minute; if it stays so, restart the server, or allow it more open files."
_AT_ONCE = 4  # what one database opens


def used_up(error: BaseException | None = None) -> bool:
    """Whether that error, or the next few things to be opened, fail for want of handles."""
    if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
        return True
    # What failed often says something else: the database "unable to open", a library "not found".
    opened: list[int] = []
    try:
        opened.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(_AT_ONCE))
    except OSError as refused:
        return refused.errno in (errno.EMFILE, errno.ENFILE)
    finally:
        for handle in opened:
            os.close(handle)
    return False
