import os
from pathlib import Path

import pytest
import torch

from unrollflow.checkpoints import (
    MOVED,
    check_fits,
    check_trusted,
    names_to_import,
    read_checkpoint,
    with_current_names,
)


class Evil:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_crafted_pickle_is_refused_without_running(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "payload": Evil(tmp_path / "written")}, tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match=r"evil\.ckpt cannot be read"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.ckpt cannot be read"):
        read_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("zipped", [True, False])  # torch's format, and the one before 1.6
def test_a_truncated_file_is_refused(zipped: bool, tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.rand(3)}}, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "a.ckpt").read_bytes()
    for length in range(0, len(whole), 3):
        (tmp_path / "cut.ckpt").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.ckpt cannot be read"):
            read_checkpoint(tmp_path / "cut.ckpt")


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "none.ckpt")
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no 'state_dict'"):
        read_checkpoint(tmp_path / "other.pt")


def test_names_are_found_in_any_depth_and_form() -> None:
    config = {
        "a": [{"class_path": "x.Y", "init_args": {"b": "z.w"}}],
        "_class_path": "v.U",
        "c": "/etc/x",
        "d": "border",
    }
    assert sorted(names_to_import(config)) == ["/etc/x", "v.U", "x.Y", "z.w"]


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "unrollflowevil.X", "torch.load", "evil.yaml"])
def test_classes_from_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"x.ckpt refers to untrusted names: {name}"):
        check_trusted({"backbone": {"class_path": name}}, "x.ckpt")
    with pytest.raises(ValueError, match=f"x.ckpt refers to untrusted names: {name}"):
        check_trusted({"optimizer": name}, "x.ckpt")  # a bare string names a function as well
    check_trusted({"backbone": {"class_path": name}}, "x.ckpt", trusted=[name.split(".")[0] + "."])


def test_a_class_that_this_version_does_not_define_is_reported() -> None:
    with pytest.raises(
        ValueError, match=r"refers to unrollflow.callbacks.run_report.Gone, which this version .* does not define"
    ):
        check_trusted({"class_path": "unrollflow.callbacks.run_report.Gone"}, "x.ckpt")


def test_only_what_a_trusted_package_defines_itself_is_trusted() -> None:
    with pytest.raises(ValueError, match=r"refers to unrollflow\.data\.io\.flow\.os\.system"):
        check_trusted({"backbone": "unrollflow.data.io.flow.os.system"}, "x.ckpt")
    with pytest.raises(ValueError, match=r"untrusted names: os\.system"):
        check_trusted({"parts": {"os.system"}}, "x.ckpt")


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        ({"state_dict": [1]}, "no 'state_dict'"),
        ({"state_dict": {"a": 1}}, "other objects than tensors"),
        ({"state_dict": {}, "hyper_parameters": [1]}, "its configuration is a list"),
    ],
)
def test_contents_of_another_form_are_named(tmp_path: Path, contents: dict[str, object], complaint: str) -> None:
    torch.save(contents, tmp_path / "odd.ckpt")
    with pytest.raises(ValueError, match=complaint):
        read_checkpoint(tmp_path / "odd.ckpt")


def test_a_function_that_would_build_the_module_is_refused_too() -> None:
    with pytest.raises(ValueError, match=r"untrusted names: os\.system"):
        check_trusted({"_instantiator": "os.system"}, "x.ckpt", trusted=["os."])


def test_our_own_classes_and_torchs_optimizers_are_trusted() -> None:
    config = {"a": {"class_path": "unrollflow.models.PWCLite"}, "b": {"class_path": "torch.optim.AdamW"}}
    check_trusted(config, "x.ckpt")


def test_matching_weights_pass_and_others_are_reported_in_one_line() -> None:
    weights = {"a": torch.zeros(2), "b": torch.zeros(3)}
    check_fits(weights, weights, "x")
    with pytest.raises(ValueError, match="1 names missing, 1 unknown, 0 of another shape"):
        check_fits({"a": torch.zeros(2), "c": torch.zeros(3)}, weights, "x")


def test_class_paths_of_earlier_versions_name_classes_that_exist() -> None:
    classes = {
        "unrollflow.averaging.AverageWeights", "unrollflow.collapse.CollapseGuard", "unrollflow.data.footage.Video",
        "unrollflow.data.boundaries.WithBoundaryDistance", "unrollflow.data.frames.FramePairs",
        "unrollflow.data.jitter.AppearanceJitter", "unrollflow.data.resizing.Resize",
        "unrollflow.schedules.DecayAfter", "unrollflow.telemetry.SmoothnessTelemetry",
    }  # fmt: skip
    assert {name.rpartition(".")[0] + "." for name in classes} == set(MOVED)
    check_trusted({name: with_current_names(name) for name in classes}, "x.ckpt")
