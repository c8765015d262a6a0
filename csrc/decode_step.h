// What one decoding step takes: weights where the model keeps them, states of all layers, one token
// of every text. Knows neither Python nor SIMD.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace mm_rec {

// y = weight x + bias; weight [outputs, inputs] with contiguous rows.
struct Linear {
    const float* weight = nullptr;
    int64_t row_stride = 0;       // in elements
    const float* bias = nullptr;  // null: zeros
    int64_t outputs = 0;
    int64_t inputs = 0;
};

// The weights of one block. Without memory q, v, p and query are empty.
struct DecodeLayer {
    const float* norm1;
    Linear q, k, v, z, p, e;
    Linear gamma_down, gamma_up;
    Linear context_down, context_up;
    Linear input_gate;            // of the gate state
    Linear mdi_input, mdi_state;  // the two halves of W_m
    Linear query;
    const float* bank_weights;  // [memories, heads]; null: one bank, unweighted
    Linear output;
    const float* norm2;
    Linear ffn_up, ffn_down;
};

// Widths that all layers share.
struct DecodeWidths {
    int64_t layers;
    int64_t model;
    int64_t heads;
    int64_t priority;  // of the priority gate; divides model
    int64_t inner;     // of the decay bottlenecks
    int64_t ffn;
    int64_t memories;
    int64_t vocabulary;
};

struct DecodeModel {
    DecodeWidths widths;
    const DecodeLayer* layers;
    const float* embedding;  // [vocabulary, model], contiguous
    Linear head;
    const float* norm;
    const float* decays;  // [memories], of the banks in one step
    float norm_eps;
    bool is_exact;  // the gates see h in place of z
    InputScale scale;
};

// The states of all layers, updated in place: [layers, batch, ...].
struct DecodeState {
    float* gate_input;  // [.., model]
    float* key;         // [.., model]
    float* hidden;      // [.., model]
    float* memory;      // [.., memories, heads, model / heads, model / heads]
};

struct DecodeStep {
    const DecodeModel* model;
    int64_t batch;
    const int64_t* ids;  // [batch], each in [0, vocabulary)
    DecodeState state;
    float* logits;     // [batch, vocabulary]
    float* workspace;  // decode_workspace() floats, at a multiple of 64 bytes
    int threads;
};

// Floats that a step needs besides its arguments.
int64_t decode_workspace(const DecodeWidths& widths, int64_t batch, int threads);

// Threads that are worth starting, at most `threads`.
int decode_threads(const DecodeWidths& widths, int64_t batch, int threads);

}  // namespace mm_rec
