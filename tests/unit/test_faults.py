"""The list of faults to plant fits the code and the tests: what does not fit would be planted by nobody."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
FAULTS: list[dict[str, Any]] = tomllib.loads((CHECKOUT / "tests/faults.toml").read_text())["fault"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["what"])
def test_a_fault_fits_the_code(fault: dict[str, Any]) -> None:
    """Its text stands in the file once, and is changed."""
    assert (CHECKOUT / fault["file"]).read_text().count(fault["old"]) == 1
    assert fault["old"] != fault["new"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["what"])
def test_a_fault_names_tests_that_are_there(fault: dict[str, Any]) -> None:
    """By file, and by name where it gives one."""
    for named in fault["test"].split():
        path, _, name = named.partition("::")
        if path.startswith("tests/"):
            assert name.partition("[")[0] in (CHECKOUT / path).read_text(), named
