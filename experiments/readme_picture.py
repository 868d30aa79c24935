"""Write docs/motorcycle.png, the picture of README: the shipped weights on a pair of photographs.

Command: python -m experiments.readme_picture. Seconds on two CPU cores: 10.

The pair is scikit-image's motorcycle at half size, with motions of up to 30 px. The flow of the shipped weights is
refined, as by `predict --refine`, in both directions.
"""

from pathlib import Path

import torch

from unrollflow import pretrained
from unrollflow.data import StereoMotorcycle, write_image
from unrollflow.ops import forward_backward_visibility
from unrollflow.variational import refine_flow
from unrollflow.visualization.flow import panel

PICTURE = Path(__file__).parents[1] / "docs" / "motorcycle.png"


@torch.no_grad()
def main(picture: Path = PICTURE, *, reduction: int = 2) -> None:
    """Compute the flow of the pair, reduced in size by a factor, and write the picture."""
    sample = StereoMotorcycle(reduction=reduction)[0]
    image1, image2 = (sample[name].unsqueeze(0) for name in ("image1", "image2"))
    found = pretrained("small")(image1, image2)
    flow = refine_flow(image1, image2, found.flow)
    backward = refine_flow(image2, image1, found.flow_backward)
    row = panel(
        image1=image1[0],
        prediction=flow[0],
        visible=forward_backward_visibility(flow, backward)[0],
        target=sample["flow"],
        valid=sample["valid"],
    )
    write_image(picture, row)


if __name__ == "__main__":
    main()
