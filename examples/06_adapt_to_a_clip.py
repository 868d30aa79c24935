"""
Adapt the weights to a clip
===========================

Adapt the shipped weights to one clip, without labels. This example makes a clip with noise, which the training data of
the weights do not contain, and runs a few steps of the recipe for your own footage.
"""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from skimage import data

import unrollflow
from unrollflow.cli.main import main
from unrollflow.data import read_image, write_image
from unrollflow.metrics import endpoint_error

# %%
# The clip: a camera moves over a photograph, by 3 pixels to the right and 2 pixels down in each frame. The true flow is
# therefore (-3, -2) everywhere. All frames have noise.

photograph = torch.from_numpy(data.astronaut()).movedim(-1, 0) / 255
generator = torch.Generator().manual_seed(0)
place = TemporaryDirectory()
clip = Path(place.name) / "clip"
clip.mkdir()
for i in range(6):
    frame = photograph[:, 60 + 2 * i : 204 + 2 * i, 120 + 3 * i : 312 + 3 * i]
    noise = 0.1 * torch.randn(frame.shape, generator=generator)
    write_image(clip / f"{i:02}.png", (frame + noise).clamp(0, 1))

# %%
# Train with `configs/experiment/adapt.yaml`, as on the command line. The recipe has 240 steps; here are 24. The run
# validates the shipped weights first, and keeps them if no later validation is better.

steps = 24
arguments = [
    *("--config", "configs/experiment/adapt.yaml"),
    *("--data.train.root", str(clip), "--data.validation.root", str(clip), "--data.workers", "0"),
    *("--trainer.max_steps", str(steps), "--trainer.val_check_interval", str(steps // 2)),
    *("--model.scheduler.init_args.total_steps", str(steps + 1)),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    *("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", place.name),
]
main(["fit", *arguments])
(run,) = Path(place.name).glob("*/version_0")

# %%
# The score of a validation is the forward-backward mismatch in pixels. It needs no ground truth.

with (run / "metrics.csv").open(newline="") as file:
    scores = [(row["step"], row["val/consistency"]) for row in csv.DictReader(file) if row["val/consistency"]]
print(scores)

# %%
# Here the true flow is known, so the end-point error can be measured.

image1, image2 = (read_image(clip / name) for name in ("02.png", "03.png"))
truth = torch.tensor([-3.0, -2.0]).view(2, 1, 1).expand(2, *image1.shape[-2:])
for name, weights in (("shipped weights", "small"), ("adapted weights", run / "checkpoints" / "best.ckpt")):
    flow = unrollflow.flow(image1, image2, network=unrollflow.pretrained(weights))
    error = endpoint_error(flow[None], truth[None])[..., 8:-8, 8:-8].mean()  # without the border
    print(f"{name}: {error:.2f} px")
place.cleanup()
