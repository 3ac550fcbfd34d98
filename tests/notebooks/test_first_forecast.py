"""The first notebook is kept without outputs, and reads as a page: pytest runs it itself, cell by cell (nbmake)."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def test_there_is_a_first_one() -> None:
    assert [path.name for path in NOTEBOOKS] == ["first_forecast.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 5
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    assert {cell["execution_count"] for cell in cells} == {None}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_cell_is_a_few_readable_lines(path: Path) -> None:
    for cell in (one for one in json.loads(path.read_text())["cells"] if one["cell_type"] == "code"):
        lines = [line for line in "".join(cell["source"]).splitlines() if line and "import" not in line]
        assert len(lines) <= 8, lines
        assert max(map(len, lines), default=0) <= 120, lines
