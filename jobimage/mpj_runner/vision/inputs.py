"""From an image file to the model's input."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.vision.images import CorruptImageError, Pixels, read_image
from mpj_runner.vision.prefetch import prefetched
from mpj_runner.vision.resize import Placement, fit

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """One image as the model's input."""

    tensor: Array
    """(3, height, width) float32."""
    placement: Placement


class Preprocessor:
    """Turns image files into the input that a model's metadata describes."""

    def __init__(self, metadata: ModelMetadata) -> None:
        self._metadata = metadata
        preprocess = metadata.preprocess
        scale, mean, std = (
            np.asarray(value, np.float64)
            for value in (preprocess.scale, preprocess.mean, preprocess.std)
        )
        # 256 values a channel, rounded once from float64: the input does not depend on the order
        # in which float32 would have scaled, shifted and divided.
        self._table = ((np.arange(256)[None] * scale - mean[:, None]) / std[:, None]).astype(
            np.float32
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of one input: (3, height, width)."""
        return 3, self._metadata.input_size.height, self._metadata.input_size.width

    def pixels(self, path: Path) -> tuple[Pixels, Placement]:
        """Read and resize an image.

        Returns:
            (height, width, 3) uint8 in BGR order, whatever the model's order.

        Raises:
            UserError: the file is no longer the whole image that the snapshot verified.
        """
        try:
            image = read_image(path)
        except CorruptImageError as error:
            raise UserError(f"image {path.name} cannot be read: {error}") from error
        return fit(image, self._metadata.input_size, self._metadata.preprocess)

    def tensor(self, pixels: Pixels) -> Array:
        """Return (3, height, width) float32 in the model's channel order from BGR pixels."""
        planes = cv2.split(pixels)
        if self._metadata.preprocess.color_order == "RGB":
            planes = planes[::-1]
        out = np.empty(self.shape, np.float32)
        for channel, plane in enumerate(planes):
            cv2.LUT(plane, self._table[channel], dst=out[channel])
        return out

    def prepare(self, path: Path) -> Prepared:
        """Read, resize and normalise one image file."""
        pixels, placement = self.pixels(path)
        return Prepared(self.tensor(pixels), placement)

    def batches(self, paths: Sequence[Path], batch_size: int, workers: int = 1) -> Iterator[Array]:
        """Yield batches of prepared images, reading ahead in threads.

        Args:
            paths: image files, each read exactly once and in order.
            batch_size: of every batch; the last is filled up by repeating its last image.
            workers: reading threads.

        Yields:
            (batch_size, 3, height, width) float32, contiguous.
        """
        with prefetched(self.prepare, paths, workers=workers, ahead=2 * batch_size + workers) as it:
            held: list[Array] = []
            for prepared in it:
                held.append(prepared.tensor)
                if len(held) == batch_size:
                    yield np.stack(held)
                    held = []
            if held:
                yield np.stack(held + held[-1:] * (batch_size - len(held)))
