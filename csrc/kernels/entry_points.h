// Entry points that each kernel file defines, declared once per instruction set.
#pragma once

#include "kernels.h"

namespace mm_rec::MM_REC_ISA {

bool cumulative_product(const CumulativeProduct& call);
void cumulative_product_backward(const CumulativeProductBackward& call);
void linear_recurrence(const LinearRecurrence& call);
void linear_recurrence_backward(const LinearRecurrenceBackward& call);
void gated_recurrence(const GatedRecurrence& call);
void gated_recurrence_backward(const GatedRecurrenceBackward& call);
void exact_recurrence(const ExactRecurrence& call);
void exact_recurrence_backward(const ExactRecurrenceBackward& call);
void decode_step(const DecodeStep& step);
void chunked_memory(const ChunkedMemory& call);
void chunked_memory_backward(const ChunkedMemoryBackward& call);
void rms_norm(const RmsNorm& call);
void rms_norm_backward(const RmsNormBackward& call);
void gated_norm(const GatedNorm& call);
void gated_norm_backward(const GatedNormBackward& call);
void bias_gelu(const BiasGelu& call);
void bias_gelu_backward(const BiasGeluBackward& call);
void column_sum(const ColumnSum& call);
void cross_entropy(const CrossEntropy& call);

}  // namespace mm_rec::MM_REC_ISA
