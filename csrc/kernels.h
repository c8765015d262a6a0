// What the kernels take and give, whatever the instruction set. Knows neither Python nor SIMD.
#pragma once

#include <cstdint>

namespace mm_rec {

enum class Storage { fp32, bf16 };

// Extents of a sequence: [batch, time, channels], channels contiguous.
struct Extents {
    int64_t batch;
    int64_t time;
    int64_t channels;
};

// One [batch, time, channels] array; strides in elements.
struct Sequence {
    void* data = nullptr;
    int64_t batch_stride = 0;
    int64_t time_stride = 0;
};

// One fp32 [batch, channels] array, rows contiguous and one after the other; may be null.
using State = float*;

// What every kernel needs to know.
struct Call {
    Extents extents;
    Storage storage;
    int threads;
};

// product[t] = gamma[1] * ... * gamma[t].
struct CumulativeProduct : Call {
    Sequence gamma;
    Sequence product;
};

struct CumulativeProductBackward : Call {
    Sequence product_gradient;
    Sequence gamma;
    Sequence product;
    Sequence gamma_gradient;
};

// h[t] = a[t] * h[t-1] + b[t], from h0 (null: zeros).
struct LinearRecurrence : Call {
    Sequence a;
    Sequence b;
    State h0;
    Sequence h;
    State h_last;
};

struct LinearRecurrenceBackward : Call {
    Sequence h_gradient;
    State h_last_gradient;  // null: zeros
    Sequence a;
    Sequence h;
    State h0;
    Sequence a_gradient;
    Sequence b_gradient;
    State h0_gradient;
};

// The gates of MM-Rec before their sigmoids, and what they gate.
struct GateInputs {
    Sequence gamma;
    Sequence context;
    Sequence input_gate;
    Sequence mdi;
    Sequence z;
    const bool* is_padding;  // [batch, time], contiguous; null: none
    Sequence mdi_state;      // added to mdi, and has the same gradient; null data: none
};

// What i * z is multiplied by, where the state keeps a = 1 - w: w, a convex mix of both; or
// sqrt(1 - a^2), with which the variance of the state does not shrink as a grows.
enum class InputScale { convex, variance };

// h[t] = (1 - w) * h[t-1] + scale * i * z, w = (1 - gamma) * g; a padding step leaves h alone.
struct GatedRecurrence : Call {
    GateInputs inputs;
    InputScale scale;
    State h0;
    Sequence h;
    State h_last;
};

struct GatedRecurrenceBackward : Call {
    Sequence h_gradient;
    State h_last_gradient;  // null: zeros
    GateInputs inputs;
    InputScale scale;
    Sequence h;
    State h0;
    GateInputs gradients;
    State h0_gradient;
};

// Weights of the gates that see the state, fp32 and contiguous: [channels of the gate, channels of
// the state]; the bias has [channels].
struct GateWeights {
    const float* input_gate;
    const float* input_gate_bias;
    const float* mdi;
};

// The same with gates that see h[t-1]: input_gate = W_input_gate h[t-1] + bias, and W_mdi h[t-1] is
// added to mdi. What the sigmoids see is kept for the backward pass, unless their data are null.
struct ExactRecurrence : Call {
    GateInputs inputs;  // input_gate and mdi_state are not read
    GateWeights weights;
    State h0;
    Sequence h;
    State h_last;
    Sequence input_gate_logit;
    Sequence mdi_logit;
};

// The gates in `inputs` are those that the forward pass kept, the scale is convex. Gradients of the
// weights are left to a product of `gradients` with h over all of batch and time.
struct ExactRecurrenceBackward : GatedRecurrenceBackward {
    GateWeights weights;
};

struct DecodeStep;  // decode_step.h

struct ChunkedMemory;  // chunked_memory.h
struct ChunkedMemoryBackward;

struct RmsNorm;  // row_kernels.h, as all below
struct RmsNormBackward;
struct GatedNorm;
struct GatedNormBackward;
struct BiasGelu;
struct BiasGeluBackward;
struct ColumnSum;
struct CrossEntropy;

// The entry points of one instruction set.
struct Kernels {
    // Returns whether every gamma lies in (0, 1].
    bool (*cumulative_product)(const CumulativeProduct&);
    void (*cumulative_product_backward)(const CumulativeProductBackward&);
    void (*linear_recurrence)(const LinearRecurrence&);
    void (*linear_recurrence_backward)(const LinearRecurrenceBackward&);
    void (*gated_recurrence)(const GatedRecurrence&);
    void (*gated_recurrence_backward)(const GatedRecurrenceBackward&);
    void (*exact_recurrence)(const ExactRecurrence&);
    void (*exact_recurrence_backward)(const ExactRecurrenceBackward&);
    void (*decode_step)(const DecodeStep&);
    void (*chunked_memory)(const ChunkedMemory&);
    void (*chunked_memory_backward)(const ChunkedMemoryBackward&);
    void (*rms_norm)(const RmsNorm&);
    void (*rms_norm_backward)(const RmsNormBackward&);
    void (*gated_norm)(const GatedNorm&);
    void (*gated_norm_backward)(const GatedNormBackward&);
    void (*bias_gelu)(const BiasGelu&);
    void (*bias_gelu_backward)(const BiasGeluBackward&);
    void (*column_sum)(const ColumnSum&);
    void (*cross_entropy)(const CrossEntropy&);
};

namespace portable {
extern const Kernels kernels;
}
#ifdef MM_REC_X86
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
namespace avx512_bf16 {
extern const Kernels kernels;
}
#endif

}  // namespace mm_rec
