"""What is installed is what the tree holds: the wheel runs elsewhere, the locks agree, no name of ours is taken."""

import ast
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
RUNTIME_LOCK = ROOT / "requirements.lock"
EVERYTHING_LOCK = ROOT / "requirements-dev.lock"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built by the locked backend without asking any registry."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", *OFFLINE, "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("veloera-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a new environment with the wheel in it, and our dependencies lent from this one."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    run(sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", *OFFLINE, wheel)
    (packages,) = home.glob("lib/python*/site-packages")
    # A path file lends the modules beside pip but not the editable install: files of a lent folder are not followed.
    lent = next(path for path in map(Path, sys.path) if (path / "click").is_dir())
    (packages / "lent.pth").write_text(f"{lent}\n")
    return home / "bin"


def test_no_other_distribution_owns_one_of_our_package_names() -> None:
    owners = packages_distributions()

    strangers = {name: owners[name] for name in PACKAGES if set(owners.get(name, [])) - {"veloera"}}

    assert strangers == {}


def test_the_installed_wheel_runs_in_a_folder_that_has_an_api_of_its_own(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "__init__.py").write_text("raise SystemExit('a stranger was imported')\n")

    said = run(installed / "veloera", "--version", cwd=tmp_path)

    assert PROJECT["project"]["version"] in said


def test_the_installed_wheel_imports_its_own_modules_and_not_those_of_the_tree(installed: Path, tmp_path: Path) -> None:
    asked = "import api, cli, domain; print(api.__file__, cli.__file__, domain.__file__)"

    files = run(installed / "python", "-c", asked, cwd=tmp_path).split()

    assert all(Path(file).is_relative_to(installed.parent) for file in files)


def test_the_wheel_holds_every_module_of_our_packages_and_nothing_else(wheel: Path) -> None:
    sources = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}

    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert {name for name in names if name.endswith(".py")} == sources
    assert {name.partition("/")[0] for name in names} == set(PACKAGES)


@pytest.mark.parametrize(
    ("name", "place"), [("LICENSE", ".dist-info/licenses/LICENSE"), ("VELOERA_PROJ", "api/VELOERA_PROJ")]
)
def test_the_licence_and_the_project_text_travel_in_the_wheel(wheel: Path, name: str, place: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (packed,) = (entry for entry in archive.namelist() if entry.endswith(place))

        assert archive.read(packed) == (ROOT / name).read_bytes()


def test_the_runtime_lock_pins_every_dependency_at_a_version_it_allows() -> None:
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]

    assert unmet(wanted, RUNTIME_LOCK) == []


def test_the_development_lock_pins_every_group_at_a_version_it_allows() -> None:
    groups = PROJECT["dependency-groups"].values()
    wanted = [requirement for group in groups for requirement in group if isinstance(requirement, str)]

    assert unmet(wanted, EVERYTHING_LOCK) == []


def test_the_development_lock_holds_the_runtime_lock_unchanged() -> None:
    runtime, everything = pins(RUNTIME_LOCK), pins(EVERYTHING_LOCK)

    assert {name: everything.get(name) for name in runtime} == runtime


@pytest.mark.parametrize("lock", [RUNTIME_LOCK, EVERYTHING_LOCK], ids=lambda lock: lock.name)
def test_a_lock_names_every_file_by_its_hash(lock: Path) -> None:
    blocks = re.split(r"\n(?=\S)", lock.read_text().partition("\n")[2])

    assert [block for block in blocks if "--hash=sha256:" not in block] == []


def test_every_library_that_we_import_is_a_declared_dependency() -> None:
    owners = packages_distributions()
    declared = {canonicalize_name(Requirement(entry).name) for entry in PROJECT["project"]["dependencies"]}

    foreign = {name for name in imported() if name not in sys.stdlib_module_names and name not in PACKAGES}

    undeclared = {name for name in foreign if not declared & set(map(canonicalize_name, owners.get(name, [])))}
    assert undeclared <= {"benchmarks"}  # `veloera bench` says where to find it when it is not there


def test_the_image_is_built_from_every_package_of_the_wheel() -> None:
    copied = re.findall(r"^COPY (\w+) \./\w+$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    allowed = (ROOT / ".dockerignore").read_text().splitlines()

    assert set(copied) == set(PACKAGES)
    assert {f"!{name}" for name in PACKAGES} <= set(allowed)


OFFLINE = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-build-isolation"]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What the command printed; its own words when it failed."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"{command[0]} -> {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def imported() -> set[str]:
    """The top-level names that our packages import, wherever in a file."""
    trees = [ast.parse(path.read_text()) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in plain | named}


def pins(lock: Path) -> dict[str, Version]:
    return dict(read_pins(lock.read_text()))


def read_pins(text: str) -> Iterator[tuple[str, Version]]:
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", text, flags=re.MULTILINE):
        yield canonicalize_name(name), Version(version)


def unmet(wanted: list[str], lock: Path) -> list[str]:
    """The requirements that the lock does not pin, or pins at a version they do not allow."""
    locked = pins(lock)
    parsed = map(Requirement, wanted)
    return [
        str(needed)
        for needed in parsed
        if (found := locked.get(canonicalize_name(needed.name))) is None or found not in needed.specifier
    ]
