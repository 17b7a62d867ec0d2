"""Rules about the repository itself: what no linter checks, and a reviewer should not have to."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.settings import Environment

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["domain", "ledger", "projections", "relay", "api", "cli"]
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("ui/*.md")])
DECISIONS = sorted(ROOT.glob("docs/decisions/*.md"))

A_MACHINES_PATH = re.compile(r"(?<![\w.$}])/(?:work|farm|root|home/\w+)/")
A_HOST = re.compile(r"https?://|--(?:extra-)?index-url|--find-links|\"resolved\":")
A_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
A_TEST = re.compile(r"`(tests/[\w/.-]+)`")

CLOCK_CHANCE_AND_WORLD = {
    "asyncio", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "socket", "sqlite3",
    "subprocess", "tempfile", "threading", "time", "urllib",
}  # fmt: skip


def test_no_file_names_a_path_of_a_machine() -> None:
    named = [f"{path}:{number}" for path, number, line in lines_of_the_tree() if A_MACHINES_PATH.search(line)]

    assert named == []


def test_no_lock_file_names_a_host() -> None:
    locks = [path for path in tree() if "lock" in path.name and path.suffix != ".py"]

    assert ROOT / "requirements.lock" in locks
    assert [path.name for path in locks if A_HOST.search(path.read_text())] == []


def test_the_licence_is_the_gpl_and_the_project_text_says_what_a_site_runs() -> None:
    licence, project = (ROOT / "LICENSE").read_text(), (ROOT / "VELOERA_PROJ").read_text()

    assert licence.split()[:6] == ["GNU", "GENERAL", "PUBLIC", "LICENSE", "Version", "3,"]
    assert all(word in project for word in ("Veloera", "GPL-3.0", "/veloera"))


def test_the_changelog_opens_with_the_version_that_is_built() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

    assert first is not None
    assert first[1] == version


def test_every_dependency_and_every_rule_switched_off_carries_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    reasoned = set(re.findall(r"^  \"([^\"]+)\", +# \S+", text, flags=re.MULTILINE))

    dependencies, rules = named_in(tomllib.loads(text))

    assert dependencies - reasoned == set()
    assert rules - reasoned == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_a_document_lead_somewhere(document: Path) -> None:
    inward = [link for link in A_LINK.findall(document.read_text()) if "://" not in link and link != "#"]

    assert [link for link in inward if not leads_somewhere(document, link)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_tests_that_a_document_names_exist(document: Path) -> None:
    named = A_TEST.findall(document.read_text())

    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_modules_that_the_architecture_names_exist(package: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()

    (section,) = re.findall(rf"^## {package}\n(.*?)(?=^## )", page, flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"`(\w+(?:\.py|/))`", section)

    assert [name for name in named if not (ROOT / package / name).exists()] == []


@pytest.mark.parametrize("record", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_record_fits_one_page_and_has_its_four_parts(record: Path) -> None:
    lines = record.read_text().splitlines()

    headings = [line for line in lines if line.startswith("#")]

    assert headings[0].startswith(f"# {record.name[:4]} ")
    assert headings[1:] == ["## Decision", "## Reasons", "## Consequences", "## Check"]
    assert len(lines) <= 60


def test_decision_records_are_numbered_without_gaps() -> None:
    assert [record.name[:4] for record in DECISIONS] == [f"{n:04}" for n in range(1, len(DECISIONS) + 1)]


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT)) for path in SOURCES if re.search(r"\bos\.environ|\bgetenv\b", path.read_text())
    }

    assert readers <= {"api/settings.py"}


def test_the_settings_are_documented_all_of_them_and_no_others() -> None:
    table = (ROOT / "docs" / "operations.md").read_text()

    documented = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| ([^|]+) \|", table, flags=re.MULTILINE))

    fields = Environment.model_fields.items()
    assert set(documented) == {name.upper() for name, _ in fields}
    stated = {name.upper(): str(field.default).lower() for name, field in fields if field.default_factory is None}
    assert {name: documented[name] for name in stated} == {name: text or "none" for name, text in stated.items()}


@pytest.mark.parametrize("path", sorted((ROOT / "domain").rglob("*.py")), ids=lambda path: path.stem)
def test_the_domain_knows_neither_frameworks_nor_clock_nor_chance_nor_the_world(path: Path) -> None:
    allowed = (sys.stdlib_module_names | {"domain", "msgspec"}) - CLOCK_CHANCE_AND_WORLD

    imported = {name.partition(".")[0] for name in imports(path)}

    assert imported - allowed == set()


@pytest.mark.parametrize("package", ["domain", "ledger", "relay"])
def test_where_money_is_counted_nothing_is_of_any_type(package: str) -> None:
    named = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Name) and node.id == "Any") or (isinstance(node, ast.Attribute) and node.attr == "Any")
    ]

    assert named == []


def test_no_module_has_taken_in_a_second_noun() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}

    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    lengths = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert {name: n for name, n in lengths.items() if n > 60} == {}


def named_in(settings: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Every dependency, and every lint rule that is switched off."""
    groups = settings["dependency-groups"].values()
    lint = settings["tool"]["ruff"]["lint"]
    grouped = {entry for group in groups for entry in group if isinstance(entry, str)}
    ignored = {rule for rules in lint["per-file-ignores"].values() for rule in rules}
    return {*settings["project"]["dependencies"], *grouped}, {*lint["ignore"], *ignored}


def tree() -> list[Path]:
    """The files git has or would take; the ignored ones are nobody's business."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in sorted(set(listed.stdout.split("\0"))) if name and (ROOT / name).is_file()]


def lines_of_the_tree() -> Iterator[tuple[str, int, str]]:
    for path in tree():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            yield str(path.relative_to(ROOT)), number, line


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def leads_somewhere(document: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = document.parent / name if name else document
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(document: Path) -> set[str]:
    """The anchors a forge makes of a document's headings: lower case, punctuation gone, spaces to hyphens."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
