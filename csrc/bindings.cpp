// The Python side of the kernels: checks arrays, releases the GIL, calls. Computes nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>

#include "decode_bindings.h"
#include "instruction_set.h"

namespace nb = nanobind;

namespace mm_rec {
namespace {

using SequenceIn = nb::ndarray<nb::ro, nb::ndim<3>, nb::device::cpu>;
using SequenceOut = nb::ndarray<nb::ndim<3>, nb::device::cpu>;
using StateIn =
    std::optional<nb::ndarray<nb::ro, float, nb::ndim<2>, nb::c_contig, nb::device::cpu>>;
using StateOut = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using MaskIn = std::optional<nb::ndarray<nb::ro, bool, nb::ndim<2>, nb::c_contig, nb::device::cpu>>;

[[noreturn]] void refuse(const char* name, const char* reason) {
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

bool cumulative_product(const SequenceIn& gamma, const SequenceOut& product, int threads) {
    const Checker check(gamma, "gamma", threads);
    const CumulativeProduct call{check.call(), check.sequence(gamma, "gamma"),
                                 check.sequence(product, "product")};
    const nb::gil_scoped_release released;
    return kernels().cumulative_product(call);
}

void cumulative_product_backward(const SequenceIn& product_gradient, const SequenceIn& gamma,
                                 const SequenceIn& product, const SequenceOut& gamma_gradient,
                                 int threads) {
    const Checker check(gamma, "gamma", threads);
    const CumulativeProductBackward call{
        check.call(), check.sequence(product_gradient, "product_gradient"),
        check.sequence(gamma, "gamma"), check.sequence(product, "product"),
        check.sequence(gamma_gradient, "gamma_gradient")};
    const nb::gil_scoped_release released;
    kernels().cumulative_product_backward(call);
}

void linear_recurrence(const SequenceIn& a, const SequenceIn& b, const StateIn& h0,
                       const SequenceOut& h, const StateOut& h_last, int threads) {
    const Checker check(a, "a", threads);
    const LinearRecurrence call{check.call(),           check.sequence(a, "a"),
                                check.sequence(b, "b"), check.state(h0, "h0"),
                                check.sequence(h, "h"), check.state(h_last, "h_last")};
    const nb::gil_scoped_release released;
    kernels().linear_recurrence(call);
}

void linear_recurrence_backward(const SequenceIn& h_gradient, const StateIn& h_last_gradient,
                                const SequenceIn& a, const SequenceIn& h, const StateIn& h0,
                                const SequenceOut& a_gradient, const SequenceOut& b_gradient,
                                const StateOut& h0_gradient, int threads) {
    const Checker check(a, "a", threads);
    const LinearRecurrenceBackward call{check.call(),
                                        check.sequence(h_gradient, "h_gradient"),
                                        check.state(h_last_gradient, "h_last_gradient"),
                                        check.sequence(a, "a"),
                                        check.sequence(h, "h"),
                                        check.state(h0, "h0"),
                                        check.sequence(a_gradient, "a_gradient"),
                                        check.sequence(b_gradient, "b_gradient"),
                                        check.state(h0_gradient, "h0_gradient")};
    const nb::gil_scoped_release released;
    kernels().linear_recurrence_backward(call);
}

template <class Array>
GateInputs gate_inputs(const Checker& check, const Array& gamma, const Array& context,
                       const Array& input_gate, const Array& mdi, const Array& z,
                       const bool* is_padding) {
    return {check.sequence(gamma, "gamma_logit"),
            check.sequence(context, "context_logit"),
            check.sequence(input_gate, "input_gate_logit"),
            check.sequence(mdi, "mdi_logit"),
            check.sequence(z, "z"),
            is_padding};
}

void gated_recurrence(const SequenceIn& gamma, const SequenceIn& context,
                      const SequenceIn& input_gate, const SequenceIn& mdi, const SequenceIn& z,
                      const StateIn& h0, const MaskIn& is_padding, const SequenceOut& h,
                      const StateOut& h_last, int threads) {
    const Checker check(z, "z", threads);
    const GatedRecurrence call{check.call(),
                               gate_inputs(check, gamma, context, input_gate, mdi, z,
                                           check.mask(is_padding, "is_padding")),
                               check.state(h0, "h0"), check.sequence(h, "h"),
                               check.state(h_last, "h_last")};
    const nb::gil_scoped_release released;
    kernels().gated_recurrence(call);
}

void gated_recurrence_backward(const SequenceIn& h_gradient, const StateIn& h_last_gradient,
                               const SequenceIn& gamma, const SequenceIn& context,
                               const SequenceIn& input_gate, const SequenceIn& mdi,
                               const SequenceIn& z, const StateIn& h0, const MaskIn& is_padding,
                               const SequenceIn& h, const SequenceOut& gamma_gradient,
                               const SequenceOut& context_gradient,
                               const SequenceOut& input_gate_gradient,
                               const SequenceOut& mdi_gradient, const SequenceOut& z_gradient,
                               const StateOut& h0_gradient, int threads) {
    const Checker check(z, "z", threads);
    const GatedRecurrenceBackward call{
        check.call(),
        check.sequence(h_gradient, "h_gradient"),
        check.state(h_last_gradient, "h_last_gradient"),
        gate_inputs(check, gamma, context, input_gate, mdi, z,
                    check.mask(is_padding, "is_padding")),
        check.sequence(h, "h"),
        check.state(h0, "h0"),
        gate_inputs(check, gamma_gradient, context_gradient, input_gate_gradient, mdi_gradient,
                    z_gradient, nullptr),
        check.state(h0_gradient, "h0_gradient")};
    const nb::gil_scoped_release released;
    kernels().gated_recurrence_backward(call);
}

// A named argument that is never converted: a copy would take the result with it.
auto fixed(const char* name) { return nb::arg(name).noconvert(); }

void define_kernels(nb::module_& module) {
    module.def("cumulative_product", &cumulative_product, fixed("gamma"), fixed("product"),
               nb::arg("threads"), "Fill product; return whether every gamma lies in (0, 1].");
    module.def("cumulative_product_backward", &cumulative_product_backward,
               fixed("product_gradient"), fixed("gamma"), fixed("product"), fixed("gamma_gradient"),
               nb::arg("threads"), "Fill gamma_gradient.");
    module.def("linear_recurrence", &linear_recurrence, fixed("a"), fixed("b"), fixed("h0").none(),
               fixed("h"), fixed("h_last"), nb::arg("threads"), "Fill h and h_last.");
    module.def("linear_recurrence_backward", &linear_recurrence_backward, fixed("h_gradient"),
               fixed("h_last_gradient").none(), fixed("a"), fixed("h"), fixed("h0").none(),
               fixed("a_gradient"), fixed("b_gradient"), fixed("h0_gradient"), nb::arg("threads"),
               "Fill the gradients of a, b and h0.");
    module.def("gated_recurrence", &gated_recurrence, fixed("gamma_logit"), fixed("context_logit"),
               fixed("input_gate_logit"), fixed("mdi_logit"), fixed("z"), fixed("h0").none(),
               fixed("is_padding").none(), fixed("h"), fixed("h_last"), nb::arg("threads"),
               "Fill h and h_last.");
    module.def("gated_recurrence_backward", &gated_recurrence_backward, fixed("h_gradient"),
               fixed("h_last_gradient").none(), fixed("gamma_logit"), fixed("context_logit"),
               fixed("input_gate_logit"), fixed("mdi_logit"), fixed("z"), fixed("h0").none(),
               fixed("is_padding").none(), fixed("h"), fixed("gamma_gradient"),
               fixed("context_gradient"), fixed("input_gate_gradient"), fixed("mdi_gradient"),
               fixed("z_gradient"), fixed("h0_gradient"), nb::arg("threads"),
               "Fill the gradients of the five inputs and h0.");
}

}  // namespace
}  // namespace mm_rec

NB_MODULE(_native, module) {
    module.doc() = "Kernels of MM-Rec on CPUs. Arrays are checked; results go into arrays given.";
    module.def("instruction_sets", &mm_rec::instruction_sets,
               "Return the names of the instruction sets that run here, best first.");
    module.def("instruction_set", &mm_rec::instruction_set,
               "Return the name of the instruction set in use.");
    module.def("set_instruction_set", &mm_rec::set_instruction_set, nb::arg("name"),
               "Use the named instruction set from now on, for all threads.");
    mm_rec::define_kernels(module);
    mm_rec::define_decoding(module);
}
