"""What is kept of the activations of a model on its calibration images."""

import zipfile
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from mpj_runner.calibration.histogram import BINS, Counts, Histogram
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
        """Write everything to an npz file; equal statistics give equal bytes.

        Only bins that hold something are kept, counted in 4 bytes where that is enough. They are
        not compressed: it saves some megabytes, and took as long as 15 images take.
        """
        names = self.tensors
        bins = [np.flatnonzero(self.histograms[x]) for x in names]
        found = [self.histograms[x][b] for x, b in zip(names, bins, strict=True)]
        counts = np.concatenate([*found, np.empty(0, np.int64)])
        few = counts.max(initial=0) <= np.iinfo(np.uint32).max
        with path.open("wb") as file:
            np.savez(
                file,
                version=np.int64(_VERSION),
                images=np.int64(self.images),
                names=np.array(names, dtype=np.str_),
                low=_stacked([self.low[x] for x in names], self.images),
                high=_stacked([self.high[x] for x in names], self.images),
                lengths=np.array([x.size for x in bins], dtype=np.int64),
                bins=np.concatenate([*bins, np.empty(0, np.int64)]).astype(np.uint16),
                counts=counts.astype(np.uint32) if few else counts,
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


class Collector:
    """Add up the statistics of one batch after another."""

    def __init__(self, batch_size: int, fixed: Container[str] = ()) -> None:
        """Start with nothing.

        Args:
            batch_size: the static batch.
            fixed: tensors that do not depend on the images.
        """
        self.images = 0
        self._batch_size = batch_size
        self._fixed = fixed
        self._low: dict[str, list[Array]] = {}
        self._high: dict[str, list[Array]] = {}
        self._histograms: dict[str, Histogram] = {}

    def add(self, activations: Iterable[tuple[str, Array]], images: int) -> None:
        """Take in one batch.

        Where a tensor's first dimension is a multiple of the batch, the batch is taken to vary
        slowest, as it does through convolutions, reshapes and attention heads: then rows of padding
        are left out, and extremes are each image's own.

        Args:
            activations: names and contiguous float32 values of any shape, each tensor once.
            images: real images in the batch, the first ones; the rest is padding.

        Raises:
            UserError: a value is NaN or infinite.
        """
        for tensor, values in activations:
            rows = values.reshape(1, -1)
            apart = values.ndim and values.shape[0] % self._batch_size == 0
            if apart and tensor not in self._fixed:
                rows = values.reshape(self._batch_size, -1)[:images]
            self._add_rows(tensor, rows, images)
        self.images += images

    def _add_rows(self, tensor: str, rows: Array, images: int) -> None:
        if rows.shape[1] == 0:
            rows = np.zeros((images, 1), dtype=np.float32)
        low, high = rows.min(axis=1), rows.max(axis=1)
        if not np.isfinite([low, high]).all():
            first = self.images + 1
            raise UserError(
                f"the model yields NaN or infinity on calibration image {first}"
                f"{f' to {first + images - 1}' if images > 1 else ''} (tensor {tensor}): check the "
                "weights and spec.model.preprocess"
            )
        if tensor not in self._histograms:
            self._low[tensor], self._high[tensor] = [], []
            self._histograms[tensor] = Histogram()
        self._low[tensor].append(low if low.size == images else np.repeat(low, images))
        self._high[tensor].append(high if high.size == images else np.repeat(high, images))
        self._histograms[tensor].add(rows)

    def result(self) -> Statistics:
        """Return what was added up."""
        return Statistics(
            images=self.images,
            low={x: np.concatenate(rows) for x, rows in self._low.items()},
            high={x: np.concatenate(rows) for x, rows in self._high.items()},
            histograms={x: found.counts() for x, found in self._histograms.items()},
        )
