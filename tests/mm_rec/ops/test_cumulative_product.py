import numpy
import pytest
import torch

import mm_rec_scan_cpu
from mm_rec.errors import ConfigError, ShapeError
from mm_rec.ops.cumulative_product import cumulative_product
from mm_rec_scan_cpu import associative_scan_exponential_cpu

OUTSIDE = [0.0, -0.5, 1.0000001, torch.inf, -torch.inf, torch.nan]


def _gamma(*shape):
    torch.manual_seed(0)
    return torch.rand(shape).mul(0.5).add(0.5)


def test_tensors_and_arrays_give_the_product_along_time():
    gamma = _gamma(2, 3, 30, 17)
    exact = gamma.double().cumprod(2)
    product = associative_scan_exponential_cpu(gamma)
    torch.testing.assert_close(product.double(), exact, rtol=1e-5, atol=1e-30)
    array = associative_scan_exponential_cpu(gamma.numpy())
    assert isinstance(array, numpy.ndarray)
    numpy.testing.assert_array_equal(array, product.numpy())


def test_arrays_of_any_strides_and_read_only_ones_are_read():
    gamma = _gamma(4, 6, 10, 8).numpy()
    turned = gamma[::-1, ::2].transpose(0, 1, 3, 2)
    expected = numpy.cumprod(turned, axis=2)
    numpy.testing.assert_allclose(associative_scan_exponential_cpu(turned), expected, rtol=1e-5)
    gamma.flags.writeable = False
    numpy.testing.assert_allclose(
        associative_scan_exponential_cpu(gamma), numpy.cumprod(gamma, axis=2), rtol=1e-5
    )


@pytest.mark.parametrize("value", OUTSIDE)
@pytest.mark.parametrize("shape", [(2, 1, 9, 16), (1, 2, 9, 37), (1, 1, 9, 3)], ids=str)
def test_a_value_outside_the_range_is_found_wherever_it_stands(
    value, shape, forced_instruction_set
):
    for name in mm_rec_scan_cpu.instruction_sets():
        forced_instruction_set(name)
        for place in ((0, 0, 0, 0), (-1, -1, -1, -1)):
            gamma = _gamma(*shape)
            gamma[place] = value
            for run in (associative_scan_exponential_cpu, cumulative_product):
                with pytest.raises(ConfigError, match=r"gamma has values outside \(0, 1\] or NaN"):
                    run(gamma)


@pytest.mark.parametrize("value", OUTSIDE)
def test_the_reference_checks_the_range_too(value):
    with pytest.raises(ConfigError, match=r"gamma has values outside \(0, 1\]"):
        cumulative_product(torch.full((1, 1, 2, 3), value), implementation="reference")


@pytest.mark.parametrize("value", [1e-45, 1e-30, 1.0])
def test_the_ends_of_the_range_are_in_it(value):
    product = cumulative_product(torch.full((1, 1, 4, 20), value))
    assert product.isfinite().all()


def test_a_product_that_vanishes_still_has_a_gradient():
    gamma = torch.full((1, 1, 40, 4), 0.01, requires_grad=True)
    product = cumulative_product(gamma)
    assert (product[0, 0, -1] == 0).all()
    (gradient,) = torch.autograd.grad(product.sum(), gamma)
    assert gradient.isfinite().all()
    torch.testing.assert_close(gradient[0, 0, 0], torch.full((4,), 1 / 0.99))


@pytest.mark.parametrize("run", [associative_scan_exponential_cpu, cumulative_product])
def test_shapes_and_dtypes_that_do_not_fit_are_refused(run):
    with pytest.raises(ShapeError, match=r"gamma has shape \(2, 3, 4\); expected \[B, H, T, d\]"):
        run(torch.ones(2, 3, 4))
    with pytest.raises(ShapeError, match=r"gamma has shape \(1, 2, 0, 4\)"):
        run(torch.ones(1, 2, 0, 4))
    with pytest.raises(ConfigError, match=r"gamma has dtype torch\.int64"):
        run(torch.ones(1, 2, 3, 4, dtype=torch.int64))
    with pytest.raises(ConfigError, match="gamma is a NoneType; expected a torch tensor"):
        run(None)


def test_the_extension_refuses_what_it_would_have_to_change():
    with pytest.raises(ConfigError, match="gamma has dtype float64; expected float32"):
        associative_scan_exponential_cpu(numpy.ones((1, 2, 3, 4)))
    with pytest.raises(ConfigError, match="gamma is on meta"):
        associative_scan_exponential_cpu(torch.ones(1, 2, 3, 4, device="meta"))
    with pytest.raises(ConfigError, match="gamma requires a gradient"):
        associative_scan_exponential_cpu(torch.ones(1, 2, 3, 4, requires_grad=True))
