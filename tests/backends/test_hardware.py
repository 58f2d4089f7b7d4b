"""Which 8-bit products a processor computes right, and engines that ask for more."""

import pytest

from mpj_runner.backends import hardware
from mpj_runner.backends.info import EngineInfo, check_products
from mpj_runner.contract.errors import UserError


@pytest.mark.parametrize(
    ("flags", "products"),
    [
        ("sse4_2 avx2 fma", "saturating"),
        ("avx2 avx512f avx512bw", "saturating"),
        ("avx2 avx_vnni", "unsigned"),
        ("avx2 avx512f avx512_vnni", "unsigned"),
        ("avx512_vnni amx_tile amx_int8 amx_bf16", "signed"),
        ("asimd asimddp", "unsigned"),
        ("", "saturating"),
    ],
)
def test_products_follow_the_instruction_sets(monkeypatch, flags, products):
    monkeypatch.setattr(hardware, "_cpuinfo", lambda: {"flags": flags})
    assert hardware.int8_products() == products


KINDS = ("saturating", "unsigned", "signed")


@pytest.mark.parametrize("here", KINDS)
@pytest.mark.parametrize("needs", KINDS)
def test_an_engine_loads_where_its_products_are_right_and_only_there(needs, here):
    info = EngineInfo(
        backend="openvino",
        package="openvino 1",
        hardware="Xeon A",
        precision="int8",
        device="cpu",
        products=needs,
    )
    if KINDS.index(needs) <= KINDS.index(here):
        check_products(info, here, "EPYC B")
        return
    why = "signed 8-bit activations.*AMX" if needs == "signed" else "8-bit weights.*VNNI or AMX"
    with pytest.raises(UserError, match=rf"{why}.*Xeon A.*EPYC B.*nodeSelector"):
        check_products(info, here, "EPYC B")


@pytest.mark.parametrize(
    ("most", "products"),
    [
        ("ALL", "signed"),
        ("AVX512_CORE_AMX", "signed"),
        ("AVX512_CORE_BF16", "unsigned"),
        ("AVX512_CORE_VNNI", "unsigned"),
        ("avx2_vnni", "unsigned"),
        ("AVX512_CORE", "saturating"),
        ("AVX2", "saturating"),
    ],
)
def test_what_onednn_may_not_use_does_not_count(monkeypatch, most, products):
    flags = "avx2 avx_vnni avx512f avx512_vnni avx512_bf16 amx_int8 amx_bf16"
    monkeypatch.setattr(hardware, "_cpuinfo", lambda: {"flags": flags})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
    assert hardware.int8_products() == products


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_hidden_gpu_is_no_hardware(monkeypatch, hidden):
    hardware.gpu.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert hardware.gpu() is None
    assert hardware.hardware_of("onnxruntime") == hardware.cpu()
    hardware.gpu.cache_clear()
