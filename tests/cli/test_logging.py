"""Content of the W&B files of an offline fit, and of its TensorBoard files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.wandb_file import logged_and_configured

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_offline_run_holds_scalars_panels_and_the_configuration_once(tmp_path: Path) -> None:
    configs = ["experiment/quickstart.yaml", "logger/wandb.yaml", "debug/brief.yaml"]
    arguments = [word for name in configs for word in ("--config", str(ROOT / "configs" / name))]
    subprocess.run(
        [sys.executable, "-m", "unrollflow", "fit", *arguments, "--data.workers", "0"],
        cwd=tmp_path,
        env=os.environ | {"WANDB_MODE": "offline", "WANDB_SILENT": "true"},
        check=True,
    )
    (file,) = tmp_path.glob("runs/wandb/offline-run-*/run-*.wandb")
    logged, configured = logged_and_configured(file)
    assert {"loss/total", "loss/smoothness", "grad_norm", "lr-AdamW/pg1", "val/epe", "panels.filenames"} <= logged
    for name in ("model", "data", "trainer"):
        assert configured.count(name) == 1
    assert not {"backbone", "smoothness"} & set(configured)  # no second copy under other names
    run = tmp_path / "runs" / "flow" / "version_0"
    assert (run / "metrics.csv").is_file()
    assert (run / "config.yaml").is_file()
    assert list(tmp_path.glob("runs/wandb/offline-run-*/files/media/images/panels_*.png"))


@pytest.mark.slow
def test_tensorboard_shares_the_folder_of_the_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install '.[tensorboard]'")
    configs = ["experiment/quickstart.yaml", "logger/tensorboard.yaml", "debug/tiny.yaml"]
    arguments = [word for name in configs for word in ("--config", str(ROOT / "configs" / name))]
    small = [f"--data.{part}.size=[96, 96]" for part in ("train", "validation")]
    subprocess.run([sys.executable, "-m", "unrollflow", "fit", *arguments, *small], cwd=tmp_path, check=True)
    (run,) = (tmp_path / "runs" / "flow").iterdir()
    assert (run / "metrics.csv").is_file()
    assert list(run.glob("events.out.tfevents.*"))
