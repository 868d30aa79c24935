"""Rules of layers, sizes and docstrings, checked on the syntax trees."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "unrollflow"
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = (
    {"contracts", "weights"},
    {"checkpoints"},
    {"ops"},
    {"losses", "models", "data", "metrics"},
    {"training", "variational", "visualization"},
    {"callbacks", "inference"},
    {"cli"},
    {"__main__", "__init__"},
)
WITH_LIGHTNING = ("training/", "callbacks/", "cli/", "data/datamodule.py")
LONGEST_FUNCTION, LONGEST_FILE = 40, 250
MOST_FILES = {"unrollflow": 6, "data": 4, "any": 15}


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


def layer(name: str) -> int:
    return next(level for level, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_a_layer_imports_lower_layers_only(path: Path) -> None:
    for name in imports(path):
        if name.startswith("unrollflow."):
            other = name.split(".")[1]
            assert other == part(path) or layer(other) < layer(part(path)), f"{identify(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_lightning_is_imported_by_training_callbacks_and_commands(path: Path) -> None:
    if not identify(path).startswith(WITH_LIGHTNING):
        assert not [name for name in imports(path) if name.startswith(("pytorch_lightning", "lightning"))]


def test_a_folder_can_be_read_at_a_glance() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_FILES["unrollflow"]
    assert len(list((PACKAGE / "data").glob("*.py"))) <= MOST_FILES["data"]
    for folder in {path.parent for path in FILES}:
        assert len(list(folder.glob("*.py"))) <= MOST_FILES["any"], folder


def test_benchmarks_and_experiments_import_nothing_from_tests() -> None:
    for folder in ("benchmarks", "experiments"):
        for path in (PACKAGE.parent / folder).rglob("*.py"):
            assert not [name for name in imports(path) if name.split(".")[0] == "tests"], path


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_sizes_and_docstrings(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and "overload" in map(ast.unparse, node.decorator_list):
            continue
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


def test_the_paper_fits_one_short_file() -> None:
    assert len((PACKAGE / "ops" / "unroll.py").read_text().splitlines()) <= 100


def test_plain_import_takes_nothing_heavy_along() -> None:
    heavy = ["torch", "wandb", "matplotlib", "pytorch_lightning", "torchmetrics", "jsonargparse", "skimage"]
    code = f"import sys, unrollflow; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_commands_import_no_more_than_they_need() -> None:
    """The help imports nothing heavy; a flow without a network, no framework for networks."""
    lightning = ["pytorch_lightning", "torchmetrics", "matplotlib", "scipy.signal", "wandb", "jsonargparse"]
    for module, unwanted in (("main", ["torch", "numpy", *lightning]), ("estimate", lightning)):
        code = f"import sys, unrollflow.cli.{module}; print([name for name in {unwanted} if name in sys.modules])"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert found.strip() == "[]", module


def test_every_public_name_is_there() -> None:
    import unrollflow

    for name in unrollflow.__all__:
        assert getattr(unrollflow, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = unrollflow.nonsense
