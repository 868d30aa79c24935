from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentError
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.models.test_pairs import NETWORKS
from unrollflow.data import AppearanceJitter, FlowDataModule, MovingLayers
from unrollflow.losses import (
    L1,
    SSIM,
    AllVisible,
    Distillation,
    ForwardBackward,
    RandomAffine,
    RandomWindow,
    RangeMap,
    TotalVariation,
    UnrolledTotalVariation,
    UnsupervisedObjective,
)
from unrollflow.models import PWCLite
from unrollflow.ops import crop_centre, pad_to_multiple
from unrollflow.training.module import UnsupervisedFlow

NETWORK: dict[str, Any] = {
    "pyramid_channels": [4, 6, 8, 8],
    "projection_channels": 4,
    "search_range": 2,
    "estimator_channels": [8, 8, 6],
    "context_channels": [8, 6],
}
OBJECTIVE = partial(
    UnsupervisedObjective,
    visibility=AllVisible(),
    smoothness_weight=0.5,
    level_weights=1.0,
    smoothness_level_weights=0.0,
)


def parts(**options: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "backbone": PWCLite(**NETWORK),
        "photometric": L1(),
        "smoothness": UnrolledTotalVariation(),
        "objective": OBJECTIVE,
        "optimizer": partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1),
    } | options


def layers(length: int = 4, split: str = "train") -> MovingLayers:
    return MovingLayers(split=split, length=length, size=(32, 48))


def trainer(directory: Path, **options: Any) -> pl.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    return pl.Trainer(default_root_dir=directory, **(quiet | {"max_steps": 1, "enable_checkpointing": False} | options))


def data(**options: Any) -> FlowDataModule:
    return FlowDataModule(train=layers(), validation=layers(2, "validation"), batch_size=2, workers=0, **options)


def test_a_step_changes_every_weight(tmp_path: Path) -> None:
    module = UnsupervisedFlow(**parts())
    before = {name: value.clone() for name, value in module.named_parameters()}
    trainer(tmp_path).fit(module, data())
    assert all(not value.equal(before[name]) for name, value in module.named_parameters())


def test_weight_decay_reaches_weights_only() -> None:
    optimizer = UnsupervisedFlow(**parts()).configure_optimizers()
    decays = {p.ndim > 1: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {True: 0.1, False: 0.0}


def test_scheduler_advances_by_the_step(tmp_path: Path) -> None:
    halve = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    module = UnsupervisedFlow(**parts(scheduler=halve))
    trainer(tmp_path, max_steps=2).fit(module, data())
    optimizer = module.optimizers()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.25e-3)


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (40, 61)])
def test_any_size_goes_in_and_comes_out(size: tuple[int, int]) -> None:
    prediction = UnsupervisedFlow(**parts())(torch.rand(1, 3, *size), torch.rand(1, 3, *size))
    assert prediction.flow.shape == prediction.flow_backward.shape == (1, 2, *size)
    assert prediction.visible.shape == (1, 1, *size)


@pytest.mark.parametrize("size", [(16, 32), (17, 31), (40, 61)])
def test_padding_is_undone_by_cropping(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size)
    padded = pad_to_multiple(image, 16)
    assert padded.shape[-2] % 16 == padded.shape[-1] % 16 == 0
    assert crop_centre(padded, size).equal(image)


def test_frames_below_the_minimum_are_refused() -> None:
    with pytest.raises(ValueError, match="frames are 8x40, but PWCLite needs at least 16"):
        UnsupervisedFlow(**parts())(torch.rand(1, 3, 8, 40), torch.rand(1, 3, 8, 40))


def test_a_backbone_must_be_a_flow_network() -> None:
    with pytest.raises(ValueError, match="backbone is a Linear"):
        UnsupervisedFlow(**parts(backbone=nn.Linear(1, 1)))


def test_measures_need_ground_truth_and_the_score_does_not(tmp_path: Path) -> None:
    class Unlabelled(MovingLayers):
        def __getitem__(self, index: int) -> dict[str, Any]:
            return {k: v for k, v in super().__getitem__(index).items() if k in ("image1", "image2", "name")}

    runner = trainer(tmp_path)
    (labelled,) = runner.validate(UnsupervisedFlow(**parts()), DataLoader(layers(2, "validation")), verbose=False)
    assert labelled["val/score"] == labelled["val/epe"]
    assert labelled["val/epe_median_flow"] > 0
    unlabelled = DataLoader(Unlabelled(split="validation", length=2, size=(32, 48)))
    (blind,) = trainer(tmp_path).validate(UnsupervisedFlow(**parts()), unlabelled, verbose=False)
    assert "val/epe" not in blind
    assert blind["val/score"] == blind["val/photometric"] == pytest.approx(labelled["val/photometric"])


def test_of_several_true_flows_a_validation_takes_the_closest(tmp_path: Path) -> None:
    sample = layers(1, "validation")[0]
    samples: Any = [sample | {"flow_candidates": torch.stack([sample["flow"], torch.zeros_like(sample["flow"])])}]
    (measured,) = trainer(tmp_path).validate(UnsupervisedFlow(**parts()), DataLoader(samples), verbose=False)
    assert measured["val/epe_zero_flow"] == 0


def test_bfloat16_autocast_trains_and_stays_close(tmp_path: Path) -> None:
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        module = UnsupervisedFlow(**parts())
        runner = trainer(tmp_path, precision=precision)
        runner.fit(module, data())
        losses[precision] = runner.callback_metrics["loss/total"].item()
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in module.parameters())
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.02)


def test_frames_of_another_range_are_named_before_they_are_on_a_gpu(tmp_path: Path) -> None:
    class Bright(MovingLayers):
        def __getitem__(self, index: int) -> Any:
            sample = super().__getitem__(index)
            return sample | {"image2": 255 * sample["image2"]}

    loader = DataLoader(Bright(split="train", length=2, size=(32, 48)))
    for task in ("fit", "validate", "test", "predict"):
        with pytest.raises(ValueError, match=r"UnsupervisedFlow got images with values from .* divide 0\.\.255 by 255"):
            getattr(trainer(tmp_path), task)(UnsupervisedFlow(**parts()), loader)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: 255 * x, "divide 0..255 by 255"),
        (lambda x: (255 * x).byte(), "expected floating-point numbers"),
        (lambda x: x[0], "for a single image"),
        (lambda x: x[:, :1], "for a grey one"),
        (lambda x: x.double(), "weights of PWCLite are torch.float32"),
    ],
    ids=["0..255", "8 bits", "one image", "grey", "float64"],
)
def test_other_frames_are_named(change: Callable[[Tensor], Tensor], message: str) -> None:
    image = change(torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match=message):
        UnsupervisedFlow(**parts())(image, image)


@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
def test_half_precision_weights_are_refused_with_the_way_out(precision: str, tmp_path: Path) -> None:
    for task in ("fit", "validate", "predict"):
        module = UnsupervisedFlow(**parts(jitter=AppearanceJitter()))
        with pytest.raises(ValueError, match=r"--trainer\.precision 16-mixed or bf16-mixed"):
            getattr(trainer(tmp_path, precision=precision), task)(module, DataLoader(layers(2, "validation")))
    for half in (UnsupervisedFlow(**parts()).half(), UnsupervisedFlow(**parts()).bfloat16()):
        with pytest.raises(ValueError, match=r"--trainer\.precision 16-mixed or bf16-mixed"):
            half(torch.rand(1, 3, 32, 48), torch.rand(1, 3, 32, 48))


@pytest.fixture
def tf32() -> Iterator[None]:
    """Both backends may compute float32 products with 10 bits."""
    convolutions, matrices = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    yield
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.set_float32_matmul_precision(matrices)


@pytest.mark.usefixtures("tf32")
@pytest.mark.parametrize("task", ["fit", "validate", "test", "predict"])
def test_no_task_computes_float32_products_in_tf32(task: str, tmp_path: Path) -> None:
    getattr(trainer(tmp_path), task)(UnsupervisedFlow(**parts()), DataLoader(layers(2, "validation")))
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("name", NETWORKS)
def test_double_precision_works_throughout(name: str, tmp_path: Path) -> None:
    module = UnsupervisedFlow(**parts(backbone=NETWORKS[name]()))
    trainer(tmp_path, precision="64-true", val_check_interval=1).fit(module, data())
    runner = trainer(tmp_path, precision="64-true")
    (measured,) = runner.validate(module, data(), verbose=False)
    single = trainer(tmp_path).validate(module.float(), data(), verbose=False)[0]
    assert measured["val/census"] == pytest.approx(single["val/census"], abs=1e-2)
    (prediction,) = trainer(tmp_path, precision="64-true").predict(module, DataLoader(layers(1, "validation")))
    assert {field.dtype for field in prediction} == {torch.float64}


class KeepsGradients(pl.Callback):
    """Gradients of the first step, as the optimizer gets them."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        self.kept = {name: p.grad.clone() for name, p in pl_module.named_parameters() if p.grad is not None}


def test_accumulated_half_batches_have_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    """With all that draws and masks: occlusions, jitter, a student."""
    found = []
    for batch_size, accumulated in ((4, 1), (2, 2)):
        jitter = AppearanceJitter(blur_probability=0.5, eraser_probability=0.5, eraser_size=(5, 9))
        options = {"jitter": jitter, "distillation": [lessons(visibility=RangeMap(threshold=0.2))]}
        objective = partial(OBJECTIVE, visibility=ForwardBackward(bias=20.0))
        module = UnsupervisedFlow(**parts(objective=objective, photometric=SSIM(), **options))
        keeps = KeepsGradients()
        pl.seed_everything(7)
        steps = {"max_steps": 1, "accumulate_grad_batches": accumulated, "limit_val_batches": 0}
        loaded = FlowDataModule(train=layers(), batch_size=batch_size, workers=0)
        trainer(tmp_path, precision="64-true", callbacks=[keeps], **steps).fit(module, loaded)
        found.append(keeps.kept)
    whole, halves = found
    scale = max(value.abs().max() for value in whole.values())
    assert scale > 1e-3
    assert whole.keys() == halves.keys()
    for name, value in whole.items():
        assert value.dtype == torch.float64
        assert (halves[name] - value).abs().max() <= 1e-9 * scale, name


def test_one_seed_one_result_whatever_the_workers(tmp_path: Path) -> None:
    weights: list[dict[str, Tensor]] = []
    for workers in (0, 2):
        module = UnsupervisedFlow(**parts())
        loaded = FlowDataModule(train=layers(), batch_size=2, workers=workers)
        trainer(tmp_path, max_steps=3).fit(module, loaded)
        weights.append(module.state_dict())
    assert all(value.equal(weights[1][name]) for name, value in weights[0].items())


def test_a_module_built_in_python_keeps_its_parts_out_of_the_checkpoint(tmp_path: Path) -> None:
    module = UnsupervisedFlow(**parts())
    runner = trainer(tmp_path, enable_checkpointing=True)
    runner.fit(module, data())
    path = tmp_path / "python.ckpt"
    runner.save_checkpoint(path)
    assert not torch.load(path, weights_only=True).get("hyper_parameters")
    with pytest.raises(ValueError, match="pass the parts of the module"):
        UnsupervisedFlow.load_from_checkpoint(path)
    again = UnsupervisedFlow.load_from_checkpoint(path, **parts(smoothness=TotalVariation()))
    assert all(value.equal(module.state_dict()[name]) for name, value in again.state_dict().items())
    with pytest.raises(ValueError, match="holds another network"):
        UnsupervisedFlow.load_from_checkpoint(path, **parts(backbone=PWCLite(**NETWORK, dense=True)))


def test_loading_takes_lightnings_arguments(tmp_path: Path) -> None:
    module = UnsupervisedFlow(**parts())
    weights, path = module.state_dict(), tmp_path / "some.ckpt"
    name = next(iter(weights))
    torch.save({"state_dict": weights}, path)
    for arguments in (("cpu", None, True, True), (torch.device("cpu"),)):
        again = UnsupervisedFlow.load_from_checkpoint(path, *arguments, **parts())
        assert again.state_dict()[name].equal(weights[name])
    assert UnsupervisedFlow.load_from_checkpoint(path, map_location="meta", **parts()).device.type == "meta"
    others = {other: tensor + 1 for other, tensor in weights.items() if other != name}
    torch.save({"state_dict": others | {"unknown": torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match="1 names missing, 1 unknown"):
        UnsupervisedFlow.load_from_checkpoint(path, **parts())
    loose = UnsupervisedFlow.load_from_checkpoint(path, strict=False, **parts()).state_dict()
    assert all(loose[other].equal(tensor) for other, tensor in others.items())
    assert loose[name].equal(UnsupervisedFlow(**parts()).state_dict()[name])
    torch.save({"state_dict": {name: torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match="1 of another shape"):
        UnsupervisedFlow.load_from_checkpoint(path, strict=False, **parts())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights_only": False}, "weights_only=False and hparams_file are not supported"),
        ({"hparams_file": "hparams.yaml"}, "weights_only=False and hparams_file are not supported"),
        ({"map_location": {"cuda:1": "cpu"}}, "map_location is a dict; expected a device"),
    ],
)
def test_arguments_that_would_read_more_than_data_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UnsupervisedFlow.load_from_checkpoint("absent.ckpt", **arguments)


def test_a_checkpoint_may_not_name_classes_from_elsewhere(tmp_path: Path) -> None:
    contents = {"state_dict": {}, "hyper_parameters": {"backbone": {"class_path": "os.system"}}}
    torch.save(contents, tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match=r"untrusted names: os\.system"):
        UnsupervisedFlow.load_from_checkpoint(tmp_path / "evil.ckpt")
    # keys of old Lightning versions, which it would merge in, are not read at all
    smuggled = {"state_dict": {}, "hyper_parameters": {"init_weights": None}, "hparams": contents["hyper_parameters"]}
    torch.save(smuggled, tmp_path / "old.ckpt")
    with pytest.raises(ArgumentError, match="backbone"):  # the class that was smuggled is missing
        UnsupervisedFlow.load_from_checkpoint(tmp_path / "old.ckpt")
    module = UnsupervisedFlow(**parts())
    torch.save(contents | {"state_dict": module.state_dict()}, tmp_path / "evil.ckpt")
    UnsupervisedFlow.load_from_checkpoint(
        tmp_path / "evil.ckpt", **parts()
    )  # built by the user: its names do not count


class Watches(nn.Module):
    """A jitter that makes all frames grey and keeps the seeds that it got."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds: list[int] = []

    def forward(self, image1: Tensor, image2: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
        self.seeds.append(seed)
        return torch.full_like(image1, 0.5), torch.full_like(image2, 0.5)


def test_jitter_changes_what_the_backbone_sees_and_not_what_is_compared(tmp_path: Path) -> None:
    class Sees(PWCLite):
        def bidirectional(self, image1: Tensor, image2: Tensor) -> Any:
            assert image1.eq(0.5).all() == self.training
            return super().bidirectional(image1, image2)

    module = UnsupervisedFlow(**parts(backbone=Sees(**NETWORK), jitter=Watches()))
    runner = trainer(tmp_path)
    runner.fit(module, data())
    assert runner.callback_metrics["loss/photometric"] > 0.01  # of grey frames it would be 0


def test_every_step_has_its_own_draws_and_the_same_ones_again(tmp_path: Path) -> None:
    seeds = []
    for seed in (0, 0, 1):
        jitter = Watches()
        module = UnsupervisedFlow(**parts(jitter=jitter))
        pl.seed_everything(seed)
        trainer(tmp_path, max_steps=3).fit(module, data())
        assert len(set(jitter.seeds)) == 6, "each of two samples in each of three steps"
        seeds.append(jitter.seeds)
    assert seeds[0] == seeds[1]
    assert not set(seeds[1]) & set(seeds[2])


def test_seeds_are_made_only_where_something_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr("unrollflow.training.module.derived_seed", lambda *source: made.append(source) or len(made))
    trainer(tmp_path, limit_val_batches=0).fit(UnsupervisedFlow(**parts()), data())
    assert made == []
    trainer(tmp_path, limit_val_batches=0).fit(UnsupervisedFlow(**parts(jitter=Watches())), data())
    assert len(made) == 2  # one for each sample


def lessons(**options: Any) -> Distillation:
    return Distillation(**({"views": [RandomAffine()], "visibility": AllVisible(), "weight": 0.5} | options))


def logged(tmp_path: Path, **options: Any) -> dict[str, float]:
    runner = trainer(tmp_path)
    runner.fit(UnsupervisedFlow(**parts(**options)), data())
    return {name: value.item() for name, value in runner.callback_metrics.items()}


def test_the_student_costs_what_its_weight_says(tmp_path: Path) -> None:
    without, taught = logged(tmp_path), logged(tmp_path, distillation=[lessons()])
    assert taught["loss/photometric"] == without["loss/photometric"]
    student = taught["loss/distillation_0"]
    assert student > 0
    assert taught["loss/total"] == pytest.approx(without["loss/total"] + 0.5 * student, rel=1e-6)


def test_a_distillation_term_before_its_start_costs_nothing(tmp_path: Path) -> None:
    assert logged(tmp_path, distillation=[lessons(start=1)]) == logged(tmp_path)


def test_a_distillation_term_that_does_not_fit_fails_at_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="smaller than the student's crop"):
        logged(tmp_path, distillation=[lessons(views=[RandomWindow(size=(512, 512))], start=10**4)])


def test_two_distillation_terms_have_different_draws(tmp_path: Path) -> None:
    both = logged(tmp_path, distillation=[lessons(), lessons()])
    assert both["loss/distillation_0"] != both["loss/distillation_1"]


def test_the_teacher_sees_the_frames_as_they_are(tmp_path: Path) -> None:
    """With a jitter, the teacher's flow of the original frames is computed in a separate pass without gradients."""

    class Sees(PWCLite):
        def bidirectional(self, image1: Tensor, image2: Tensor) -> Any:
            seen.append((image1.eq(0.5).all().item(), torch.is_grad_enabled()))
            return super().bidirectional(image1, image2)

    seen: list[Any] = []
    module = UnsupervisedFlow(**parts(backbone=Sees(**NETWORK), jitter=Watches(), distillation=[lessons()]))
    trainer(tmp_path, limit_val_batches=0).fit(module, data())
    assert seen[:2] == [(True, True), (False, False)]
