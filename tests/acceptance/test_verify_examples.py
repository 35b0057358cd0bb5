"""The examples of docs/verify.md for verifying a webhook, run as they stand there against what Chainbell signs."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from chainbell.delivery.signature import new_secret, sign
from chainbell.domain.delivery import WebhookVersion
from chainbell.telemetry import clock

CHECKOUT = Path(__file__).parents[2]
NODE_MODULES = CHECKOUT / ".nodes" / "anvil" / "node_modules"
GOLDEN = CHECKOUT / "tests" / "golden"
SECRET = new_secret(bytes(range(32)))
OTHER = new_secret(bytes(range(1, 33)))

PYTHON_DRIVER = """
import json, sys
import example
print(json.dumps([example.receive(case["body"].encode(), case["headers"]) for case in json.load(sys.stdin)]))
"""
NODE_DRIVER = """
import { readFileSync } from "node:fs";
import { receive } from "./example.mjs";
const cases = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map((one) => receive(Buffer.from(one.body), one.headers))));
"""


@dataclass(frozen=True)
class Case:
    """One request, and what a receiver must answer."""

    name: str
    body: str
    headers: dict[str, str]
    status: int


def signed(version: WebhookVersion) -> Case:
    """Return a real body with the headers of one attempt of ours."""
    body = (GOLDEN / f"transaction.deposit.success.v{version.value}.json").read_text()
    headers = sign([SECRET], "evt_one", clock.now(), body.encode(), version)
    return Case(f"good v{version.value}", body, headers, 204)


def cases() -> list[Case]:
    """Return good webhooks, and one of each bad kind."""
    good = signed(WebhookVersion.V2)
    other = sign([OTHER], "evt_one", clock.now(), good.body.encode(), WebhookVersion.V2)
    old = sign([SECRET], "evt_one", clock.now() - timedelta(minutes=6), good.body.encode(), WebhookVersion.V2)
    both = sign([OTHER, SECRET], "evt_one", clock.now(), good.body.encode(), WebhookVersion.V2)
    without = {name: value for name, value in good.headers.items() if name != "webhook-signature"}
    return [
        good,
        signed(WebhookVersion.V1),
        replace(good, name="two live secrets", headers=both),
        replace(good, name="changed body", body=good.body.replace("DEPOSIT", "deposit"), status=401),
        replace(good, name="another secret", headers=other, status=401),
        replace(good, name="too old", headers=old, status=401),
        replace(good, name="another id", headers=good.headers | {"webhook-id": "evt_two"}, status=401),
        replace(good, name="no signature", headers=without, status=401),
        replace(good, name="malformed signature", headers=good.headers | {"webhook-signature": "v1,***"}, status=401),
        replace(good, name="malformed timestamp", headers=good.headers | {"webhook-timestamp": "now"}, status=401),
    ]


def example(language: str, mark: str) -> str:
    """Return the one block of the page in this language that holds a text."""
    found = re.findall(
        rf"^```{language}\n(.*?)^```$", (CHECKOUT / "docs" / "verify.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (block,) = [block for block in found if mark in block]
    return str(block)


def answers(command: Sequence[str | Path], folder: Path, wanted: Sequence[Case]) -> list[tuple[str, int]]:
    """Let a driver call the example with each case, and return what it answered to each."""
    done = subprocess.run(
        command,
        cwd=folder,
        input=json.dumps([{"body": case.body, "headers": case.headers} for case in wanted]),
        env={"PATH": os.environ["PATH"], "WEBHOOK_SECRET": SECRET},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    statuses = json.loads(done.stdout.splitlines()[-1])
    return [(case.name, status) for case, status in zip(wanted, statuses, strict=True)]


@pytest.mark.parametrize("library", ["chainbell.webhooks", "standardwebhooks"])
def test_the_python_example_takes_good_webhooks_and_refuses_bad_ones(library: str, tmp_path: Path) -> None:
    """Copied into a file, it answers 204 to what we sign and 401 to everything else."""
    (tmp_path / "example.py").write_text(example("python", f"from {library} import"))
    (tmp_path / "driver.py").write_text(PYTHON_DRIVER)
    wanted = cases()
    expected = [(case.name, case.status) for case in wanted]
    assert answers([sys.executable, "driver.py"], tmp_path, wanted) == expected


def test_the_node_example_takes_good_webhooks_and_refuses_bad_ones(tmp_path: Path) -> None:
    """Copied into a module, with the library that npm installs, it answers the same."""
    assert (NODE_MODULES / "standardwebhooks").is_dir(), "run tools/install-nodes anvil"
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "example.mjs").write_text(example("javascript", 'from "standardwebhooks"'))
    (tmp_path / "driver.mjs").write_text(NODE_DRIVER)
    wanted = cases()
    expected = [(case.name, case.status) for case in wanted]
    assert answers(["node", "driver.mjs"], tmp_path, wanted) == expected
