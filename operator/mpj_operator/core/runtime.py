"""What judges a job: one image, by digest as soon as one is known."""

import re
from collections.abc import Iterable
from typing import Final

from mpj_operator.api.status import Runtime
from mpj_operator.core.observed import ChildSeen, Observed
from mpj_operator.core.records import is_active

_DIGEST: Final = re.compile(r"@(sha256:[0-9a-f]{64})$")
_IMPORTED: Final = re.compile(r"(^|/)import-\d{4}-\d\d-\d\d@")
"""How containerd names an image from a file, as with ``kind load``: nobody else knows the name."""


def runtime_of(seen: Observed) -> Runtime:
    """Return what judges a job: fixed by the first result, by digest once a pod has run.

    Until then a wrong podOverrides.image may be corrected, but not under a unit that runs.
    """
    settings, records = seen.settings, seen.job.status.unit_statuses
    image = seen.job.spec.pod_overrides.image or settings.image
    runtime = seen.job.status.runtime or Runtime()
    if not any(record.manifest is not None or is_active(record) for record in records):
        version = settings.runner_version
        runtime = runtime.model_copy(update={"image": image, "runner_version": version})
    # Pods of an attempt that is given up may have run an image that was corrected since.
    current = {record.job_name for record in records}
    children = [child for child in seen.children if child.name in current]
    pinned = pinned_image(runtime.image or image, children)
    return runtime.model_copy(update={"image": pinned})


def pinned_image(image: str, children: Iterable[ChildSeen]) -> str:
    """Return an image with the digest that its first pod ran.

    A tag may be moved while a job runs; one job is never judged by two runners. A node that got the
    image by other means than a registry knows no digest of it: then the tag is all there is.

    Args:
        image: as the job's first unit was created with.
        children: the job's units.
    """
    if "@" in image:
        return image
    pods = (pod for child in children if child.owned for pod in child.pods)
    names = (pod.image_id for pod in pods if not _IMPORTED.search(pod.image_id))
    digest = next((match[1] for name in names if (match := _DIGEST.search(name))), None)
    return image if digest is None else f"{image}@{digest}"
