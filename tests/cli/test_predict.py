"""Predictions of frames, videos and benchmarks, by the command and by the writers alone."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.callbacks.test_run_report import Still
from tests.helpers import trees
from tests.helpers.clips import moving, write_video
from tests.helpers.pairs import moved
from tests.training.test_module import parts, trainer
from unrollflow.callbacks.flow_writers import ConfidenceMaps, FlowNumbers, FlowVideo, FlowWriter, bright_length
from unrollflow.callbacks.submissions import SintelSubmission
from unrollflow.cli.checks import refuse_replacing
from unrollflow.cli.main import main
from unrollflow.cli.predict import Predictor
from unrollflow.cli.predict_batches import loader
from unrollflow.cli.predict_inputs import ResultOptions, Submission, is_video, listed_pairs, task, tasks
from unrollflow.contracts import FlowSample, Prediction
from unrollflow.data import read_flo, read_flo5, read_image, read_kitti_flow
from unrollflow.data.datasets.benchmark import BenchmarkPairs
from unrollflow.data.video.codec import VideoPairs, read_video
from unrollflow.ops import Calibration, flow_confidence
from unrollflow.ops.occlusion import CALIBRATION, REFINED_CALIBRATION
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.variational import refine_flow


def write(writer: FlowWriter | FlowVideo, name: str, flow: torch.Tensor) -> None:
    """One prediction of random frames."""
    frame = torch.rand(1, 3, *flow.shape[-2:])
    prediction = Prediction(flow, -flow, torch.ones(1, 1, *flow.shape[-2:]))
    batch = {"image1": frame, "image2": frame, "name": [name]}
    writer.write_on_batch_end(trainer(Path()), Still(), prediction, None, batch, 0, 0)


def test_predictions_become_files_below_the_folder(tmp_path: Path) -> None:
    flow = torch.randn(1, 2, 5, 6)
    writer = FlowWriter(tmp_path / "out")
    write(writer, "clean/alley.v2", flow)
    assert read_flo(tmp_path / "out" / "clean" / "alley.v2.flo").equal(flow[0])
    assert (tmp_path / "out" / "clean" / "alley.v2_visible.png").is_file()
    for outside in ("../escape", "/tmp/escape", "a/../../escape", "", ".", "a/.."):  # the last are the folder itself
        with pytest.raises(ValueError, match="outside"):
            write(writer, outside, flow)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_sintels_server_gets_a_tree_of_flo_files_and_nothing_else(tmp_path: Path) -> None:
    flow = 9 * torch.randn(1, 2, 5, 6)
    for name in ("clean/ambush_1/frame_0001", "final/ambush_1/frame_0001"):
        write(SintelSubmission(tmp_path), name, flow)
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert written == ["clean/ambush_1/frame_0001.flo", "final/ambush_1/frame_0001.flo"]
    assert read_flo(tmp_path / written[0]).equal(flow[0])


@pytest.mark.parametrize(
    ("submission", "frames", "file"),
    [
        ("kitti2012", ("colored_0", "image_0"), "000000_10.png"),
        ("kitti2012", ("colored_0",), "000000_10.png"),
        ("kitti2012", ("image_0",), "000000_10.png"),
        ("kitti2015", ("image_2",), "flow/000000_10.png"),
    ],
)
def test_kittis_servers_get_sixteen_bit_pictures_valid_everywhere(
    tmp_path: Path, submission: Submission, frames: tuple[str, ...], file: str
) -> None:
    for folder in frames:
        trees.kitti(tmp_path / "data", folder)
    pairs, (writer,), *_ = task([tmp_path / "data"], tmp_path / "out", submission=submission, options=ResultOptions())
    assert isinstance(pairs, BenchmarkPairs)
    assert [(pair.name, pair.image1.parent.name) for pair in pairs.pairs] == [("000000_10", frames[0])]
    flow = torch.tensor([1.5, -300.25]).view(1, 2, 1, 1).repeat(1, 1, 4, 6)
    write(writer, "000000_10", flow)
    (path,) = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert path == tmp_path / "out" / file
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    values, valid = read_kitti_flow(path)
    assert values.equal(flow[0])
    assert valid.all()


def test_springs_server_gets_flo5_files_of_both_cameras_and_directions(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    trees.spring(tmp_path / "data")
    pairs, (writer,), images, results, _ = task(
        [tmp_path / "data"], tmp_path / "out", submission="spring", options=ResultOptions()
    )
    assert isinstance(pairs, BenchmarkPairs)
    expected = [f"0002/flow_{end}" for end in ("FW_left_0001", "BW_left_0002", "FW_right_0001", "BW_right_0002")]
    assert [pair.name for pair in pairs.pairs] == expected
    assert [image.name for image in images[1]] == ["frame_left_0002.png", "frame_left_0001.png"]
    assert not writer.both_ways
    flow = torch.tensor([1.5, -300.25]).view(1, 2, 1, 1).repeat(1, 1, 4, 6)
    write(writer, "0002/flow_BW_left_0002", flow)
    (path,) = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert [path] == results[1]
    assert path == tmp_path / "out" / "0002" / "flow_BW_left" / "flow_BW_left_0002.flo5"
    assert read_flo5(path).equal(flow[0])  # of the frames' size, not twice


def test_a_submission_to_spring_needs_both_cameras_and_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees.spring(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SystemExit, match=r"^unrollflow: .*pip install 'unrollflow\[hdf5\]'$"):
        main(["predict", str(tmp_path), "--output", str(tmp_path / "out"), "--submission", "spring"])
    (tmp_path / "test" / "0002" / "frame_right").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"no folder .*test/0001/frame_right. Expected layout:"):
        task([tmp_path], tmp_path / "out", submission="spring", options=ResultOptions())


def test_an_edition_of_kitti_without_its_frames_is_refused(tmp_path: Path) -> None:
    trees.kitti(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"no folder .*testing/colored_0. Expected layout: .*image_0 \(2012, grey\)"
    ):
        task([tmp_path], tmp_path / "out", submission="kitti2012", options=ResultOptions())


def refused(frames: list[Path], output: Path, submission: Submission | None = None) -> str:
    """Error message of a prediction that would overwrite its input."""
    with pytest.raises(ValueError, match=r"would overwrite .*choose another --output") as error:
        task(frames, output, submission=submission, options=ResultOptions())
    return str(error.value)


def test_a_video_is_not_overwritten_by_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tmp_path / "clip.mp4"
    write_video(clip, moving(3))
    monkeypatch.chdir(tmp_path)
    assert "overwrite the input clip.mp4" in refused([Path("clip.mp4")], Path())
    assert str(clip) in refused([clip], tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    assert str(clip) in refused([clip], tmp_path / "link")
    assert isinstance(task([clip], tmp_path / "out", submission=None, options=ResultOptions()).writers[0], FlowVideo)


def test_frames_are_not_overwritten_by_their_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, other = tmp_path / "frames", tmp_path / "other"
    trees.frames(folder / f"{name}.png" for name in ("f8", "f9", "f10"))
    monkeypatch.chdir(folder)
    assert "overwrite" in refused([folder], folder)
    assert "overwrite the input f8.png" in refused([Path("f8.png"), Path("f9.png")], Path())
    trees.frames([folder / "f8_visible.png"])  # the last of two images is written to, too
    assert "f8_visible.png" in refused([folder / "f8.jpg", folder / "f8_visible.png"], folder)
    (folder / "f8_visible.png").unlink()
    task([folder], folder / "flow", submission=None, options=ResultOptions())
    trees.frames(other / f"{i}.png" for i in range(2))
    for frame in other.glob("*.png"):
        frame.rename(frame.with_suffix(".jpg"))
    task([other], other, submission=None, options=ResultOptions())  # results are no .jpg


@pytest.mark.filterwarnings("ignore:.*pairs of neighbouring frames skipped")
def test_results_are_those_of_the_pairs(tmp_path: Path) -> None:
    trees.frames(tmp_path / f"{name}.png" for name in ("a_1", "a_2", "b_1", "b_2"))
    found = task([tmp_path], tmp_path / "out", submission=None, options=ResultOptions())
    assert isinstance(writer := found.writers[0], FlowWriter)
    assert found.results == [writer.files(name) for name in ("a_1", "b_1")]
    assert len(found.pairs) == 2  # type: ignore[arg-type]


def test_results_do_not_overwrite_each_other(tmp_path: Path) -> None:
    trees.frames(tmp_path / f"{name}.png" for name in ("a", "a_visible", "b"))
    with pytest.raises(ValueError, match=r"a\.png and .*a_visible\.png have the same path .*a_visible\.png"):
        task([tmp_path], tmp_path / "out", submission=None, options=ResultOptions())


def test_existing_results_are_not_replaced_by_default(tmp_path: Path) -> None:
    results = [tmp_path / "a.flo", tmp_path / "b.flo"]
    refuse_replacing(results)
    results[1].touch()
    with pytest.raises(FileExistsError, match=r"1 of 2 results already exist, such as .*b.flo; .*--overwrite"):
        refuse_replacing(results)


def test_each_clip_of_several_inputs_has_its_folder(tmp_path: Path) -> None:
    for folder in ("one/a", "one/b/c", "two"):
        trees.frames(tmp_path / folder / f"{i}.png" for i in range(3))
    for video in ("one/b/clip.mp4", "alone.mp4"):
        write_video(tmp_path / video, moving(3))
    out = tmp_path / "out"
    inputs = [tmp_path / name for name in ("one", "two", "alone.mp4")]
    found = {
        file.relative_to(out)
        for job in tasks(inputs, out, submission=None, options=ResultOptions())
        for file in job.results[0]
    }
    frames = {Path(folder) / f"0{ending}" for folder in ("one/a", "one/b/c", "two")
              for ending in (".flo", ".png", "_visible.png")}  # fmt: skip
    assert found == frames | {Path("one/b/clip.mp4"), Path("alone.mp4")}
    (job,) = tasks([tmp_path / "two"], out, submission=None, options=ResultOptions())  # one input needs no folder
    assert job.results[1][0] == out / "1.flo"
    nested = tasks([tmp_path / "one"], out, submission=None, options=ResultOptions())
    assert {job.results[0][0].parent.relative_to(out) for job in nested} == {Path("a"), Path("b/c"), Path("b")}
    with pytest.raises(ValueError, match=r"have the same path .*clip\.mp4"):
        tasks([tmp_path / "one/b/clip.mp4"] * 2, out, submission=None, options=ResultOptions())


def test_pairs_of_a_list(tmp_path: Path) -> None:
    trees.frames(tmp_path / "data" / name for name in ("a/1.png", "a/2.png", "b c/1.png", "b c/2.png"))
    file = tmp_path / "data" / "pairs.txt"
    file.write_text("# name of each pair: its first image\na/1.png a/2.png\n\n'b c/2.png' 'b c/1.png'  # backward\n")
    (job,) = tasks([file], tmp_path / "out", submission=None, options=ResultOptions())
    assert [files[0] for files in job.results] == [tmp_path / "out" / "a" / "1.flo", tmp_path / "out" / "b c" / "2.flo"]
    assert job.pairs[1]["name"] == "b c/2"
    assert job.pairs[1]["image2"].equal(read_image(tmp_path / "data" / "b c" / "1.png"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png\n", "line 1: 1 names; expected two images per line"),
        ("a.png a.png\na.png 'b.png\n", r"line 2: .*No closing quotation"),
        ("# nothing\n", "lists no pairs"),
    ],
)
def test_damaged_lists_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        listed_pairs(tmp_path / "pairs.txt")


def test_a_list_of_files_that_are_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pairs\.txt"):
        listed_pairs(tmp_path / "pairs.txt")
    (tmp_path / "pairs.txt").write_text("a.png b.png")
    with pytest.raises(FileNotFoundError, match=r"a\.png"):
        tasks([tmp_path / "pairs.txt"], tmp_path / "out", submission=None, options=ResultOptions())


def test_formats_hold_the_same_flow(tmp_path: Path) -> None:
    flow = torch.tensor([1.5, -300.25]).view(1, 2, 1, 1).repeat(1, 1, 4, 6)
    for form in ("flo", "png", "npy"):
        write(FlowWriter(tmp_path, flow=form), "a", flow)
    assert read_flo(tmp_path / "a.flo").equal(flow[0])
    assert read_kitti_flow(tmp_path / "a_flow.png")[0].equal(flow[0])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), flow[0].movedim(0, -1).numpy())
    assert np.load(tmp_path / "a.npy").dtype == np.float32
    with pytest.raises(ValueError, match="flow='exr'; choose one of 'flo', 'png', 'npy'"):
        FlowWriter(tmp_path, flow="exr")


def test_a_map_of_confidence_is_grey_with_sixteen_bits(tmp_path: Path) -> None:
    flow = 0.4 * torch.randn(1, 2, 12, 15, generator=torch.Generator().manual_seed(0))
    write(ConfidenceMaps(tmp_path), "scene/a.v2", flow)
    stored = cv2.imread(str(tmp_path / "scene" / "a.v2_confidence.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    expected = flow_confidence(flow, -flow)[0, 0].numpy()  # flow and -flow do not cancel: the flow is not constant
    assert expected.min() < 0.9
    np.testing.assert_allclose(stored / 65535, expected, atol=1e-5)
    write(ConfidenceMaps(tmp_path, calibration=Calibration(scale=1e3, power=9.0, floor=0.0)), "certain", flow)
    assert (cv2.imread(str(tmp_path / "certain_confidence.png"), cv2.IMREAD_UNCHANGED) == 65535).all()


def test_confidence_of_one_direction_is_refused(tmp_path: Path) -> None:
    batch = {"image1": torch.rand(1, 3, 5, 6), "image2": torch.rand(1, 3, 5, 6), "name": ["a"]}
    with pytest.raises(ValueError, match="needs the flow in both directions"):
        ConfidenceMaps(tmp_path).write_on_batch_end(trainer(Path()), Still(), torch.rand(1, 2, 5, 6), None, batch, 0, 0)


def test_confidence_is_a_result_of_each_pair(tmp_path: Path) -> None:
    trees.frames(tmp_path / "frames" / f"{name}.png" for name in "abc")
    job = task([tmp_path / "frames"], tmp_path / "out", submission=None, options=ResultOptions(confidence=CALIBRATION))
    names = [[file.name for file in files] for files in job.results]
    assert names[0] == ["a.flo", "a.png", "a_visible.png", "a_confidence.png"]
    assert [type(writer) for writer in job.writers] == [FlowWriter, ConfidenceMaps]
    for file in job.results[0][:3]:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert job.without_result() == [0, 1]  # without its map the first result is not complete


def test_confidence_of_a_video_has_a_folder_and_needs_both_ways(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", moving(3))
    job = task(
        [tmp_path / "clip.mp4"],
        tmp_path / "out",
        submission=None,
        options=ResultOptions(flow="npy", confidence=CALIBRATION),
    )
    assert [type(writer) for writer in job.writers] == [FlowVideo, FlowNumbers, ConfidenceMaps]
    maps = job.writers[2]
    assert isinstance(maps, ConfidenceMaps)
    write(maps, "clip.mp4/000001", torch.ones(1, 2, 4, 6))
    file = tmp_path / "out" / "clip_confidence" / "000001_confidence.png"
    assert file.is_file()
    again = task(
        [tmp_path / "clip.mp4"], tmp_path / "out", submission=None, options=ResultOptions(confidence=CALIBRATION)
    )
    assert again.earlier == [file]


@pytest.mark.parametrize("submission", ["sintel", "kitti2012", "kitti2015"])
def test_a_submission_has_no_maps_of_confidence(tmp_path: Path, submission: Submission) -> None:
    with pytest.raises(
        ValueError, match=f"--submission {submission} does not contain confidence maps; omit --confidence"
    ):
        task([tmp_path], tmp_path / "out", submission=submission, options=ResultOptions(confidence=CALIBRATION))


def test_the_command_writes_maps_of_frames_and_of_videos(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", moving(3))
    trees.frames(tmp_path / "frames" / f"{name}.png" for name in "ab")
    inputs = [str(tmp_path / name) for name in ("clip.mp4", "frames")]
    main(["predict", *inputs, "--output", str(tmp_path / "out"), "--confidence", "--accelerator", "cpu"])
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*_confidence.png"))
    folder = "clip_confidence"
    assert [Path(name).parent.name for name in written] == [folder, folder, "frames"]
    for name in written:
        assert cv2.imread(str(tmp_path / "out" / name), cv2.IMREAD_UNCHANGED).dtype == np.uint16


def test_refined_flow_has_its_own_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees.frames(tmp_path / f"{name}.png" for name in "ab")
    used: list[Calibration] = []

    def keep(writers: list[ConfidenceMaps], **options: object) -> SimpleNamespace:
        used.append(writers[1].calibration)
        return SimpleNamespace(predict=lambda *arguments, **options: None)

    monkeypatch.setattr("unrollflow.cli.predict.one_device_trainer", keep)
    for number, options in enumerate(([], ["--refine"])):
        output = str(tmp_path / f"out{number}")
        main(
            ["predict", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--output", output, "--confidence", *options]
        )
    assert used == [CALIBRATION, REFINED_CALIBRATION]


def test_a_fixed_scale_is_that_of_all_pictures(tmp_path: Path) -> None:
    for name, length in (("a", 2.0), ("b", 4.0)):
        write(FlowWriter(tmp_path, max_flow=4.0), name, torch.tensor([length, 0.0]).view(1, 2, 1, 1).repeat(1, 1, 4, 6))
    half, full = (read_image(tmp_path / f"{name}.png")[:, 0, 0].tolist() for name in "ab")
    assert full == [1, 0, 0]
    assert half == pytest.approx([1, 0.5, 0.5], abs=0.01)


def test_a_video_has_one_scale_from_the_first_frame_to_the_last(tmp_path: Path) -> None:
    class Growing(Still):
        """Flow to the right of 100 times the brightness of image 1."""

        def predict_step(self, batch: FlowSample, batch_idx: int) -> torch.Tensor:
            return torch.cat([100 * batch["image1"][:, :1], torch.zeros_like(batch["image1"][:, :1])], dim=1)

    frames = [torch.full((3, 16, 16), length / 100) for length in (1, 2, 4, 4)]
    write_video(tmp_path / "clip.mp4", frames)  # of which the flow is about 1, 2 and 4 px
    cases: list[tuple[ResultOptions, Sequence[float]]] = [
        (ResultOptions(), (1 / 4, 2 / 4, 1)),
        (ResultOptions(max_flow=8.0), (1 / 8, 2 / 8, 4 / 8)),
    ]
    for i, (options, saturations) in enumerate(cases):
        job = task([tmp_path / "clip.mp4"], tmp_path / f"out{i}", submission=None, options=options)
        runner = trainer(tmp_path, callbacks=job.writers)
        runner.predict(Growing(), DataLoader(job.pairs), return_predictions=False)
        red = [frame[:, 4:12, 20:28].mean(dim=(1, 2)) for frame in read_video(tmp_path / f"out{i}" / "clip.mp4")]
        assert [1 - float(colour[1]) for colour in red] == pytest.approx(list(saturations), abs=0.1)


def test_the_backward_flow_has_files_of_its_own(tmp_path: Path) -> None:
    flow = torch.tensor([1.5, -3.25]).view(1, 2, 1, 1).repeat(1, 1, 4, 6)
    for form in ("flo", "png", "npy"):
        write(FlowWriter(tmp_path, flow=form, backward=True), "a", flow)
    write(FlowNumbers(tmp_path / "numbers", flow="npy", backward=True), "clip.mp4/000001", flow)
    assert read_flo(tmp_path / "a_backward.flo").equal(-flow[0])
    assert read_kitti_flow(tmp_path / "a_backward_flow.png")[0].equal(-flow[0])
    assert np.load(tmp_path / "numbers" / "000001_backward.npy")[0, 0].tolist() == [-1.5, 3.25]
    assert read_image(tmp_path / "a_backward.png").ne(read_image(tmp_path / "a.png")).any()
    assert sorted(path.name for path in (tmp_path / "numbers").iterdir()) == ["000001.npy", "000001_backward.npy"]
    assert not list(tmp_path.glob("*_backward_visible.png"))


def test_backward_flow_needs_both_directions_and_a_place(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", moving(3))
    options = ResultOptions(flow="flo", backward=True)
    job = task([tmp_path / "clip.mp4"], tmp_path / "out", submission=None, options=options)
    assert [writer.both_ways for writer in job.writers] == [False, True]
    with pytest.raises(ValueError, match=r"--backward needs --flow for the video .*clip\.mp4"):
        task([tmp_path / "clip.mp4"], tmp_path / "out", submission=None, options=ResultOptions(backward=True))
    trees.sintel(tmp_path / "sintel")
    with pytest.raises(ValueError, match="--submission sintel contains only the forward flow"):
        task([tmp_path / "sintel"], tmp_path / "out", submission="sintel", options=options)
    trees.frames(tmp_path / "frames" / f"{name}.png" for name in ("a", "a_backward", "b"))
    with pytest.raises(ValueError, match=r"have the same path .*a_backward\.flo"):
        task([tmp_path / "frames"], tmp_path / "out", submission=None, options=options)


def test_a_stride_applies_to_folders_and_videos(tmp_path: Path) -> None:
    trees.frames(tmp_path / "in" / f"{i}.png" for i in range(5))
    write_video(tmp_path / "in" / "clips" / "clip.mp4", moving(5))
    (job,) = tasks([tmp_path / "in"], tmp_path / "out", submission=None, options=ResultOptions(), stride=2)
    assert [files[0].name for files in job.results] == ["0.flo", "2.flo"]
    (video,) = tasks([tmp_path / "in" / "clips"], tmp_path / "out", submission=None, options=ResultOptions(), stride=2)
    assert [sample["name"] for sample in video.pairs] == ["clip.mp4/000000", "clip.mp4/000002"]
    trees.sintel(tmp_path / "sintel")
    (tmp_path / "pairs.txt").write_text("in/0.png in/1.png")
    inputs: list[tuple[list[str], Submission | None]] = [
        (["in/0.png", "in/1.png"], None), (["pairs.txt"], None), (["sintel"], "sintel"),
    ]  # fmt: skip
    for names, submission in inputs:
        with pytest.raises(ValueError, match="--stride 2 applies only to folders of frames and videos"):
            tasks(
                [tmp_path / n for n in names],
                tmp_path / "out",
                submission=submission,
                options=ResultOptions(),
                stride=2,
            )


def test_pairs_of_one_size_are_batched(tmp_path: Path) -> None:
    trees.frames((tmp_path / f"a_{i}.png" for i in range(4)), size=(32, 48))
    trees.frames((tmp_path / f"b_{i}.png" for i in range(3)), size=(40, 48))
    with pytest.warns(UserWarning, match="different sequences"):
        job = task([tmp_path], tmp_path / "out", submission=None, options=ResultOptions())
    batches = list(loader(job, [0, 1, 2, 3, 4], 2))
    assert [batch["name"] for batch in batches] == [["a_0", "a_1"], ["a_2"], ["b_0", "b_1"]]
    assert batches[2]["image2"].equal(torch.stack([read_image(tmp_path / f"b_{i}.png") for i in (1, 2)]))
    assert [batch["name"] for batch in loader(job, [0, 2], 2)] == [["a_0", "a_2"]]
    write_video(tmp_path / "clip.mp4", moving(4))
    video = task([tmp_path / "clip.mp4"], tmp_path / "out", submission=None, options=ResultOptions())
    assert [len(batch["name"]) for batch in loader(video, [0], 2)] == [2, 1]


def test_a_batch_has_the_flow_of_its_pairs() -> None:
    network = UnsupervisedFlow(**parts()).eval()
    pairs = [moved(1.0, 0.5, size=(48, 64), seed=0), moved(-0.5, 1.0, size=(48, 64), seed=1)]
    image1, image2 = (torch.cat(images) for images in zip(*pairs, strict=True))
    for refine in (False, True):
        predictor = Predictor(network, both_ways=True, refine=refine)
        with torch.inference_mode():
            together = predictor.predict_step({"image1": image1, "image2": image2, "name": ["a", "b"]}, 0)
            for i, (first, second) in enumerate(pairs):
                alone = predictor.predict_step({"image1": first, "image2": second, "name": ["a"]}, 0)
                torch.testing.assert_close(together.flow[i], alone.flow[0], atol=1e-3, rtol=0)
                torch.testing.assert_close(together.flow_backward[i], alone.flow_backward[0], atol=1e-3, rtol=0)


def test_the_numbers_of_a_video_are_written_if_a_format_is_given(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", moving(3))
    job = task([tmp_path / "clip.mp4"], tmp_path / "out", submission=None, options=ResultOptions(flow="npy"))
    video, numbers = job.writers
    assert isinstance(video, FlowVideo)
    assert isinstance(numbers, FlowNumbers)
    write(numbers, "clip.mp4/000001", torch.ones(1, 2, 4, 6))
    assert np.load(tmp_path / "out" / "clip_flow" / "000001.npy").shape == (4, 6, 2)
    again = task([tmp_path / "clip.mp4"], tmp_path / "out", submission=None, options=ResultOptions(flow="npy"))
    assert again.earlier == [tmp_path / "out" / "clip_flow" / "000001.npy"]


def test_a_single_image_is_refused(tmp_path: Path) -> None:
    trees.frames([tmp_path / "a.png"])
    with pytest.raises(ValueError, match=r"a.png is only one image; give two images"):
        task([tmp_path / "a.png"], tmp_path / "out", submission=None, options=ResultOptions())


def test_a_test_set_is_not_overwritten_by_its_submission(tmp_path: Path) -> None:
    for submission, frames in (("kitti2012", "image_0"), ("kitti2015", "image_2")):
        trees.kitti(tmp_path / submission, frames)
    assert "000000_10.png" in refused(
        [tmp_path / "kitti2012"], tmp_path / "kitti2012" / "testing" / "image_0", "kitti2012"
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "flow").symlink_to(tmp_path / "kitti2015" / "testing" / "image_2")
    assert "000000_10.png" in refused([tmp_path / "kitti2015"], tmp_path / "out", "kitti2015")


@pytest.mark.parametrize("arrows", [False, True])
def test_a_video_shows_each_frame_beside_its_flow(tmp_path: Path, arrows: bool) -> None:
    writer = FlowVideo(tmp_path / "out" / "clip.mp4", rate=5, arrows=arrows)
    writer.on_predict_start(trainer(tmp_path), Still())
    for _ in range(4):
        write(writer, "frame", torch.tensor([4.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 33, 47))
    writer.on_predict_end(trainer(tmp_path), Still())
    frames = list(read_video(tmp_path / "out" / "clip.mp4"))
    assert len(frames) == 4
    assert tuple(frames[0].shape) == (3, 34, 94)  # two frames of 47 side by side, odd heights padded to even
    red, green, blue = frames[2][:, 4:28, 60:90].mean(dim=(1, 2))  # to the right is red
    assert red > 0.8
    assert max(green, blue) < 0.2
    with av.open(str(tmp_path / "out" / "clip.mp4")) as container:
        assert container.streams.video[0].average_rate == 5


def test_an_exception_leaves_no_incomplete_video(tmp_path: Path) -> None:
    writer = FlowVideo(tmp_path / "clip.mp4", rate=5)
    writer.on_predict_start(trainer(tmp_path), Still())
    write(writer, "frame", torch.ones(1, 2, 32, 32))
    writer.on_exception(trainer(tmp_path), Still(), RuntimeError("stop"))
    assert not list(tmp_path.iterdir())
    unopened = FlowVideo(tmp_path / "clip.mp4", rate=5)
    unopened.on_exception(trainer(tmp_path), Still(), RuntimeError("stopped before the first frame"))


def test_an_outlier_does_not_set_the_colour_scale() -> None:
    flow = torch.ones(2, 20, 20) / 2**0.5
    flow[0, 0, 0], flow[1, 0, 1] = 1e6, float("nan")
    assert bright_length(flow) == pytest.approx(1)


def test_what_is_a_video(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.PNG"):
        (tmp_path / name).write_bytes(b"")
    assert is_video(tmp_path / "a.mp4")
    assert not is_video(tmp_path / "b.PNG")
    assert not is_video(tmp_path)
    with pytest.raises(ValueError, match=r"a\.mp4"):
        list(VideoPairs(tmp_path / "a.mp4"))


def test_one_way_is_the_forward_flow_of_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    network = UnsupervisedFlow(**parts()).eval()
    both_ways, one_way = (Predictor(network, both_ways=both, refine=False) for both in (True, False))
    image1, image2 = torch.rand(2, 2, 3, 37, 53, generator=torch.Generator().manual_seed(0))  # sizes that are padded
    batch = {"image1": image1, "image2": image2, "name": ["a", "b"]}
    with torch.inference_mode():
        expected = both_ways.predict_step(batch, 0).flow
        monkeypatch.setattr(type(network.backbone), "bidirectional", None)  # it would be called
        found = one_way.predict_step(batch, 0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert expected.abs().max() > 1e-3
    with pytest.raises(ValueError, match="needs at least"):
        one_way.predict_step({name: image[..., :8] for name, image in (("image1", image1), ("image2", image2))}, 0)


def test_a_refined_prediction_is_that_of_the_solver_in_both_directions() -> None:
    network = UnsupervisedFlow(**parts()).eval()
    both_ways, one_way = (Predictor(network, both_ways=both, refine=True) for both in (True, False))
    image1, image2 = moved(1.0, 0.5, size=(48, 64))
    batch = {"image1": image1, "image2": image2, "name": ["a"]}
    with torch.inference_mode():
        plain, refined = network(image1, image2), both_ways.predict_step(batch, 0)
        assert refined.flow.equal(refine_flow(image1, image2, plain.flow))
        assert refined.flow_backward.equal(refine_flow(image2, image1, plain.flow_backward))
        torch.testing.assert_close(one_way.predict_step(batch, 0), refined.flow, atol=1e-3, rtol=0)


def test_only_visibility_needs_both_ways(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", moving(3))
    trees.kitti(tmp_path / "kitti", "image_2")
    trees.sintel(tmp_path / "sintel")
    trees.frames(tmp_path / "frames" / f"{name}.png" for name in "ab")
    submissions: list[tuple[str, Submission | None, bool]] = [
        ("clip.mp4", None, False), ("kitti", "kitti2015", False), ("sintel", "sintel", False), ("frames", None, True),
    ]  # fmt: skip
    for name, submission, both_ways in submissions:
        job = task([tmp_path / name], tmp_path / "out", submission=submission, options=ResultOptions())
        assert job.writers[0].both_ways == both_ways, name


def test_flow_alone_becomes_the_same_files_but_for_visibility(tmp_path: Path) -> None:
    flow = torch.randn(1, 2, 5, 6)
    batch = {"image1": torch.rand(1, 3, 5, 6), "image2": torch.rand(1, 3, 5, 6), "name": ["a"]}
    for writer in (FlowWriter(tmp_path / "all"), SintelSubmission(tmp_path / "sintel")):
        writer.write_on_batch_end(trainer(Path()), Still(), flow, None, batch, 0, 0)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        "all/a.flo", "all/a.png", "sintel/a.flo",
    ]  # fmt: skip
    assert read_flo(tmp_path / "all" / "a.flo").equal(flow[0])
