"""What the Hailuo first/last-frame API allows, stated once.

Every schema, check, resource, table and the simulator derive from here. Sources: the DMXAPI document of the
API ("the document" below) and the published error codes of the same API family.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Resolution = Literal["768P", "1080P"]
Duration = Literal[6, 10]
Status = Literal["Processing", "Success", "Failed"]

MODEL = "MiniMax-Hailuo-02"
RESOLUTIONS: tuple[Resolution, ...] = get_args(Resolution)
DURATIONS: tuple[Duration, ...] = get_args(Duration)
DEFAULT_RESOLUTION: Resolution = "768P"
DEFAULT_DURATION: Duration = 6

# Seconds that each resolution can last. The document lists no other pair, and no 512P for first/last frames.
DURATIONS_BY_RESOLUTION: dict[Resolution, tuple[Duration, ...]] = {"768P": (6, 10), "1080P": (6,)}

PROMPT_MAX_CHARACTERS = 2000
COMMANDS_PER_BRACKET = 3  # advice of the document, not a limit: more may cost quality

# A frame, as displayed (its EXIF orientation applied). "20MB" is read as 20 000 000 bytes, the stricter way.
FRAME_FORMATS: dict[str, str] = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
FRAME_BYTES_BELOW = 20_000_000
FRAME_SHORT_SIDE_ABOVE = 300  # pixels
FRAME_ASPECT_MIN = (2, 5)  # width : height
FRAME_ASPECT_MAX = (5, 2)

TYPICAL_MINUTES = (1, 5)  # "1-5 minutes", longer for 1080P and 10 s
POLL_SECONDS = 10.0  # the advised interval between two status queries of one task
WAIT_MAX_SECONDS = 50  # many hosts give up on a call at 60 s


def request_problems(prompt: str, duration: int, resolution: str) -> list[str]:
    """Everything wrong with the words and numbers of a request, all at once, a sentence each."""
    problems = []
    if not prompt.strip():
        problems.append(f"prompt: must say what happens in the video, 1 to {PROMPT_MAX_CHARACTERS} characters")
    if len(prompt) > PROMPT_MAX_CHARACTERS:
        problems.append(f"prompt: has {len(prompt)} characters; at most {PROMPT_MAX_CHARACTERS} are allowed")
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        problems.append("prompt: holds half of a surrogate pair, which is not text; retype the broken character")
    allowed = DURATIONS_BY_RESOLUTION.get(resolution)  # type: ignore[call-overload]
    if allowed is None:
        problems.append(f"resolution: must be {one_of(RESOLUTIONS)} (got {resolution!r})")
    elif duration not in allowed:
        problems.append(f"duration: {resolution} allows {one_of(allowed)} seconds only (got {duration})")
    return problems


def one_of(values: tuple[object, ...]) -> str:
    """`(6, 10)` as `6 or 10`."""
    words = [str(value) for value in values]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


CodeKind = Literal["unclear", "busy", "refused"]


@dataclass(frozen=True, slots=True)
class ApiCode:
    """One `base_resp.status_code`.

    kind: `unclear`, the outcome is not known (a read may be asked again, a submit may have been paid);
    `busy`, nothing was done and the same call may work later; `refused`, the same call will never work.
    """

    meaning: str
    kind: CodeKind
    remedy: str


_AGAIN = "The service had an internal fault; ask again in a minute."
_SLOWER = "Wait a minute, then ask again; submit fewer videos at once."
_KEY = "Check DMXAPI_API_KEY and HAILUO_BASE_URL: a key works only on the host that issued it."

API_CODES: dict[int, ApiCode] = {
    1000: ApiCode("unknown error", "unclear", _AGAIN),
    1001: ApiCode("request timed out", "unclear", _AGAIN),
    1002: ApiCode("rate limit reached", "busy", _SLOWER),
    1004: ApiCode("not authorised", "refused", _KEY),
    1008: ApiCode("insufficient balance", "refused", "Top up the account at the provider."),
    1013: ApiCode("internal error", "unclear", _AGAIN),
    1024: ApiCode("internal error", "unclear", _AGAIN),
    1026: ApiCode("the prompt or a frame was judged sensitive", "refused", "Change the prompt or the picture."),
    1027: ApiCode("the generated video was judged sensitive", "refused", "Change the prompt, then submit again."),
    1028: ApiCode("quota used up", "refused", "Wait for the quota to renew, or upgrade the plan."),
    1030: ApiCode("quota used up", "refused", "Wait for the quota to renew, or upgrade the plan."),
    1033: ApiCode("internal error", "unclear", _AGAIN),
    1039: ApiCode("token limit reached", "busy", _SLOWER),
    1041: ApiCode("too many connections", "busy", _SLOWER),
    1042: ApiCode("too many invisible characters", "refused", "Remove invisible characters from the prompt."),
    2013: ApiCode("invalid parameters", "refused", "Correct the request; sending it again unchanged cannot work."),
    2038: ApiCode("account not verified", "refused", "Verify the account with the provider."),
    2045: ApiCode("request rate grows too fast", "busy", _SLOWER),
    2049: ApiCode("invalid API key", "refused", _KEY),
    2056: ApiCode("usage window exhausted", "refused", "Wait for the next usage window."),
    2061: ApiCode("the model is not in this key's plan", "refused", "Use a key or a plan that includes the model."),
}
UNKNOWN_CODE = ApiCode("an error this version does not know", "unclear", _AGAIN)
