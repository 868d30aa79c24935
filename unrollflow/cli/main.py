"""Entry point of the command line: import and run the module of a command, and report bad input in one message."""

import logging
import re
import signal
import sys
import threading
import traceback
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import FrameType

PACKAGE = Path(__file__).parents[1]

COMMANDS = {
    "fit": ("fit", "train a network"),
    "validate": ("fit", "evaluate a network on the validation data"),
    "test": ("fit", "evaluate a network on the test data"),
    "predict": ("predict", "write the flow of frames, of videos or of a benchmark's test set"),
    "label": ("label", "write the flow of your own frames as labels for a second stage of training"),
    "estimate": ("estimate", "write the flow of two images, computed without a network"),
    "compare": ("compare", "compare runs on one page: settings, curves, measures and pictures"),
    "export": ("export.command", "write a trained network as an ONNX or torch.export file"),
    "import": ("import_weights", "convert the weights that another project released"),
}
"""Module and purpose of each command; `run` of the module takes the arguments and the trusted prefixes."""

WORKER = "DataLoader worker process"
REASON = re.compile(r"^  - (.*(?:\n {4,}.*)*)", re.MULTILINE)
"""An entry in jsonargparse's list of errors, with its continuation lines."""

MISCONFIGURED = "MisconfigurationException"
"""Lightning's error for invalid settings; compared by name, because importing it takes seconds."""


LIGHTNINGS_NOTES = "pytorch_lightning.utilities.rank_zero"
"""Logger of Lightning's messages."""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; bad input prints one message and exits with status 1 (2 for arguments that cannot be parsed)."""
    arguments, trusted = split_trusted(list(sys.argv[1:] if args is None else args))
    command = parse_command(arguments[:1])
    # Lightning 2.6 still uses a deprecated name of torch, which users cannot fix
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
    logging.getLogger(LIGHTNINGS_NOTES).addFilter(is_no_advertisement)
    try:
        module = import_module(f"unrollflow.cli.{COMMANDS[command][0]}")
        with ended_by_sigterm():
            module.run([shipped_config(argument) for argument in arguments], trusted)
    except Exception as error:
        if not expected(error):
            raise
        sys.exit(f"unrollflow: {message(error)}")


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Raise SystemExit at SIGTERM, so that incomplete files are removed.

    Otherwise, Lightning ignores the signal, except during a training. A handler of the caller is not replaced.
    """
    in_main = threading.current_thread() is threading.main_thread()  # Python allows handlers only there
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def is_no_advertisement(record: logging.LogRecord) -> bool:
    """Whether a message of Lightning is not its advertisement of litlogger."""
    return "litlogger" not in record.getMessage()


def parse_command(first: list[str]) -> str:
    """Return the command of the first argument; for `--help`, `--version` and unknown commands, print and exit."""
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
    """Arguments without every `--trust PREFIX`, and these prefixes of names that checkpoints may also use.

    >>> split_trusted(["predict", "--trust", "mypackage.", "frames"])
    (['predict', 'frames'], ['mypackage.'])
    """
    flags = [i for i, argument in enumerate(arguments[:-1]) if argument == "--trust"]
    taken = {i + offset for i in flags for offset in (0, 1)}
    return [a for i, a in enumerate(arguments) if i not in taken], [arguments[i + 1] for i in flags]


def shipped_config(argument: str) -> str:
    """Argument in which the name of a missing YAML file is replaced by the path of the file that the package ships."""
    flag, separator, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
    if not value.endswith(".yaml") or Path(value).is_file():
        return argument
    name = value.removeprefix("configs/")
    # in a wheel, the configurations are inside the package; in a checkout, beside it
    found = [folder / name for folder in (PACKAGE / "configs", PACKAGE.parent / "configs") if (folder / name).is_file()]
    return f"{flag}{separator}{found[0]}" if found else argument


def expected(error: BaseException) -> bool:
    """Whether an error is about the input, so that its message is sufficient without a traceback.

    These are errors raised by the package (also in a data worker), by jsonargparse or by the trainer's connectors, and
    errors that name a file or a wrong setting. An ImportError of the package names the extra to install.
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
    """Message of an error, without the text that a DataLoader worker or jsonargparse adds."""
    text = str(error)
    if WORKER in text:
        return text.strip().splitlines()[-1].partition(": ")[2]
    # for an optional object, jsonargparse also reports that the value is not None
    reasons = [" ".join(found.split()) for found in REASON.findall(text) if "NoneType" not in found]
    return "; ".join(reasons) or text
