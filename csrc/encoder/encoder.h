// Transformer encoders in int8: what a call takes, and the entry point of each instruction set.
//
// Texts lie one after the other without padding: R rows, one a token, D columns. Activations are
// quantized as they come, u8 with a scale and a lowest value for each row; weights beforehand, s8
// with a scale for each column. Attention computes in bfloat16, all else in float32.
#pragma once

#include <cstdint>

namespace mm_rec {

constexpr int64_t kPanel = 16;         // columns of a panel of weights
constexpr int64_t kUnit = 2 * kPanel;  // columns that are computed together
constexpr int64_t kDepth = 64;         // bytes of a row that one tile takes
constexpr int64_t kSlack = 32;         // rows behind the last one that may be read

// x weight + bias. Weights are [columns / 16][depth / 4][16][4]: what one instruction takes lies
// together.
struct QuantizedLinear {
    const int8_t* weights;
    const float* scales;       // [columns]
    const float* column_sums;  // [columns], of the quantized weights
    const float* bias;         // [columns]
    int64_t depth;             // a multiple of 64
    int64_t columns;           // a multiple of 32
};

struct Norm {
    const float* weight;  // [D]
    const float* bias;
};

struct EncoderLayer {
    QuantizedLinear qkv;  // of all heads: queries, then keys, then values
    QuantizedLinear output;
    Norm output_norm;
    QuantizedLinear up;
    QuantizedLinear down;
    Norm down_norm;
};

struct Embeddings {
    const uint16_t* words;   // [vocabulary, D], bfloat16
    const float* positions;  // [longest, D]
    const float* types;      // [types, D]; null where there are none
    Norm norm;
};

enum class Activation : int32_t { none, tanh, relu };

// One layer of the head, in float32: weight [columns, depth].
struct HeadLayer {
    const float* weight;
    const float* bias;
    int64_t depth;
    int64_t columns;
    Activation activation;
};

enum class Pooled : int32_t { first, mean, last };  // which vectors of a text become one

struct EncoderModel {
    int64_t width;  // D
    int64_t heads;
    int64_t inner;  // columns between up and down
    int64_t layer_count;
    int64_t head_count;
    const EncoderLayer* layers;
    const HeadLayer* head;
    Embeddings embeddings;
    float norm_eps;
    Pooled pooled;
    bool is_normalized;  // vectors get unit length
};

// Bytes that one call works in; every pointer starts at a cache line.
struct EncoderMemory {
    uint8_t* shared;
    uint8_t* scratch;  // of the first thread; the others follow
    int64_t scratch_bytes;
    int32_t* counters;  // [steps], zero
};

struct EncoderCall {
    const EncoderModel* model;
    int64_t texts;
    int64_t rows;
    const int64_t* starts;  // [texts + 1], rows; ascending
    const int64_t* ids;     // [rows]
    const int64_t* types;   // [rows]; null: all 0
    float* answers;         // [texts, columns of the last layer of the head, or D]
    EncoderMemory memory;
    int threads;
    int32_t* meeting;  // a Barrier's bytes
};

// sums [count, columns] = rows [count, depth], u8, x weights in panels, s8; as a QuantizedLinear's.
struct ProductCall {
    const uint8_t* rows;
    const int8_t* weights;
    int32_t* sums;
    int64_t count;    // a multiple of 32
    int64_t depth;    // a multiple of 64
    int64_t columns;  // a multiple of 32
    int threads;
};

// multiply: what thread `thread` of call.threads does. encode: the same; all of them must run it.
// The others say what memory a call of encode takes: shared by its threads, for each of them, and
// how many counters.
struct EncoderKernels {
    void (*multiply)(const ProductCall& call, int thread);
    void (*encode)(const EncoderCall& call, int thread);
    int64_t (*shared_bytes)(const EncoderModel& model, int64_t rows, int64_t texts);
    int64_t (*scratch_bytes)(const EncoderModel& model, int64_t longest);
    int64_t (*steps)(const EncoderModel& model);
};

namespace encoder_vnni {
extern const EncoderKernels kernels;
}
namespace encoder_bf16 {
extern const EncoderKernels kernels;
}
namespace encoder_amx {
extern const EncoderKernels kernels;
}

}  // namespace mm_rec
