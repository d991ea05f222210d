"""Three plain top-level names in one environment: the guards that keep them ours."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGES = ("broker", "handlers", "schema")
ROOT = Path(__file__).parents[2]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of all files in a wheel built from the working tree."""
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, str(target)], cwd=ROOT, check=True)
    (built,) = target.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_the_three_are_found_in_one_place() -> None:
    """Another distribution's `schema` or `broker` before ours would show as another parent."""
    parents = set()
    for name in PACKAGES:
        file = importlib.import_module(name).__file__
        assert file is not None
        parents.add(Path(file).parents[1])
    assert len(parents) == 1


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_has_the_name(name: str) -> None:
    """Two distributions that install one name overwrite each other without a word."""
    owners = set(importlib.metadata.packages_distributions().get(name, []))
    assert owners <= {"jobbroker"}


def test_the_wheel_holds_the_three_and_nothing_else(wheel: list[str]) -> None:
    """Neither tests nor stray files are installed at the top of somebody's environment."""
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert len(tops) == len(PACKAGES) + 1


@pytest.mark.parametrize("suffix", [".py", ".sql", "py.typed"])
def test_the_wheel_lacks_no_file(wheel: list[str], suffix: str) -> None:
    """Queries, migrations and type markers travel with the code."""
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob(f"*{suffix}")
    }
    assert len(sources) >= len(PACKAGES)
    assert sources - set(wheel) == set()


def test_the_command_is_declared() -> None:
    """`jobbroker` starts the command line."""
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="jobbroker")
    assert command.value == "broker.cli:main"
