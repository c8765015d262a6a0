// The matrix memory by products over chunks of time: inside a chunk, reads are a masked product of
// queries and keys; what was written before comes from the state at the chunk's start. A thread
// leads one head of one batch row through time, with its states in the caches; time is cut only
// where threads would idle.
#include "chunked_memory.h"

#include <omp.h>

#include "kernels/activations.h"
#include "kernels/blocks.h"
#include "kernels/entry_points.h"
#include "kernels/flush_to_zero.h"
#include "kernels/row_products.h"
#include "kernels/span.h"
#include "kernels/tiles.h"
#include "kernels/transpose.h"
#include "kernels/workspace.h"

namespace mm_rec::MM_REC_ISA {
namespace {

constexpr int W = kLanes;
constexpr int64_t kChunk = 64;  // steps
// Multiplications that are worth a thread.
constexpr int64_t kThreadProducts = 1 << 18;
// Chunks that are worth a part of time of their own.
constexpr int64_t kPartChunks = 4;

inline int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t round_up(int64_t count) { return ceil_divide(count, W) * W; }

inline void zero(float* values, int64_t count) {
    for (int64_t n = 0; n < count; ++n) values[n] = 0;
}

inline float power(double time_scale, int64_t steps) {
    return static_cast<float>(__builtin_exp(-static_cast<double>(steps) / time_scale));
}

// Powers of one bank's decay, laid out so that those of any step of a chunk are one pointer.
struct Fade {
    float falling[2 * kChunk];
    float rising[2 * kChunk + 1];

    void set(double time_scale) {
        for (int64_t n = 0; n <= kChunk; ++n) rising[kChunk + n] = power(time_scale, n);
        for (int64_t n = 0; n < kChunk; ++n) {
            falling[n] = after(kChunk - 1 - n);
            falling[kChunk + n] = rising[n] = 0;
        }
    }

    // [j]: what step i finds of the write of step j; 0 for later ones.
    const float* of_writes(int64_t i) const { return falling + kChunk - 1 - i; }
    // [i]: what step i finds of the write of step j; 0 for earlier ones.
    const float* for_reads(int64_t j) const { return rising + kChunk - j; }
    // [i]: what step i finds of the state before the chunk.
    const float* of_start() const { return rising + kChunk + 1; }
    // What is left of a state after some steps.
    float after(int64_t steps) const { return rising[kChunk + steps]; }
};

// Some steps of one head of one batch row. Those from `length` on do not count.
struct Task {
    int64_t batch;
    int64_t head;
    int64_t part;
    int64_t first;
    int64_t last;
    int64_t length;

    int64_t end() const { return greater(first, smaller(last, length)); }
};

// How the work is cut.
class Tasks {
public:
    Tasks(const Call& call, const MemoryInputs& inputs)
        : extents_(call.extents), heads_(inputs.heads), lengths_(inputs.lengths) {
        const int64_t width = extents_.channels / heads_;
        const int64_t rows = extents_.batch * heads_;
        const int64_t chunks = ceil_divide(extents_.time, kChunk);
        const int64_t products =
            inputs.banks * extents_.batch * extents_.time * extents_.channels * (kChunk + width);
        threads_ = smaller(call.threads, 1 + products / kThreadProducts);
        // Below a factor of two the second pass eats what the extra threads bring.
        const int64_t idle_factor = threads_ / rows;
        parts_ = idle_factor < 2 ? 1 : smaller(idle_factor, 1 + chunks / kPartChunks);
        threads_ = smaller(threads_, count());
    }

    int64_t count() const { return extents_.batch * heads_ * parts_; }
    int64_t parts() const { return parts_; }
    int threads() const { return static_cast<int>(threads_); }
    // Chunks of the longest part.
    int64_t part_chunks() const { return ceil_divide(ceil_divide(extents_.time, kChunk), parts_); }

    Task operator[](int64_t index) const {
        const int64_t part = index % parts_;
        const int64_t batch = index / parts_ / heads_;
        return {batch,       index / parts_ % heads_, part,
                start(part), start(part + 1),         lengths_ ? lengths_[batch] : extents_.time};
    }
    // The same head and row in another part of time.
    Task in_part(const Task& task, int64_t part) const {
        return {task.batch, task.head, part, start(part), start(part + 1), task.length};
    }

private:
    int64_t start(int64_t part) const {
        const int64_t chunks = ceil_divide(extents_.time, kChunk);
        return smaller(extents_.time, chunks * part / parts_ * kChunk);
    }

    Extents extents_;
    int64_t heads_;
    const int64_t* lengths_;
    int64_t threads_;
    int64_t parts_;
};

// The steps of one chunk; behind `count` follow zeros up to `padded`.
struct Chunk {
    int64_t first;
    int64_t count;
    int64_t padded;

    Chunk(int64_t start, int64_t end)
        : first(start), count(smaller(kChunk, end - start)), padded(round_up(count)) {}
};

// Calls body(chunk) for every chunk of a task.
template <class Body>
inline void for_chunks(const Task& task, Body body) {
    for (int64_t t = task.first; t < task.end(); t += kChunk) body(Chunk(t, task.end()));
}

template <class Body>
inline void for_chunks_backward(const Task& task, Body body) {
    const int64_t steps = task.end() - task.first;
    for (int64_t n = ceil_divide(steps, kChunk) - 1; n >= 0; --n)
        body(Chunk(task.first + n * kChunk, task.end()));
}

// Copies of what lies in sequences, as the products want it: fp32, rows padded to whole vectors.
template <class T>
class Packing {
public:
    Packing(const Call& call, const MemoryInputs& inputs)
        : inputs_(inputs),
          channels_(call.extents.channels),
          width_(channels_ / inputs.heads),
          padded_(round_up(width_)) {}

    int64_t width() const { return width_; }
    int64_t padded() const { return padded_; }
    int64_t state_floats() const { return padded_ * padded_; }

    // Calls body(span in the row, column in the copy) for each vector of a head.
    template <class Body>
    void for_spans(const Task& task, Body body) const {
        const int64_t begin = task.head * width_;
        int64_t c = 0;
        for (; c + W <= width_; c += W) body(Span{begin + c, W}, c);
        if (c < width_) body(Span{begin + c, width_ - c}, c);
    }

    void rows(const Sequence& sequence, const Task& task, const Chunk& chunk, float* to) const {
        for (int64_t i = 0; i < chunk.count; ++i) {
            const T* from = row_at<const T>(sequence, task.batch, chunk.first + i);
            for_spans(task, [&](const Span& span, int64_t c) {
                store<W>(to + i * padded_ + c, load_span(from, span));
            });
        }
        zero_behind(chunk, to);
    }

    Float<W> key_before(const Task& task, int64_t t, const Span& span) const {
        if (t > 0) return load_span(row_at<const T>(inputs_.key, task.batch, t - 1), span);
        return load_span(inputs_.first_key + task.batch * channels_, span);
    }

    // Keeps the gates too, where `gates` is not null.
    void write_keys(const Task& task, const Chunk& chunk, float* to, float* gates) const {
        for (int64_t i = 0; i < chunk.count; ++i) {
            const int64_t t = chunk.first + i;
            const T* logits = row_at<const T>(inputs_.priority, task.batch, t);
            for_spans(task, [&](const Span& span, int64_t c) {
                const Float<W> gate = sigmoid<W>(load_span(logits, span));
                if (gates) store<W>(gates + i * padded_ + c, gate);
                // Lanes behind the head's width hold sigmoid(0) * 0.
                store<W>(to + i * padded_ + c, gate * key_before(task, t, span));
            });
        }
        zero_behind(chunk, to);
    }

    // to[i] = factors[i] * from[i].
    void scaled(const float* from, const float* factors, const Chunk& chunk, float* to) const {
        for (int64_t i = 0; i < chunk.padded; ++i)
            for (int64_t c = 0; c < padded_; c += W)
                store<W>(to + i * padded_ + c, load<W>(from + i * padded_ + c) * factors[i]);
    }

    void transposed(const float* from, const Chunk& chunk, float* to) const {
        transpose(from, padded_, chunk.padded, padded_, to, kChunk);
    }

    void load_state(const float* from, const Task& task, int64_t bank, float* to) const {
        zero(to, state_floats());
        if (!from) return;
        from += place(task, bank);
        for (int64_t row = 0; row < width_; ++row)
            for (int64_t c = 0; c < width_; ++c) to[row * padded_ + c] = from[row * width_ + c];
    }

    void store_state(const float* from, const Task& task, int64_t bank, float* to) const {
        to += place(task, bank);
        for (int64_t row = 0; row < width_; ++row)
            for (int64_t c = 0; c < width_; ++c) to[row * width_ + c] = from[row * padded_ + c];
    }

    // state = fade * state + left^T right, both [padded steps, padded width].
    void advance(float* state, float fade, const float* left, const float* right,
                 const Chunk& chunk) const {
        for (int64_t row = 0; row < padded_; row += kTileRows)
            for_panels(0, padded_, [&](auto panel, int64_t c) {
                Tile<decltype(panel)::value> tile = {};
                add_product(tile, Columns{left + row, padded_}, right + c, padded_, chunk.padded);
                fade_and_add(state + row * padded_ + c, padded_, fade, tile);
            });
    }

private:
    int64_t place(const Task& task, int64_t bank) const {
        return ((task.batch * inputs_.banks + bank) * inputs_.heads + task.head) * width_ * width_;
    }

    void zero_behind(const Chunk& chunk, float* to) const {
        zero(to + chunk.count * padded_, (chunk.padded - chunk.count) * padded_);
    }

    const MemoryInputs& inputs_;
    int64_t channels_;
    int64_t width_;
    int64_t padded_;
};

// state = fade * state + more.
inline void add_state(float* state, float fade, const float* more, int64_t count) {
    for (int64_t n = 0; n < count; ++n) state[n] = state[n] * fade + more[n];
}

template <class T>
inline Sequence of_bank(const Banks& banks, int64_t bank) {
    return {static_cast<T*>(banks.first.data) + bank * banks.bank_stride, banks.first.batch_stride,
            banks.first.time_stride};
}

template <class T>
class Forward {
public:
    Forward(const ChunkedMemory& call, const Tasks& tasks, const Fade* fades, float* shared)
        : call_(call), tasks_(tasks), fades_(fades), shared_(shared), pack_(call, call.inputs) {}

    static int64_t shared_floats(const ChunkedMemory& call, const Tasks& tasks) {
        const int64_t padded = round_up(call.extents.channels / call.inputs.heads);
        return tasks.parts() > 1 ? tasks.count() * call.inputs.banks * padded * padded : 0;
    }

    static int64_t scratch_floats(const ChunkedMemory& call, const Tasks&) {
        const int64_t padded = round_up(call.extents.channels / call.inputs.heads);
        return padded * (5 * kChunk + call.inputs.banks * padded + kTileRows) +
               2 * kTileRows * kChunk;
    }

    // What a part of time writes, for the parts behind it.
    void summarize(int64_t index, float* scratch) const {
        const Task task = tasks_[index];
        Place place(*this, scratch);
        float* const sums = shared_ + index * state_floats();
        zero(sums, state_floats());
        for_chunks(task, [&](const Chunk& chunk) {
            pack_.rows(call_.inputs.value, task, chunk, place.value);
            pack_.write_keys(task, chunk, place.key, nullptr);
            write(place, chunk, sums);
        });
    }

    void run(int64_t index, float* scratch) const {
        const Task task = tasks_[index];
        Place place(*this, scratch);
        start(task, index, place);
        for_chunks(task, [&](const Chunk& chunk) {
            pack_.rows(call_.inputs.query, task, chunk, place.query);
            pack_.rows(call_.inputs.value, task, chunk, place.value);
            pack_.write_keys(task, chunk, place.key, nullptr);
            pack_.transposed(place.key, chunk, place.turned_key);
            for (int64_t i = 0; i < chunk.padded; i += kTileRows) read(task, place, chunk, i);
            write(place, chunk, place.states);
        });
        finish(task, place);
    }

private:
    struct Place {
        float *query, *key, *value, *aged, *turned_key, *scores, *faded, *tile, *states;

        Place(const Forward& own, float* scratch) {
            const int64_t rows = kChunk * own.pack_.padded();
            query = scratch;
            key = query + rows;
            value = key + rows;
            aged = value + rows;
            turned_key = aged + rows;
            states = turned_key + rows;
            scores = states + own.state_floats();
            faded = scores + kTileRows * kChunk;
            tile = faded + kTileRows * kChunk;
        }
    };

    int64_t state_floats() const { return call_.inputs.banks * pack_.state_floats(); }

    void start(const Task& task, int64_t index, const Place& place) const {
        for (int64_t bank = 0; bank < call_.inputs.banks; ++bank) {
            float* state = place.states + bank * pack_.state_floats();
            pack_.load_state(call_.inputs.memory, task, bank, state);
            for (int64_t part = 0; part < task.part; ++part) {
                const Task before = tasks_.in_part(task, part);
                const float* sums = shared_ + (index - task.part + part) * state_floats();
                add_state(state, power(call_.inputs.time_scales[bank], before.end() - before.first),
                          sums + bank * pack_.state_floats(), pack_.state_floats());
            }
        }
    }

    // Reads of kTileRows steps from `first` on.
    void read(const Task& task, const Place& place, const Chunk& chunk, int64_t first) const {
        const int64_t padded = pack_.padded();
        const int64_t depth = first + kTileRows;
        const float* query = place.query + first * padded;
        for_panels(0, round_up(depth), [&](auto panel, int64_t j) {
            Tile<decltype(panel)::value> tile = {};
            add_product(tile, Rows{query, padded}, place.turned_key + j, kChunk, padded);
            store_tile<false>(place.scores + j, kChunk, tile);
        });
        for (int64_t bank = 0; bank < call_.inputs.banks; ++bank) {
            const Fade& fade = fades_[bank];
            for (int r = 0; r < kTileRows; ++r)
                for (int64_t j = 0; j < depth; j += W)
                    store<W>(place.faded + r * kChunk + j,
                             load<W>(place.scores + r * kChunk + j) *
                                 load<W>(fade.of_writes(first + r) + j));
            const float* state = place.states + bank * pack_.state_floats();
            for_panels(0, padded, [&](auto panel, int64_t c) {
                Tile<decltype(panel)::value> tile = {};
                add_product(tile, Rows{query, padded}, state + c, padded, padded);
                scale_rows(tile, fade.of_start() + first);
                add_product(tile, Rows{place.faded, kChunk}, place.value + c, padded, depth);
                store_tile<false>(place.tile + c, padded, tile);
            });
            put(task, place, chunk, first, bank);
        }
    }

    // Divides each read by its root mean square.
    void put(const Task& task, const Place& place, const Chunk& chunk, int64_t first,
             int64_t bank) const {
        const MemoryInputs& inputs = call_.inputs;
        const Sequence reads = of_bank<T>(call_.reads, bank);
        float* const rstd =
            call_.rstd +
            ((task.batch * inputs.banks + bank) * inputs.heads + task.head) * call_.extents.time;
        for (int64_t r = 0; r < kTileRows && first + r < chunk.count; ++r) {
            const float* row = place.tile + r * pack_.padded();
            const int64_t t = chunk.first + first + r;
            Float<W> squares{};
            for (int64_t c = 0; c < pack_.padded(); c += W)
                squares += load<W>(row + c) * load<W>(row + c);
            const float width = static_cast<float>(pack_.width());
            const float scale = 1.0f / __builtin_sqrtf(sum<W>(squares) / width + width);
            rstd[t] = scale;
            T* const out = row_at<T>(reads, task.batch, t);
            pack_.for_spans(task, [&](const Span& span, int64_t c) {
                store_span(out, span, load<W>(row + c) * scale);
            });
        }
    }

    // Ages the states by a chunk, and adds its writes.
    void write(const Place& place, const Chunk& chunk, float* states) const {
        for (int64_t bank = 0; bank < call_.inputs.banks; ++bank) {
            const Fade& fade = fades_[bank];
            pack_.scaled(place.key, fade.of_writes(chunk.count - 1), chunk, place.aged);
            pack_.advance(states + bank * pack_.state_floats(), fade.after(chunk.count), place.aged,
                          place.value, chunk);
        }
    }

    void finish(const Task& task, const Place& place) const {
        const MemoryInputs& inputs = call_.inputs;
        for (int64_t bank = 0; bank < inputs.banks; ++bank) {
            const Sequence reads = of_bank<T>(call_.reads, bank);
            float* const rstd =
                call_.rstd + ((task.batch * inputs.banks + bank) * inputs.heads + task.head) *
                                 call_.extents.time;
            for (int64_t t = task.end(); t < task.last; ++t) {
                rstd[t] = 0;
                T* const out = row_at<T>(reads, task.batch, t);
                pack_.for_spans(
                    task, [&](const Span& span, int64_t) { store_span(out, span, fill<W>(0.0f)); });
            }
            if (task.last == call_.extents.time)
                pack_.store_state(place.states + bank * pack_.state_floats(), task, bank,
                                  call_.memory_last);
        }
    }

    const ChunkedMemory& call_;
    const Tasks& tasks_;
    const Fade* fades_;
    float* shared_;
    Packing<T> pack_;
};

// Walks forward once for the states at the starts of chunks, then backward with the gradient of the
// state. States are kept turned, values by keys.
template <class T>
class Backward {
public:
    Backward(const ChunkedMemoryBackward& call, const Tasks& tasks, const Fade* fades,
             float* shared)
        : call_(call), tasks_(tasks), fades_(fades), shared_(shared), pack_(call, call.inputs) {}

    // For each part of time what it writes, and what it adds to the gradient of the state.
    static int64_t shared_floats(const ChunkedMemoryBackward& call, const Tasks& tasks) {
        const int64_t padded = round_up(call.extents.channels / call.inputs.heads);
        return tasks.parts() > 1 ? 2 * tasks.count() * call.inputs.banks * padded * padded : 0;
    }

    static int64_t scratch_floats(const ChunkedMemoryBackward& call, const Tasks& tasks) {
        const int64_t padded = round_up(call.extents.channels / call.inputs.heads);
        const int64_t states = call.inputs.banks * (tasks.part_chunks() + 1) + 1;
        return padded * (11 * kChunk + states * padded) + kChunk * (kChunk + kTileRows);
    }

    void summarize(int64_t index, float* scratch) const {
        const Task task = tasks_[index];
        const Place place(*this, scratch);
        float* const sums = shared_ + 2 * index * state_floats();
        zero(sums, 2 * state_floats());
        for_chunks(task, [&](const Chunk& chunk) {
            pack_writes(task, chunk, place);
            write(place, chunk, sums);
        });
        for_chunks_backward(task, [&](const Chunk& chunk) {
            pack_.rows(call_.inputs.query, task, chunk, place.query);
            for (int64_t bank = 0; bank < call_.inputs.banks; ++bank) {
                pack_slope(task, chunk, bank, place.slope);
                carry(place, chunk, bank, sums + state_floats());
            }
        });
    }

    void run(int64_t index, float* scratch) const {
        const Task task = tasks_[index];
        const Place place(*this, scratch);
        start(task, index, place);
        float* states = place.states;
        for_chunks(task, [&](const Chunk& chunk) {
            if (chunk.first + kChunk >= task.end()) return;  // nobody reads what comes after
            float* const next = states + state_floats();
            for (int64_t n = 0; n < state_floats(); ++n) next[n] = states[n];
            pack_writes(task, chunk, place);
            write(place, chunk, next);
            states = next;
        });
        for_chunks_backward(task, [&](const Chunk& chunk) {
            pack_.rows(call_.inputs.query, task, chunk, place.query);
            pack_.transposed(place.query, chunk, place.turned_query);
            pack_writes(task, chunk, place);
            read<false>(task, place, chunk, 0, states);
            for (int64_t bank = 1; bank < call_.inputs.banks; ++bank)
                read<true>(task, place, chunk, bank, states + bank * pack_.state_floats());
            put(task, place, chunk);
            states -= state_floats();
        });
        finish(task, place);
    }

private:
    struct Place {
        float *query, *key, *value, *gate, *slope, *aged;
        float *turned_query, *turned_slope;
        float *query_gradient, *key_gradient, *value_gradient;
        float *by_key, *by_value;  // scores of one tile, and gradients of all scores
        float *carried, *turned, *states;

        Place(const Backward& own, float* scratch) {
            const int64_t rows = kChunk * own.pack_.padded();
            float** const all[] = {&query,          &key,          &value,         &gate,
                                   &slope,          &aged,         &turned_query,  &turned_slope,
                                   &query_gradient, &key_gradient, &value_gradient};
            for (float** one : all) {
                *one = scratch;
                scratch += rows;
            }
            by_key = scratch;
            by_value = by_key + kTileRows * kChunk;
            turned = by_value + kChunk * kChunk;
            carried = turned + own.pack_.state_floats();
            states = carried + own.state_floats();
        }
    };

    int64_t state_floats() const { return call_.inputs.banks * pack_.state_floats(); }

    void start(const Task& task, int64_t index, const Place& place) const {
        const int64_t floats = pack_.state_floats();
        const float* const sums = shared_ + 2 * (index - task.part) * state_floats();
        for (int64_t bank = 0; bank < call_.inputs.banks; ++bank) {
            float* const state = place.states + bank * floats;
            float* const carried = place.carried + bank * floats;
            pack_.load_state(call_.inputs.memory, task, bank, carried);
            transpose(carried, pack_.padded(), pack_.padded(), pack_.padded(), state,
                      pack_.padded());
            pack_.load_state(call_.memory_last_gradient, task, bank, carried);
            for (int64_t part = 0; part < task.part; ++part)
                add_state(state, left_after(task, part, bank),
                          sums + 2 * part * state_floats() + bank * floats, floats);
            for (int64_t part = tasks_.parts() - 1; part > task.part; --part)
                add_state(carried, left_after(task, part, bank),
                          sums + (2 * part + 1) * state_floats() + bank * floats, floats);
        }
    }

    // What is left of a state after a part of time.
    float left_after(const Task& task, int64_t part, int64_t bank) const {
        const Task other = tasks_.in_part(task, part);
        return power(call_.inputs.time_scales[bank], other.end() - other.first);
    }

    void pack_writes(const Task& task, const Chunk& chunk, const Place& place) const {
        pack_.rows(call_.inputs.value, task, chunk, place.value);
        pack_.write_keys(task, chunk, place.key, place.gate);
    }

    // The gradient of what was read, before it was divided by its root mean square.
    void pack_slope(const Task& task, const Chunk& chunk, int64_t bank, float* to) const {
        const MemoryInputs& inputs = call_.inputs;
        const int64_t padded = pack_.padded();
        const float* const rstd =
            call_.rstd +
            ((task.batch * inputs.banks + bank) * inputs.heads + task.head) * call_.extents.time;
        for (int64_t i = 0; i < chunk.count; ++i) {
            const int64_t t = chunk.first + i;
            const T* slope = row_at<const T>(of_bank<T>(call_.reads_gradient, bank), task.batch, t);
            const T* read = row_at<const T>(of_bank<T>(call_.reads, bank), task.batch, t);
            Float<W> shares{};
            pack_.for_spans(task, [&](const Span& span, int64_t) {
                shares += load_span(slope, span) * load_span(read, span);
            });
            const float share = sum<W>(shares) / static_cast<float>(pack_.width());
            pack_.for_spans(task, [&](const Span& span, int64_t c) {
                store<W>(to + i * padded + c,
                         rstd[t] * (load_span(slope, span) - load_span(read, span) * share));
            });
        }
        zero(to + chunk.count * padded, (chunk.padded - chunk.count) * padded);
    }

    void write(const Place& place, const Chunk& chunk, float* states) const {
        for (int64_t bank = 0; bank < call_.inputs.banks; ++bank) {
            const Fade& fade = fades_[bank];
            pack_.scaled(place.key, fade.of_writes(chunk.count - 1), chunk, place.aged);
            pack_.advance(states + bank * pack_.state_floats(), fade.after(chunk.count),
                          place.value, place.aged, chunk);
        }
    }

    // The gradient of the state at the chunk's start from that at its end.
    void carry(const Place& place, const Chunk& chunk, int64_t bank, float* carried) const {
        const Fade& fade = fades_[bank];
        pack_.scaled(place.query, fade.of_start(), chunk, place.aged);
        pack_.advance(carried + bank * pack_.state_floats(), fade.after(chunk.count), place.aged,
                      place.slope, chunk);
    }

    // Gradients of queries, write keys and values by what one bank reads.
    template <bool kAdds>
    void read(const Task& task, const Place& place, const Chunk& chunk, int64_t bank,
              const float* turned_state) const {
        const int64_t padded = pack_.padded();
        const float* const carried = place.carried + bank * pack_.state_floats();
        pack_slope(task, chunk, bank, place.slope);
        pack_.transposed(place.slope, chunk, place.turned_slope);
        transpose(carried, padded, padded, padded, place.turned, padded);
        for (int64_t j = 0; j < chunk.padded; j += kTileRows) {
            read_scores(place, chunk, j, fades_[bank]);
            read_writes<kAdds>(place, chunk, j, fades_[bank], carried);
        }
        for (int64_t i = 0; i < chunk.padded; i += kTileRows)
            for_panels(0, padded, [&](auto panel, int64_t c) {
                Tile<decltype(panel)::value> tile = {};
                add_product(tile, Rows{place.slope + i * padded, padded}, turned_state + c, padded,
                            padded);
                scale_rows(tile, fades_[bank].of_start() + i);
                add_product(tile, Columns{place.by_value + i, kChunk}, place.key + c, padded,
                            i + kTileRows);
                store_tile<kAdds>(place.query_gradient + i * padded + c, padded, tile);
            });
        carry(place, chunk, bank, place.carried);
    }

    // Scores of the writes of kTileRows steps with all later reads, and their gradients.
    void read_scores(const Place& place, const Chunk& chunk, int64_t first,
                     const Fade& fade) const {
        const int64_t padded = pack_.padded();
        float* const by_value = place.by_value + first * kChunk;
        for_panels(first / W * W, chunk.padded, [&](auto panel, int64_t i) {
            constexpr int V = decltype(panel)::value;
            Tile<V> by_key = {};
            add_product(by_key, Rows{place.key + first * padded, padded}, place.turned_query + i,
                        kChunk, padded);
            fade_scores(by_key, fade, first, i);
            store_tile<false>(place.by_key + i, kChunk, by_key);
            Tile<V> slopes = {};
            add_product(slopes, Rows{place.value + first * padded, padded}, place.turned_slope + i,
                        kChunk, padded);
            fade_scores(slopes, fade, first, i);
            store_tile<false>(by_value + i, kChunk, slopes);
        });
    }

    template <int V>
    static void fade_scores(Tile<V>& tile, const Fade& fade, int64_t first, int64_t i) {
#pragma GCC unroll 8
        for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v)
                tile[r][v] *= load<W>(fade.for_reads(first + r) + i + v * W);
        }
    }

    // Gradients of the write keys and values of kTileRows steps.
    template <bool kAdds>
    void read_writes(const Place& place, const Chunk& chunk, int64_t first, const Fade& fade,
                     const float* carried) const {
        const int64_t padded = pack_.padded();
        const int64_t depth = chunk.padded - first;
        const float* const left = fade.of_writes(chunk.count - 1) + first;
        const float* const by_value = place.by_value + first * kChunk;
        for_panels(0, padded, [&](auto panel, int64_t c) {
            constexpr int V = decltype(panel)::value;
            Tile<V> value = {};
            add_product(value, Rows{place.key + first * padded, padded}, carried + c, padded,
                        padded);
            scale_rows(value, left);
            add_product(value, Rows{place.by_key + first, kChunk}, place.slope + first * padded + c,
                        padded, depth);
            store_tile<kAdds>(place.value_gradient + first * padded + c, padded, value);
            Tile<V> key = {};
            add_product(key, Rows{place.value + first * padded, padded}, place.turned + c, padded,
                        padded);
            scale_rows(key, left);
            add_product(key, Rows{by_value + first, kChunk}, place.query + first * padded + c,
                        padded, depth);
            store_tile<kAdds>(place.key_gradient + first * padded + c, padded, key);
        });
    }

    void put(const Task& task, const Place& place, const Chunk& chunk) const {
        for (int64_t i = 0; i < chunk.count; ++i) {
            const int64_t t = chunk.first + i;
            T* const query = row_at<T>(call_.query_gradient, task.batch, t);
            T* const value = row_at<T>(call_.value_gradient, task.batch, t);
            T* const priority = row_at<T>(call_.priority_gradient, task.batch, t);
            pack_.for_spans(task, [&](const Span& span, int64_t c) {
                const int64_t at = i * pack_.padded() + c;
                const Float<W> gate = load<W>(place.gate + at);
                const Float<W> write_key = load<W>(place.key_gradient + at);
                store_span(query, span, load<W>(place.query_gradient + at));
                store_span(value, span, load<W>(place.value_gradient + at));
                // A write key is sigmoid(priority[t]) * key[t-1].
                store_span(priority, span, write_key * load<W>(place.key + at) * (1.0f - gate));
                put_key(task, t, span, write_key * gate);
            });
        }
    }

    // The gradient of the key before step t.
    void put_key(const Task& task, int64_t t, const Span& span, Float<W> gradient) const {
        if (t > 0)
            store_span(row_at<T>(call_.key_gradient, task.batch, t - 1), span, gradient);
        else
            store_span(call_.first_key_gradient + task.batch * call_.extents.channels, span,
                       gradient);
    }

    void finish(const Task& task, const Place& place) const {
        const Float<W> none = fill<W>(0.0f);
        pack_.for_spans(task, [&](const Span& span, int64_t) {
            for (int64_t t = task.end(); t < task.last; ++t) {
                store_span(row_at<T>(call_.query_gradient, task.batch, t), span, none);
                store_span(row_at<T>(call_.value_gradient, task.batch, t), span, none);
                store_span(row_at<T>(call_.priority_gradient, task.batch, t), span, none);
                put_key(task, t, span, none);
            }
            if (task.last == call_.extents.time) put_key(task, task.last, span, none);
        });
        for (int64_t bank = 0; task.part == 0 && bank < call_.inputs.banks; ++bank)
            pack_.store_state(place.carried + bank * pack_.state_floats(), task, bank,
                              call_.memory_gradient);
    }

    const ChunkedMemoryBackward& call_;
    const Tasks& tasks_;
    const Fade* fades_;
    float* shared_;
    Packing<T> pack_;
};

template <class Pass, class MemoryCall>
void run(const MemoryCall& call) {
    const Tasks tasks(call, call.inputs);
    Fade* const fades = new Fade[call.inputs.banks];
    for (int64_t bank = 0; bank < call.inputs.banks; ++bank)
        fades[bank].set(call.inputs.time_scales[bank]);
    const Workspace workspace(Pass::shared_floats(call, tasks), Pass::scratch_floats(call, tasks),
                              tasks.threads());
    const Pass pass(call, tasks, fades, workspace.shared());
    const int64_t count = tasks.count();
#pragma omp parallel num_threads(tasks.threads()) if (tasks.threads() > 1)
    {
        const FlushToZero flush;
        float* const scratch = workspace.scratch(omp_get_thread_num());
        if (tasks.parts() > 1) {
#pragma omp for schedule(static)
            for (int64_t index = 0; index < count; ++index) pass.summarize(index, scratch);
        }
#pragma omp for schedule(static) nowait
        for (int64_t index = 0; index < count; ++index) pass.run(index, scratch);
    }
    delete[] fades;
}

}  // namespace

void chunked_memory(const ChunkedMemory& call) {
    call.storage == Storage::fp32 ? run<Forward<float>>(call) : run<Forward<bf16>>(call);
}

void chunked_memory_backward(const ChunkedMemoryBackward& call) {
    call.storage == Storage::fp32 ? run<Backward<float>>(call) : run<Backward<bf16>>(call);
}

}  // namespace mm_rec::MM_REC_ISA
