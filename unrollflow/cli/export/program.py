"""Conversion of a trained PyramidMatcher to a torch.export or ONNX program with dynamic batch, height and width."""

import copy
import io
import json
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from unrollflow.models import PyramidMatcher

LARGEST_SIDE = 8192
"""Largest height and width of a program, pixels."""

MOST_PAIRS = 64
"""Largest batch of a program."""

TOLERANCE = 1e-3
"""Largest difference between a program and its network, pixels."""

METADATA = "metadata.json"
"""Name of the metadata in a torch.export file."""

INPUTS = ("image1", "image2")


class PaddedFlow(nn.Module):
    """Last flow of a network with a fixed number of pyramid levels, for images of any size above a minimum.

    Images are padded to multiples of `stride` by repeating the border, as :func:`~unrollflow.ops.pad_to_multiple` does.

    Args:
        network: network to copy.
        levels: number of pyramid levels at every size.

    Attributes:
        stride: images are padded to multiples of it, so that all levels have even sides; a torch.export program
            supports only one way of rounding.
        minimum_size: smallest height and width, pixels.
    """

    def __init__(self, network: PyramidMatcher, *, levels: int) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        self.stride, self.minimum_size = 2**levels, 2 ** (levels + 1)
        self.network.levels, self.network.stride, self.network.minimum_size = levels, self.stride, self.minimum_size
        self.network.coarsest_side = LARGEST_SIDE  # do not add levels outside torch.export either

    def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Flow (B, 2, H, W) from image1 to image2, (B, 3, H, W) each, pixels."""
        height, width = image1.shape[-2:]
        rows, columns = (padded_positions(n, self.stride, like=image1) for n in (height, width))
        padded = (image.index_select(2, rows).index_select(3, columns) for image in (image1, image2))
        flow: Tensor = self.network(*padded)[-1].flow
        own_rows, own_columns = (own_positions(n, self.stride, like=image1) for n in (height, width))
        return flow.index_select(2, own_rows).index_select(3, own_columns)


def padded_positions(side: int, stride: int, *, like: Tensor) -> Tensor:
    """Index of the source pixel for each position of a padded side; uses size expressions that torch.export supports.

    >>> padded_positions(5, 4, like=torch.zeros(()))
    tensor([0, 0, 1, 2, 3, 4, 4, 4])
    """
    padded = (side + stride - 1) // stride * stride
    return (torch.arange(padded, device=like.device) - (padded - side) // 2).clamp(0, side - 1)


def own_positions(side: int, stride: int, *, like: Tensor) -> Tensor:
    """Positions of the pixels of a side in the padded side.

    >>> own_positions(5, 4, like=torch.zeros(()))
    tensor([1, 2, 3, 4, 5])
    """
    padded = (side + stride - 1) // stride * stride
    return torch.arange(side, device=like.device) + (padded - side) // 2


def flow_program(flow: PaddedFlow) -> ExportedProgram:
    """torch.export program of a network, with dynamic batch, height and width."""
    sides = [Dim(name, min=flow.minimum_size, max=LARGEST_SIDE) for name in ("height", "width")]
    sizes = {0: Dim("batch", min=1, max=MOST_PAIRS), 2: sides[0], 3: sides[1]}
    # the example avoids special sizes: one pair, a square, multiples of the stride
    images = textures(2, flow.minimum_size + 3, flow.minimum_size + flow.stride + 1)
    example = tuple(image.to(next(flow.parameters()).dtype) for image in images)
    return export(
        flow,
        example,
        dynamic_shapes=(sizes, sizes),
        # torch cannot prove that some conditions, such as 1 % (H / stride) != 0, hold at all allowed sizes
        prefer_deferred_runtime_asserts_over_guards=True,
    )


def torch_file(program: ExportedProgram, metadata: Mapping[str, object]) -> bytes:
    """Contents of a file for torch.export.load."""
    contents = io.BytesIO()
    torch.export.save(program, contents, extra_files={METADATA: json.dumps(metadata)})
    return contents.getvalue()


def onnx_file(program: ExportedProgram, metadata: Mapping[str, object]) -> bytes:
    """Contents of an ONNX file, with the metadata as `metadata_props`."""
    converted = torch.onnx.export(
        program, (), dynamo=True, optimize=False, verbose=False, input_names=INPUTS, output_names=["flow"]
    )
    if converted is None:
        raise ValueError("torch.onnx returned no program; install the versions in constraints.txt.")
    converted.model.metadata_props.update({name: str(value) for name, value in metadata.items()})
    contents: bytes = converted.model_proto.SerializeToString()
    return contents


def torch_runner(contents: bytes) -> Callable[[Tensor, Tensor], Tensor]:
    """Function that computes flow with a file's torch.export program."""
    return torch.export.load(io.BytesIO(contents)).module()


def onnx_runner(contents: bytes) -> Callable[[Tensor, Tensor], Tensor]:
    """Function that computes flow with an ONNX file in onnxruntime, on the CPU."""
    import onnxruntime  # in the extra `export`

    session = onnxruntime.InferenceSession(contents, providers=["CPUExecutionProvider"])

    def _run(image1: Tensor, image2: Tensor) -> Tensor:
        images = {name: image.numpy() for name, image in zip(INPUTS, (image1, image2), strict=True)}
        return torch.from_numpy(session.run(["flow"], images)[0])

    return _run


@torch.inference_mode()
def largest_difference(run: Callable[[Tensor, Tensor], Tensor], flow: PaddedFlow) -> float:
    """Largest difference of a flow component between a program and its network, over five image sizes, pixels."""
    least, stride = flow.minimum_size, flow.stride
    sizes = [(1, least, least), (1, least + 1, least + stride), (2, least + stride // 2 + 1, least + 5)]
    sizes += [(1, least + stride, 2 * least - 1), (3, least + 2, least + 2 * stride + 3)]
    return max(float((run(*images) - flow(*images)).abs().max()) for images in (textures(*size) for size in sizes))


def textures(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pairs (B, 3, H, W) of a smooth texture, and the same texture moved by (3, -2) pixels, not wrapped at the border.

    The match is unambiguous everywhere. Textures that wrap at the border exceeded the tolerance, and noise may exceed
    it.
    """
    generator = torch.Generator().manual_seed(height * width)
    noise = torch.rand(count, 3, height // 4 + 2, width // 4 + 2, generator=generator)
    texture = F.interpolate(noise, (height + 2, width + 3), mode="bilinear")
    return texture[:, :, :-2, 3:], texture[:, :, 2:, :-3]
