"""What is kept of the activations of a model on its calibration images."""

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from mpj_runner.calibration.histogram import BINS, Counts, count
from mpj_runner.contract.errors import UserError

_VERSION: Final = 1
Array = npt.NDArray[np.float32]


@dataclass
class Statistics:
    """Extremes of each image and a histogram over all images, for each activation tensor.

    Everything else is derived afterwards: ranges by any method, for any group of tensors. Sums and
    extremes do not depend on the order of the images; the rows of ``low`` and ``high`` follow it.
    """

    images: int
    low: dict[str, Array]
    """Least value in each image, float32 (images,), by tensor."""
    high: dict[str, Array]
    """Greatest value in each image, float32 (images,), by tensor."""
    histograms: dict[str, Counts]
    """See ``histogram``; int64 (65536,), by tensor."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors, sorted."""
        return tuple(sorted(self.histograms))

    def image_peaks(self, group: Iterable[str]) -> Array:
        """Return the greatest absolute value of a group of tensors in each image, (images,)."""
        rows = [np.maximum(np.abs(self.low[x]), np.abs(self.high[x])) for x in group]
        return np.asarray(np.max(rows, axis=0), dtype=np.float32)

    def counts(self, group: Iterable[str]) -> Counts:
        """Return the histogram of a group of tensors taken together."""
        return np.asarray(np.sum([self.histograms[x] for x in group], axis=0), dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write everything to an npz file; equal statistics give equal bytes."""
        names = self.tensors
        bins = [np.flatnonzero(self.histograms[x]) for x in names]
        counts = [self.histograms[x][b] for x, b in zip(names, bins, strict=True)]
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                version=np.int64(_VERSION),
                images=np.int64(self.images),
                names=np.array(names, dtype=np.str_),
                low=_stacked([self.low[x] for x in names], self.images),
                high=_stacked([self.high[x] for x in names], self.images),
                lengths=np.array([x.size for x in bins], dtype=np.int64),
                bins=np.concatenate([*bins, np.empty(0, np.int64)]).astype(np.uint16),
                counts=np.concatenate([*counts, np.empty(0, np.int64)]),
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            UserError: the file is no statistics file of this version.
        """
        try:
            with path.open("rb") as file, zipfile.ZipFile(file), np.load(file) as data:
                if int(data["version"]) != _VERSION:
                    raise UserError(f"{path.name} is of another version: run calibrate again")
                names = [str(x) for x in data["names"]]
                ends = np.cumsum(data["lengths"])[:-1]
                bins = np.split(data["bins"], ends)
                counts = np.split(data["counts"], ends)
                low, high = data["low"], data["high"]
                images = int(data["images"])
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path.name} holds no statistics of calibrate: {error}") from error
        histograms = {}
        for name, where, many in zip(names, bins, counts, strict=False):
            histograms[name] = np.zeros(BINS, dtype=np.int64)
            histograms[name][where] = many
        return cls(
            images=images,
            low=dict(zip(names, low, strict=True)),
            high=dict(zip(names, high, strict=True)),
            histograms=histograms,
        )


def _stacked(rows: Sequence[Array], images: int) -> Array:
    return np.stack(rows) if rows else np.empty((0, images), dtype=np.float32)


@dataclass
class Collector:
    """Add up the statistics of one batch after another."""

    _low: dict[str, list[Array]] = field(default_factory=dict)
    _high: dict[str, list[Array]] = field(default_factory=dict)
    _histograms: dict[str, Counts] = field(default_factory=dict)
    images: int = 0

    def add(self, tensor: str, values: Array, images: int, batch: int) -> None:
        """Take in one tensor of one batch.

        Args:
            tensor: its name.
            values: float32 of any shape. When its first dimension is a multiple of the batch, the
                batch is taken to vary slowest, as it does through convolutions, reshapes and
                attention heads: the rows of padding are left out and extremes are each image's own.
            images: real images in the batch, the first ones; the rest is padding.
            batch: the static batch size.

        Raises:
            UserError: a value is NaN or infinite.
        """
        rows = values.reshape(1, -1)
        if values.ndim and values.shape[0] % batch == 0:
            rows = values.reshape(batch, -1)[:images]
        if rows.shape[1] == 0:
            rows = np.zeros((images, 1), dtype=np.float32)
        low, high = rows.min(axis=1), rows.max(axis=1)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            first = self.images + 1
            raise UserError(
                f"the model yields NaN or infinity on calibration image {first}"
                f"{f' to {first + images - 1}' if images > 1 else ''} (tensor {tensor}): check the "
                "weights and spec.model.preprocess"
            )
        self._low.setdefault(tensor, []).append(np.broadcast_to(low, (images,)))
        self._high.setdefault(tensor, []).append(np.broadcast_to(high, (images,)))
        found = count(np.ascontiguousarray(rows))
        if tensor in self._histograms:
            self._histograms[tensor] += found
        else:
            self._histograms[tensor] = found

    def result(self) -> Statistics:
        """Return what was added up."""
        return Statistics(
            images=self.images,
            low={x: np.concatenate(rows) for x, rows in self._low.items()},
            high={x: np.concatenate(rows) for x, rows in self._high.items()},
            histograms=self._histograms,
        )
