"""What can go wrong, by what the person can do about it. Every message says what happened and what to do next."""


class HailuoError(Exception):
    """Any failure that this project foresees. `str()` is the sentence a person reads."""


class RequestRejected(HailuoError):
    """Our own check refused the request; nothing was sent and nothing was paid."""


class FrameRejected(RequestRejected):
    """A first or last frame breaks a limit or cannot be read."""


class NotConfigured(HailuoError):
    """A setting is missing."""


class ApiRefused(HailuoError):
    """The API answered with a clear refusal; asking the same again will not help. `fact` leaves out the advice."""

    def __init__(self, message: str, code: int | None = None, *, fact: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.fact = fact or message


class ApiUnavailable(HailuoError):
    """The API could not be reached or was not able to answer; nothing was paid and it is safe to ask again.

    `fact` leaves out the advice.
    """

    def __init__(
        self, message: str, code: int | None = None, retry_after: float | None = None, *, fact: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.fact = fact or message
        self.retry_after = retry_after  # seconds, as the API asked for


class Unconfirmed(HailuoError):
    """A submit was sent and its outcome is not known: it may have been paid, so it is never resent."""


class BudgetReached(RequestRejected):
    """The day's number of videos is used up; nothing was sent."""


class JournalUnavailable(HailuoError):
    """The journal cannot be opened, read or written, so nothing is paid for until that is mended."""


class NotFound(HailuoError):
    """No such task, file or place."""


class NotReady(HailuoError):
    """The video is not finished, so there is nothing to link to or download yet."""


class DownloadFailed(HailuoError):
    """The finished video could not be brought home; it is still on the server and may be asked for again."""
