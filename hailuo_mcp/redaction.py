"""What must not be written down anywhere: keys, tokens, and what makes a signed link open its video."""

import logging
import re
from collections.abc import Collection

# The part of a link that opens it, in the words of the usual object stores, also percent-encoded within another link.
_SIGNATURE = (
    r"(?i)((?:[?&;]|%3F|%26)[a-z0-9-]*(?:signature|accesskeyid|credential|security-token|secret|token|sig)(?:=|%3D))"
    r"[^&;\s\"'<>\\)]+"
)
_BEARER = r"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]{6,}"
_KEY = r"\bsk-[A-Za-z0-9_-]{6,}"


def redacted(text: str, secrets: Collection[str] = ()) -> str:
    """The text without the secrets, known ones and those that look like one."""
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    text = re.sub(_SIGNATURE, r"\1[secret]", text)
    text = re.sub(_BEARER, r"\1[secret]", text)
    return re.sub(_KEY, "[key]", text)


class Redacting(logging.Formatter):
    """Formats log records, tracebacks included, without secrets: libraries log whole links and messages."""

    def __init__(self, form: str, secrets: Collection[str]) -> None:
        super().__init__(form)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines with a traceback."""
        return redacted(super().format(record), self._secrets)
