import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from unrollflow.models import RAFT, PWCLite, import_weights
from unrollflow.models.raft.lookup import AllPairs
from unrollflow.models.released.layouts import ADMM_CONSTANTS, LAYOUTS, Source

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "arflow": PWCLite,
    "arflow dense": lambda: PWCLite(dense=True),
    "cost_unrolling": PWCLite,
    "princeton_raft": lambda: RAFT(upsampling="convex"),
    "torchvision_raft": lambda: RAFT(upsampling="convex"),
}
SOBEL = torch.tensor([[[[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]], [[[-1.0, -2, -1], [0, 0, 0], [1, 2, 1]]]])
CONV_NAMES = {  # some names and shapes of each released file, read off its code
    "arflow": {
        "feature_pyramid_extractor.convs.5.1.0.weight": (192, 192, 3, 3),
        "flow_estimators.conv1.0.weight": (128, 115, 3, 3),
        "flow_estimators.predict_flow.0.bias": (2,),
        "context_networks.convs.6.0.weight": (2, 32, 3, 3),
        "conv_1x1.0.0.weight": (32, 192, 1, 1),
    },
    "arflow dense": {"flow_estimators.conv_last.0.weight": (2, 563, 3, 3)},
    "princeton_raft": {
        "fnet.conv1.weight": (64, 3, 7, 7),
        "cnet.norm1.running_var": (64,),
        "cnet.layer3.0.downsample.1.weight": (128,),
        "cnet.conv2.weight": (256, 128, 1, 1),
        "update_block.encoder.convc1.weight": (256, 324, 1, 1),
        "update_block.gru.convq2.weight": (128, 384, 5, 1),
        "update_block.mask.2.weight": (576, 256, 1, 1),
    },
    "torchvision_raft": {
        "feature_encoder.convnormrelu.0.weight": (64, 3, 7, 7),
        "feature_encoder.layer1.0.convnormrelu1.0.weight": (64, 64, 3, 3),
        "context_encoder.layer2.0.downsample.1.num_batches_tracked": (),
        "context_encoder.conv.bias": (256,),
        "update_block.motion_encoder.convcorr1.0.weight": (256, 324, 1, 1),
        "update_block.recurrent_block.convgru1.convz.weight": (128, 384, 1, 5),
        "mask_predictor.convrelu.0.weight": (256, 128, 3, 3),
        "mask_predictor.conv.weight": (576, 256, 1, 1),
    },
}


def source_of(kind: str) -> Any:
    return kind.split()[0]


def released(kind: str, seed: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random tensors in a released file's names, and the same in ours."""
    network = NETWORKS[kind]()
    layout = LAYOUTS[source_of(kind)](network)
    generator = torch.Generator().manual_seed(seed)
    theirs, ours = {}, {}
    for name, value in network.state_dict().items():
        part, leaf = name.rsplit(".", 1)
        tensor = torch.rand(value.shape, generator=generator).to(value.dtype)
        theirs[f"{layout.names[part]}.{leaf}"] = ours[name] = tensor
    for second, first in layout.twins.items():
        theirs |= {n.replace(first, second): t for n, t in theirs.items() if n.startswith(f"{first}.")}
    return theirs | dict.fromkeys(layout.skipped, SOBEL), ours


def saved(path: Path, kind: str, weights: dict[str, Tensor], **options: Any) -> Path:
    """The file as its project writes it: bare with DataParallel's prefix, bare, or among other things."""
    contents: dict[str, Any] = {"epoch": 3, "state_dict": weights}
    if "raft" in kind:
        contents = {f"module.{n}": t for n, t in weights.items()} if kind.startswith("princeton") else weights
    torch.save(contents, path, **options)
    return path


def test_every_source_is_tested() -> None:
    assert {source_of(kind) for kind in NETWORKS} == set(get_args(Source)) == LAYOUTS.keys()


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_name_of_the_table_is_a_part_of_the_network_and_no_two_are_one(kind: str) -> None:
    network = NETWORKS[kind]()
    names = LAYOUTS[source_of(kind)](network).names
    assert {name.rsplit(".", 1)[0] for name in network.state_dict()} <= names.keys()
    assert not [part for part in names if isinstance(network.get_submodule(part), nn.Identity)]
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("kind", CONV_NAMES)
def test_names_and_shapes_are_those_of_the_released_code(kind: str) -> None:
    theirs, _ = released(kind)
    assert {name: tuple(theirs[name].shape) for name in CONV_NAMES[kind]} == CONV_NAMES[kind]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("zipped", [True, False])  # torch's format, and the one before 1.6
def test_the_network_holds_exactly_the_files_tensors(kind: str, zipped: bool, tmp_path: Path) -> None:
    theirs, ours = released(kind)
    path = saved(tmp_path / "x.pth.tar", kind, theirs, _use_new_zipfile_serialization=zipped)
    network = NETWORKS[kind]()
    report = import_weights(path, network, source=source_of(kind))
    held = network.state_dict()
    assert held.keys() == ours.keys()
    assert all(held[name].equal(tensor) for name, tensor in ours.items())
    assert report.tensors == len(ours) == len(theirs) - len(report.skipped)
    assert report.parameters == sum(p.numel() for p in network.parameters())


def test_skipped_tensors_are_reported_with_the_reason(tmp_path: Path) -> None:
    theirs, _ = released("cost_unrolling")
    report = import_weights(saved(tmp_path / "x.tar", "cost", theirs), PWCLite(), source="cost_unrolling")
    assert report.skipped == ADMM_CONSTANTS
    assert "without aligned corners" in str(report).splitlines()[-1]
    assert str(report).splitlines()[0] == "60 tensors imported, 2,236,660 parameters; 2 skipped"
    theirs, _ = released("princeton_raft")
    path = saved(tmp_path / "raft.pth", "princeton_raft", theirs)
    report = import_weights(path, RAFT(upsampling="convex"), source="princeton_raft")
    assert len(report.skipped) == 10
    assert report.skipped["cnet.layer2.0.norm3.weight"] == "the same tensor as cnet.layer2.0.downsample.1.weight"


def test_a_network_trained_without_the_unrolled_cost_has_no_constants_to_leave_out(tmp_path: Path) -> None:
    theirs, _ = released("arflow")
    assert not import_weights(saved(tmp_path / "x.tar", "cost", theirs), PWCLite(), source="cost_unrolling").skipped


def refusal(path: Path, network: nn.Module, source: Any = "arflow") -> str:
    """Message of the error, after a check that the network is unchanged."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=re.escape(str(path))) as error:
        import_weights(path, network, source=source)
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())
    return str(error.value)


def test_unknown_missing_and_reshaped_tensors_are_named(tmp_path: Path) -> None:
    theirs, _ = released("arflow")
    path = saved(tmp_path / "more.tar", "arflow", theirs | {"mask_gen.sobel.D": SOBEL})
    assert "0 names missing, 1 unknown, 0 of another shape (unknown mask_gen.sobel.D)" in refusal(path, PWCLite())
    first, *rest = theirs
    path = saved(tmp_path / "less.tar", "arflow", {name: theirs[name] for name in rest})
    assert f"1 names missing, 0 unknown, 0 of another shape (missing {first})" in refusal(path, PWCLite())
    path = saved(tmp_path / "shape.tar", "arflow", theirs | {first: torch.zeros(16, 3, 1, 1)})
    assert f"1 of another shape ({first}: (16, 3, 1, 1), expected (16, 3, 3, 3))" in refusal(path, PWCLite())


def test_the_first_few_names_are_listed(tmp_path: Path) -> None:
    theirs, _ = released("arflow dense")
    message = refusal(saved(tmp_path / "dense.tar", "arflow", theirs), PWCLite())
    assert "2 names missing, 2 unknown, 5 of another shape" in message
    assert "missing flow_estimators.predict_flow.0.weight; unknown flow_estimators.conv_last.0.bias" in message
    assert "read as arflow, into PWCLite" in message


def test_another_source_or_another_network_is_refused(tmp_path: Path) -> None:
    theirs, _ = released("princeton_raft")
    path = saved(tmp_path / "raft.pth", "princeton_raft", theirs)
    assert "holds another network" in refusal(path, RAFT(upsampling="convex"), "torchvision_raft")
    for network, words in ((PWCLite(), "is a PWCLite"), (RAFT(), "is a RAFT with bilinear up-sampling")):
        with pytest.raises(ValueError, match=words):
            import_weights(path, network, source="princeton_raft")
    with pytest.raises(ValueError, match="the network is a RAFT"):
        import_weights(path, RAFT(), source="arflow")
    with pytest.raises(ValueError, match="has normalise_features"):
        import_weights(path, PWCLite(normalise_features=True), source="arflow")
    with pytest.raises(ValueError, match="source"):
        import_weights(path, RAFT(), source="smurf")  # type: ignore[arg-type]
    assert "does not exist in that project" in refusal(path, PWCLite(pyramid_channels=[8] * 7))


def test_twins_that_differ_are_refused(tmp_path: Path) -> None:
    theirs, _ = released("princeton_raft")
    name = "cnet.layer3.0.norm3.bias"
    path = saved(tmp_path / "raft.pth", "princeton_raft", theirs | {name: theirs[name] + 1})
    message = refusal(path, RAFT(upsampling="convex"), "princeton_raft")
    assert f"{name} and cnet.layer3.0.downsample.1.bias differ" in message


class Evil:
    """Unpickling it would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_with_code_is_refused_without_running_it(zipped: bool, tmp_path: Path) -> None:
    contents = {"state_dict": released("arflow")[0], "payload": Evil(tmp_path / "made")}
    torch.save(contents, tmp_path / "evil.tar", _use_new_zipfile_serialization=zipped)
    assert "cannot be read" in refusal(tmp_path / "evil.tar", PWCLite())
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(zipped: bool, share: float, tmp_path: Path) -> None:
    whole = io.BytesIO()
    torch.save({"state_dict": released("arflow")[0]}, whole, _use_new_zipfile_serialization=zipped)
    (tmp_path / "cut.tar").write_bytes(whole.getvalue()[: int(share * whole.getbuffer().nbytes)])
    assert "cannot be read" in refusal(tmp_path / "cut.tar", PWCLite())


@pytest.mark.parametrize(
    "contents",
    [1.0, [1], {"state_dict": [1]}, {"a": 1.0}, {1: torch.ones(1)}, {"a": torch.ones(1).to_sparse()},
     {"a": torch.ones(1, device="meta")}],
)  # fmt: skip
def test_what_is_no_mapping_of_plain_tensors_is_refused(contents: object, tmp_path: Path) -> None:
    torch.save(contents, tmp_path / "other.pt")
    assert "other objects than names and plain tensors" in refusal(tmp_path / "other.pt", PWCLite())


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda t: t.long(), "is of type torch.int64"),
        (lambda t: t * 1j, "is of type torch.complex64"),
        (lambda t: t / 0, "has numbers that are not finite"),
        (lambda t: t.double() + 1e300, "has numbers that are not finite"),
    ],
)
def test_tensors_of_other_numbers_are_refused(
    spoil: Callable[[Tensor], Tensor], complaint: str, tmp_path: Path
) -> None:
    theirs, _ = released("arflow")
    path = saved(tmp_path / "x.tar", "arflow", {name: spoil(tensor) for name, tensor in theirs.items()})
    assert complaint in refusal(path, PWCLite())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        import_weights(tmp_path / "none.pth", PWCLite(), source="arflow")


def test_the_lookups_channels_are_in_princetons_and_torchvisions_order() -> None:
    """Both mesh (first, second) with the first axis outer and add (first, second) to positions (x, y)."""
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 1, 3, 16, 24, generator=generator)
    x, y, radius, side = 12, 8, 4, 9
    found = AllPairs(features[0], features[1], levels=1, radius=radius)(
        torch.stack(torch.meshgrid(torch.arange(24.0), torch.arange(16.0), indexing="xy"))[None]
    )[0, :, y, x]
    for channel in range(side**2):
        first, second = channel // side - radius, channel % side - radius
        product = (features[0, 0, :, y, x] * features[1, 0, :, y + second, x + first]).sum() / 3**0.5
        torch.testing.assert_close(found[channel], product, atol=1e-4, rtol=0)
