// The Python side of the kernels: checks arrays, releases the GIL, calls. Computes nothing.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "arrays.h"
#include "decode_bindings.h"
#include "exact_bindings.h"
#include "instruction_set.h"
#include "memory_bindings.h"
#include "row_bindings.h"

namespace nb = nanobind;

namespace mm_rec {
namespace {

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

void gated_recurrence(const SequenceIn& gamma, const SequenceIn& context,
                      const SequenceIn& input_gate, const SequenceIn& mdi, const SequenceIn& z,
                      const StateIn& h0, const MaskIn& is_padding, const SequenceOut& h,
                      const StateOut& h_last, int threads,
                      const std::optional<SequenceIn>& mdi_state, bool keeps_variance) {
    const Checker check(z, "z", threads);
    const GatedRecurrence call{check.call(),
                               gate_inputs(check, gamma, context, input_gate, mdi, z,
                                           check.mask(is_padding, "is_padding"), mdi_state),
                               scale_of(keeps_variance), check.state(h0, "h0"),
                               check.sequence(h, "h"), check.state(h_last, "h_last")};
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
                               const StateOut& h0_gradient, int threads,
                               const std::optional<SequenceIn>& mdi_state,
                               const std::optional<SequenceOut>& mdi_state_gradient,
                               bool keeps_variance) {
    const Checker check(z, "z", threads);
    if (mdi_state.has_value() != mdi_state_gradient.has_value())
        refuse("mdi_state", "and mdi_state_gradient must be given both, or neither.");
    const GatedRecurrenceBackward call{
        check.call(),
        check.sequence(h_gradient, "h_gradient"),
        check.state(h_last_gradient, "h_last_gradient"),
        gate_inputs(check, gamma, context, input_gate, mdi, z,
                    check.mask(is_padding, "is_padding"), mdi_state),
        scale_of(keeps_variance),
        check.sequence(h, "h"),
        check.state(h0, "h0"),
        gate_inputs(check, gamma_gradient, context_gradient, input_gate_gradient, mdi_gradient,
                    z_gradient, nullptr, mdi_state_gradient),
        check.state(h0_gradient, "h0_gradient")};
    const nb::gil_scoped_release released;
    kernels().gated_recurrence_backward(call);
}

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
               fixed("mdi_state") = nb::none(), nb::arg("keeps_variance") = false,
               "Fill h and h_last.");
    module.def("gated_recurrence_backward", &gated_recurrence_backward, fixed("h_gradient"),
               fixed("h_last_gradient").none(), fixed("gamma_logit"), fixed("context_logit"),
               fixed("input_gate_logit"), fixed("mdi_logit"), fixed("z"), fixed("h0").none(),
               fixed("is_padding").none(), fixed("h"), fixed("gamma_gradient"),
               fixed("context_gradient"), fixed("input_gate_gradient"), fixed("mdi_gradient"),
               fixed("z_gradient"), fixed("h0_gradient"), nb::arg("threads"),
               fixed("mdi_state") = nb::none(), fixed("mdi_state_gradient") = nb::none(),
               nb::arg("keeps_variance") = false,
               "Fill the gradients of the sequences given and h0.");
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
    mm_rec::define_exact_recurrence(module);
    mm_rec::define_decoding(module);
    mm_rec::define_chunked_memory(module);
    mm_rec::define_row_kernels(module);
}
