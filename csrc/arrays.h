// Arrays from Python as the kernels see them. Every array is held to the first one.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace mm_rec {

namespace nb = nanobind;

using SequenceIn = nb::ndarray<nb::ro, nb::ndim<3>, nb::device::cpu>;
using SequenceOut = nb::ndarray<nb::ndim<3>, nb::device::cpu>;
using StateIn =
    std::optional<nb::ndarray<nb::ro, float, nb::ndim<2>, nb::c_contig, nb::device::cpu>>;
using StateOut = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using MaskIn = std::optional<nb::ndarray<nb::ro, bool, nb::ndim<2>, nb::c_contig, nb::device::cpu>>;

[[noreturn]] inline void refuse(const char* name, const char* reason) {
    throw std::invalid_argument(std::string(name) + " " + reason);
}

template <class Array>
Storage storage_of(const Array& array, const char* name) {
    const nb::dlpack::dtype dtype = array.dtype();
    const auto is = [&](nb::dlpack::dtype_code code, int bits) {
        return dtype.lanes == 1 && dtype.code == static_cast<uint8_t>(code) && dtype.bits == bits;
    };
    if (is(nb::dlpack::dtype_code::Float, 32)) return Storage::fp32;
    if (is(nb::dlpack::dtype_code::Bfloat, 16)) return Storage::bf16;
    refuse(name, "must hold float32 or bfloat16 values.");
}

template <class Array>
Extents extents_of(const Array& array) {
    return {static_cast<int64_t>(array.shape(0)), static_cast<int64_t>(array.shape(1)),
            static_cast<int64_t>(array.shape(2))};
}

// Takes extents and storage from the first sequence, and holds all others to them.
class Checker {
public:
    Checker(const SequenceIn& first, const char* name, int threads)
        : call_{extents_of(first), storage_of(first, name), threads < 1 ? 1 : threads} {
        if (call_.extents.batch < 1 || call_.extents.time < 1 || call_.extents.channels < 1)
            refuse(name, "must have at least 1 in every dimension.");
    }

    const Call& call() const { return call_; }

    template <class Array>
    Sequence sequence(const Array& array, const char* name) const {
        const Extents own = extents_of(array);
        const Extents& all = call_.extents;
        if (own.batch != all.batch || own.time != all.time || own.channels != all.channels)
            refuse(name, "differs in shape from the other sequences.");
        if (storage_of(array, name) != call_.storage)
            refuse(name, "differs in dtype from the other sequences.");
        if (own.channels > 1 && array.stride(2) != 1)
            refuse(name, "must be contiguous in its last dimension.");
        return {const_cast<void*>(static_cast<const void*>(array.data())), array.stride(0),
                array.stride(1)};
    }

    State state(const StateIn& array, const char* name) const {
        if (!array) return nullptr;
        check_state(*array, name);
        return const_cast<State>(array->data());
    }

    State state(const StateOut& array, const char* name) const {
        check_state(array, name);
        return array.data();
    }

    const bool* mask(const MaskIn& array, const char* name) const {
        if (!array) return nullptr;
        const Extents& all = call_.extents;
        if (static_cast<int64_t>(array->shape(0)) != all.batch ||
            static_cast<int64_t>(array->shape(1)) != all.time)
            refuse(name, "must have shape [batch, time] of the sequences.");
        return array->data();
    }

private:
    template <class Array>
    void check_state(const Array& array, const char* name) const {
        if (static_cast<int64_t>(array.shape(0)) != call_.extents.batch ||
            static_cast<int64_t>(array.shape(1)) != call_.extents.channels)
            refuse(name, "must have shape [batch, channels] of the sequences.");
    }

    Call call_;
};

inline InputScale scale_of(bool keeps_variance) {
    return keeps_variance ? InputScale::variance : InputScale::convex;
}

template <class Array>
GateInputs gate_inputs(const Checker& check, const Array& gamma, const Array& context,
                       const Array& input_gate, const Array& mdi, const Array& z,
                       const bool* is_padding, const std::optional<Array>& mdi_state = {}) {
    return {check.sequence(gamma, "gamma_logit"),
            check.sequence(context, "context_logit"),
            check.sequence(input_gate, "input_gate_logit"),
            check.sequence(mdi, "mdi_logit"),
            check.sequence(z, "z"),
            is_padding,
            mdi_state ? check.sequence(*mdi_state, "mdi_state") : Sequence{}};
}

// A named argument that is never converted: a copy would take the result with it.
inline auto fixed(const char* name) { return nb::arg(name).noconvert(); }

}  // namespace mm_rec
