"""Import of released weights of other projects, by the names in :mod:`unrollflow.models.released.layouts`.

Tensors are never matched by order or shape, and unknown names raise an error.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unrollflow.checkpoints import check_fits, read_data
from unrollflow.models.released.layouts import LAYOUTS, Layout, Source
from unrollflow.ops.choice import check_choice

PARALLEL = "module."
"""Prefix of all names in torch's DataParallel."""


class ImportReport(NamedTuple):
    """Result of an import.

    Attributes:
        tensors: number of imported tensors, parameters and statistics of batch norm.
        parameters: number of trainable parameters.
        skipped: names that were skipped on purpose, with the reason.
        remark: difference between the released network and ours, or empty.
    """

    tensors: int
    parameters: int
    skipped: dict[str, str]
    remark: str

    def __str__(self) -> str:
        lines = [f"{self.tensors} tensors imported, {self.parameters:,} parameters; {len(self.skipped)} skipped"]
        lines += [f"  {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines + [self.remark] * bool(self.remark))


def import_weights(path: str | Path, network: nn.Module, *, source: Source) -> ImportReport:
    """Load weights released by another project into a network.

    Channels are not reordered, and except for one warp, our networks compute the same as theirs:

    - "arflow": PWC-Lite for two frames, reduced or dense, RGB in [0, 1]. Channels of the cost volume are ordered by dy,
      then dx, and are means over the features. Flow is warped and enlarged with aligned corners, as in torch 1.1, with
      which ARFlow was developed; with newer versions, ARFlow's code warps without aligned corners.
    - "cost_unrolling": the same network, but its environment pins torch 2.0.1, with which its warp between levels
      samples up to half a pixel beside ours at the edges of the frame. Its flow therefore differs slightly.
    - "princeton_raft": RAFT with `upsampling="convex"`; the small RAFT is another network. Theirs maps images from
      0..255 to [-1, 1], ours from [0, 1]. The channels of the lookup are ordered by level, x offset, then y offset, as
      in ours: the first axis of their window is added to x, although its variable is called dy. Also equal are the
      factor 1 / sqrt(C) of the correlations, bilinear samples with aligned corners and zeros outside, tanh and relu of
      the context, the GRU, and the 9 x 8 x 8 logits times 0.25 of the up-sampling. They evaluate with 32 iterations on
      Sintel and 24 on KITTI; ours has `evaluation_iterations`.
    - "torchvision_raft": `raft_large`, the same network with other names and the same order of channels (di, the outer
      one, is added to x); its images are in [-1, 1], ours in [0, 1]. Its default is 12 iterations.

    Args:
        path: a file written by torch.save: names and tensors, or a mapping that has them as 'state_dict'. Names may
            begin with DataParallel's "module.".
        network: a :class:`~unrollflow.models.PWCLite` or :class:`~unrollflow.models.RAFT`; changed in place.
        source: project that released the file.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if it is damaged or contains more than data, or names or shapes differ; the network is then
            unchanged.

    Source: lliuz/ARFlow (models/pwclite.py, models/correlation_native.py), gallif/CostFunctionUnrolling
        (models/pwc_admm.py, models/admm.py, environment.yaml), princeton-vl/RAFT (core/raft.py, core/corr.py,
        core/update.py, core/utils/utils.py), pytorch/vision (torchvision/models/optical_flow/raft.py).
    """
    check_choice("source", source, Source)
    layout = LAYOUTS[source](network)
    file = f"{path} (read as {source}, into {type(network).__name__})"
    weights = released_tensors(path, file)
    ours = network.state_dict()
    theirs = {translated(name, layout.names, file): name for name in ours}
    left_out = {name: why for name, why in layout.skipped.items() if name in weights} | twins(weights, layout, file)
    taken = {name: weights[name] for name in weights if name not in left_out}
    check_fits(taken, {name: ours[theirs[name]] for name in theirs}, file)
    check_numbers(taken, {name: ours[theirs[name]] for name in theirs}, file)
    network.load_state_dict({theirs[name]: tensor for name, tensor in taken.items()})
    return ImportReport(len(taken), sum(p.numel() for p in network.parameters()), left_out, layout.remark)


def released_tensors(path: str | Path, file: str) -> dict[str, Tensor]:
    """Names and tensors of a file, without DataParallel's prefix; `file` is its name in errors."""
    contents = read_data(path)
    weights = contents.get("state_dict", contents) if isinstance(contents, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(n, str) and is_plain(t) for n, t in weights.items()):
        raise ValueError(f"{file} contains other objects than names and plain tensors.")
    prefix = PARALLEL if all(name.startswith(PARALLEL) for name in weights) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}


def is_plain(value: object) -> bool:
    """Whether a value is a dense, unquantised tensor on the CPU."""
    return isinstance(value, Tensor) and value.is_cpu and value.layout == torch.strided and not value.is_quantized


def check_numbers(taken: Mapping[str, Tensor], expected: Mapping[str, Tensor], file: str) -> None:
    """Raise ValueError if a tensor has another kind of numbers than in the network, or numbers that are not finite."""
    for name, tensor in taken.items():
        if tensor.is_floating_point() != expected[name].is_floating_point() or tensor.is_complex():
            raise ValueError(f"{file}: {name} is of type {tensor.dtype}; expected {expected[name].dtype}.")
        if not tensor.to(expected[name].dtype).isfinite().all():  # in the type of the network
            raise ValueError(f"{file}: {name} has numbers that are not finite; the file cannot be used.")


def translated(name: str, names: dict[str, str], file: str) -> str:
    """Name in the file for one of our tensors, such as context.norm.weight."""
    part, _, leaf = name.rpartition(".")
    if part not in names:
        raise ValueError(f"{file}: {name} of the network does not exist in that project; use the released sizes.")
    return f"{names[part]}.{leaf}"


def twins(weights: dict[str, Tensor], layout: Layout, file: str) -> dict[str, str]:
    """Tensors of a file that are in it under another name, too, and the reason to skip them."""
    found = {}
    for name, tensor in weights.items():
        part, _, leaf = name.rpartition(".")
        first = f"{layout.twins.get(part)}.{leaf}"
        if part in layout.twins and first in weights:
            if not tensor.equal(weights[first]):
                raise ValueError(f"{file}: {name} and {first} differ, but are one tensor in that project's code.")
            found[name] = f"the same tensor as {first}"
    return found
