"""The shape of the project: which room imports which, and what must appear nowhere (DESIGN section 3)."""

import ast
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (
    "errors",
    "sqlite",
    "settings",
    "arrays",
    "wording",
    "files",
    "processes",
    "execution",
    "market",
    "dataset",
    "forecasters",
    "training",
    "forecasting",
    "evaluation",
    "experiment",
    "stages",
    "operation",
    "audit",
    "sanity",
    "tutorials",
    "tuning",
    "reporting",
    "tracking",
    "workflow",
)
SOLE_IMPORTERS = {
    "yfinance": {"market"},
    "curl_cffi": {"market"},
    "exchange_calendars": {"market"},
    "filelock": {"market", "operation", "tracking"},
    "arch": {"forecasters", "evaluation"},
    "sklearn": {"forecasters"},
    "lightgbm": {"forecasters"},
    "chronos": {"forecasters"},
    "matplotlib": {"reporting"},
    "mlflow": {"tracking"},
    "sqlalchemy": {"operation", "tuning"},
    "alembic": {"operation"},
    "optuna": {"tuning"},
    "prefect": {"flows"},
    "typer": {"flows"},
    "rich": {"flows"},
}
SETTINGS_READERS = {"workflow", "flows"}
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


def test_the_rooms_are_those_of_the_design() -> None:
    found = {room_of(path) for path in sources("pipeline")} - {"pipeline"}
    assert found <= set(ROOMS), f"a new room needs a place in the order: {found - set(ROOMS)}"
    assert set(ROOMS) <= found, f"a room without a file: {set(ROOMS) - found}"


def below_their_room(module: str, imports: set[str]) -> set[str]:
    """The rooms that a module of pipeline imports though they stand below its own."""
    room = module.split(".")[1] if "." in module else ""
    rooms = {name.split(".")[1] for name in imports if name.startswith("pipeline.")} - {room}
    return {other for other in rooms if not room or ROOMS.index(other) > ROOMS.index(room)}


def test_a_room_imports_only_rooms_above_it() -> None:
    found = {module_of(path): below_their_room(module_of(path), imports_of(path)) for path in sources("pipeline")}
    assert {module: rooms for module, rooms in found.items() if rooms} == {}


def folder_edges(modules: dict[str, set[str]]) -> dict[str, set[str]]:
    """For every folder and module of every room, which of its siblings it imports, down to the deepest folder."""
    edges: dict[str, set[str]] = {}
    for module, imports in modules.items():
        for other in imports:
            shared = common_folder(module, other)
            depth = len(shared) + 1
            here, there = (".".join(name.split(".")[:depth]) for name in (module, other))
            if depth > 2 and here != there:  # whole rooms have their order
                edges.setdefault(here, set()).add(there)
    return edges


def common_folder(first: str, second: str) -> tuple[str, ...]:
    """The names that two dotted paths begin with, their last names excluded."""
    pairs = zip(first.split(".")[:-1], second.split(".")[:-1], strict=False)
    return tuple(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def in_a_circle(edges: dict[str, set[str]]) -> list[str]:
    """The nodes that are left when those without successors are taken away again and again."""
    graph = {name: set(others) for name, others in edges.items()}
    for others in edges.values():
        for other in others:
            graph.setdefault(other, set())
    while leaves := {name for name, others in graph.items() if not others}:
        graph = {name: others - leaves for name, others in graph.items() if name not in leaves}
    return sorted(graph)


def module_imports(*tops: str) -> dict[str, set[str]]:
    """The modules of the project that each of its modules imports."""
    modules = {module_of(path): path for path in sources(*tops)}
    return {name: {other for other in imports_of(path) if other in modules} - {name} for name, path in modules.items()}


def test_a_room_and_its_sub_rooms_import_each_other_in_one_direction() -> None:
    assert in_a_circle(folder_edges(module_imports("pipeline", "flows"))) == []


def test_a_circle_of_sub_rooms_is_seen() -> None:
    modules = {
        "pipeline.market.store.history": {"pipeline.market.bars"},
        "pipeline.market.bars": {"pipeline.market.store.files"},
        "pipeline.market.store.files": set[str](),
    }
    assert in_a_circle(folder_edges(modules)) == ["pipeline.market.bars", "pipeline.market.store"]


def test_no_module_is_part_of_a_cycle() -> None:
    assert in_a_circle(module_imports("pipeline", "flows")) == []


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


def offences(code: str, module: str) -> list[str]:
    """What a file imports or calls that no file may: the module, or the code."""
    tree = ast.parse(code)
    allowed = {"flows"} if module.split(".", maxsplit=1)[0] == "flows" else set()
    tops = {name.split(".")[0] for name in imported(tree, module)} & (FORBIDDEN_MODULES - allowed)
    asserts = [
        f"line {node.lineno}: assert checks no argument" for node in ast.walk(tree) if isinstance(node, ast.Assert)
    ]
    reads = [f"line {node.lineno}: {ast.unparse(node)}" for node in ast.walk(tree) if _reads_pickle(node)]  # type: ignore[attr-defined]
    return [*sorted(tops), *asserts, *reads]


def test_nothing_forbidden_is_imported_or_called() -> None:
    found = {module_of(path): offences(path.read_text(), module_of(path)) for path in sources("pipeline", "flows")}
    assert {module: wrong for module, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("code", ["import pickle", "import flows.worker", "assert x", "torch.load(f)", "eval(text)"])
def test_what_is_forbidden_is_seen(code: str) -> None:
    assert len(offences(code, "pipeline.files")) == 1
    assert below_their_room("pipeline.files", {"pipeline.market.bars", "pipeline.errors"}) == {"market"}


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


def test_settings_are_read_by_workflow_and_flows_only() -> None:
    readers = {room_of(path) for path in sources("pipeline", "flows") if "pipeline.settings" in imports_of(path)}
    assert readers == SETTINGS_READERS
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


HEAVY = (
    "torch",
    "sqlalchemy",
    "alembic",
    "mlflow",
    "prefect",
    "matplotlib",
    "yfinance",
    "exchange_calendars",
    "optuna",
    "sklearn",
    "lightgbm",
    "arch",
)


@pytest.mark.parametrize(
    "module", ["flows.cli.app", "flows.cli.data_commands", "pipeline.experiment", "pipeline.training.schedule"]
)
def test_importing_it_brings_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == []
