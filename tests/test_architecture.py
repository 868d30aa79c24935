"""The house rules that a reader relies on, read off the syntax trees."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "unrollflow"
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = {
    "averages": 0, "checkpoints": 0, "contracts": 0, "geometric_median": 0, "measures": 0, "ops": 0, "report_page": 0,
    "tables": 0,
    "compilation": 1, "losses": 1, "models": 1, "data": 1, "metrics": 1, "viz": 1, "report": 1, "schedules": 1,
    "selection": 1,
    "module": 2, "importing": 2, "variational": 2,
    "callbacks": 3, "averaging": 3, "collapse": 3, "telemetry": 3, "interruption": 4, "resuming": 5,
    "writers": 3, "evaluation": 4, "prediction": 4, "labelling": 5, "estimation": 5, "faults": 5,
    "flow_cli": 6, "cli": 7, "__main__": 8, "__init__": 8,
}  # fmt: skip
LIGHTNING = {
    "module.py", "averaging.py", "callbacks.py", "writers.py", "evaluation.py", "prediction.py", "labelling.py",
    "flow_cli.py", "cli.py", "data/datamodule.py", "collapse.py", "telemetry.py", "faults.py", "interruption.py",
    "resuming.py",
}  # fmt: skip
LONGEST_FUNCTION, LONGEST_FILE = 40, 250


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def part(path: Path) -> str:
    """Top-level part of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def identify(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_a_layer_imports_strictly_lower_layers_only(path: Path) -> None:
    for name in imports(path):
        if name.startswith("unrollflow."):
            other = name.split(".")[1]
            allowed = other == part(path) or LAYERS[other] < LAYERS[part(path)]
            assert allowed, f"{identify(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_lightning_stays_where_it_belongs(path: Path) -> None:
    if identify(path) not in LIGHTNING:
        assert not [name for name in imports(path) if name.startswith(("pytorch_lightning", "lightning"))]


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_sizes_and_docstrings(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


def test_the_paper_fits_one_short_file() -> None:
    assert len((PACKAGE / "ops" / "unroll.py").read_text().splitlines()) <= 100


def test_plain_import_takes_nothing_heavy_along() -> None:
    heavy = ["wandb", "matplotlib", "pytorch_lightning", "torchmetrics", "jsonargparse", "skimage"]
    code = f"import sys, unrollflow; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_every_public_name_is_there() -> None:
    import unrollflow

    for name in unrollflow.__all__:
        assert getattr(unrollflow, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = unrollflow.nonsense
