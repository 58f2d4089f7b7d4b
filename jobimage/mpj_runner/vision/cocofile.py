"""The COCO annotation file: what is read of it, and how it is checked."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from mpj_runner.contract.errors import UserError

Identifier = int | str
"""Of images: 7 and "7" are two."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Length = Annotated[float, Field(allow_inf_nan=False, ge=0)]


class CocoImage(BaseModel):
    """One entry of ``images``."""

    id: Identifier
    file_name: Annotated[str, Field(min_length=1)]
    width: int | None = None
    height: int | None = None


class CocoAnnotation(BaseModel):
    """One entry of ``annotations``; the box is left, top, width, height in pixels."""

    id: Identifier | None = None
    image_id: Identifier
    category_id: int
    bbox: tuple[Finite, Finite, Length, Length]
    area: Length | None = None
    iscrowd: bool = False


class CocoCategory(BaseModel):
    """One entry of ``categories``."""

    id: int
    name: str


class CocoFile(BaseModel):
    """The file; whatever else it holds is ignored."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation] = []
    categories: list[CocoCategory] = []


def read_coco(path: Path, field: str) -> CocoFile:
    """Read an annotation file and check that it agrees with itself.

    Args:
        path: the file.
        field: for messages, such as "spec.validation".

    Raises:
        UserError: it is no COCO file, or its ids do not fit together.
    """
    try:
        data = CocoFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise UserError(
            f"{field}.annotations: {path.name} is not a COCO file ({where}: {first['msg']}): it "
            "needs images, annotations with boxes, and categories"
        ) from error
    images = {image.id for image in data.images}
    categories = {category.id for category in data.categories}
    if len(images) != len(data.images):
        raise UserError(f"{field}.annotations: {path.name} has two images of one id")
    strays = {a.image_id: None for a in data.annotations if a.image_id not in images}
    if strays:
        raise UserError(
            f"{field}.annotations: {path.name} has annotations of {len(strays)} image ids that are "
            f"not among its images ({some(strays)}): add the images or remove the annotations"
        )
    unknown = {a.category_id: None for a in data.annotations if a.category_id not in categories}
    if unknown:
        raise UserError(
            f"{field}.annotations: {path.name} has annotations of category ids that are not among "
            f"its categories ({some(unknown)}): add the categories or remove the annotations"
        )
    return data


def some(names: Iterable[object], most: int = 3) -> str:
    """Return the first few of an iterable's items as text."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:most]) + (", …" if len(listed) > most else "")
