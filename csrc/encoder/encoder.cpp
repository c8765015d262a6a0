// An encoder's layers, step by step, for all threads of a call; compiled for each instruction set.
#include "encoder.h"

#include "approximations.h"
#include "attention.h"
#include "kernels/barrier.h"
#include "kernels/flush_to_zero.h"
#include "products.h"
#include "row_steps.h"

namespace mm_rec {
namespace MM_REC_ISA {
namespace {

constexpr int64_t kRowsAtOnce = 8;  // that a thread takes where rows are treated one by one

inline int64_t smallest(int64_t a, int64_t b) { return a < b ? a : b; }

// The threads of a call: pieces of work are handed out as they ask, and all meet after each step.
class Team {
public:
    Team(const EncoderCall& call)
        : threads_(call.threads),
          counter_(call.memory.counters),
          barrier_(*reinterpret_cast<Barrier*>(call.meeting)) {}

    int threads() const { return threads_; }
    int64_t next() { return __atomic_fetch_add(counter_, 1, __ATOMIC_RELAXED); }
    void meet() {
        barrier_.wait(threads_);
        ++counter_;
    }

    template <class Body>
    void each(int64_t count, Body body) {
        for (int64_t i = next(); i < count; i = next()) body(i);
        meet();
    }

    template <class Body>
    void each_row(int64_t rows, Body body) {
        each((rows + kRowsAtOnce - 1) / kRowsAtOnce, [&](int64_t i) {
            const int64_t end = smallest(rows, (i + 1) * kRowsAtOnce);
            for (int64_t row = i * kRowsAtOnce; row < end; ++row) body(row);
        });
    }

private:
    int threads_;
    int32_t* counter_;
    Barrier& barrier_;
};

// Hands finish(row, column, values of 16 columns) every product of rows [0, count) with the linear.
template <class Finish>
void multiply(Team& team, const QuantizedRows& rows, int64_t count, const QuantizedLinear& linear,
              Finish finish) {
    const int64_t depth = linear.depth, unit_bytes = depth * kUnit;
    const int64_t units = linear.columns / kUnit;
    const int64_t blocks = (count + kBlock - 1) / kBlock;
    // Few columns for many threads: rows are shared out too.
    const int64_t wanted = (4 * team.threads() + units - 1) / units;
    const int64_t chunk = (blocks + smallest(wanted, blocks) - 1) / smallest(wanted, blocks);
    const int64_t chunks = (blocks + chunk - 1) / chunk;
    // All of the next unit by the end of this one, which goes through the depth once a block.
    const int64_t steps = chunk * depth / kDepth;
    const int64_t ahead_bytes = 256 * ((unit_bytes + 256 * steps - 1) / (256 * steps));
    alignas(64) int32_t sums[kSlack * kUnit];
    for (int64_t piece = team.next(); piece < units * chunks;) {
        const int64_t following = team.next();
        Ahead ahead;
        if (following < units * chunks) {
            ahead.from = linear.weights + following / chunks * unit_bytes;
            ahead.end = ahead.from + unit_bytes;
        }
        const int64_t column = piece / chunks * kUnit;
        const int64_t first = piece % chunks * chunk * kBlock;
        const int64_t end = smallest(count, first + chunk * kBlock);
        for (int64_t row = first; row < end; row += kBlock) {
            const int64_t these = smallest(kBlock, end - row);
            multiply_block<Int8Dot>(rows.bytes + row * depth, depth, these,
                                    linear.weights + column * depth, depth / kGroup, sums, ahead,
                                    ahead_bytes);
            for (int64_t c = 0; c < kUnit; c += kPanel) {
                const Columns columns(linear, column + c);
                for (int64_t r = 0; r < these; ++r)
                    finish(row + r, column + c,
                           columns.value(sums + r * kUnit + c, rows.scales[row + r],
                                         rows.lows[row + r]));
            }
        }
        piece = following;
    }
    team.meet();
}

// Columns of the widest vector that the head reads or gives.
inline int64_t widest(const EncoderModel& model) {
    int64_t columns = model.width;
    for (int64_t i = 0; i < model.head_count; ++i)
        if (model.head[i].columns > columns) columns = model.head[i].columns;
    return columns;
}

// What all threads of a call work in.
struct Memory {
    float* x;              // [R, D]: what flows from layer to layer
    float* context;        // [R, D]
    float* picked;         // [texts, D]: rows of x that the answers are read from
    float* pooled;         // [2][texts, widest layer of the head]
    bf16* qkv;             // [R, 3 D]
    bf16* inner;           // [R, F]
    QuantizedRows narrow;  // [R, D]
    QuantizedRows wide;    // [R, F]
    int64_t bytes = 0;

    Memory(const EncoderModel& model, uint8_t* from, int64_t rows, int64_t texts) : from_(from) {
        rows += kSlack;
        texts += kSlack;
        x = take<float>(rows * model.width);
        context = take<float>(rows * model.width);
        picked = take<float>(texts * model.width);
        pooled = take<float>(2 * texts * widest(model));
        qkv = take<bf16>(rows * 3 * model.width + kUnit);
        inner = take<bf16>(rows * model.inner);
        narrow = quantized(rows, model.width);
        wide = quantized(rows, model.inner);
    }

private:
    template <class Value>
    Value* take(int64_t count) {
        Value* taken = reinterpret_cast<Value*>(from_ + bytes);
        bytes += rounded(count * static_cast<int64_t>(sizeof(Value)), 64);
        return taken;
    }

    QuantizedRows quantized(int64_t rows, int64_t depth) {
        uint8_t* bytes_of_rows = take<uint8_t>(rows * depth);
        float* scales = take<float>(rows);
        return {bytes_of_rows, scales, take<float>(rows), depth};
    }

    uint8_t* from_;
};

class Encoder {
public:
    Encoder(const EncoderCall& call, int thread)
        : call_(call),
          model_(*call.model),
          team_(call),
          memory_(model_, call.memory.shared, call.rows, call.texts),
          attention_(call.memory.scratch + thread * call.memory.scratch_bytes, longest(call),
                     model_.width / model_.heads) {}

    void run() {
        embed();
        float* x = memory_.x;
        int64_t rows = call_.rows;
        for (int64_t i = 0; i < model_.layer_count; ++i) {
            const EncoderLayer& layer = model_.layers[i];
            // Of the last layer nothing is read but the first tokens.
            const bool is_picking = i + 1 == model_.layer_count && model_.pooled == Pooled::first;
            attend_all(layer, is_picking);
            if (is_picking) {
                x = memory_.picked;
                rows = call_.texts;
            }
            finish_attention(layer, x, rows, is_picking);
            feed_forward(layer, x, rows);
        }
        pool(x);
        answer();
    }

private:
    static int64_t longest(const EncoderCall& call) {
        int64_t tokens = 1;
        for (int64_t i = 0; i < call.texts; ++i)
            if (call.starts[i + 1] - call.starts[i] > tokens)
                tokens = call.starts[i + 1] - call.starts[i];
        return tokens;
    }

    void embed() {
        const Embeddings& from = model_.embeddings;
        const int64_t width = model_.width;
        team_.each(call_.texts, [&](int64_t text) {
            for (int64_t row = call_.starts[text]; row < call_.starts[text + 1]; ++row) {
                const auto word =
                    reinterpret_cast<const bf16*>(from.words) + call_.ids[row] * width;
                const float* position = from.positions + (row - call_.starts[text]) * width;
                const float* type =
                    from.types + (call_.types == nullptr ? 0 : call_.types[row]) * width;
                float* to = memory_.x + row * width;
                for (int64_t c = 0; c < width; c += 16) {
                    Float<16> sum = load<16>(word + c) + load<16>(position + c);
                    if (from.types != nullptr) sum += load<16>(type + c);
                    store<16>(to + c, sum);
                }
                normalize_row(to, from.norm, model_.norm_eps, memory_.narrow, row);
            }
        });
    }

    void attend_all(const EncoderLayer& layer, bool is_picking) {
        const int64_t width = model_.width, size = width / model_.heads;
        multiply(team_, memory_.narrow, call_.rows, layer.qkv,
                 [&](int64_t row, int64_t column, Float<16> value) {
                     store<16>(memory_.qkv + row * 3 * width + column, value);
                 });
        const int64_t pairs = call_.texts * model_.heads;
        // Few heads for many threads: their queries are shared out too.
        const int64_t parts = (4 * team_.threads() + pairs - 1) / pairs;
        team_.each(pairs * parts, [&](int64_t i) {
            const int64_t text = i / parts / model_.heads, head = i / parts % model_.heads;
            const int64_t start = call_.starts[text], tokens = call_.starts[text + 1] - start;
            const bf16* from = memory_.qkv + start * 3 * width + head * size;
            float* to = memory_.context + (is_picking ? text : start) * width + head * size;
            const Head one = {from, from + width, from + 2 * width, 3 * width, tokens, size,
                              to,   width};
            const int64_t part = rounded((tokens + parts - 1) / parts, kBlock);
            const int64_t first = smallest(tokens, i % parts * part);
            const int64_t end = is_picking ? smallest(1, tokens) : smallest(tokens, first + part);
            if (first < end) attend(one, first, end, attention_);
        });
    }

    void finish_attention(const EncoderLayer& layer, float* x, int64_t rows, bool is_picking) {
        const int64_t width = model_.width;
        team_.each_row(rows, [&](int64_t row) {
            quantize_row(memory_.context + row * width, memory_.narrow, row);
            if (!is_picking) return;
            const float* from = memory_.x + call_.starts[row] * width;
            for (int64_t c = 0; c < width; c += 16)
                store<16>(x + row * width + c, load<16>(from + c));
        });
        add_product(layer.output, memory_.narrow, x, rows);
        normalize(layer.output_norm, x, rows);
    }

    void feed_forward(const EncoderLayer& layer, float* x, int64_t rows) {
        multiply(team_, memory_.narrow, rows, layer.up,
                 [&](int64_t row, int64_t column, Float<16> value) {
                     store<16>(memory_.inner + row * model_.inner + column, rough_gelu(value));
                 });
        team_.each_row(rows, [&](int64_t row) {
            quantize_activated_row(memory_.inner + row * model_.inner, memory_.wide, row);
        });
        add_product(layer.down, memory_.wide, x, rows);
        normalize(layer.down_norm, x, rows);
    }

    void add_product(const QuantizedLinear& linear, const QuantizedRows& rows, float* x,
                     int64_t count) {
        multiply(team_, rows, count, linear, [&](int64_t row, int64_t column, Float<16> value) {
            float* to = x + row * model_.width + column;
            store<16>(to, load<16>(to) + value);
        });
    }

    void normalize(const Norm& norm, float* x, int64_t rows) {
        team_.each_row(rows, [&](int64_t row) {
            normalize_row(x + row * model_.width, norm, model_.norm_eps, memory_.narrow, row);
        });
    }

    // x -> one vector a text, where the head begins.
    void pool(const float* x) {
        const int64_t width = model_.width;
        float* to = model_.head_count == 0 ? call_.answers : memory_.pooled;
        team_.each(call_.texts, [&](int64_t text) {
            const int64_t start = call_.starts[text], tokens = call_.starts[text + 1] - start;
            const float* from = x + (model_.pooled == Pooled::first  ? text
                                     : model_.pooled == Pooled::last ? start + tokens - 1
                                                                     : start) *
                                        width;
            const int64_t count = model_.pooled == Pooled::mean ? tokens : 1;
            Float<16> squares = fill<16>(0.0f);
            for (int64_t c = 0; c < width; c += 16) {
                Float<16> sum = fill<16>(0.0f);
                for (int64_t t = 0; t < count; ++t) sum += load<16>(from + t * width + c);
                sum /= static_cast<float>(count);
                squares += sum * sum;
                store<16>(to + text * width + c, sum);
            }
            if (!model_.is_normalized) return;
            const float length = __builtin_sqrtf(sum_of(squares));
            const float rate = 1.0f / (length > 1e-12f ? length : 1e-12f);
            for (int64_t c = 0; c < width; c += 16)
                store<16>(to + text * width + c, load<16>(to + text * width + c) * rate);
        });
    }

    void answer() {
        const float* from = memory_.pooled;
        for (int64_t i = 0; i < model_.head_count; ++i) {
            const HeadLayer& layer = model_.head[i];
            float* to = i + 1 == model_.head_count ? call_.answers : other(from);
            team_.each((layer.columns + kRowsAtOnce - 1) / kRowsAtOnce, [&](int64_t piece) {
                const int64_t end = smallest(layer.columns, (piece + 1) * kRowsAtOnce);
                for (int64_t column = piece * kRowsAtOnce; column < end; ++column)
                    for (int64_t text = 0; text < call_.texts; ++text)
                        to[text * layer.columns + column] =
                            headed(layer, column, from + text * layer.depth);
            });
            from = to;
        }
    }

    // The half of memory_.pooled that is free.
    float* other(const float* half) const {
        return half == memory_.pooled ? memory_.pooled + call_.texts * widest(model_)
                                      : memory_.pooled;
    }

    static float headed(const HeadLayer& layer, int64_t column, const float* from) {
        const float* weight = layer.weight + column * layer.depth;
        Float<16> sum = fill<16>(0.0f);
        for (int64_t k = 0; k < layer.depth; k += 16)
            sum += load<16>(weight + k) * load<16>(from + k);
        const float value = sum_of(sum) + layer.bias[column];
        if (layer.activation == Activation::tanh) return __builtin_tanhf(value);
        return layer.activation == Activation::relu && value < 0.0f ? 0.0f : value;
    }

    const EncoderCall& call_;
    const EncoderModel& model_;
    Team team_;
    Memory memory_;
    AttentionMemory attention_;
};

void encode(const EncoderCall& call, int thread) {
    const FlushToZero flushed;
    [[maybe_unused]] const Tiles tiles;
    Encoder(call, thread).run();
}

void multiply_alone(const ProductCall& call, int thread) {
    [[maybe_unused]] const Tiles tiles;
    alignas(64) int32_t sums[kSlack * kUnit];
    Ahead nothing;
    // As many rows as stay in the cache while all columns pass.
    constexpr int64_t kCached = 256 * 1024;
    const int64_t chunk = kSlack * (1 + kCached / (kSlack * call.depth));
    for (int64_t first = 0; first < call.count; first += chunk) {
        const int64_t end = smallest(call.count, first + chunk);
        for (int64_t column = thread * kUnit; column < call.columns; column += call.threads * kUnit)
            for (int64_t row = first; row < end; row += kBlock) {
                const int64_t these = smallest(kBlock, end - row);
                multiply_block<Int8Dot>(call.rows + row * call.depth, call.depth, these,
                                        call.weights + column * call.depth, call.depth / kGroup,
                                        sums, nothing, 0);
                for (int64_t r = 0; r < these; ++r)
                    __builtin_memcpy(call.sums + (row + r) * call.columns + column,
                                     sums + r * kUnit, kUnit * sizeof(int32_t));
            }
    }
}

int64_t shared_bytes(const EncoderModel& model, int64_t rows, int64_t texts) {
    return Memory(model, nullptr, rows, texts).bytes;
}

int64_t scratch_bytes(const EncoderModel& model, int64_t longest) {
    return rounded(AttentionMemory::bytes(longest, model.width / model.heads), 64);
}

// Steps after which threads meet: each counts the pieces that it hands out.
int64_t steps(const EncoderModel& model) { return 2 + 9 * model.layer_count + model.head_count; }

}  // namespace

extern const EncoderKernels kernels;
const EncoderKernels kernels = {multiply_alone, encode, shared_bytes, scratch_bytes, steps};

}  // namespace MM_REC_ISA
}  // namespace mm_rec
