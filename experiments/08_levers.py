# ruff: noqa: N999, an experiment is called by its number
"""Which parts of the quickstart's recipe matter, and what would improve it?

Command: make reproduce EXP=08. One lever at a time is changed in configs/experiment/quickstart.yaml; network, data,
order of the samples, number of steps and seeds are equal unless the lever is about them. Every run is a `fit` of the
command line, so that a user can configure what is found here.
"""

import argparse
import json
import tempfile
from pathlib import Path

from experiments.accuracy import benchmark_sets, data_folder, errors, held_out, network_flow
from experiments.grid import Results, run_grid
from experiments.results import RESULTS
from unrollflow.cli import main as unrollflow
from unrollflow.module import UnsupervisedFlow

STORE = RESULTS / "08_levers.jsonl"
STEPS = 400
SEEDS = (0, 1)
OBJECTIVE = "--model.objective.init_args"
SMOOTHNESS = "--model.smoothness"
LEVERS: dict[str, list[str]] = {
    "recipe": [],
}
"""What each lever adds to the command line."""


def train(*, lever: str, arguments: list[str], seed: int, steps: int) -> Results:
    """Fit the quickstart with a lever, and measure the averaged weights."""
    with tempfile.TemporaryDirectory() as folder:
        logger = {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": folder, "name": "run"}}
        unrollflow(
            [
                "fit", "--config", "configs/experiment/quickstart.yaml",
                *("--seed_everything", str(seed), "--data.seed", str(100 * seed), "--data.train.seed", str(seed)),
                *("--trainer.max_steps", str(steps), "--model.scheduler.init_args.total_steps", str(steps + 1)),
                *("--trainer.val_check_interval", str(steps), "--trainer.logger", json.dumps([logger])),
                *("--trainer.enable_model_summary", "false", "--data.workers", "0"),
                *arguments,
            ]
        )  # fmt: skip
        module = UnsupervisedFlow.load_from_checkpoint(Path(folder) / "run" / "version_0" / "checkpoints" / "last.ckpt")
    flow_of = network_flow(module)
    sets = benchmark_sets(data_folder(), "middlebury", "sintel")
    results = {"moving_layers": errors(flow_of, held_out())._asdict()}
    del results["moving_layers"]["images"]
    return results | {name: errors(flow_of, pairs)._asdict() for name, pairs in sets.items()}


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--levers", nargs="+", default=list(LEVERS), choices=list(LEVERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    cells = [
        {"lever": lever, "arguments": LEVERS[lever], "seed": seed, "steps": STEPS}
        for lever in options.levers
        for seed in options.seeds
    ]
    run_grid(cells, train, STORE, processes=options.processes, about="levers")


if __name__ == "__main__":
    main()
