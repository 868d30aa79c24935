"""Released weights of other projects, taken over by name by the tables of :mod:`unrollflow.models.released.layouts`.

Nothing is matched by order or by shape, and a name that no table knows is an error.
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
"""What torch's DataParallel puts before every name."""


class ImportReport(NamedTuple):
    """What was taken over.

    Attributes:
        tensors: how many, parameters and batch norm's statistics.
        parameters: numbers that training changes.
        skipped: names of the file that were skipped on purpose, and why.
        remark: how the released network differs from ours, or nothing.
    """

    tensors: int
    parameters: int
    skipped: dict[str, str]
    remark: str

    def __str__(self) -> str:
        lines = [f"{self.tensors} tensors taken over, {self.parameters:,} parameters; {len(self.skipped)} skipped"]
        lines += [f"  {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines + [self.remark] * bool(self.remark))


def import_weights(path: str | Path, network: nn.Module, *, source: Source) -> ImportReport:
    """Fill a network with the weights that another project released.

    No channel is reordered, and but for one warp our networks compute what theirs do:

    - "arflow": PWC-Lite for two frames, reduced or dense, RGB in [0, 1]. Channels of the cost volume run over dy, then
      dx, and are means over the features. Flow is warped and enlarged with aligned corners, as torch 1.1 does, with
      which ARFlow was developed; in newer versions ARFlow's own code warps without.
    - "cost_unrolling": the same network, but its environment pins torch 2.0.1, where the warp between its levels
      samples up to half a pixel beside ours at the frame's edges. Its flow is therefore not quite ours.
    - "princeton_raft": RAFT with `upsampling="convex"`; the small RAFT is another network. Theirs takes 0..255 and
      brings it to [-1, 1], ours takes [0, 1] and does the same. The lookup's channels run over levels, x offsets, then
      y offsets, as ours: their window's first axis is added to x, though its variable is called dy. Also equal: the
      correlations' factor 1 / sqrt(C), bilinear samples with aligned corners and zeros outside, tanh and relu of the
      context, GRU, and the up-sampling's 9 x 8 x 8 logits times 0.25. They evaluate with 32 iterations on Sintel and
      24 on KITTI; ours has `evaluation_iterations`.
    - "torchvision_raft": `raft_large`, the same network under other names, the same order of channels (di, the outer
      one, is added to x); it takes [-1, 1], ours [0, 1]. Its default is 12 iterations.

    Args:
        path: a file of torch.save: names and tensors, or a mapping that has them under 'state_dict'. Names may begin
            with DataParallel's "module.".
        network: a :class:`~unrollflow.models.PWCLite` or :class:`~unrollflow.models.RAFT`; changed in place.
        source: who released the file.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if it is damaged or holds more than data, or names or shapes differ; the network is then unchanged.

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
    """Names and tensors of a file, without DataParallel's prefix; `file` names it in errors."""
    contents = read_data(path)
    weights = contents.get("state_dict", contents) if isinstance(contents, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(n, str) and is_plain(t) for n, t in weights.items()):
        raise ValueError(f"{file} holds something else than names and plain tensors.")
    prefix = PARALLEL if all(name.startswith(PARALLEL) for name in weights) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}


def is_plain(value: object) -> bool:
    """Whether a value is a tensor whose numbers can be copied: not sparse, quantised or without contents."""
    return isinstance(value, Tensor) and value.is_cpu and value.layout == torch.strided and not value.is_quantized


def check_numbers(taken: Mapping[str, Tensor], expected: Mapping[str, Tensor], file: str) -> None:
    """Raise ValueError if a tensor is of another kind of number than the network's, or holds one that is not finite."""
    for name, tensor in taken.items():
        if tensor.is_floating_point() != expected[name].is_floating_point() or tensor.is_complex():
            raise ValueError(f"{file}: {name} is of {tensor.dtype}, the network's of {expected[name].dtype}.")
        if not tensor.to(expected[name].dtype).isfinite().all():  # as the network will hold them
            raise ValueError(f"{file}: {name} holds numbers that are not finite; the file is of no use.")


def translated(name: str, names: dict[str, str], file: str) -> str:
    """Their name of a tensor of ours, such as context.norm.weight."""
    part, _, leaf = name.rpartition(".")
    if part not in names:
        raise ValueError(f"{file}: the network has {name}, which that source's network has not; take its sizes.")
    return f"{names[part]}.{leaf}"


def twins(weights: dict[str, Tensor], layout: Layout, file: str) -> dict[str, str]:
    """Tensors of a file that stand in it under another name, too, and why they are skipped."""
    found = {}
    for name, tensor in weights.items():
        part, _, leaf = name.rpartition(".")
        first = f"{layout.twins.get(part)}.{leaf}"
        if part in layout.twins and first in weights:
            if not tensor.equal(weights[first]):
                raise ValueError(f"{file}: {name} and {first} are one tensor by that source's code, but differ.")
            found[name] = f"the same tensor as {first}"
    return found
