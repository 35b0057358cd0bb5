"""What operators are given, dashboard, alarms, images and their page, against what there is."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client.metrics import MetricWrapperBase
from typer.core import TyperGroup

from chainbell.api.front import LIVE, METRICS, READY
from chainbell.app.gauges import DatabaseCollector, Exposition
from chainbell.app.stall_alarm import LOOK_SECONDS
from chainbell.cli.main import app
from chainbell.config.settings import Settings
from chainbell.config.variables import unknown_variables
from chainbell.domain.node import NodeState
from chainbell.telemetry import metrics
from chainbell.telemetry.clock import now
from chainbell.watcher.stall import PACE_BLOCKS, PATIENCE, PATIENCE_BLOCKS, Stall

CHECKOUT = Path(__file__).parents[2]
MANUAL = (CHECKOUT / "docs" / "operations.md").read_text()
ALERTS = yaml.safe_load((CHECKOUT / "ops" / "prometheus" / "alerts.yml").read_text())
DASHBOARD = json.loads((CHECKOUT / "ops" / "grafana" / "chainbell.json").read_text())
COMPOSE = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text().replace("\\\n", " ")
ENDPOINT_STATES = {"answering", "failing", "disabled"}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def exported() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return kind and labels of every metric that `/metrics` shows, by the name under which it is documented."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for instrument in vars(metrics).values():
        if isinstance(instrument, MetricWrapperBase):
            (family,) = instrument.describe()
            name = family.name + ("_total" if family.type == "counter" else "")
            found[name] = (family.type, tuple(instrument._labelnames))
    for family in DatabaseCollector().collect():
        found[family.name] = (family.type, tuple(family._labelnames))  # type: ignore[attr-defined] # of gauge families
    return found


def series() -> dict[str, tuple[str, ...]]:
    """Return the labels of every series' name."""
    return {
        name.removesuffix("_total") + suffix: labels + (("le",) if suffix == "_bucket" else ())
        for name, (kind, labels) in exported().items()
        for suffix in SUFFIXES[kind]
    }


def expressions() -> Iterator[str]:
    """Return every PromQL expression of the alarms and of the dashboard."""
    for group in ALERTS["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (each["definition"] for each in DASHBOARD["templating"]["list"] if "definition" in each)


def alerts() -> list[dict[str, Any]]:
    return [rule for group in ALERTS["groups"] for rule in group["rules"]]


async def test_every_instrument_is_on_the_page() -> None:
    """What is exported is what the page shows, also without a database and before anything was counted."""
    body, _ = await Exposition([], now)()
    shown = dict(re.findall(r"^# TYPE (chainbell_\w+) (\w+)$", body.decode(), re.MULTILINE))
    assert shown == {name: kind for name, (kind, _) in exported().items()}


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_series_and_label_in_an_expression_exists(expression: str) -> None:
    """Alarms and panels that ask for what nobody exports would be silent for ever."""
    known = series()
    plain = re.sub(r'"[^"]*"', '""', expression)
    names = set(re.findall(r"\b(?:chainbell|process|up)\w*", re.sub(r"\{[^}]*\}", "", plain)))
    assert names
    own = {name for name in names if name.startswith("chainbell_")}
    assert own <= known.keys(), own - known.keys()
    labels = {label for name in own for label in known[name]} | {"job", "instance"}
    grouped = {word.strip() for words in re.findall(r"by \(([^)]*)\)", plain) for word in words.split(",")}
    matched = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\"", plain))
    assert grouped | matched <= labels


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_label_value_in_an_expression_exists(expression: str) -> None:
    """Reasons, states and kinds are those of the code."""
    states = {state.value for state in NodeState} | ENDPOINT_STATES
    assert set(re.findall(r'reason!?="([^"]*)"', expression)) <= {stall.value for stall in Stall}
    assert set(re.findall(r'state!?="([^"]*)"', expression)) <= states
    assert set(re.findall(r'endpoints!?="([^"]*)"', expression)) <= ENDPOINT_STATES
    assert set(re.findall(r'kind!?="([^"]*)"', expression)) <= {"advance", "retract", "settle", "scan"}


def test_every_stall_has_an_alarm() -> None:
    """A reason without a rule would ring nobody."""
    told = {reason for rule in alerts() for reason in re.findall(r'reason="([^"]*)"', rule["expr"])}
    assert told == {stall.value for stall in Stall}


def test_every_alarm_has_its_section_and_every_section_its_alarm() -> None:
    """The page says of each what it means and what to do, under the anchor that the alarm names."""
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    alarms = MANUAL.partition("\n## Alarms\n")[2]
    assert re.findall(r"^### (\w+)$", alarms, re.MULTILINE) == names
    for rule in alerts():
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_the_panels_of_the_dashboard_do_not_lie_on_one_another() -> None:
    """Each has its place, an id of its own, a title and something to show."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert panel["title"]
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_every_metric_is_documented() -> None:
    """The table of metrics is what is exported, with kinds and labels."""
    table = MANUAL.partition("\n## Metrics\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `(chainbell_\w+)` \| (\w+) \| (.*?) \| (.+) \|$", table, re.MULTILINE)
    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    assert documented == exported()


def test_every_event_of_the_log_that_the_page_names_is_logged() -> None:
    """The words to search for are those that the code writes."""
    table = MANUAL.partition("\n## Logs\n")[2].partition("\n## ")[0]
    code = "".join(path.read_text() for path in (CHECKOUT / "src").rglob("*.py"))
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", table, re.MULTILINE)
    assert len(rows) > 10
    for key, places in rows:
        assert f'"{key}":' in code or f"{key}=" in code, key
        for event in re.findall(r"`([^`]+)`", places):
            assert f'"{event}"' in code, event


def test_the_page_states_the_numbers_of_the_stall_alarm() -> None:
    """Block times and minutes in the text are those of the code."""
    text = re.sub(r"\s+", " ", MANUAL)
    assert f"for {PATIENCE_BLOCKS} block times and at least a minute" in text
    assert f"last {PACE_BLOCKS} gaps" in text
    assert f"its block is {2 * PATIENCE_BLOCKS} block times old" in text
    assert PATIENCE.total_seconds() == 60
    assert LOOK_SECONDS < 60


def stages() -> dict[str, str]:
    """Return the text of each stage of the Dockerfile by name."""
    parts = re.split(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[2::3], parts[3::3], strict=True))


def images() -> list[str]:
    return [
        *re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE),
        *(service["image"] for service in COMPOSE["services"].values()),
    ]


def test_images_name_no_registry() -> None:
    """Whatever registry the machine is set up for is taken, and versions are named."""
    for image in images():
        assert re.fullmatch(r"[a-z-]+(:[a-z0-9.-]+)?", image), image
        assert ":" in image or image.startswith("chainbell")


def test_what_the_image_copies_is_there_and_not_held_back() -> None:
    """Each COPY of the checkout names files that exist and that .dockerignore lets through."""
    allowed = re.findall(r"^!(\S+)$", (CHECKOUT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)]
    assert len(copied) >= 6
    for source in (source for words in copied for source in words):
        assert (CHECKOUT / source).exists(), source
        assert source.partition("/")[0] in allowed, source
    for source in re.findall(r"--from=(\w+)", DOCKERFILE):
        assert source in stages()


def test_every_setting_that_an_image_or_a_service_names_exists() -> None:
    """A name that Chainbell does not know would stop it at its start."""
    texts = DOCKERFILE + (CHECKOUT / "docker-compose.yml").read_text() + MANUAL
    named = {name for name in re.findall(r"\bCHAINBELL_[A-Z0-9_]+[A-Z0-9]", texts) if name != "CHAINBELL_NODES"}
    assert {"CHAINBELL_DATABASE_URL", "CHAINBELL_SECRET_KEY", "CHAINBELL_NODES__ANVIL"} <= named
    assert unknown_variables(named, Settings.model_fields.keys() - {"nodes"}) == []


def test_the_services_fit_together() -> None:
    """PostgreSQL is waited for until it is well, both keep their data, and the development nodes start only when asked."""
    services = COMPOSE["services"]
    assert services["chainbell"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["postgres"]["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in COMPOSE["volumes"]
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "nothing is open to the world by default"
        if "build" in service:
            assert service["build"]["target"] in stages()
    assert {name for name, service in services.items() if service.get("profiles") == ["dev"]} == {"anvil", "bitcoind"}
    settings = services["chainbell"]["environment"]
    assert {name for name in settings if "NODES__" in name} == {
        "CHAINBELL_NODES__ANVIL",
        "CHAINBELL_NODES__BITCOIN_REGTEST",
    }
    assert "@postgres:5432/" in settings["CHAINBELL_DATABASE_URL"]
    folder = re.findall(r"CHAINBELL_DATA_DIR=(\S+)", stages()["chainbell"])[0]
    assert settings["CHAINBELL_DATA_DIR"] == folder
    assert f"journal:{folder}" in services["chainbell"]["volumes"]


def test_the_commands_in_the_images_are_commands() -> None:
    """What a container starts can be started: words of `chainbell`, and nodes that tools/install-nodes installs."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    assert json.loads(re.findall(r"^ENTRYPOINT (.+)$", stages()["chainbell"], re.MULTILINE)[0]) == ["chainbell"]
    (default,) = re.findall(r"^CMD (.+)$", stages()["chainbell"], re.MULTILINE)
    for words in (json.loads(default), COMPOSE["services"]["chainbell"]["command"]):
        assert words[0] in group.commands
    tool = (CHECKOUT / "tools" / "install-nodes").read_text()
    (installed,) = re.findall(r"install-nodes (anvil .+)$", stages()["nodes"], re.MULTILINE)
    for name in installed.split():
        assert f'"{name}": ' in tool, name
    for name in ("anvil", "bitcoind"):
        assert COMPOSE["services"][name]["command"][0] == name
        assert name in installed.split()


def test_a_container_is_well_while_its_process_lives() -> None:
    """The check reads a page that there is, and not whether the database is there: a restart would not bring that back."""
    check = re.findall(r"HEALTHCHECK .*", stages()["chainbell"])[0]
    assert LIVE in check
    assert READY not in check
    for path in (LIVE, READY, METRICS, "/v2"):
        assert f"`{path}`" in MANUAL


def test_what_runs_is_pinned_like_what_is_tested() -> None:
    """The image's pins are those of the lock file, hashes and all, and it has what the project depends on, and no tools."""

    def pins(name: str) -> dict[str, str]:
        entries = re.split(r"\n(?=\S)", (CHECKOUT / name).read_text().strip())
        return {entry.partition("==")[0]: entry for entry in entries}

    locked, run = pins("requirements.txt"), pins("requirements.run.txt")
    assert run.items() <= locked.items()
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[><=]", each)[0].lower() for each in project["dependencies"]}
    assert names <= run.keys()
    assert not run.keys() & {"pytest", "ruff", "mypy", "hatchling"}
