"""Write the weights of a run and their card into the package, with errors beside OpenCV DIS and the solver.

Command: python -m experiments.ship_weights small runs/flow/version_N --minutes 50 --commit HASH
    --command "unrollflow fit --config configs/experiment/thirty_minutes.yaml"
Command: python -m experiments.ship_weights small, which measures the shipped weights again and writes their card; with
    --only_time on an otherwise idle machine, it measures only the time

The errors are those of the averaged weights at the end of the run, on held-out MovingLayers and on the benchmark
sequences below UNROLLFLOW_DATA_DIR. The run does not use these data. Errors of DIS and of the solver are measured once
and stored in results/rows.jsonl: remove it after a change of the solver. experiments.ship_weights.confidence adds the
figures of the confidence.
"""

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from experiments.common.accuracy import FlowOf, benchmark_sets, data_folder, dis_flow, errors, held_out, refined
from experiments.common.grid import Results, run_grid
from experiments.ship_weights.confidence import with_confidence
from unrollflow.checkpoints import MODEL_KEY, model_arguments, read_checkpoint
from unrollflow.contracts import FlowSample
from unrollflow.data.io.files import write_atomic
from unrollflow.inference import pretrained
from unrollflow.variational import preset_flow
from unrollflow.weights import SHIPPED, SUFFIX, packed_weights, read_card, read_weights

RESULTS = Path(__file__).with_name("results")

SETS = ("middlebury", "sintel", "sintel final", "kitti2012", "kitti2015", "chairs")
SAMPLES = "held-out MovingLayers"
FRAME = (436, 1024)
"""Height and width of the frames for the measurement of time."""

LICENCE = "MIT, as the package; the training data are synthetic and contain no photograph"
KNOWN_FAILURES = [
    "Motion of tens of pixels: the errors on KITTI are tens of pixels, and on KITTI 2012 larger than those of DIS.",
    "Pixels that are occluded in the second frame: their errors are several times as large as those of visible pixels.",
    "Thin details, such as the spokes and handlebars of the motorcycle pair, take the flow of what is behind them.",
    "Changes of brightness, reflections, smoke and motion blur: the training data do not contain them.",
]

CARD = """# Weights "{name}"

{network} with {parameters:,} parameters, trained without labels. SHA-256 of `{name}.safetensors`: `{sha256}`.

- Training: `{command}`, {steps} steps, seed {seed}, {minutes:g} minutes on one CPU core, commit {commit},
  torch {torch}.
- Data: {data}, synthetic, rendered by the package. No photograph, no video, no benchmark and no ground truth.
- Licence: {licence}.
- Time of a frame of {height}x{width}, forward flow, two threads: {seconds:.2f} s.

Mean end-point error in pixels. Settings of the recipe were chosen while looking at the errors on Middlebury and Sintel.

{table}

Known failures:

{failures}
"""


BASELINES: dict[str, FlowOf] = {
    "OpenCV DIS, medium": dis_flow,
    "solver, fast": lambda image1, image2: preset_flow(image1, image2, preset="fast"),
    "solver, default": preset_flow,
}
"""Baselines of the network, by name."""


def samples(group: str) -> list[FlowSample]:
    """Return the pairs of a set."""
    pairs = {SAMPLES: held_out(), **benchmark_sets(data_folder(), group)}[group]
    return [pairs[i] for i in range(len(pairs))]  # type: ignore[arg-type, index]


def baseline(*, group: str, method: str) -> Results:
    """Return the errors of a baseline on a set."""
    return errors(BASELINES[method], samples(group))._asdict()


def measured(network: FlowOf, group: str) -> dict[str, Results]:
    """Return the errors of a network on a set, without and with refinement."""
    pairs = samples(group)
    methods = {"this network": network, "this network, refined": refined(network)}
    return {name: errors(method, pairs)._asdict() for name, method in methods.items()}


def seconds_of(network: FlowOf) -> float:
    """Return the median time of five frames on two threads, seconds."""
    images = torch.rand(2, 1, 3, *FRAME)
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(2)
    with torch.no_grad():
        for _ in range(6):
            start = time.perf_counter()
            network(*images)
            times.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return sorted(times[1:])[2]


def table(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the errors as a Markdown table: a row for each set, then for each image of a benchmark."""
    names = list(next(iter(found.values())))
    lines = [[" ", *names], ["---"] * (1 + len(names))]
    for group, by_method in found.items():
        lines.append([f"**{group}**", *(f"**{by_method[name]['epe']:.3f}**" for name in names)])
        if group != SAMPLES:
            images = {name: by_method[name]["images"] for name in names}
            lines += [[image, *(f"{images[name][image]:.3f}" for name in names)] for image in images[names[0]]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Write NAME.safetensors, NAME.json and NAME.md; without a run, measure the shipped weights of this name again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument(
        "run", type=Path, nargs="?", help="folder of the run; without it, the shipped weights are not changed"
    )
    parser.add_argument("--command", help="of the training")
    parser.add_argument("--minutes", type=float, help="of the training")
    parser.add_argument("--commit", help="of the training")
    parser.add_argument(
        "--only_time", action="store_true", help="keep the errors of the card, and measure the time again"
    )
    options = parser.parse_args()
    file = SHIPPED / f"{options.name}{SUFFIX}"
    if options.run is None:
        tensors, card = read_weights(file)
    else:
        if None in (options.command, options.minutes, options.commit):
            parser.error("a run needs --command, --minutes and --commit")
        tensors, card = of_run(options)
    write(file, tensors, card)
    network = pretrained(file).one_way
    card["seconds"] = {"size": FRAME, "threads": 2, "forward": round(seconds_of(network), 3)}
    if not options.only_time:
        card["errors"] = rounded(all_errors(network))
    write(file, tensors, card)
    text = text_of(card, sha256=read_card(file)["sha256"])
    text = with_confidence(text, card["confidence"]) if "confidence" in card else text
    write_atomic(file.with_suffix(".md"), text.encode())


def all_errors(network: FlowOf) -> dict[str, dict[str, Results]]:
    """Return the errors of the network and of the baselines on every set that exists."""
    groups = [SAMPLES, *benchmark_sets(data_folder(), *SETS)]
    cells = [{"group": group, "method": method} for group in groups for method in BASELINES]
    rows = run_grid(cells, baseline, RESULTS / "rows.jsonl", processes=os.cpu_count() or 1, about="baselines")
    found = {group: measured(network, group) for group in groups}
    for row in rows:
        found[row["settings"]["group"]][row["settings"]["method"]] = row["results"]
    return found


def of_run(options: argparse.Namespace) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the card, without errors, of the last checkpoint of a run."""
    checkpoint = read_checkpoint(options.run / "checkpoints" / "last.ckpt")
    config = yaml.safe_load((options.run / "config.yaml").read_text())
    training = {
        "command": options.command,
        "steps": checkpoint["global_step"],
        "seed": config["seed_everything"],
        "minutes": options.minutes,
        "commit": options.commit,
        "torch": torch.__version__,
        "data": config["data"]["train"],
    }
    card = {
        "name": options.name,
        "licence": LICENCE,
        "parameters": sum(tensor.numel() for tensor in checkpoint["state_dict"].values()),
        "model": model_arguments(checkpoint[MODEL_KEY]),
        "training": training,
        "known_failures": KNOWN_FAILURES,
    }
    return checkpoint["state_dict"], card


def text_of(card: Mapping[str, Any], *, sha256: str) -> str:
    """Return the card as Markdown."""
    training = card["training"]
    names = {"data": training["data"]["class_path"], "network": card["model"]["backbone"]["class_path"]}
    return CARD.format(
        **{**card, **training, **names, "seconds": card["seconds"]["forward"], "sha256": sha256},
        height=FRAME[0],
        width=FRAME[1],
        table=table(card["errors"]),
        failures="\n".join(f"- {failure}" for failure in card["known_failures"]),
    )


def write(file: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write weights and card."""
    weights, text = packed_weights(tensors, card)
    write_atomic(file, weights)
    write_atomic(file.with_suffix(".json"), text)


def rounded(value: Any) -> Any:
    """Round nested figures to four decimals; replace figures that are not finite by None."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return (round(value, 4) if value == value else None) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
