"""Compare training steps with bfloat16 autocast and in float32 on one thread, as `--trainer.precision auto` does.

    python -m benchmarks.precision

The first row is the probe of `auto`; steps include the objective, clipping and AdamW, on noise.
"""

from pathlib import Path

from benchmarks.matcher import BATCH, CROP, on_threads, training_step
from benchmarks.measuring import Row, machine, table
from experiments.common.assembly import CONFIGS
from unrollflow.training.precision import bfloat16_ratio

EXPERIMENTS = ("quickstart", "overnight", "quickstart_pwclite")


def rows(*, short: bool) -> list[Row]:
    """Return the probe and a step of each experiment for CPUs: bfloat16 as ours, float32 as the reference."""
    batch, crop = (1, 64) if short else (BATCH, CROP)
    found = [Row("auto's probe: bfloat16 / float32", "float32's time", bfloat16_ratio(), 1.0)]
    for name in EXPERIMENTS[: 1 if short else None]:
        recipe = CONFIGS / "experiment" / f"{name}.yaml"
        steps = [training_step(batch, crop, recipe=recipe, bfloat16=on) for on in (True, False)]
        times = on_threads(1, steps, repeats=1 if short else 7)
        found.append(Row(f"{name}, {batch} x {crop}x{crop}: step in bfloat16 / in float32", "ms", *times))
    return found


if __name__ == "__main__":
    flags = Path("/proc/cpuinfo").read_text().split()
    found = [name for name in ("avx512_bf16", "amx_bf16") if name in flags]
    print(f"{table(rows(short=False))}\n\n{machine()}, {', '.join(found) or 'no bfloat16 instructions'}")
