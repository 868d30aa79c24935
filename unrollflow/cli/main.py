"""The command line: finds the command's module, imports it and runs it, and reports bad input in one message."""

import logging
import re
import sys
import traceback
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

COMMANDS = {
    "fit": ("fit", "train a network"),
    "validate": ("fit", "evaluate a network on the validation data"),
    "test": ("fit", "evaluate a network on the test data"),
    "predict": ("predict", "write the flow of frames, of a video or of a benchmark's test set"),
    "label": ("label", "write the flow of your own frames as labels for a second stage of training"),
    "estimate": ("estimate", "write the flow of two images, computed without a network"),
    "compare": ("compare", "compare runs on one page: settings, curves, measures and pictures"),
    "export": ("export.command", "write a trained network as an ONNX or torch.export file"),
    "import": ("import_weights", "convert the weights that another project released"),
}
"""Each command's module in this package, whose `run` takes the arguments and trusted prefixes, and its purpose."""

WORKER = "DataLoader worker process"
REASON = re.compile(r"^  - (.*(?:\n {4,}.*)*)", re.MULTILINE)
"""An entry of jsonargparse's list of what is wrong, with the lines that belong to it."""

MISCONFIGURED = "MisconfigurationException"
"""Lightning's error for settings that it refuses; known by its name, because importing it takes seconds."""


LIGHTNINGS_NOTES = "pytorch_lightning.utilities.rank_zero"
"""Logger of Lightning's notes."""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; bad input ends in one message and exit status 1 (2 for arguments that cannot be parsed)."""
    arguments, trusted = split_trusted(list(sys.argv[1:] if args is None else args))
    command = parse_command(arguments[:1])
    # Lightning 2.6 still calls what torch has renamed; no user can fix that
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
    logging.getLogger(LIGHTNINGS_NOTES).addFilter(is_no_advertisement)
    try:
        module = import_module(f"unrollflow.cli.{COMMANDS[command][0]}")
        module.run([shipped_config(argument) for argument in arguments], trusted)
    except Exception as error:
        if not expected(error):
            raise
        sys.exit(f"unrollflow: {message(error)}")


def is_no_advertisement(record: logging.LogRecord) -> bool:
    """Whether a note of Lightning is about the run: its tip to install litlogger is not."""
    return "litlogger" not in record.getMessage()


def parse_command(first: list[str]) -> str:
    """The command that the first argument names; `--help`, `--version` and anything else are answered here."""
    lines = [f"  {name:<10}{purpose}" for name, (_, purpose) in COMMANDS.items()]
    parser = ArgumentParser(
        "unrollflow",
        usage="unrollflow COMMAND ...",
        description="Unsupervised optical flow with Cost Unrolling.",
        epilog="\n".join(["commands:", *lines, "", "`unrollflow COMMAND --help` lists the arguments of a command."]),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"unrollflow {version('unrollflow')}")
    _, others = parser.parse_known_args(first)
    if not others or others[0] not in COMMANDS:
        wrong = f"{others[0]!r} is not a command" if others else "the command is missing"
        *names, last = COMMANDS
        parser.exit(2, f"unrollflow: {wrong}; the commands are {', '.join(names)} and {last}.\n")
    return others[0]


def split_trusted(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Arguments without every `--trust PREFIX`, and the prefixes: names that checkpoints may ask for beside ours.

    >>> split_trusted(["predict", "--trust", "mypackage.", "frames"])
    (['predict', 'frames'], ['mypackage.'])
    """
    flags = [i for i, argument in enumerate(arguments[:-1]) if argument == "--trust"]
    taken = {i + offset for i in flags for offset in (0, 1)}
    return [a for i, a in enumerate(arguments) if i not in taken], [arguments[i + 1] for i in flags]


def shipped_config(argument: str) -> str:
    """An argument whose YAML file is not there, but is one that the package ships, with that file's path."""
    flag, separator, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
    if not value.endswith(".yaml") or Path(value).is_file():
        return argument
    name = value.removeprefix("configs/")
    # in the wheel the configurations lie inside the package; in a checkout, beside it
    found = [folder / name for folder in (PACKAGE / "configs", PACKAGE.parent / "configs") if (folder / name).is_file()]
    return f"{flag}{separator}{found[0]}" if found else argument


def expected(error: BaseException) -> bool:
    """Whether an error is about the input: raised by the package, here or in a data worker, or by a parser of settings.

    Parsers are jsonargparse and the trainer's connectors; an error that names a file or a wrong setting always is. An
    ImportError of the package names the extra to install.
    """
    if MISCONFIGURED in [kind.__name__ for kind in type(error).__mro__]:
        return True
    if not isinstance(error, ValueError | OSError | ImportError):
        return False
    innermost = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    parsers = {"jsonargparse", "connectors"} & set(innermost.parts)
    named = getattr(error, "filename", None)
    return bool(named or parsers) or innermost.is_relative_to(PACKAGE) or WORKER in str(error)


def message(error: BaseException) -> str:
    """The error's own words, without what a DataLoader worker or jsonargparse puts around them."""
    text = str(error)
    if WORKER in text:
        return text.strip().splitlines()[-1].partition(": ")[2]
    # of an optional object, jsonargparse reports that it cannot be built and that it is not None either
    reasons = [" ".join(found.split()) for found in REASON.findall(text) if "NoneType" not in found]
    return "; ".join(reasons) or text
