"""Read an Ultralytics checkpoint: the only place where a pickle is loaded."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import InputSize
from mpj_runner.loading.network import FOREIGN, Network


def load_ultralytics(path: Path, input_size: InputSize | None) -> Network:
    """Load a checkpoint's deployed detector: YOLO11, YOLOv8, YOLO26 and their like.

    The averaged weights are taken when the checkpoint has them, as Ultralytics does. Of end-to-end
    models only the one-to-one head is kept: the training branch would also spoil calibration.

    Args:
        path: the ``.pt`` file. Unpickling it runs whatever it holds: isolated containers only.
        input_size: pixels; default what the model was trained with.

    Raises:
        UserError: the extra is missing, or the file is no checkpoint of a detector.
    """
    model, checkpoint = _unpickle(path)
    # Ultralytics sets the attribute when it loads a model, not when it trains one.
    task = getattr(model, "task", None) or (checkpoint.get("train_args") or {}).get("task")
    if task != "detect" or not isinstance(model, nn.Module):
        raise UserError(
            f"spec.model.uri holds an Ultralytics model for the task {task!r}; only detection"
            " models (task detect) can be optimised"
        )
    head: Any = cast("Any", model).model[-1]
    end_to_end = getattr(head, "one2one_cv2", None) is not None
    if end_to_end:
        head.end2end = True
    head.export, head.format, head.dynamic = True, "onnx", False
    # float() first: checkpoints are saved in half precision. fuse() also merges re-parametrised
    # branches and drops the one-to-many head of end-to-end models.
    model = model.float().eval().fuse(verbose=False)  # type: ignore[operator] # theirs
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    names = getattr(model, "names", None)
    return Network(
        module=model,
        classes=tuple(str(names[key]) for key in sorted(names)) if names else None,
        decoder="EndToEnd" if end_to_end else "YOLO",
        input_size=input_size or _trained_size(checkpoint),
        origin="the Ultralytics checkpoint",
    )


def _unpickle(path: Path) -> tuple[Any, Mapping[str, Any]]:
    try:
        import ultralytics.nn.tasks  # the classes that the pickle names
    except ImportError as error:
        raise UserError(
            "spec.model.format ultralytics needs the optional extra: install"
            " mixedprecision-operator[runner,ultralytics] (AGPL-3.0), use an image that has it"
            " (spec.podOverrides.image), or give the model as ONNX"
        ) from error
    try:
        # A checkpoint holds its model as a pickle: nothing safer can read it.
        loaded = torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ModuleNotFoundError) as error:
        raise UserError(
            f"the checkpoint of spec.model.uri needs code that the installed Ultralytics"
            f" {ultralytics.__version__} lacks ({error}): use the version that trained it"
        ) from error
    except (*FOREIGN, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise UserError(
            f"the file of spec.model.uri cannot be read as an Ultralytics checkpoint: it is"
            f" truncated or no PyTorch file ({path.stat().st_size} bytes); upload it again"
        ) from error
    if not isinstance(loaded, Mapping) or not (loaded.get("ema") or loaded.get("model")):
        raise UserError(
            "the file of spec.model.uri is no Ultralytics checkpoint (it holds no model); for a"
            " state dict set spec.model.format: torch and spec.model.factory"
        )
    return loaded.get("ema") or loaded["model"], loaded


def _trained_size(checkpoint: Mapping[str, Any]) -> InputSize:
    size = (checkpoint.get("train_args") or {}).get("imgsz", 640)
    if isinstance(size, int) and size % 32 == 0 and 32 <= size <= 4096:
        return InputSize(height=size, width=size)
    return InputSize()
