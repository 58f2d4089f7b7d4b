"""Where pods go: near the user's wishes, and on the GPU that measured the reference."""

import pytest
from job_values import GPU, pod_of
from simulated import Figures, Simulation, job

from mpj_operator.api.affinity import Affinity
from mpj_operator.core import names
from mpj_operator.core.placement import PRODUCT_LABEL, affinity, product_label


@pytest.mark.parametrize(
    ("hardware", "label"),
    [
        ("NVIDIA H100 80GB HBM3, driver 580.65.06", "NVIDIA-H100-80GB-HBM3"),
        ("NVIDIA GeForce RTX 4090, driver 1", "NVIDIA-GeForce-RTX-4090"),
        ("Tesla T4, driver 1", "Tesla-T4"),
        ("NVIDIA  RTX (Ada)  6000, driver 1", "NVIDIA-RTX-Ada-6000"),
        ("AMD EPYC 7B13 (avx2)", None),
        (f"{'x' * 64}, driver 1", None),
        (", driver 1", None),
    ],
)
def test_a_gpus_label_follows_from_its_name(hardware, label):
    assert product_label(hardware) == label


H100 = "NVIDIA H100 80GB HBM3, driver 580.65.06"
WISH = {
    "weight": 100,
    "preference": {
        "matchExpressions": [
            {"key": PRODUCT_LABEL, "operator": "In", "values": ["NVIDIA-H100-80GB-HBM3"]}
        ]
    },
}
ZONE = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@pytest.mark.parametrize(
    ("given", "hardware", "wanted"),
    [
        pytest.param(None, None, None, id="nothing is known"),
        pytest.param(None, "AMD EPYC (avx2)", None, id="it is no GPU"),
        pytest.param(None, H100, {"nodeAffinity": {PREFERRED: [WISH]}}, id="the wish alone"),
        pytest.param(
            {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [ZONE]},
                              PREFERRED: [{"weight": 5, "preference": ZONE}]}},
            H100,
            {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [ZONE]},
                              PREFERRED: [{"weight": 5, "preference": ZONE}, WISH]}},
            id="beside the user's",
        ),
        pytest.param({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [ZONE]}}}, None,
                     {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [ZONE]}}}, id="the user's"),
    ],
)  # fmt: skip
def test_pods_wish_for_the_references_gpu(given, hardware, wanted):
    model = None if given is None else Affinity.model_validate(given)
    assert affinity(model, hardware) == wanted


def test_only_gpu_units_after_the_reference_wish_for_its_gpu():
    simulation = Simulation(job(**GPU), Figures(hardware=H100)).run()
    wishing = {
        value["metadata"]["labels"][names.LABEL_UNIT]
        for value in simulation.values.values()
        if WISH in pod_of(value).get("affinity", {}).get("nodeAffinity", {}).get(PREFERRED, ())
    }
    assert wishing == {"baseline", "fp16", "int8", "aq-9", "mine", "final"}
