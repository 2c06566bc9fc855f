import pytest
from hypothesis import given
from hypothesis import strategies as st

from build.trtllm import gpu
from slipway.contract.errors import RecipeError


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("4050", "RTX 4050 Laptop 6GB"),
        ("RTX 4050 6GB", "RTX 4050 Laptop 6GB"),
        ("rtx 4050 laptop", "RTX 4050 Laptop 6GB"),
        ("NVIDIA GeForce RTX 4050 Laptop GPU", "RTX 4050 Laptop 6GB"),
        ("rtx4090", "RTX 4090 24GB"),
        ("RTX 4060", "RTX 4060 8GB"),
        ("4060 ti 16gb", "RTX 4060 Ti 16GB"),
        ("A10", "A10 24GB"),
        ("NVIDIA A100 80 GB", "A100 80GB"),
        ("h200", "H200 141GB"),
        ("NVIDIA H100 80GB HBM3", "H100 80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("Tesla V100-SXM2-16GB", "V100 16GB"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada 48GB"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 96GB"),
    ],
)
def test_a_gpu_is_found_however_people_write_it(query: str, name: str) -> None:
    assert str(gpu.find(query)) == name


@pytest.mark.parametrize("known", gpu.known(), ids=str)
def test_every_gpu_is_found_by_its_own_name(known: gpu.Gpu) -> None:
    assert gpu.find(known.name) == known
    assert int(known.name.split()[-1].removesuffix("GB")) == pytest.approx(known.memory / 2**30, rel=0.08)


def test_an_unknown_gpu_hears_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"'quadro' is not known; give --gpu-memory.*RTX 3060 12GB, .*H200"):
        gpu.find("quadro")
    with pytest.raises(RecipeError, match="is not known"):
        gpu.find("NVIDIA GPU")


def test_a_name_that_two_gpus_share_asks_which() -> None:
    with pytest.raises(RecipeError, match="'A100' can be A100 40GB or A100 80GB; say which"):
        gpu.find("A100")
    with pytest.raises(RecipeError, match="can be RTX 4060 Ti 8GB or RTX 4060 Ti 16GB; say which"):
        gpu.find("4060 Ti")


def test_fp8_begins_with_ada() -> None:
    assert gpu.find("A100 80GB").obstacle("fp8") == (
        "fp8 needs compute capability 8.9 or newer, and A100 80GB has 8.0"
    )
    assert gpu.find("L4").obstacle("fp8") is None
    assert gpu.find("A100 80GB").obstacle("int4") is None
    assert "1.2.1 has no int8 for compute capability 10.0" in (gpu.find("B200").obstacle("int8") or "")
    assert gpu.find("RTX 5090").obstacle("int8") is None
    assert not gpu.find("RTX 5090").has_kernels("int8")
    assert "1.2.1 needs compute capability 8.0" in (gpu.find("T4").obstacle("none") or "")


@given(st.integers(1, 200_000))
def test_a_size_is_read_in_either_unit(mib: int) -> None:
    for text in (f"{mib}MiB", f"{mib} mb", f"{mib / 1024:.10f}GB", f"{mib / 1024:.10f}"):
        assert gpu.memory_size(text) == pytest.approx(mib * gpu.MIB, abs=2)


@pytest.mark.parametrize("text", ["six", "0GB", "-6GB", "6TB", "1.2.3GB", "."])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="is not a size; write it like 6GB"):
        gpu.memory_size(text)
