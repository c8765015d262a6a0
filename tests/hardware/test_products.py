import numpy as np
import pytest

from ivme.errors import RefusedError
from ivme.hardware.accelerators import read_accelerators
from ivme.hardware.ceilings import processor_paths
from ivme.hardware.products import openvino, torch_accelerator
from ivme.hardware.products.product import float_operands, integer_operands

SIZE = 32
PATHS = {path.name: path for path in processor_paths()}
# Rounding of the operands, times the root of the terms in a sum: fp32 2**-24, bf16 2**-9.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.1}


@pytest.mark.parametrize("name", [n for n, p in PATHS.items() if p.precision in TOLERANCE])
def test_each_floating_point_path_computes_the_product(name):
    path = PATHS[name]
    if name == "openvino-bf16" and openvino.default_precision() != "bf16":
        with pytest.raises(RefusedError, match=r"OpenVINO ran it in .*: no fast bf16"):
            path.prepare(SIZE, 1)
        return
    product = path.prepare(SIZE, 1)
    product.run()
    left, right = float_operands(SIZE)
    np.testing.assert_allclose(product.result(), left @ right, atol=TOLERANCE[path.precision])
    assert product.ran_in == path.precision


@pytest.mark.parametrize(
    ("name", "left_type"),
    [
        ("torch-int8", "int8"),
        ("onnxruntime-int8-u8s8", "uint8"),
        ("onnxruntime-int8-s8s8", "int8"),
    ],
)
def test_each_integer_path_computes_the_exact_product(name, left_type):
    product = PATHS[name].prepare(SIZE, 1)
    product.run()
    left, right = integer_operands(SIZE, left_type)
    np.testing.assert_array_equal(product.result(), left.astype("int32") @ right.astype("int32"))


@pytest.mark.parametrize(
    ("name", "scale"), [("onnxruntime-int8-dynamic", 1.0), ("openvino-int8", openvino.SCALE)]
)
def test_each_quantizing_path_is_within_one_step_of_its_activations(name, scale):
    product = PATHS[name].prepare(SIZE, 1)
    product.run()
    left, _ = float_operands(SIZE)
    _, right = integer_operands(SIZE)
    step = 2 / 255  # activations in [-1, 1] as 256 values
    bound = step * np.abs(right.astype("float32")).sum(axis=0).max() * scale
    np.testing.assert_allclose(product.result(), left @ right.astype("float32") * scale, atol=bound)


def test_a_product_survives_until_it_is_run():
    # ONNX Runtime and OpenVINO hold addresses of arrays: they must not be freed before.
    products = [path.prepare(512, 1) for path in PATHS.values() if path.precision == "fp32"]
    for product in products:
        product.run()
        assert np.isfinite(product.result()).all()


def test_openvino_tells_the_precision_that_it_runs_in_unasked():
    assert openvino.default_precision() in ("fp32", "bf16", "fp16")


def test_a_cuda_device_is_measured_in_tf32_from_ampere_on(h200):
    names = [path.name for path in torch_accelerator.paths(h200)]
    assert names == [f"torch-cuda:0-{p}" for p in ("fp32", "tf32", "bf16", "fp16")]


@pytest.mark.gpu
def test_a_cuda_product_is_the_product(h200):
    if not read_accelerators(with_torch=True):
        pytest.skip("no CUDA device")
    for path in torch_accelerator.paths(h200):
        product = path.prepare(64, 1)
        product.run()
        left, right = float_operands(64)
        np.testing.assert_allclose(product.result(), left @ right, atol=0.1)
