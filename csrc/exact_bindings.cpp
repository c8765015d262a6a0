// Checks the arrays of the recurrence whose gates see the state, releases the GIL, calls.
#include "exact_bindings.h"

#include "arrays.h"
#include "instruction_set.h"

namespace mm_rec {
namespace {

using WeightIn = nb::ndarray<nb::ro, float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using BiasIn = nb::ndarray<nb::ro, float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

const float* weight(const Call& call, const WeightIn& array, const char* name) {
    const size_t channels = static_cast<size_t>(call.extents.channels);
    if (array.shape(0) != channels || array.shape(1) != channels)
        refuse(name, "must have shape [channels, channels] of the sequences.");
    return array.data();
}

void exact_recurrence(const SequenceIn& gamma, const SequenceIn& context, const SequenceIn& mdi,
                      const SequenceIn& z, const StateIn& h0, const WeightIn& gate_weight,
                      const BiasIn& gate_bias, const WeightIn& mdi_weight, const MaskIn& is_padding,
                      const SequenceOut& h, const StateOut& h_last,
                      const std::optional<SequenceOut>& input_gate_logit,
                      const std::optional<SequenceOut>& mdi_logit, int threads) {
    const Checker check(z, "z", threads);
    if (static_cast<int64_t>(gate_bias.shape(0)) != check.call().extents.channels)
        refuse("gate_bias", "must have shape [channels] of the sequences.");
    if (input_gate_logit.has_value() != mdi_logit.has_value())
        refuse("input_gate_logit", "and mdi_logit must be given both, or neither.");
    const auto kept = [&](const std::optional<SequenceOut>& array, const char* name) {
        return array ? check.sequence(*array, name) : Sequence{};
    };
    const ExactRecurrence call{check.call(),
                               {check.sequence(gamma, "gamma_logit"),
                                check.sequence(context, "context_logit"),
                                {},
                                check.sequence(mdi, "mdi_input"),
                                check.sequence(z, "z"),
                                check.mask(is_padding, "is_padding"),
                                {}},
                               {weight(check.call(), gate_weight, "gate_weight"), gate_bias.data(),
                                weight(check.call(), mdi_weight, "mdi_weight")},
                               check.state(h0, "h0"),
                               check.sequence(h, "h"),
                               check.state(h_last, "h_last"),
                               kept(input_gate_logit, "input_gate_logit"),
                               kept(mdi_logit, "mdi_logit")};
    const nb::gil_scoped_release released;
    kernels().exact_recurrence(call);
}

void exact_recurrence_backward(const SequenceIn& h_gradient, const StateIn& h_last_gradient,
                               const SequenceIn& gamma, const SequenceIn& context,
                               const SequenceIn& input_gate, const SequenceIn& mdi,
                               const SequenceIn& z, const StateIn& h0, const WeightIn& gate_weight,
                               const WeightIn& mdi_weight, const MaskIn& is_padding,
                               const SequenceIn& h, const SequenceOut& gamma_gradient,
                               const SequenceOut& context_gradient,
                               const SequenceOut& input_gate_gradient,
                               const SequenceOut& mdi_gradient, const SequenceOut& z_gradient,
                               const StateOut& h0_gradient, int threads) {
    const Checker check(z, "z", threads);
    const ExactRecurrenceBackward call{
        {check.call(), check.sequence(h_gradient, "h_gradient"),
         check.state(h_last_gradient, "h_last_gradient"),
         gate_inputs(check, gamma, context, input_gate, mdi, z,
                     check.mask(is_padding, "is_padding")),
         InputScale::convex, check.sequence(h, "h"), check.state(h0, "h0"),
         gate_inputs(check, gamma_gradient, context_gradient, input_gate_gradient, mdi_gradient,
                     z_gradient, nullptr),
         check.state(h0_gradient, "h0_gradient")},
        {weight(check.call(), gate_weight, "gate_weight"), nullptr,
         weight(check.call(), mdi_weight, "mdi_weight")}};
    const nb::gil_scoped_release released;
    kernels().exact_recurrence_backward(call);
}

}  // namespace

void define_exact_recurrence(nb::module_& module) {
    module.def("exact_recurrence", &exact_recurrence, fixed("gamma_logit"), fixed("context_logit"),
               fixed("mdi_input"), fixed("z"), fixed("h0").none(), fixed("gate_weight"),
               fixed("gate_bias"), fixed("mdi_weight"), fixed("is_padding").none(), fixed("h"),
               fixed("h_last"), fixed("input_gate_logit").none(), fixed("mdi_logit").none(),
               nb::arg("threads"), "Fill h, h_last and, if given, the logits of both gates.");
    module.def("exact_recurrence_backward", &exact_recurrence_backward, fixed("h_gradient"),
               fixed("h_last_gradient").none(), fixed("gamma_logit"), fixed("context_logit"),
               fixed("input_gate_logit"), fixed("mdi_logit"), fixed("z"), fixed("h0").none(),
               fixed("gate_weight"), fixed("mdi_weight"), fixed("is_padding").none(), fixed("h"),
               fixed("gamma_gradient"), fixed("context_gradient"), fixed("input_gate_gradient"),
               fixed("mdi_gradient"), fixed("z_gradient"), fixed("h0_gradient"), nb::arg("threads"),
               "Fill the gradients of the five inputs, the gates' logits among them, and h0.");
}

}  // namespace mm_rec
