"""Every setting: a ``CHAINBELL_`` variable of the environment or of ``.env``, documented where it is defined."""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from chainbell.config.env_file import read_env_file
from chainbell.config.node_url import NodeUrl
from chainbell.config.variables import (
    PREFIX,
    chain_of_node_variable,
    node_variable,
    set_variables,
    unknown_variables,
    variable,
)
from chainbell.domain.errors import ConfigurationError

Network = IPv4Network | IPv6Network

_OUT_OF_RANGE = {"greater_than", "greater_than_equal", "less_than_equal"}


def _node_urls(value: object) -> object:
    if isinstance(value, tuple):
        return value
    if not isinstance(value, str):  # pydantic-settings takes what looks like JSON for JSON
        message = "must be URLs separated by commas, as in http://10.0.0.1:8545,https://node.example"
        raise ValueError(message)  # noqa: TRY004 - pydantic collects ValueErrors only
    urls: list[NodeUrl] = []
    for number, text in enumerate(value.split(","), start=1):
        try:
            urls.append(NodeUrl.parse(text.strip()))
        except ValueError as error:
            message = f"URL {number} {error}"
            raise ValueError(message) from None
    return tuple(urls)


def _by_chain(value: object) -> object:
    return {chain_of_node_variable(str(key)): urls for key, urls in value.items()} if isinstance(value, dict) else value


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(_network(text.strip()) for text in value.split(","))


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        message = f"{error}; allowed are networks such as 10.0.0.0/8 or fd00::/8, separated by commas"
        raise ValueError(message) from None


def _postgres(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
        message = "must start with postgresql://, as in postgresql://user:password@host:5432/database"
        raise ValueError(message)
    if not _is_url(value.get_secret_value()):
        message = (
            "is no URL that can be read (it is not shown, it may hold a password): write it as "
            "postgresql://user:password@host:5432/database, and percent-encode / ? # @ : [ ] in user and password "
            "(%2F %3F %23 %40 %3A %5B %5D)"
        )
        raise ValueError(message)
    return value


def _is_url(text: str) -> bool:
    """Tell whether a PostgreSQL URL is one beyond doubt: what is amiss in it could be part of a password."""
    try:
        parts = urlsplit(text)
        options = dict(parse_qsl(parts.query, strict_parsing=True) if parts.query else ())
        for host in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port
        for port in options.get("port", "").split(","):
            _ = int(port or 0)
    except ValueError:
        return False
    return "#" not in text and text.isprintable() and text.count("@") == parts.netloc.count("@") <= 1


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _absolute(value: Path) -> Path:
    return Path(os.path.abspath(value.expanduser()))  # noqa: PTH100 - resolve() would follow links that come and go


NodeUrls = Annotated[tuple[InstanceOf[NodeUrl], ...], BeforeValidator(_node_urls), Field(min_length=1)]
Folder = Annotated[Path, AfterValidator(_absolute)]


class Settings(BaseSettings):
    """What an operator decides. Built by `load_settings`; made by hand it reads no environment at all."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    nodes: Annotated[dict[str, NodeUrls], BeforeValidator(_by_chain)] = Field(
        default_factory=dict,
        description=(
            "Nodes of one chain, tried in this order: URLs (http, https) separated by commas; a comma inside of a URL "
            "is %2C. The name ends in the chain's, in capitals, with _ for -. A URL's query may carry "
            "Chainbell's options (docs: Node URLs). A chain without nodes is not followed."
        ),
    )
    database_url: Annotated[SecretStr, AfterValidator(_postgres)] | None = Field(
        default=None,
        description=(
            "PostgreSQL to use, as postgresql://user:password@host:5432/database; / ? # @ : in user and password are "
            "%2F %3F %23 %40 %3A. Unset: an embedded one."
        ),
    )
    data_dir: Folder | None = Field(
        default=None,
        description=(
            "Directory of the embedded database and of what else Chainbell keeps. Unset: /var/lib/chainbell for root, "
            "else chainbell in $XDG_DATA_HOME or ~/.local/share."
        ),
    )
    secret_key: SecretStr | None = Field(
        default=None,
        description=(
            "Key that encrypts stored secrets: 32 random bytes in base64 (openssl rand -base64 32). Needed with "
            "CHAINBELL_DATABASE_URL; with the embedded database one is made in the data directory."
        ),
    )
    chains_dir: Folder | None = Field(
        default=None,
        description="Directory of *.toml files that add chain definitions, or replace built-in ones of the same name.",
    )
    screening: Annotated[Literal["off"], BeforeValidator(_lower)] | None = Field(
        default=None,
        description=(
            "AML screening. There is none yet, so the role watcher starts only with off, which says that deposits succeed "
            "unscreened."
        ),
    )
    api_host: Annotated[str, Field(min_length=1)] = Field(
        default="127.0.0.1",
        description="Address that the HTTP server listens on: health, metrics and, with the role api, the API.",
    )
    api_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8080,
        description="Port that the HTTP server listens on, one for each process of a machine; 0 takes a free one.",
    )
    allowed_networks: Annotated[tuple[Network, ...], BeforeValidator(_networks)] = Field(
        default=(),
        description=(
            "Internal networks that webhooks may be sent to, separated by commas (10.1.0.0/16,fd00::/8). All others "
            "that are not public stay refused."
        ),
    )
    delivery_timeout_seconds: Annotated[float, Field(ge=15, le=30)] = Field(
        default=20,
        description="Longest time, 15 to 30 seconds, that one delivery of a webhook may take from first to last byte.",
    )
    delivery_concurrency: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=50,
        description="Webhooks, 1 to 1000, that one process sends at the same time.",
    )
    delivery_schedule: Annotated[Literal["standard", "short"], BeforeValidator(_lower)] = Field(
        default="standard",
        description=(
            "How often a delivery that fails is tried: standard (10 attempts in 75.6 hours) or short (5 attempts in 2.6 "
            "hours). What is exhausted can be replayed."
        ),
    )
    node_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        default=30,
        description="Longest time, up to 300 seconds, that one request to a node may take from first to last byte.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info",
        description="Least severe log lines that are written: debug, info, warning or error.",
    )
    log_format: Annotated[Literal["json", "console", "auto"], BeforeValidator(_lower)] = Field(
        default="auto",
        description="How log lines are written: json, console, or auto (console on a terminal, else json).",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings passes these by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments only: `load_settings` alone reads the environment, and refuses what is unknown there."""
        return (init_settings,)


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path | None = None) -> Settings:
    """Return the settings of this process: its environment over ``.env`` of the current directory.

    With ``environ`` given, that mapping over ``env_file``, and nothing else. Raises `ConfigurationError` that names
    every variable that is unknown or wrong and says what to do, and never holds a value that may be secret.
    """
    if environ is None:
        environ, env_file = os.environ, env_file or Path(".env")
    from_file = read_env_file(env_file) if env_file else {}
    unknown = unknown_variables({*environ, *from_file}, Settings.model_fields.keys() - {"nodes"})
    if unknown:
        raise ConfigurationError("\n".join(unknown))
    settings = _validated(_values({**set_variables(from_file), **set_variables(environ)}))
    if isinstance(settings, Settings):
        return settings
    raise ConfigurationError("\n".join(settings))


def _values(variables: Mapping[str, str]) -> dict[str, object]:
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value.strip() for name, value in variables.items()}
    return source()


def _validated(values: dict[str, object]) -> Settings | list[str]:
    """Return the settings, or what is wrong; never an exception, which would carry the values along in its context."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        return [_problem(details) for details in error.errors(include_url=False, include_input=False)]


def _problem(details: ErrorDetails) -> str:
    field, *rest = details["loc"]
    name = node_variable(str(rest[0])) if field == "nodes" and rest else variable(str(field))
    text = _range(str(field)) if details["type"] in _OUT_OF_RANGE else details["msg"]
    return f"{name}: {text.removeprefix('Value error, ').replace('Input should be', 'must be')}"


def _range(field: str) -> str:
    """Say both bounds of a setting, whichever of them was passed."""
    bounds = []
    for bound in Settings.model_fields[field].metadata:
        match bound:
            case Gt(gt=least):
                bounds.append(f"more than {least}")
            case Ge(ge=least):
                bounds.append(f"at least {least}")
            case Le(le=most):
                bounds.append(f"at most {most}")
    return f"must be {' and '.join(bounds)}"
