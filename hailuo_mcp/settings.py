"""Every setting: its environment variable, default and meaning."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from platformdirs import user_data_path, user_videos_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from hailuo_mcp.errors import NotConfigured
from hailuo_mcp.rules import POLL_SECONDS

Transport = Literal["stdio", "streamable-http"]
KEY_VARIABLE = "DMXAPI_API_KEY"
TOKEN_CHARACTERS_MIN = 16
_TOKEN = rf"[A-Za-z0-9._~+/=-]{{{TOKEN_CHARACTERS_MIN},}}"
_CALLER = r"[a-z0-9_-]{1,32}"


def _shown(default: str) -> dict[str, Any]:
    """The words that stand for a default which differs from machine to machine."""
    return {"shown": default}


class Settings(BaseModel):
    """What a person can set; an empty text counts as not set."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    api_key: SecretStr | None = Field(None, description="The API key. Paid tools need it.")
    base_url: str = Field(
        "https://www.dmxapi.cn", description="Where the API is. A key works only on the host that issued it."
    )
    output_dir: Path = Field(
        default_factory=lambda: user_videos_path() / "Hailuo",
        description="Folder in which finished videos are saved.",
        json_schema_extra=_shown("`Hailuo` in the person's videos folder"),
    )
    allowed_dirs: tuple[Path, ...] | None = Field(
        None,
        description="Folders that frames may be read from, separated by `:` (Windows: `;`).",
        json_schema_extra=_shown("the home folder; over HTTP none"),
    )
    data_dir: Path = Field(
        default_factory=lambda: user_data_path("hailuo-mcp", appauthor=False),
        description="Folder of the journal.",
        json_schema_extra=_shown("the system's folder for a person's data"),
    )
    database_url: SecretStr | None = Field(
        None,
        description="The journal's database: `sqlite:///path`, or `postgresql://...` when several machines share it.",
        json_schema_extra=_shown("SQLite in the data folder"),
    )
    poll_interval: float = Field(
        POLL_SECONDS, ge=0.02, le=600, description="Seconds between two status queries of one video."
    )
    submit_timeout: float = Field(
        180.0, gt=0, le=1800, description="Seconds that sending a request may take, pictures included."
    )
    request_timeout: float = Field(30.0, gt=0, le=600, description="Seconds that one status or link query may take.")
    max_videos_per_day: int | None = Field(
        None, ge=0, description="Most videos to pay for within 24 hours.", json_schema_extra=_shown("no limit")
    )
    film_shots_at_once: int = Field(3, ge=1, le=20, description="Most videos of one film that are under way at once.")
    film_shots_per_minute: int = Field(5, ge=1, le=60, description="Most videos that films submit within a minute.")
    confirm: Literal["never", "always"] = Field(
        "never", description="`always` asks the person before paying, in hosts that can ask."
    )
    collect: bool | None = Field(
        None,
        description="Watch unfinished videos in the background and save them when they are done.",
        json_schema_extra=_shown("on; over HTTP off"),
    )
    http_token: SecretStr | None = Field(
        None,
        description="The secret that HTTP callers send as bearer token; `anna:secret,ben:secret` keeps the videos of "
        "several callers apart.",
        json_schema_extra=_shown("none; needed beyond this machine"),
    )
    http_hosts: tuple[str, ...] = Field(
        (),
        description="Names by which HTTP callers reach this server, separated by `,`.",
        json_schema_extra=_shown("this machine, and `--host`"),
    )
    http_rate: int | None = Field(
        None,
        ge=1,
        description="Most HTTP requests of one caller in a minute.",
        json_schema_extra=_shown("600; without a token no limit"),
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("WARNING", description="What is logged to stderr.")

    @model_validator(mode="before")
    @classmethod
    def _blanks_and_references_are_nothing(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if not (isinstance(value, str) and _says_nothing(value))}

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, value: Any) -> Any:
        return value.strip().upper() if isinstance(value, str) else value

    @field_validator("confirm", mode="before")
    @classmethod
    def _in_small_letters(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("api_key")
    @classmethod
    def _key_is_a_header_value(cls, key: SecretStr | None) -> SecretStr | None:
        text = key.get_secret_value().strip() if key else ""
        if not text:
            return None
        if not all("!" <= character <= "~" for character in text):
            raise ValueError("holds characters that no key has; copy it again, without quotes or spaces")
        return SecretStr(text.removeprefix("Bearer").strip() or text)

    @field_validator("base_url")
    @classmethod
    def _url_keeps_the_key_private(cls, url: str) -> str:
        parts = urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ValueError(f"must be like https://www.dmxapi.cn (got {url!r})")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError(f"must be https: over http the key would travel unprotected (got {url!r})")
        return url.strip().rstrip("/").removesuffix("/v1")

    @field_validator("allowed_dirs", mode="before")
    @classmethod
    def _split_folders(cls, value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.split(os.pathsep)))) if isinstance(value, str) else value

    @field_validator("http_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.lower().split(",")))) if isinstance(value, str) else value

    @field_validator("http_token")
    @classmethod
    def _tokens_are_secrets(cls, token: SecretStr | None) -> SecretStr | None:
        callers = read_callers(token.get_secret_value()) if token else {}
        if len({*callers.values()}) < len(callers):
            raise ValueError("gives two callers the same token")
        return token if callers else None

    @field_validator("output_dir", "data_dir", "allowed_dirs")
    @classmethod
    def _absolute(cls, value: Path | tuple[Path, ...] | None) -> Path | tuple[Path, ...] | None:
        if isinstance(value, tuple):
            return tuple(map(_absolute, value))
        return _absolute(value) if value else None

    def require_key(self) -> str:
        """The key; raises NotConfigured with the variable to set."""
        if self.api_key is None:
            raise NotConfigured(
                f"No API key is set, so nothing was sent. Put the key into the environment variable {KEY_VARIABLE} "
                "(in the `env` of this server's entry in the host's configuration) and restart the server."
            )
        return self.api_key.get_secret_value()

    def journal_url(self) -> str:
        """The journal's database as a URL."""
        if self.database_url:
            return self.database_url.get_secret_value()
        return f"sqlite:///{(self.data_dir / 'journal.db').as_posix()}"

    def secrets(self) -> list[str]:
        """What must never be written down."""
        password = urlsplit(self.database_url.get_secret_value()).password if self.database_url else None
        key = self.api_key.get_secret_value() if self.api_key else None
        return [secret for secret in (key, password, *self.http_callers().values()) if secret]

    def http_callers(self) -> dict[str, str]:
        """The token of each caller over HTTP; a single token's caller has no name."""
        return read_callers(self.http_token.get_secret_value()) if self.http_token else {}

    def of_caller(self, name: str) -> "Settings":
        """The settings for one of several callers: a folder of their own."""
        return self.model_copy(update={"output_dir": self.output_dir / f"caller-{name}"}) if name else self

    def frame_folders(self, transport: Transport) -> tuple[Path, ...]:
        """Folders whose pictures may be read. Over HTTP the caller is elsewhere: none unless they were named."""
        if self.allowed_dirs is not None:
            return (*self.allowed_dirs, self.output_dir)
        return (Path.home(), self.output_dir) if transport == "stdio" else ()


def load_settings(**given: Any) -> Settings:
    """Settings from `given` and the environment; raises NotConfigured naming the variable at fault."""
    environment = {name.upper(): value for name, value in os.environ.items() if value}
    found = {name: environment[variable(name)] for name in Settings.model_fields if variable(name) in environment}
    try:
        return Settings(**found | given)
    except ValidationError as error:
        raise NotConfigured("A setting is wrong. " + "; ".join(map(_wrong, error.errors()))) from None


def _wrong(item: ErrorDetails) -> str:
    """One wrong setting: its variable, what is allowed and what was given. Our own messages say all that already."""
    name, words = variable(str(item["loc"][0])), item["msg"]
    if item["type"] == "extra_forbidden":
        return f"{item['loc'][0]}: there is no such setting"
    if item["type"] == "value_error":
        return f"{name}: {words.removeprefix('Value error, ')}"
    words = words.replace("Input should be", "must be").partition(", unable")[0]
    return f"{name}: {words}" + ("" if name == KEY_VARIABLE else f" (got {str(item['input'])[:80]!r})")


def read_callers(text: str) -> dict[str, str]:
    """`secret`, or `name:secret,name:secret`, as names and tokens; raises ValueError, which repeats no secret."""
    callers: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, colon, token = part.rpartition(":")
        if not re.fullmatch(_TOKEN, token) or (colon and not re.fullmatch(_CALLER, name)) or name in callers:
            raise ValueError(
                f"must be one token, or name:token for each caller, separated by commas: names of their own in "
                f"a-z, 0-9, - and _, tokens of {TOKEN_CHARACTERS_MIN} or more letters, digits and -._~+/="
            )
        callers[name] = token
    if len(callers) > 1 and "" in callers:
        raise ValueError("holds a token without a name beside others; give each caller a name, as in anna:token")
    return callers


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return KEY_VARIABLE if field == "api_key" else f"HAILUO_{field.upper()}"


def is_reference(value: str) -> bool:
    """Whether it is `${...}`: hosts that do not expand a variable, or have no value for it, pass it on as it stands."""
    return value.strip().startswith("${")


def _says_nothing(value: str) -> bool:
    return not value.strip() or is_reference(value)


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _absolute(path: Path) -> Path:
    expanded = path.expanduser()
    if not expanded.is_absolute():
        raise ValueError(f"must be a full path (got '{path}'): a host may start the server in any folder")
    return expanded
