"""Sphinx extension: writes docs/generated: API, command line, configuration files, documents of the root."""

import inspect
import io
import os
import re
from contextlib import redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from sphinx.application import Sphinx

import unrollflow
from unrollflow.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[2]
COLUMNS = "100"

MODULES = (
    "contracts",
    "inference",
    "ops",
    "losses",
    "models",
    "data",
    "metrics",
    "visualization.flow",
    "variational",
    "training",
    "training.hub",
    "callbacks",
    "weights",
    "checkpoints",
)
DOCUMENTS = {
    "security.md": "SECURITY.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "experiment_report.md": "experiments/README.md",
}
"""Pages that are documents of the repository."""

LINK = re.compile(r"\]\(([^)#:]+)\)")
SAME_OPTIONS = ("validate", "test")
"""Commands that take the options of `fit`."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before Sphinx looks for sources."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}


def write_pages(app: Sphinx) -> None:
    """Write all pages; pages that have not changed keep their time, so that Sphinx does not read them again."""
    folder = Path(app.srcdir) / "generated"
    pages = {f"{name}.rst": api_page(name) for name in MODULES}
    pages["top_level.rst"] = top_level_page()
    pages["commands.md"] = commands_page([name for name in COMMANDS if name not in ("fit", *SAME_OPTIONS)])
    pages["fit.md"] = commands_page(["fit"])
    pages["configurations.md"] = configurations_page()
    pages |= {name: document_page(ROOT / path, folder) for name, path in DOCUMENTS.items()}
    pages |= {name: table_page(path) for path, name in result_tables().items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def public_names(module: ModuleType) -> list[str]:
    """What a module exports: its `__all__`, or the public functions and classes that it defines."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=str.lower)
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
    return [name for name in own if not name.startswith("_") and documented(getattr(module, name))]


def documented(value: object) -> bool:
    """Whether a value is a class or a function."""
    return inspect.isclass(value) or inspect.isroutine(value)


def api_page(name: str) -> str:
    """The page of a sub-package: its docstring, a table of its public names, and their docstrings."""
    full = f"unrollflow.{name}"
    module = import_module(full)
    names = [n for n in public_names(module) if documented(getattr(module, n))]
    lines = [full, "=" * len(full), "", f".. automodule:: {full}", "   :no-members:", ""]
    lines += [f".. currentmodule:: {full}", "", ".. autosummary::", "   :nosignatures:", ""]
    lines += [f"   {n}" for n in names]
    for n in names:
        kind = "class" if inspect.isclass(getattr(module, n)) else "function"
        lines += ["", f".. auto{kind}:: {n}", *(["   :members:", "   :show-inheritance:"] if kind == "class" else [])]
    return "\n".join(lines) + "\n"


def top_level_page() -> str:
    """The names that `unrollflow` itself exports, with links to where they are documented."""
    lines = ["unrollflow", "==========", "", ".. automodule:: unrollflow", "   :no-members:", ""]
    lines += ["Exported names:", ""]
    for name in unrollflow.__all__:
        homes = [m for m in MODULES if name in public_names(import_module(f"unrollflow.{m}"))]
        lines.append(f"- :py:obj:`~unrollflow.{homes[0]}.{name}`")
    return "\n".join(lines) + "\n"


def commands_page(names: list[str]) -> str:
    """The help texts of commands."""
    os.environ["COLUMNS"] = COLUMNS
    title = "# `unrollflow fit`" if names == ["fit"] else "# Commands"
    blocks = [title]
    for name in names:
        text = io.StringIO()
        with redirect_stdout(text), suppress(SystemExit):
            main([name, "--help"])
        heading = [] if names == ["fit"] else [f"## `unrollflow {name}`"]
        blocks += [*heading, f"```text\n{text.getvalue().rstrip()}\n```"]
    return "\n\n".join(blocks) + "\n"


def configurations_page() -> str:
    """Every file of configs/ by folder, with its class and its header comment."""
    blocks = ["# Shipped configuration files"]
    for folder in sorted(path for path in (ROOT / "configs").iterdir() if path.is_dir()):
        rows = [f"| `configs/{folder.name}/` | Class | Description |", "|---|---|---|"]
        for path in sorted(folder.glob("*.yaml")):
            rows.append(f"| `{path.name}` | {class_name(path)} | {header_comment(path)} |")
        blocks += [f"## {folder.name.replace('_', ' ').capitalize()}", "\n".join(rows)]
    return "\n\n".join(blocks) + "\n"


def class_name(path: Path) -> str:
    """The class that a file configures, without its modules; empty for files of several parts."""
    content = yaml.safe_load(path.read_text())
    name = content.get("class_path", "") if isinstance(content, dict) else ""
    return f"`{name.rpartition('.')[2]}`" if name else ""


def header_comment(path: Path) -> str:
    """The comment at the top of a file, as one cell of a table."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").strip())
    return " ".join(lines).replace("|", r"\|").replace("*", r"\*").replace("<", r"\<")


def result_tables() -> dict[Path, str]:
    """Tables of the experiments, and the names of their pages."""
    folder = ROOT / "experiments"
    paths = sorted(folder.glob("*/results/**/table.md"))
    return {path: "_".join(path.relative_to(folder).parts).replace("_results", "") for path in paths}


def table_page(path: Path) -> str:
    """The page of a table, which the report links and no menu lists."""
    return f"---\norphan: true\n---\n\n# {path.parent.relative_to(ROOT / 'experiments')}\n\n{path.read_text()}"


def document_page(source: Path, folder: Path) -> str:
    """A document of the repository; its links lead from the folder of the page to the same files, or to their pages."""
    tables = result_tables()

    def moved(link: re.Match[str]) -> str:
        target = source.parent / link[1]
        return f"]({tables.get(target) or os.path.relpath(target, folder)})"

    return LINK.sub(moved, source.read_text())
