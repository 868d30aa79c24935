"""The command line: `unrollflow fit | validate | test` (LightningCLI) and `unrollflow predict` on plain files."""

import sys
import traceback
import warnings
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from unrollflow.callbacks import FlowWriter
from unrollflow.data import FlowDataModule, FramePairs
from unrollflow.flow_cli import FlowCLI, SaveRunConfig
from unrollflow.module import UnsupervisedFlow

PACKAGE = Path(__file__).parent
WORKER = "DataLoader worker process"
STAGES_OF_A_CHECKPOINT = ("validate", "test")


def main(args: Sequence[str] | None = None) -> None:
    """Run a subcommand; bad input ends in one message and exit status 1 (2 for arguments that cannot be parsed)."""
    arguments = list(sys.argv[1:] if args is None else args)
    try:
        if arguments[:1] == ["predict"]:
            predict_from_arguments(arguments[1:])
        else:
            run_lightning(arguments)
    except (ValueError, OSError) as error:
        if not expected(error):
            raise
        sys.exit(f"unrollflow: {message(error)}")


def run_lightning(arguments: list[str]) -> None:
    """LightningCLI on arguments in which shipped configurations and those of checkpoints are filled in."""
    # Lightning warns that `args` might be given by mistake; here they are the command line's own, with paths filled in
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    FlowCLI(
        UnsupervisedFlow,
        FlowDataModule,
        args=[shipped_config(argument) for argument in with_saved_config(arguments)],
        auto_configure_optimizers=False,
        save_config_callback=SaveRunConfig,
        seed_everything_default=0,
        parser_kwargs={"description": __doc__},
    )


def shipped_config(argument: str) -> str:
    """An argument whose YAML file is not there, but is one that the package ships, with that file's path."""
    flag, separator, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
    if not value.endswith(".yaml") or Path(value).is_file():
        return argument
    name = value.removeprefix("configs/")
    # in the wheel the configurations lie inside the package; in a checkout, beside it
    found = [folder / name for folder in (PACKAGE / "configs", PACKAGE.parent / "configs") if (folder / name).is_file()]
    return f"{flag}{separator}{found[0]}" if found else argument


def with_saved_config(arguments: list[str]) -> list[str]:
    """For validate and test with a checkpoint and no configuration: the one saved beside the run.

    Raises:
        FileNotFoundError: if there is none.
    """
    names = [argument.split("=")[0] for argument in arguments]
    alone = "--ckpt_path" in names and not {"--config", "-c"} & set(names)
    if not alone or arguments[0] not in STAGES_OF_A_CHECKPOINT:
        return arguments
    position = names.index("--ckpt_path")
    path = Path(arguments[position].partition("=")[2] or "".join(arguments[position + 1 : position + 2]))
    for folder in (path.parent, path.parent.parent):
        if (folder / "config.yaml").is_file():
            return [arguments[0], "--config", str(folder / "config.yaml"), *arguments[1:]]
    raise FileNotFoundError(
        f"no config.yaml beside {path} nor in {path.parent.parent}; name the run's configuration with --config."
    )


def predict_from_arguments(arguments: list[str]) -> None:
    """Parse the arguments of `unrollflow predict` and run it."""
    parser = ArgumentParser("unrollflow predict", description="Optical flow of a folder of frames, or of two images.")
    parser.add_argument("frames", nargs="+", type=Path, help="a folder of frames in natural order, or two images")
    parser.add_argument("--ckpt_path", required=True, type=Path, help="checkpoint of a fit")
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder to write to (%(default)s)")
    parser.add_argument("--accelerator", default="auto", help="as of Lightning's Trainer (%(default)s)")
    parser.add_argument("--precision", default="32-true", help="as of Lightning's Trainer (%(default)s)")
    parsed = parser.parse_args(arguments)
    predict(**vars(parsed))


def predict(frames: list[Path], *, ckpt_path: Path, output: Path, accelerator: str, precision: str) -> None:
    """Write .flo, colour .png and visibility of every pair of frames, any size, named after the first frame.

    Args:
        frames: one folder, or two images.
        ckpt_path: checkpoint of a fit by the command line.
        output: folder to write to.
        accelerator, precision: as of Lightning's Trainer.

    Raises:
        FileNotFoundError, ValueError: if the checkpoint or a frame cannot be read, naming it.
    """
    pairs = FramePairs(frames[0] if len(frames) == 1 else tuple(frames))
    module = UnsupervisedFlow.load_from_checkpoint(ckpt_path)
    trainer = pl.Trainer(
        accelerator=accelerator,
        precision=precision,  # type: ignore[arg-type]  # checked by Lightning, which lists what it knows
        callbacks=[FlowWriter(output)],
        logger=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.predict(module, DataLoader(pairs), return_predictions=False)
    print(f"Flow of {len(pairs)} pair(s) of frames written to {output}")  # noqa: T201, the command's answer


def expected(error: BaseException) -> bool:
    """Whether an error is about the input: raised by the package, here or in a data worker, or by jsonargparse."""
    innermost = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return innermost.is_relative_to(PACKAGE) or "jsonargparse" in innermost.parts or WORKER in str(error)


def message(error: BaseException) -> str:
    """The error's own words, without what a DataLoader worker or jsonargparse puts around them."""
    text = str(error)
    if WORKER in text:
        return text.strip().splitlines()[-1].partition(": ")[2]
    # of an optional object, jsonargparse reports that it cannot be built and that it is not None either
    reasons = [line.strip(" -") for line in text.splitlines() if line.startswith("  - ") and "NoneType" not in line]
    return "; ".join(reasons) or text
