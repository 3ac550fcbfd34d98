"""The first notebook is kept without outputs, reads as a page, and is checked: pytest runs it cell by cell (nbmake)."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notebooks import checks

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
MAX_LINES, WIDEST_CODE, WIDEST_TEXT = 8, 100, 120

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict[str, object]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def source(cell: dict[str, object]) -> str:
    return "".join(cell["source"])


def statements(code: str) -> list[str]:
    """Lines of a cell that are neither blank, nor comments, nor of an import statement."""
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {number for node in imports for number in range(node.lineno, (node.end_lineno or 0) + 1)}
    numbered = enumerate(code.splitlines(), 1)
    return [line for number, line in numbered if line.strip() and line.strip()[0] != "#" and number not in imported]


def checked(cell: dict[str, object]) -> list[str]:
    """Names of the checks that the kernel runs after a cell."""
    lines = cell["metadata"].get("nbmake", {}).get("post_cell_execute", [])
    return re.findall(r"_checks\.(\w+)\(", "\n".join(lines))


def shows_something(code: str) -> bool:
    last = ast.parse(code).body[-1]
    return isinstance(last, ast.Expr) and not ast.unparse(last).startswith("pd.set_option")


def test_there_is_a_first_one() -> None:
    assert [path.name for path in NOTEBOOKS] == ["first_forecast.ipynb"]


@each
def test_no_output_is_kept(path: Path) -> None:
    code_cells = cells(path, "code")
    assert len(code_cells) > 5
    assert [cell["outputs"] for cell in code_cells] == [[]] * len(code_cells)
    assert {cell["execution_count"] for cell in code_cells} == {None}


@each
def test_a_cell_is_a_few_readable_lines(path: Path) -> None:
    for code in map(source, cells(path, "code")):
        assert len(statements(code)) <= MAX_LINES, code
        assert all(len(line) <= WIDEST_CODE for line in code.splitlines()), code
    for text in map(source, cells(path, "markdown")):
        assert all(len(line) <= WIDEST_TEXT for line in text.splitlines()), text


def test_only_imports_are_not_counted() -> None:
    code = "from a import (\n    b,\n)\nimport c\n\n# a comment\nimportant = b(c)  # import\nx = [\n    important\n]\n"
    assert statements(code) == ["important = b(c)  # import", "x = [", "    important", "]"]


@each
def test_whatever_is_shown_is_checked_in_the_kernel(path: Path) -> None:
    """Every function of checks.py runs once, and no cell shows a thing that none of them sees."""
    code_cells = cells(path, "code")
    unseen = [source(cell) for cell in code_cells if shows_something(source(cell)) and not checked(cell)]
    assert [code for code in unseen if "fits, " not in code] == []
    assert sorted(name for cell in code_cells for name in checked(cell)) == sorted(checks_of_the_notebook())


def checks_of_the_notebook() -> Iterator[str]:
    helpers = ("sample_rows", "losses")
    tree = ast.parse(Path(checks.__file__).read_text())
    yield from (node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name not in helpers)


@each
def test_no_name_of_the_checks_is_the_reader_s(path: Path) -> None:
    """What the checks import begins with an underscore, so that no cell works only because a check ran before it."""
    for cell in cells(path, "code"):
        for line in cell["metadata"].get("nbmake", {}).get("post_cell_execute", []):
            for node in ast.walk(ast.parse(line)):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    assert all((alias.asname or alias.name).startswith("_") for alias in node.names), line
        assert "_checks" not in source(cell)
