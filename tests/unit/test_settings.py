"""Settings: what is read, what is refused and in which words, and that no secret is ever shown."""

import re
import stat
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from chainbell.config.node_url import NodeUrl
from chainbell.config.settings import Settings, load_settings
from chainbell.config.variables import variable
from chainbell.domain.errors import ConfigurationError

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = "s3cr3t-0f-somebody"


def complaint(environ: dict[str, str], env_file: Path | None = None) -> str:
    """Return what is said about settings that must be refused."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ, env_file)
    return str(caught.value)


def test_nothing_set_gives_the_defaults() -> None:
    """An empty environment is a valid configuration: embedded database, local API, no chain."""
    settings = load_settings({})
    assert settings == Settings()
    assert settings.database_url is None
    assert settings.screening is None
    assert (settings.api_host, settings.api_port, settings.allowed_networks) == ("127.0.0.1", 8080, ())


def test_variables_of_others_are_ignored() -> None:
    """Only names with the prefix are ours."""
    assert load_settings({"PATH": "/bin", "CHAINBELLS": "1"}) == Settings()


def test_settings_read_no_environment_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by hand, settings hold what they are given: load_settings alone reads the environment."""
    monkeypatch.setenv("CHAINBELL_API_PORT", "1234")
    assert Settings().api_port == 8080


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without arguments, .env of the current directory is read, and the environment over it."""
    (tmp_path / ".env").write_text(
        "# a comment\nexport CHAINBELL_API_HOST='::1' # where\nCHAINBELL_API_PORT=1\nOTHER=${HOME}\n"
        'CHAINBELL_SECRET_KEY="a$b${HOME}"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINBELL_API_PORT", "2")
    monkeypatch.setenv("CHAINBELL_SECRET_KEY", "")
    settings = load_settings()
    assert (settings.api_host, settings.api_port) == ("::1", 2)
    assert settings.secret_key == SecretStr("a$b${HOME}")


def test_a_missing_env_file_is_none(tmp_path: Path) -> None:
    """Nobody needs a .env file."""
    assert load_settings({}, tmp_path / ".env") == Settings()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"CHAINBELL_API_PORT=1\nCHAINBELL_SECRET_KEY='s3cr3t-0f-somebody\n", "line 2: is neither NAME=value nor"),
        (b"CHAINBELL_SECRET_KEY s3cr3t-0f-somebody\n", "line 1: is neither NAME=value nor"),
        (b"CHAINBELL_SECRET_KEY\n", "line 1: is neither NAME=value nor"),
        (b"CHAINBELL_SECRET_KEY=s3cr3t-0f-somebody\xff\n", "is not UTF-8 text"),
        (b"CHAINBELL_SECRET_KEYS=s3cr3t-0f-somebody\n", "did you mean CHAINBELL_SECRET_KEY?"),
    ],
)
def test_a_wrong_env_file_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    """A line that cannot be read is named by its number, never skipped and never shown."""
    path = tmp_path / ".env"
    path.write_bytes(content)
    message = complaint({}, path)
    assert expected in message
    assert KEY not in message


def test_an_env_file_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    """What cannot be read is reported by name."""
    assert complaint({}, tmp_path).startswith(f"{tmp_path} cannot be read")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CHAINBELL_API_PROT", "CHAINBELL_API_PORT"),
        ("CHAINBELL_DATABASEURL", "CHAINBELL_DATABASE_URL"),
        ("chainbell_api_port", "CHAINBELL_API_PORT"),
        ("CHAINBELL_NODE__ETHEREUM", "CHAINBELL_NODES__ETHEREUM"),
        ("CHAINBELL_NODES", "CHAINBELL_NODES__<CHAIN>"),
        ("CHAINBELL_NODES__", "CHAINBELL_NODES__<CHAIN>"),
        ("CHAINBELL_NODES__A__B", "CHAINBELL_NODES__A__B"),
        ("CHAINBELL_XYZZY", "the known ones are CHAINBELL_ALLOWED_NETWORKS, "),
    ],
)
def test_an_unknown_variable_is_refused(name: str, meant: str) -> None:
    """A mistyped name stops the start, and the nearest known one is offered."""
    message = complaint({name: KEY})
    assert message.startswith(f"{name}: there is no such setting; ")
    assert meant in message
    assert KEY not in message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CHAINBELL_API_PORT", "65536", "must be at least 0 and at most 65535"),
        ("CHAINBELL_API_PORT", KEY, "must be a valid integer"),
        ("CHAINBELL_DELIVERY_TIMEOUT_SECONDS", "14", "must be at least 15 and at most 30"),
        ("CHAINBELL_DELIVERY_TIMEOUT_SECONDS", "nan", "must be"),
        ("CHAINBELL_DELIVERY_CONCURRENCY", "0", "must be at least 1 and at most 1000"),
        ("CHAINBELL_NODE_TIMEOUT_SECONDS", "0", "must be more than 0 and at most 300"),
        ("CHAINBELL_LOG_LEVEL", "loud", "must be 'debug', 'info', 'warning' or 'error'"),
        ("CHAINBELL_LOG_FORMAT", "xml", "must be 'json', 'console' or 'auto'"),
        ("CHAINBELL_SCREENING", "on", "must be 'off'"),
        ("CHAINBELL_ALLOWED_NETWORKS", "10.0.0.1/8", "10.0.0.1/8 has host bits set; allowed are networks such as"),
        ("CHAINBELL_ALLOWED_NETWORKS", "10.0.0.0/8,", "allowed are networks such as"),
        ("CHAINBELL_DATABASE_URL", f"mysql://u:{KEY}@h/d", "must start with postgresql://"),
        ("CHAINBELL_NODES__ETHEREUM", f"ftp://{KEY}", "URL 1 does not start with http:// or https://"),
        ("CHAINBELL_NODES__ETHEREUM", f"http://a,http://u:{KEY}@", "URL 2 has no host"),
        ("CHAINBELL_NODES__ETHEREUM", f"http://a:{KEY}", "URL 1 has a host or port that cannot be read"),
        ("CHAINBELL_NODES__ETHEREUM", "http://a:0", "URL 1 has a host or port that cannot be read"),
        ("CHAINBELL_NODES__ETHEREUM", f"http://[::1/{KEY}", "URL 1 has a host or port that cannot be read"),
        ("CHAINBELL_NODES__ETHEREUM", f"http://a/{KEY}#x", "URL 1 has a fragment"),
        ("CHAINBELL_NODES__ETHEREUM", f"http://a/{KEY} b", "URL 1 holds a blank"),
        ("CHAINBELL_NODES__ETHEREUM", "http://a,,http://b", "URL 2 does not start"),
        ("CHAINBELL_NODES__ETHEREUM", "http://${HOST}", "URL 1 has no host, or one with characters"),
        ("CHAINBELL_NODES__ETHEREUM", f"http://a?ws=http://{KEY}", "URL 1 its option ws does not start with ws://"),
        ("CHAINBELL_NODES__ETHEREUM", "http://a?ws=", "URL 1 has an empty option ws"),
        ("CHAINBELL_NODES__ETHEREUM", "http://a?ws=ws://b&ws=ws://c", "URL 1 has the option ws twice"),
        ("CHAINBELL_NODES__ETHEREUM", "http://a?rps=0", "URL 1 has an option rps that is no number of requests per second"),
        ("CHAINBELL_NODES__ETHEREUM", f"http://a?rps={KEY}", "URL 1 has an option rps that is no number"),
        ("CHAINBELL_NODES__ETHEREUM", "http://a?rps=1e3", "above 0, such as 25 or 0.5"),
        ("CHAINBELL_NODES__ETHEREUM", "http://a?rps=5&rps=6", "URL 1 has the option rps twice"),
        ("CHAINBELL_NODES__ETHEREUM", f'["{KEY}"]', "must be URLs separated by commas"),
        ("CHAINBELL_NODES__ETHEREUM", f'{{"a": "{KEY}"}}', "must be URLs separated by commas"),
        ("CHAINBELL_NODES__MY_CHAIN", "a", "URL 1 does not start with"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name: str, value: str, expected: str) -> None:
    """The message begins with the variable, says what is allowed, and never holds a value that may be secret."""
    message = complaint({name: value})
    assert message.startswith(f"{name}: ")
    assert expected in message
    assert KEY not in message


@pytest.mark.parametrize("character", [*"/?#@[", "℀", "\t", "\n"])
@pytest.mark.parametrize("start", ["Sup3r", "123"])
def test_a_password_that_breaks_its_url_is_not_shown(character: str, start: str) -> None:
    """It is refused before anybody takes a piece of it for a host, a port or an option; the message says what to write."""
    message = complaint({"CHAINBELL_DATABASE_URL": f"postgresql://user:{start}{character}S3cretPw@127.0.0.1:5432/db"})
    assert message.startswith("CHAINBELL_DATABASE_URL: ")
    assert "percent-encode / ? # @ :" in message
    assert "S3cret" not in message
    assert start not in message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:Sup3r%2F%3F%23%40%3A%5BS3cret@127.0.0.1:5432/db",
        "postgresql://user:a:b@h:5432/db?sslmode=require",
        "postgres://postgres:@/db?host=/run/postgresql&port=5432",
        "postgresql://u:p@h1:5432,h2:5433/db?target_session_attrs=primary",
        "postgresql://u:p@[::1]:5432/db",
        "postgresql:///db",
    ],
)
def test_urls_of_every_form_are_taken(url: str) -> None:
    """Sockets, several hosts, IPv6, and a password in percent-encoding."""
    found = load_settings({"CHAINBELL_DATABASE_URL": url}).database_url
    assert found is not None
    assert found.get_secret_value() == url


@pytest.mark.parametrize("url", ["postgresql://u@h:port/d", "postgresql:///d?port=x", "postgresql:///d?sslmode"])
def test_a_url_with_an_unreadable_port_or_option_is_refused(url: str) -> None:
    """It is told at once, not by whoever connects later."""
    assert "is no URL that can be read" in complaint({"CHAINBELL_DATABASE_URL": url})


def test_a_refusal_carries_no_secret_in_its_context() -> None:
    """Not even the exceptions behind a refusal, which a traceback may show, hold what was set."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"CHAINBELL_NODES__ETHEREUM": f"ftp://{KEY}", "CHAINBELL_API_PORT": KEY})
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_all_wrong_values_come_at_once() -> None:
    """Each wrong variable has a line of its own."""
    message = complaint({"CHAINBELL_API_PORT": "x", "CHAINBELL_LOG_LEVEL": "x"})
    assert [line.partition(":")[0] for line in message.splitlines()] == ["CHAINBELL_API_PORT", "CHAINBELL_LOG_LEVEL"]


def test_values_are_read_as_people_write_them() -> None:
    """Blanks around values, capitals in words, and an empty value are forgiven."""
    settings = load_settings(
        {
            "CHAINBELL_ALLOWED_NETWORKS": " 10.0.0.0/8, fd00::/8",
            "CHAINBELL_SCREENING": "OFF",
            "CHAINBELL_LOG_LEVEL": "WARNING ",
            "CHAINBELL_API_PORT": " ",
        }
    )
    assert settings.allowed_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert (settings.screening, settings.log_level, settings.api_port) == ("off", "warning", 8080)


def test_directories_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative directory is meant from where Chainbell starts, and ~ is the user's home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = load_settings({"CHAINBELL_DATA_DIR": "data", "CHAINBELL_CHAINS_DIR": "~/chains"})
    assert settings.data_dir == tmp_path / "data"
    assert settings.chains_dir == Path("/home/somebody/chains")


def test_nodes_are_read_in_order_and_by_chain() -> None:
    """URLs keep their order and their text; - in a chain's name is _ in its variable."""
    settings = load_settings(
        {
            "CHAINBELL_NODES__MY_CHAIN": "http://a:8545, https://b/v3/key?x=1%2C2&y",
            "CHAINBELL_NODES__BSC": "http://[::1]:8545",
        }
    )
    assert {name: [node.url for node in nodes] for name, nodes in settings.nodes.items()} == {
        "my-chain": ["http://a:8545", "https://b/v3/key?x=1%2C2&y"],
        "bsc": ["http://[::1]:8545"],
    }


@pytest.mark.parametrize(
    ("text", "url", "ws", "rps"),
    [
        ("http://a", "http://a", None, None),
        ("http://a?", "http://a", None, None),
        ("http://a?ws=ws://b:8546", "http://a", "ws://b:8546", None),
        ("https://a/k?x=1&ws=wss://b/k&y=%20", "https://a/k?x=1&y=%20", "wss://b/k", None),
        ("https://a?ws=wss%3A%2F%2Fb%2Fk%3Fp%3D1%26q%3D2", "https://a", "wss://b/k?p=1&q=2", None),
        ("https://a?%77s=1&wss=2&WS=3", "https://a?%77s=1&wss=2&WS=3", None, None),
        ("http://a?rps=25", "http://a", None, 25.0),
        ("http://a?k=1&rps=0.5&ws=ws://b", "http://a?k=1", "ws://b", 0.5),
        ("http://a?%72ps=25", "http://a?%72ps=25", None, None),
    ],
)
def test_options_are_taken_out_of_the_query(text: str, url: str, ws: str | None, rps: float | None) -> None:
    """A known option leaves the query; a provider's own parameters stay byte for byte."""
    node = NodeUrl.parse(text)
    assert (node.url, node.ws, node.rps) == (url, ws, rps)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://node:8545", "http://node:8545"),
        (f"https://user:{KEY}@node/rpc", "https://***@node/rpc"),
        (f"https://{KEY}@node", "https://***@node"),
        (f"https://node.example/v3/{KEY}", "https://node.example/v3/***"),
        (f"https://node.example/{KEY}/ext/bc/C/rpc/", "https://node.example/***/ext/bc/C/rpc/"),
        (f"https://node.example/?apikey={KEY}&{KEY}", "https://node.example/?***"),
        (f"http://[::1]:1/?ws=wss://u:{KEY}@h:2/{KEY}", "http://[::1]:1/ (ws wss://***@h:2/***)"),
    ],
)
def test_a_masked_url_shows_where_but_no_key(text: str, masked: str) -> None:
    """Scheme, host and port are shown, credentials in user, path and query are not, whichever way it is printed."""
    node = NodeUrl.parse(text)
    assert node.masked == masked
    assert str(node) == masked
    assert KEY not in repr(node)
    assert KEY not in repr(Settings(nodes={"ethereum": (node,)}))


@given(st.text())
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    """Whatever is written, parsing gives a URL that can be masked, or says what is wrong."""
    try:
        node = NodeUrl.parse(text)
    except ValueError:
        return
    assert node.masked.startswith(("http://", "https://"))


def test_secrets_are_not_shown() -> None:
    """The representation of settings holds neither the database's password nor the key."""
    settings = load_settings({"CHAINBELL_DATABASE_URL": f"postgres://u:{KEY}@h/d", "CHAINBELL_SECRET_KEY": KEY})
    assert KEY not in repr(settings)
    assert KEY not in str(settings.model_dump())


def test_settings_cannot_be_changed() -> None:
    """Settings are frozen."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().api_port = 1


def _documented_default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    return f"`{default}`" if default not in (None, (), {}) else "unset"


def _documented_name(name: str) -> str:
    return "CHAINBELL_NODES__<CHAIN>" if name == "nodes" else variable(name)


def test_every_setting_is_in_the_docs() -> None:
    """docs/configuration.md has one row for each setting, in their order, with its default and description."""
    chapter = (REPOSITORY / "docs" / "configuration.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    assert [line for line in chapter.splitlines() if line.startswith("| `")] == [
        f"| `{_documented_name(name)}` | {_documented_default(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def test_every_setting_is_in_the_example_file() -> None:
    """.env.example has every setting in their order, each below its description."""
    text = (REPOSITORY / ".env.example").read_text()
    entries = re.findall(r"((?:^# .*\n)+)# (CHAINBELL_[A-Z_]+)=(.*)\n", text, re.MULTILINE)
    described = [(name, re.sub(r"\s+", " ", comment.replace("\n# ", "\n")[2:]).strip()) for comment, name, _ in entries]
    assert described == [
        ("CHAINBELL_NODES__ETHEREUM" if name == "nodes" else variable(name), field.description)
        for name, field in Settings.model_fields.items()
    ]


def test_the_example_file_loads_with_every_line_in_use(tmp_path: Path) -> None:
    """Uncommenting all of .env.example gives the defaults, and the nodes that it shows."""
    path = tmp_path / ".env"
    text = (REPOSITORY / ".env.example").read_text()
    path.write_text(re.sub(r"^# (CHAINBELL_[A-Z_]+=)", r"\1", text, flags=re.MULTILINE))
    settings = load_settings({}, path)
    assert settings.model_copy(update={"nodes": {}}) == Settings()
    assert [node.masked for node in settings.nodes["ethereum"]] == [
        "http://10.0.0.1:8545 (ws ws://10.0.0.1:8546)",
        "https://node.example/v3/***",
    ]


def test_the_example_file_is_no_secret() -> None:
    """.env.example is a plain file of the repository: readable, and without a value for a secret."""
    path = REPOSITORY / ".env.example"
    assert stat.S_IMODE(path.stat().st_mode) & 0o444
    assert "CHAINBELL_SECRET_KEY=\n" in path.read_text()
