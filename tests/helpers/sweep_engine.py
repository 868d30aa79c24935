"""Print the results of W&B's sweep engine for a file as JSON; runs in a separate Python without this package.

It simulates the server: two suggestions, whose runs end, then two more, and four runs with different validations.
"""

import json
import sys

import sweeps
import yaml

VALIDATIONS = 16


def main() -> None:
    with open(sys.argv[1]) as file:  # noqa: PTH123, no more than the engine needs
        config = yaml.safe_load(file)
    metric = config["metric"]["name"]
    runs: list[sweeps.SweepRun] = []
    for _ in range(2):
        for run in sweeps.next_runs(config, runs, validate=True, n=2):
            values = [2.0 / (1 + len(runs)) + 0.1 * i for i in range(VALIDATIONS)]
            ended = {
                "state": "finished",
                "summaryMetrics": {metric: values[-1]},
                "history": [{metric: v} for v in values],
            }
            runs.append(sweeps.SweepRun(name=str(len(runs)), config=run.config, **ended))
    stopped = {}
    for count in range(1, VALIDATIONS):
        running = [
            sweeps.SweepRun(name=str(i), state="running", history=[{metric: float(i)}] * count) for i in range(4)
        ]
        stopped[count] = len(sweeps.stop_runs(config, running, validate=True))
    suggested = [{name: found["value"] for name, found in run.config.items()} for run in runs]
    violations = sweeps.schema_violations_from_proposed_config(config)
    sys.stdout.write(json.dumps({"violations": violations, "suggested": suggested, "stopped": stopped}))


if __name__ == "__main__":
    main()
