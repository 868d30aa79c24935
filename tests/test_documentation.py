"""Linked files, configurations, commands and options in the documentation exist."""

import re
import shlex
from pathlib import Path

import pytest

from tests.test_architecture import LAYERS
from unrollflow.cli.main import main, split_trusted

ROOT = Path(__file__).parents[1]
BUILT = ("_build", "gallery", "generated")
"""Folders that the documentation build writes."""

DOCS = [path for path in sorted((ROOT / "docs").rglob("*.md")) if not {*BUILT} & {*path.parts}]
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS, *sorted(ROOT.glob("*/README.md"))]
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
CONFIG = re.compile(r"configs/[\w/]+\.yaml")
COMMAND = re.compile(r"^(?:\w+=\S+ )?unrollflow (.*?)(?: {2,}#.*)?$", re.MULTILINE)
COMMANDS = {found for page in PAGES for found in COMMAND.findall(page.read_text())}
TEST = re.compile(r"(tests/[\w/.-]+)::(\w+)")
LONGEST_README = 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_linked_files_and_configurations_exist(page: Path) -> None:
    text = page.read_text()
    links = [link for link in LINK.findall(text) if "://" not in link]
    assert not [link for link in links if not exists(page.parent / link)]
    assert not [config for config in CONFIG.findall(text) if not (ROOT / config).exists()]


def exists(target: Path) -> bool:
    """Whether a linked file exists, or is a page that the documentation build writes (it checks these itself)."""
    folder, name = target.parent.name, target.name
    if folder == "gallery" and name != "index":
        return (ROOT / "examples" / f"{name}.py").is_file()
    return folder in BUILT or target.exists()


def test_every_page_is_in_the_site() -> None:
    listed = {
        (page.parent / entry).resolve().with_suffix(".md")
        for page in DOCS
        for tree in re.findall(r"```{toctree}\n(.*?)```", page.read_text(), re.DOTALL)
        for entry in re.findall(r"^[./\w]+$", tree, re.MULTILINE)
    }
    assert {*DOCS} - {ROOT / "docs" / "index.md"} <= listed


def test_the_architecture_page_lists_the_layers() -> None:
    text = (ROOT / "docs" / "design" / "architecture.md").read_text()
    rows = re.findall(r"^\| \d \| (.*?) \|", text, re.MULTILINE)
    assert [{*re.findall(r"`(\w+)`", row)} for row in reversed(rows)] == list(LAYERS)


def test_the_tests_of_the_regression_page_exist() -> None:
    text = (ROOT / "docs" / "design" / "regression_tests.md").read_text()
    rows = re.findall(r"^\| (\d+) \| .*? \| (.*) \|$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 38))
    assert all(TEST.search(tests) for _, tests in rows)
    assert not [f"{file}::{name}" for file, name in TEST.findall(text) if not defines(ROOT / file, name)]


def defines(path: Path, name: str) -> bool:
    """Whether a file defines a test."""
    return path.is_file() and re.search(rf"^def {name}\(", path.read_text(), re.MULTILINE) is not None


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_are_doctests(page: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    assert all(block.startswith(">>> ") for block in blocks)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST_README


def test_there_are_commands() -> None:
    assert {command.split()[0] for command in COMMANDS} >= {"fit", "predict", "validate", "estimate", "import", "label"}


@pytest.fixture(scope="module")
def options() -> dict[str, str]:
    return {}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_has_the_options_that_the_documents_give_it(
    command: str, options: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (name, *arguments), _ = split_trusted(shlex.split(command))
    if name not in options:
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        options[name] = capsys.readouterr().out
    named = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    # what a part of the configuration takes is known once its class is
    assert not [option for option in named if ".init_args" not in option and not is_known(option, options[name])]


def is_known(option: str, text: str) -> bool:
    """Whether a help text lists an option, or the part that the option refines."""
    names = [option, *(option.rsplit(".", count)[0] for count in range(1, option.count(".") + 1))]
    return any(re.search(rf"(?<![\w.-]){re.escape(candidate)}(?![\w-])", text) for candidate in names)
