"""Damaged, missing and malicious files."""

import json
import pickle
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.common.assembly import CONFIGS
from tests.data.io.test_fuzz import HONEST, fuzz
from tests.data.shards.test_dataset import indexed, picture, shard
from tests.data.test_datamodule import Numbered, module, names
from tests.data.test_loader import Damaged, loader
from tests.helpers.clips import moving, write_video
from tests.helpers.command import run_one_step
from tests.reliability.fault import Fault, refusal
from tests.test_checkpoints import Evil
from tests.training.test_module import parts
from unrollflow.checkpoints import check_trusted, read_checkpoint
from unrollflow.cli.main import main
from unrollflow.cli.saved_config import class_paths
from unrollflow.data import FramePairs, read_flo, read_image, write_flo, write_image
from unrollflow.data.video.codec import VideoPairs
from unrollflow.training.module import UnsupervisedFlow

FUZZED = 10_000
"""Damaged files of all kinds together."""
QUICKSTART = CONFIGS / "experiment" / "quickstart.yaml"


def frame(path: Path, side: int = 16) -> Path:
    write_image(path, torch.rand(3, side, side + 3, generator=torch.Generator().manual_seed(side)))
    return path


def cut(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def vanished(folder: Path, *, workers: int) -> str:
    data = module(Damaged(8, bad=(5,)), on_bad_sample="skip", workers=workers)
    drawn = names([dict(batch) for batch in loader(data)])
    assert len(drawn) == 8
    assert "5" not in drawn
    return f"8 samples; replaced: {data.bad_samples.listed()}"


def vanished_and_told(folder: Path) -> str:
    return refusal(lambda: list(loader(module(Damaged(8, bad=(5,))))), names="no file 5.png", kind=FileNotFoundError)


def too_many_bad(folder: Path) -> str:
    data = module(Damaged(8, bad=(2, 5)), on_bad_sample="skip", most_bad_samples=1)
    return refusal(lambda: list(loader(data)), names="2.png is cut off")


def all_bad(folder: Path) -> str:
    data = module(Damaged(8, bad=tuple(range(8))), on_bad_sample="skip")
    return refusal(lambda: list(loader(data)), names="in a row cannot be read")


def sizes(folder: Path) -> str:
    return refusal(lambda: list(loader(module(Numbered(8, sizes=(4, 5))))), names="is 5x5")


def pair_of_sizes(folder: Path) -> str:
    frames = [frame(folder / "a.png", 16), frame(folder / "b.png", 20)]
    return refusal(lambda: FramePairs(frames)[0], names="b.png")


def cut_picture(folder: Path) -> str:
    return refusal(lambda: read_image(cut(frame(folder / "a.png"))), names="a.png")


def cut_flow(folder: Path) -> str:
    write_flo(folder / "a.flo", torch.zeros(2, 8, 9))
    return refusal(lambda: read_flo(cut(folder / "a.flo")), names="a.flo")


def lying_flow(folder: Path) -> str:
    write_flo(folder / "a.flo", torch.zeros(2, 8, 9))
    content = (folder / "a.flo").read_bytes()
    (folder / "a.flo").write_bytes(content[:4] + (2**31 - 1).to_bytes(4, "little") * 2 + content[12:])
    return refusal(lambda: read_flo(folder / "a.flo"), names="2147483647x2147483647")


def cut_video(folder: Path) -> str:
    write_video(folder / "a.mp4", moving(8))
    return refusal(lambda: len(VideoPairs(cut(folder / "a.mp4", 0.3))), names="a.mp4")


def fuzzed(folder: Path, *, kind: str) -> str:
    each = -(-FUZZED // len(HONEST))
    fuzz(kind, folder, examples=each)
    return f"{each} of {each}: a tensor, or a ValueError that names the file"


def fuzzed_yaml(folder: Path) -> str:
    tried = 500
    path = folder / "config.yaml"

    @settings(max_examples=tried, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.text(alphabet="ab:{}[]!&*'\"-\n ,.0/\\%@|>", max_size=60))
    def read(text: str) -> None:
        path.write_text(text)
        try:
            class_paths(yaml.safe_load(path.read_text()), folder)
        except (yaml.YAMLError, ValueError):
            return

    read()
    return f"{tried} of {tried}: parsed, or a YAML error"


def yaml_tag(folder: Path) -> str:
    text = f"model: !!python/object/apply:os.mkdir ['{folder}/ran']"
    words = refusal(lambda: yaml.safe_load(text), names="could not determine a constructor", kind=yaml.YAMLError)
    (folder / "config.yaml").write_text(text)
    with_main = refusal(lambda: main(["fit", "--config", str(folder / "config.yaml")]), names="", kind=SystemExit)
    assert with_main
    assert not (folder / "ran").exists()
    return words


def evil(folder: Path, *, zipped: bool) -> str:
    path = folder / "evil.ckpt"
    torch.save({"state_dict": {}, "x": Evil(folder / "ran")}, path, _use_new_zipfile_serialization=zipped)
    words = refusal(lambda: read_checkpoint(path), names="evil.ckpt cannot be read")
    assert not (folder / "ran").exists()
    return words


def evil_and_bare(folder: Path) -> str:
    (folder / "evil.ckpt").write_bytes(pickle.dumps(Evil(folder / "ran")))
    words = refusal(lambda: read_checkpoint(folder / "evil.ckpt"), names="evil.ckpt cannot be read")
    assert not (folder / "ran").exists()
    return words


def evil_on_the_command_line(folder: Path) -> str:
    torch.save({"state_dict": {}, "x": Evil(folder / "ran")}, folder / "evil.ckpt")
    arguments = ["fit", "--config", str(QUICKSTART), "--ckpt_path", str(folder / "evil.ckpt")]
    words = refusal(lambda: main(arguments), names="evil.ckpt cannot be read", kind=SystemExit)  # type: ignore[arg-type]
    assert not (folder / "ran").exists()
    return words


def foreign(folder: Path, *, config: dict[str, Any]) -> str:
    return refusal(lambda: check_trusted(config, "x.ckpt"), names="os.system")


def other_network(folder: Path) -> str:
    torch.save({"state_dict": {"w": torch.zeros(2)}, "hyper_parameters": {}}, folder / "x.ckpt")
    return refusal(lambda: UnsupervisedFlow.load_from_checkpoint(folder / "x.ckpt", **parts()), names="another network")


def cut_checkpoint(folder: Path) -> str:
    torch.save({"state_dict": {"w": torch.zeros(200)}}, folder / "x.ckpt")
    return refusal(lambda: read_checkpoint(cut(folder / "x.ckpt")), names="x.ckpt cannot be read")


def link_in_a_shard(folder: Path) -> str:
    data = shard(folder / "a", {"1.image1.png": picture(), "1.image2.png": picture()})
    with tarfile.open(folder / "a" / "a.tar", "w") as tar:
        info = tarfile.TarInfo("1.image1.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(info)
    return refusal(lambda: data[0], names="not a plain file")


def pickle_in_a_shard(folder: Path) -> str:
    data = shard(folder / "a", {"1.image1.pkl": pickle.dumps(Evil(folder / "ran")), "1.image2.png": picture()})
    words = refusal(lambda: data[0], names="1.image1.pkl is refused")
    assert not (folder / "ran").exists()
    return words


def climbing(folder: Path, *, name: str) -> str:
    return refusal(lambda: indexed(folder, [{"url": name, "nsamples": 1, "filesize": 1}]), names="shards.json lists")


def climbing_member(folder: Path) -> str:
    """Members are read in memory; nothing is ever extracted."""
    name = "../../climbed.image1.png"
    (folder / "a").mkdir()
    data = shard(folder / "a" / "b", {name: picture(), "../../climbed.image2.png": picture()})
    before = sorted(folder.rglob("*"))
    try:
        assert data[0]["image1"].ndim == 3
        words = "read as a picture, nothing written"
    except ValueError as error:
        words = str(error)
    assert sorted(folder.rglob("*")) == before
    return words


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def second_run(folder: Path) -> str:
    run_one_step(folder, QUICKSTART)
    before = contents(folder / "flow" / "version_0")
    run_one_step(folder, QUICKSTART)
    assert contents(folder / "flow" / "version_0") == before
    assert (folder / "flow" / "version_1" / "checkpoints" / "last.ckpt").is_file()
    return "a new version_1; all files of version_0 are unchanged"


def resumed_run(folder: Path) -> str:
    run_one_step(folder, QUICKSTART)
    first = folder / "flow" / "version_0"
    figures = (first / "metrics.csv").read_text().splitlines()
    run_one_step(folder, QUICKSTART, "--ckpt_path", str(first / "checkpoints" / "last.ckpt"), epochs=2)
    assert [path.name for path in (folder / "flow").iterdir()] == ["version_0"]
    assert json.loads((first / "metrics.json").read_text())["steps"] == 2
    longer = (first / "metrics.csv").read_text().splitlines()
    assert longer[: len(figures)] == figures
    assert len(longer) > len(figures)
    return "continues in version_0: metrics.csv grows; the earlier configuration is kept"


def run_from_an_older_checkpoint(folder: Path) -> str:
    run_one_step(folder, QUICKSTART)
    first = folder / "flow" / "version_0"
    before = contents(first)
    run_one_step(folder, QUICKSTART, "--ckpt_path", str(first / "checkpoints" / "best.ckpt"), epochs=2)
    assert contents(first) == before
    assert json.loads((folder / "flow" / "version_1" / "metrics.json").read_text())["steps"] == 2
    return "continues in version_1; all files of version_0 are unchanged"


NAMED: Callable[[str], str] = "a ValueError that names {}".format
REFUSED = "refused; no code runs"
CONFIGURED = {"class_path": {"backbone": {"class_path": "os.system"}}, "bare name": {"optimizer": "os.system"},
              "maker of the module": {"_instantiator": "os.system"},
              "name behind ours": {"backbone": "unrollflow.data.io.flow.os.system"}}  # fmt: skip
FAULTS = [
    Fault("a missing file, on_bad_sample: skip", "replaced and named", partial(vanished, workers=0)),
    Fault("the same in 2 workers", "replaced and named", partial(vanished, workers=2)),
    Fault("a missing file, on_bad_sample: raise", "an error that names it", vanished_and_told),
    Fault("more bad samples than most_bad_samples", "stops and names them", too_many_bad),
    Fault("only bad samples", "stops and names them", all_bad),
    Fault("samples of two sizes in a batch", NAMED("both"), sizes),
    Fault("two frames of two sizes", NAMED("both"), pair_of_sizes),
    Fault("a truncated picture", NAMED("it"), cut_picture),
    Fault("a truncated .flo file", NAMED("it"), cut_flow),
    Fault("a .flo whose header says 2^31 - 1 pixels a side", NAMED("it, before reading the data"), lying_flow),
    Fault("a truncated video", NAMED("it"), cut_video),
    *(Fault(f"damaged files: {kind}", "a ValueError; bounded memory", partial(fuzzed, kind=kind)) for kind in HONEST),
    Fault("500 random texts as configuration", "read or refused", fuzzed_yaml),
    Fault("a YAML tag that makes a folder", REFUSED, yaml_tag),
    Fault("a checkpoint whose pickle makes a folder", REFUSED, partial(evil, zipped=True)),
    Fault("the same in torch's older format", REFUSED, partial(evil, zipped=False)),
    Fault("a bare pickle that makes a folder", REFUSED, evil_and_bare),
    Fault("such a checkpoint as --ckpt_path of fit", REFUSED, evil_on_the_command_line),
    *(Fault(f"os.system as {k} of a checkpoint", REFUSED, partial(foreign, config=c)) for k, c in CONFIGURED.items()),
    Fault("a checkpoint of another network", NAMED("it"), other_network),
    Fault("a truncated checkpoint", NAMED("it"), cut_checkpoint),
    Fault("a link in a tar shard", REFUSED, link_in_a_shard),
    Fault("a pickle in a tar shard", REFUSED, pickle_in_a_shard),
    Fault("a tar member with a path above the folder", "nothing is written", climbing_member),
    *(Fault(f"an index of shards that lists {n}", REFUSED, partial(climbing, name=n)) for n in ("../a.tar", "pipe:x")),
    Fault("the same command a second time", "files of the first run are unchanged", second_run),
    Fault(
        "resuming from the last checkpoint of a run",
        "continues in the directory of the run; nothing is lost",
        resumed_run,
    ),
    Fault(
        "resuming from an earlier checkpoint of a run",
        "files of the first run are unchanged",
        run_from_an_older_checkpoint,
    ),
]
