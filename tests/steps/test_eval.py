"""Accuracy of built engines, from image files to the outcome."""

import json
import threading

import cv2
import numpy as np
import pytest
from labelled_worlds import coco_json, coco_results, stock_evaluation
from squares import SIZE, data_set, detector, metadata

from mpj_runner.backends import backend
from mpj_runner.backends.cpu_reference import CpuReference
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import Metrics
from mpj_runner.contract.model import Preprocess
from mpj_runner.contract.steps import BuildParams, EvalParams
from mpj_runner.steps.eval import evaluate, run
from mpj_runner.vision import detections
from mpj_runner.vision.decode import Limits
from mpj_runner.vision.truth import Objects, Truth

LIMITS = Limits(0.001, 0.7, 300)
BLACK_BORDER = Preprocess(pad_value=0)


class Bench:
    """A data set on disk, and evaluations of detectors on it by the real ONNX Runtime backend."""

    def __init__(self, root):
        self.root = root
        self.truth = data_set(root / "images")
        self.annotations = root / "annotations.json"
        self.annotations.write_text(json.dumps(coco_json(self.truth)))

    def __call__(self, *, batch=1, reference=None, model=False, meta=None, params=None, **knobs):
        home = self.root / f"run-{len(list(self.root.glob('run-*')))}"
        (home / "engine").mkdir(parents=True)
        (home / "work").mkdir()
        onnx = detector(home / "model.onnx", batch=batch, **knobs)
        build = BuildParams(backend="onnxruntime", precision="fp32", batch_size=batch)
        backend("onnxruntime").build(onnx, build, home / "engine")
        (home / "metadata.json").write_text(json.dumps(metadata(batch, **(meta or {})).to_json()))
        inputs = {
            "engine": home / "engine",
            "metadata": home / "metadata.json",
            "images": self.root / "images",
            "annotations": self.annotations,
        }
        if model:
            inputs["model"] = onnx
        if reference:
            inputs["reference"] = reference.files["detections"]
        settings = {"backend": "onnxruntime", "precision": "fp32", **(params or {})}
        return run(EvalParams(**settings), inputs, home / "work")


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_a_perfect_detector_is_found_perfect(bench):
    result = bench(model=True, params={"cross_check_images": 5})
    outcome = result.outcome
    assert outcome.map == pytest.approx(1)
    assert outcome.map50 == pytest.approx(1)
    assert (outcome.images, outcome.non_finite) == (20, 0)
    assert outcome.detections == sum(len(objects.classes) for objects in bench.truth.objects)
    assert outcome.cross_check_map == outcome.cross_check_own_map == pytest.approx(1)
    assert outcome.drop is None


def test_the_files_hold_the_same_verdict_for_pycocotools(bench):
    result = bench(shift=1.5, gains=(1, 0.4, 0.002))
    names, found = detections.load(result.files["detections"])
    assert tuple(names) == bench.truth.names
    expected = stock_evaluation(coco_json(bench.truth), coco_results(found))
    metrics = Metrics.model_validate_json(result.files["metrics"].read_bytes())
    np.testing.assert_array_equal(list(metrics.stats.values()), expected.stats)
    assert 0 < metrics.stats["AP"] < 0.9
    assert [one.name for one in metrics.per_class] == ["red", "green", "blue"]
    assert result.outcome.map == metrics.stats["AP"]
    assert result.outcome.map50 == metrics.stats["AP50"]


@pytest.mark.parametrize(
    ("metric", "shift", "drop"),
    [
        # 7 of 8 columns overlap: IoU 7 / 9 = 0.78, a hit at 6 of the 10 thresholds.
        pytest.param("mAP", 1.0, 0.4, id="mAP notices misplaced boxes"),
        pytest.param("mAP50", 1.0, 0.0, id="mAP50 does not, as long as half overlaps"),
        pytest.param("mAP50", 4.0, 1.0, id="mAP50 does, when it does not"),
    ],
)
def test_the_drop_is_against_the_reference(bench, metric, shift, drop):
    reference = bench(model=True)
    outcome = bench(reference=reference, shift=shift, params={"metric": metric}).outcome
    assert outcome.drop.value == pytest.approx(drop)
    assert outcome.drop.low == pytest.approx(drop, abs=0.02)  # every image loses the same
    assert outcome.drop.high == pytest.approx(drop, abs=0.02)


def test_the_drop_has_an_interval_when_images_differ(bench):
    reference = bench(model=True)
    dark_ones_are_missed = {"score_threshold": 0.5}
    drop = bench(reference=reference, params=dark_ones_are_missed).outcome.drop
    assert 0 < drop.low < drop.value < drop.high < 1


def test_a_model_without_loss_drops_nothing(bench):
    drop = bench(reference=bench(model=True)).outcome.drop
    assert (drop.value, drop.low, drop.high) == (0, 0, 0)


@pytest.mark.parametrize("batch", [3, 8, 32])
def test_a_batch_changes_nothing_and_the_last_one_is_filled(bench, batch):
    one, many = bench(shift=1.0), bench(batch=batch, shift=1.0)
    assert many.outcome == one.outcome
    for a, b in zip(
        detections.load(one.files["detections"])[1],
        detections.load(many.files["detections"])[1],
        strict=True,
    ):
        np.testing.assert_array_equal(a.xyxy, b.xyxy)


def test_images_whose_output_is_not_finite_are_counted_and_find_nothing(bench):
    for name in bench.truth.names[3:5]:
        path = str(bench.root / "images" / name)
        image = cv2.imread(path)
        image[0, 0] = 255
        cv2.imwrite(path, image)
    result = bench(poison=0.9)
    assert result.outcome.non_finite == 2
    _, found = detections.load(result.files["detections"])
    assert [len(boxes) for boxes in found[2:6]] == [
        0 if 3 <= n < 5 else len(bench.truth.objects[n].classes) for n in range(2, 6)
    ]
    with pytest.raises(UserError, match=r"NaN or infinity on 2 of 20 images.*spec\.model\.uri"):
        bench(poison=0.9, model=True)


def test_a_reference_that_finds_nothing_is_an_error_and_a_candidate_is_not(bench):
    nothing = {"gains": (0, 0, 0)}
    with pytest.raises(UserError, match=r"finds nothing in 20 images: correct spec\.model\.prepro"):
        bench(model=True, **nothing)
    outcome = bench(reference=bench(model=True), **nothing).outcome
    assert (outcome.map, outcome.detections) == (0, 0)
    assert outcome.drop.value == pytest.approx(1)


def test_objects_that_do_not_count_are_no_accuracy(bench):
    data = coco_json(bench.truth)
    for annotation in data["annotations"]:
        annotation["iscrowd"] = 1
    bench.annotations.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"spec\.validation: none of the objects in 20 images"):
        bench()


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        pytest.param(
            {"class_count": 4}, r"4 classes where the model of .* has 3", id="class count"
        ),
        pytest.param({"decoder": "EndToEnd"}, r"EndToEnd reads \(batch, n, 6\)", id="decoder"),
    ],
)
def test_an_output_that_does_not_fit_the_decoder_is_refused(bench, meta, words):
    with pytest.raises(UserError, match=words):
        bench(meta=meta)


def test_a_reference_of_other_images_is_a_bug_not_a_number(bench):
    reference = bench(model=True)
    _, found = detections.load(reference.files["detections"])
    detections.save(reference.files["detections"], bench.truth.names[::-1], found)
    with pytest.raises(ValueError, match="other images"):
        bench(reference=reference)


class Watching:
    """A model that finds nothing and remembers which threads called it."""

    def __init__(self):
        self.calls = []

    def infer(self, batch):
        self.calls.append(threading.current_thread())
        return np.zeros((len(batch), 7, 16), np.float32)


def test_images_are_read_in_other_threads_than_the_models(bench, monkeypatch):
    from mpj_runner.vision.inputs import Preprocessor

    readers = []
    original = Preprocessor.prepare
    monkeypatch.setattr(
        Preprocessor,
        "prepare",
        lambda self, path: (
            readers.append((path, threading.current_thread())) or original(self, path)
        ),
    )
    model = Watching()
    judged = evaluate(model, bench.root / "images", bench.truth, metadata(), LIMITS)
    assert len(judged) == len(model.calls) == len(readers) == 20
    assert sorted(path.name for path, _ in readers) == list(bench.truth.names)
    assert {thread for _, thread in readers}.isdisjoint(model.calls)


def test_an_unreadable_image_is_named(bench):
    (bench.root / "images" / bench.truth.names[7]).write_bytes(b"gone bad")
    with pytest.raises(UserError, match=f"image {bench.truth.names[7]} cannot be read"):
        evaluate(Watching(), bench.root / "images", bench.truth, metadata(), LIMITS)


def test_boxes_are_judged_in_pixels_of_the_original(bench, tmp_path):
    """Halves of the images at twice their size: letterboxed, they lie one cell to the right."""
    folder = tmp_path / "tall"
    folder.mkdir()
    halves = []
    for name, own in zip(bench.truth.names, bench.truth.objects, strict=True):
        image = cv2.imread(str(bench.root / "images" / name))[:, : SIZE // 2]
        cv2.imwrite(str(folder / name), image.repeat(2, 0).repeat(2, 1))
        kept = own.xywh[:, 0] < SIZE // 2
        halves.append(
            Objects(own.xywh[kept] * 2, own.classes[kept], own.area[kept] * 4, own.crowd[kept])
        )
    truth = Truth(bench.truth.names, bench.truth.classes, tuple(halves))
    model = CpuReference(detector(tmp_path / "model.onnx"))
    judged = evaluate(model, folder, truth, metadata(preprocess=BLACK_BORDER), LIMITS)
    for one, own in zip(judged, halves, strict=True):
        corners = np.concatenate([own.xywh[:, :2], own.xywh[:, :2] + own.xywh[:, 2:]], 1)
        assert sorted(one.found.xyxy.tolist()) == sorted(corners.tolist())
        assert sorted(one.found.classes) == sorted(own.classes)


def test_the_cross_check_says_what_is_wrong_with_its_graph(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match=r"spec\.model: ONNX Runtime cannot run"):
        CpuReference(tmp_path / "model.onnx")
