// The table of entry points of the instruction set this file is compiled for.
#include "kernels/entry_points.h"

namespace mm_rec::MM_REC_ISA {

extern const Kernels kernels;
const Kernels kernels = {
    cumulative_product,
    cumulative_product_backward,
    linear_recurrence,
    linear_recurrence_backward,
    gated_recurrence,
    gated_recurrence_backward,
    exact_recurrence,
    exact_recurrence_backward,
    decode_step,
    chunked_memory,
    chunked_memory_backward,
    rms_norm,
    rms_norm_backward,
    gated_norm,
    gated_norm_backward,
    bias_gelu,
    bias_gelu_backward,
    column_sum,
    cross_entropy,
};

}  // namespace mm_rec::MM_REC_ISA
