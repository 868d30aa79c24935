from pathlib import Path

import pytest

from benchmarks import backbones


def test_size_and_operations_of_a_backbone_are_known_by_hand() -> None:
    found = backbones.sized(atom="spynet", height=60, width=61, repeats=1)  # padded to 64x64
    weights, pixels = 240_050 - (32 + 64 + 32 + 16 + 2), sum(4**level for level in range(2, 7))
    assert found["parameters"] == 1_200_250
    assert found["gflop"] == pytest.approx(2 * weights * pixels / 1e9)
    assert found["seconds"] > 0


def test_a_small_backbone_is_trained_and_measured() -> None:
    for objective in ("plain", "supervised_flownet_small"):
        found = backbones.trained(atom="flownets_small", objective=objective, steps=1, images=2, seed=0)
        assert found["parameters"] == sum(p.numel() for p in backbones.network("flownets_small").parameters())
        assert found["epe"] > 0
        assert found["zero_epe"] > 0


def test_a_training_has_the_requested_number_of_different_samples() -> None:
    """All samples differ, and a smaller set is the start of a larger one."""
    few, many = (backbones.layers(2, 0, samples=n, labels=True).train for n in (8, 10))
    assert (len(few), len(many)) == (8, 10)
    firsts = [many[i]["image1"] for i in range(10)]
    assert all((firsts[i] != firsts[j]).any() for i in range(10) for j in range(i))
    assert all((few[i]["image1"] == firsts[i]).all() for i in range(8))


def test_every_published_backbone_is_in_the_table() -> None:
    small = {path.stem for path in (backbones.CONFIGS / "backbone").glob("*_small.yaml")}
    assert {name for _, name in backbones.NETWORKS.values()} == small


@pytest.mark.slow
def test_the_table_of_backbones_skips_finished_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        backbones.main(["--short", "--processes", "1", "--folder", str(tmp_path)])
    assert capsys.readouterr().out.count("| FlowNet 2.0 | 162,518,834 |") == 2
    assert len((tmp_path / "sizes.jsonl").read_text().splitlines()) == len(backbones.NETWORKS)
    trainings = (tmp_path / "trainings.jsonl").read_text().splitlines()
    assert len(trainings) == len(backbones.NETWORKS) + len(backbones.MORE)
