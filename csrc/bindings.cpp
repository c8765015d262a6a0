// The Python side of the kernels: checks arrays, releases the GIL, calls. Computes nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "instruction_set.h"

namespace nb = nanobind;

namespace mm_rec {
namespace {

using Input = nb::ndarray<nb::ro, nb::ndim<3>, nb::device::cpu>;
using Output = nb::ndarray<nb::ndim<3>, nb::device::cpu>;

template <class Array>
Storage storage_of(const Array& array, const char* name) {
    const nb::dlpack::dtype dtype = array.dtype();
    if (dtype.lanes == 1 && dtype.bits == 32 &&
        dtype.code == (uint8_t)nb::dlpack::dtype_code::Float)
        return Storage::fp32;
    if (dtype.lanes == 1 && dtype.bits == 16 &&
        dtype.code == (uint8_t)nb::dlpack::dtype_code::Bfloat)
        return Storage::bf16;
    throw std::invalid_argument(std::string(name) + " must hold float32 or bfloat16 values.");
}

template <class Array>
Extents extents_of(const Array& array) {
    return {(int64_t)array.shape(0), (int64_t)array.shape(1), (int64_t)array.shape(2)};
}

// A sequence of the given extents and storage with contiguous channels; throws otherwise.
template <class Array>
Sequence sequence(const Array& array, const char* name, const Extents& extents, Storage storage) {
    const Extents own = extents_of(array);
    if (own.batch != extents.batch || own.time != extents.time || own.channels != extents.channels)
        throw std::invalid_argument(std::string(name) +
                                    " differs in shape from the first argument.");
    if (storage_of(array, name) != storage)
        throw std::invalid_argument(std::string(name) +
                                    " differs in dtype from the first argument.");
    if (own.channels > 1 && array.stride(2) != 1)
        throw std::invalid_argument(std::string(name) +
                                    " must be contiguous in its last dimension.");
    return {const_cast<void*>(static_cast<const void*>(array.data())), array.stride(0),
            array.stride(1)};
}

void check_extents(const Extents& extents) {
    if (extents.batch < 1 || extents.time < 1 || extents.channels < 1)
        throw std::invalid_argument("every dimension must be at least 1.");
}

bool cumulative_product(const Input& gamma, const Output& product, int threads) {
    CumulativeProduct call{};
    call.extents = extents_of(gamma);
    check_extents(call.extents);
    call.storage = storage_of(gamma, "gamma");
    call.gamma = sequence(gamma, "gamma", call.extents, call.storage);
    call.product = sequence(product, "product", call.extents, call.storage);
    call.threads = threads < 1 ? 1 : threads;
    const nb::gil_scoped_release released;
    return kernels().cumulative_product(call);
}

}  // namespace
}  // namespace mm_rec

NB_MODULE(_native, module) {
    using namespace nb::literals;
    module.doc() = "Kernels of MM-Rec on CPUs. Arrays are checked; results go into arrays given.";
    module.def("instruction_sets", &mm_rec::instruction_sets,
               "Return the names of the instruction sets that run here, best first.");
    module.def("instruction_set", &mm_rec::instruction_set,
               "Return the name of the instruction set in use.");
    module.def("set_instruction_set", &mm_rec::set_instruction_set, "name"_a,
               "Use the named instruction set from now on, for all threads.");
    module.def("cumulative_product", &mm_rec::cumulative_product, "gamma"_a, "product"_a,
               "threads"_a, "Fill `product`; return whether every gamma lies in (0, 1].");
}
