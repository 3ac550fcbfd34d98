"""The shape of the project: which room imports which, and what must appear nowhere (DESIGN section 3)."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (
    "errors",
    "settings",
    "arrays",
    "wording",
    "files",
    "processes",
    "market",
    "dataset",
    "models",
    "training",
    "evaluation",
    "experiment",
    "stages",
    "audit",
    "sanity",
    "operation",
    "tuning",
    "tutorials",
    "reporting",
    "tracking",
)
SOLE_IMPORTERS = {
    "yfinance": {"market"},
    "curl_cffi": {"market"},
    "exchange_calendars": {"market"},
    "filelock": {"market"},
    "arch": {"training", "evaluation"},
    "sklearn": {"training"},
    "chronos": {"training"},
    "matplotlib": {"reporting"},
    "mlflow": {"tracking"},
    "sqlalchemy": {"operation", "tuning"},
    "optuna": {"tuning"},
    "prefect": {"flows"},
}
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "flows", "tests"}
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py"}


def sources(*tops: str) -> list[Path]:
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))


def room_of(path: Path) -> str:
    """The room a file belongs to: flows, or the folder or module right under pipeline."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "pipeline" and parts[1] != "__init__" else parts[0]


def module_of(path: Path) -> str:
    return ".".join(part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__")


def imported(tree: ast.AST, module: str) -> Iterator[str]:
    """Every module named by an import anywhere in a file, those within functions too, made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            whole = ".".join(part for part in (base, node.module or "") if part)
            yield whole
            yield from (f"{whole}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            yield from dynamically_imported(node)


def dynamically_imported(call: ast.Call) -> Iterator[str]:
    """The module that import_module("x") or __import__("x") names."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("import_module", "__import__") and call.args and isinstance(call.args[0], ast.Constant):
        yield str(call.args[0].value)


def imports_of(path: Path) -> set[str]:
    return set(imported(ast.parse(path.read_text()), module_of(path)))


def rooms_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("pipeline.")}


def test_the_rooms_are_those_of_the_design() -> None:
    found = {room_of(path) for path in sources("pipeline")} - {"pipeline"}
    assert found <= set(ROOMS), f"a new room needs a place in the order: {found - set(ROOMS)}"
    assert {"market", "dataset", "models", "training", "evaluation", "experiment", "operation"} <= found


@pytest.mark.parametrize("path", sources("pipeline"), ids=module_of)
def test_a_room_imports_only_rooms_above_it(path: Path) -> None:
    room = room_of(path)
    rooms = rooms_imported(path)
    if room == "pipeline":
        assert rooms == set()
        return
    below = {other for other in rooms - {room} if ROOMS.index(other) > ROOMS.index(room)}
    assert below == set(), f"{module_of(path)} imports {below}, which stand below {room}"


def test_no_module_is_part_of_a_cycle() -> None:
    modules = {module_of(path): path for path in sources("pipeline", "flows")}
    graph = {name: {other for other in imports_of(path) if other in modules} - {name} for name, path in modules.items()}
    while leaves := [name for name, others in graph.items() if not others]:
        for name in leaves:
            del graph[name]
        graph = {name: others - set(leaves) for name, others in graph.items()}
    assert graph == {}, f"these import each other: {sorted(graph)}"


@pytest.mark.parametrize("package", SOLE_IMPORTERS)
def test_only_its_room_imports_a_package(package: str) -> None:
    users = {
        room_of(path)
        for path in sources("pipeline", "flows")
        if any(name.split(".")[0] == package for name in imports_of(path))
    }
    assert users <= SOLE_IMPORTERS[package]


def test_the_checks_of_imports_see_something() -> None:
    users = {room_of(path) for path in sources("pipeline") if "exchange_calendars" in imports_of(path)}
    assert users == {"market"}
    tree = ast.parse("def f():\n    from . import x\n    import a.b\n    importlib.import_module('mlflow')")
    assert set(imported(tree, "pipeline.market.calendars")) == {"pipeline.market", "pipeline.market.x", "a.b", "mlflow"}


@pytest.mark.parametrize("path", sources("pipeline", "flows"), ids=module_of)
def test_nothing_forbidden_is_imported_or_called(path: Path) -> None:
    tree = ast.parse(path.read_text())
    tops = {name.split(".")[0] for name in imports_of(path)}
    forbidden = FORBIDDEN_MODULES - ({"flows"} if room_of(path) == "flows" else set())
    assert tops & forbidden == set()
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)] == [], "assert is no check of input"
    assert [ast.unparse(node) for node in ast.walk(tree) if _reads_pickle(node)] == []


def _reads_pickle(node: ast.AST) -> bool:
    """Whether a call may execute what it reads: torch.load, pandas.read_pickle, eval, exec, allow_pickle=True."""
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    pickles = any(k.arg == "allow_pickle" and getattr(k.value, "value", True) is not False for k in node.keywords)
    loads_numpy = called in ("np.load", "numpy.load") and not any(k.arg == "allow_pickle" for k in node.keywords)
    dangerous = called in ("torch.load", "torch.jit.load", "eval", "exec") or called.endswith("read_pickle")
    return pickles or loads_numpy or dangerous


@pytest.mark.parametrize("code", ["torch.load(f)", "np.load(f)", "np.load(f, allow_pickle=True)", "pd.read_pickle(f)"])
def test_a_read_that_may_execute_code_is_seen(code: str) -> None:
    assert any(_reads_pickle(node) for node in ast.walk(ast.parse(code)))


def test_settings_are_read_by_flows_only() -> None:
    readers = {room_of(path) for path in sources("pipeline", "flows") if "pipeline.settings" in imports_of(path)}
    assert readers <= {"flows"}
    naming = {module_of(path) for path in sources("pipeline") if set(_variables_named(path))}
    assert naming <= {"pipeline.settings"}


def _variables_named(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and re.fullmatch(r"TAPECAST_[A-Z_]*", str(node.value)):
            yield str(node.value)


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [str(path) for path in sources("pipeline", "flows", "tests") if path.name in FORBIDDEN_NAMES] == []


def test_the_docker_folder_does_not_shadow_the_docker_package() -> None:
    assert sources("docker") == []
    assert not (ROOT / "docker.py").exists()


HEAVY = ("torch", "mlflow", "prefect", "matplotlib", "yfinance", "exchange_calendars", "optuna", "sklearn", "arch")


@pytest.mark.parametrize("module", ["flows.cli.app", "pipeline.experiment", "pipeline.training.schedule"])
def test_importing_it_brings_nothing_heavy(module: str) -> None:
    if not (ROOT / (module.replace(".", "/") + ".py")).exists():
        pytest.skip(f"{module} is not written yet")
    script = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.split() == []
