"""From nothing to flow on real photographs: train without labels, validate, predict, and say where everything lies.

Command: make quickstart. Minutes on two CPU cores: about 6.

The real photographs are the motorcycle pair that scikit-image bundles or, where the environment variable
UNROLLFLOW_DATA_DIR names a folder that holds `middlebury`, those sequences.
"""

import os
import time
from pathlib import Path

from unrollflow.cli import main as unrollflow
from unrollflow.data import Middlebury, StereoMotorcycle, write_image

RUNS = Path("runs/flow")
CLOSING = """
Done in {minutes:.1f} minutes.
  {report}
      how it learned, with curves and pictures: open it in a browser
  {real_report}
      the same network on real photographs
  {flow}
      their flow: .flo files, colours (.png) and what is seen in both frames (_visible.png)

What to run next:
  unrollflow predict FOLDER_OF_FRAMES --ckpt_path {checkpoint} --output flow
      flow of your own frames
  unrollflow fit --config configs/experiment/quickstart.yaml --model.smoothness configs/smoothness/tv_l1.yaml
      the same training with hard total variation in the place of the unrolled term
"""


def newest_run() -> Path:
    """Directory of the run that was started last."""
    return max(RUNS.glob("version_*"), key=lambda path: int(path.name.removeprefix("version_")))


def real_frames(folder: Path) -> tuple[list[str], dict[str, list[Path]]]:
    """Arguments that validate on real photographs, and the pairs to predict, by name."""
    middlebury = Path(os.environ.get("UNROLLFLOW_DATA_DIR", "")) / "middlebury"
    if os.environ.get("UNROLLFLOW_DATA_DIR") and middlebury.is_dir():
        pairs = {pair.name: [pair.image1, pair.image2] for pair in Middlebury(root=middlebury).pairs}
        return ["--data", "configs/data/middlebury.yaml", "--data.validation.root", str(middlebury)], pairs
    sample = StereoMotorcycle()[0]
    views = [folder / "left.png", folder / "right.png"]
    for path, name in zip(views, ("image1", "image2"), strict=True):
        write_image(path, sample[name])
    return ["--data", "configs/data/motorcycle.yaml"], {"motorcycle": views}


def main() -> None:
    """Fit, validate on real photographs, predict them."""
    start = time.perf_counter()
    unrollflow(["fit", "--config", "configs/experiment/quickstart.yaml"])
    run = newest_run()
    checkpoint = run / "checkpoints" / "best.ckpt"
    arguments, pairs = real_frames(run / "real")
    print("\nOn real photographs, which it never saw:", flush=True)
    unrollflow(["validate", "--ckpt_path", str(checkpoint), *arguments])
    for name, (first, second) in pairs.items():
        unrollflow(
            ["predict", str(first), str(second), "--ckpt_path", str(checkpoint), "--output", str(run / "real" / name)]
        )
    reports = {"report": run / "report.html", "real_report": newest_run() / "report.html"}
    minutes = (time.perf_counter() - start) / 60
    print(CLOSING.format(minutes=minutes, **reports, flow=run / "real", checkpoint=checkpoint))


if __name__ == "__main__":
    main()
