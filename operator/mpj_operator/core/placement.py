"""On which nodes a unit's pods are to run."""

import re
from typing import Any, Final

from mpj_operator.api.affinity import Affinity

PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
"""What NVIDIA's GPU feature discovery says of a node."""
_WEIGHT: Final = 100
_DRIVER: Final = ", driver "
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def product_label(hardware: str) -> str | None:
    """Return the value that nodes with this GPU carry in ``PRODUCT_LABEL``.

    GPU feature discovery drops what a label can't hold from NVML's name and joins its words with
    dashes: "NVIDIA H100 80GB HBM3" is NVIDIA-H100-80GB-HBM3. (A shared or partitioned GPU's node
    has more behind it, and no pod prefers such a node.)

    Args:
        hardware: what a measurement ran on: "<product>, driver <version>", or a processor.

    Returns:
        None where it is no GPU, or nothing that a label can hold.
    """
    name, found, _ = hardware.partition(_DRIVER)
    label = "-".join(re.sub(r"[^A-Za-z0-9\-_. ]", "", name).split())
    fits = re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", label)
    return label if found and fits else None


def affinity(given: Affinity | None, hardware: str | None) -> dict[str, Any] | None:
    """Return a pod's affinity: what the user gave, and a wish for the reference's GPU.

    Figures of one job are comparable on one product only. It is a wish, since a full cluster must
    not keep a job from going on: what ran elsewhere says so.

    Args:
        given: podOverrides.affinity.
        hardware: what the reference ran on; None: not known yet, or it does not matter.
    """
    wanted: dict[str, Any] = {}
    if given is not None:
        wanted = given.model_dump(mode="json", exclude_defaults=True)
    label = None if hardware is None else product_label(hardware)
    if label is not None:
        match = {"key": PRODUCT_LABEL, "operator": "In", "values": [label]}
        term = {"weight": _WEIGHT, "preference": {"matchExpressions": [match]}}
        node = wanted.get("nodeAffinity", {})
        wanted["nodeAffinity"] = {**node, _PREFERRED: [*node.get(_PREFERRED, ()), term]}
    return wanted or None
