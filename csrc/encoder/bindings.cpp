// Binds an encoder's weights once, checks what each call is given, releases the GIL, computes.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "encoder.h"
#include "processor.h"

namespace nb = nanobind;

namespace mm_rec {
namespace {

using Bytes = nb::ndarray<nb::ro, int8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<nb::ro, float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<nb::ro, uint16_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Numbers = nb::ndarray<nb::ro, int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Answers = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using HeadWidths = std::vector<std::tuple<int64_t, std::string>>;  // columns and activation

constexpr int64_t kMost = int64_t{1} << 31;
constexpr int64_t kMeetingBytes = 128;
// Multiplications that are worth a thread of their own: it takes some 50 microseconds to start.
constexpr int64_t kThreadProducts = 40'000'000;

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

// What a call works in. It is kept for the next one: fresh memory costs a fault for every page.
class KeptMemory {
public:
    uint8_t* at_least(int64_t bytes) {
        if (bytes > bytes_) {
            release();
            data_ = static_cast<uint8_t*>(
                ::operator new(static_cast<size_t>(bytes), std::align_val_t{64}));
            std::memset(data_, 0, static_cast<size_t>(bytes));
            bytes_ = bytes;
        }
        return data_;
    }
    KeptMemory() = default;
    ~KeptMemory() { release(); }
    KeptMemory(const KeptMemory&) = delete;
    KeptMemory& operator=(const KeptMemory&) = delete;

private:
    void release() {
        if (data_ != nullptr) ::operator delete(data_, std::align_val_t{64});
        data_ = nullptr;
        bytes_ = 0;
    }

    uint8_t* data_ = nullptr;
    int64_t bytes_ = 0;
};

// A copy of the weights in large pages: from a file's small ones they stream so slowly that a text
// of 128 tokens takes 1.4 times as long on two threads.
class Weights {
public:
    explicit Weights(const Bytes& from)
        : bytes_((static_cast<int64_t>(from.shape(0)) + kPage - 1) / kPage * kPage),
          data_(static_cast<int8_t*>(
              ::operator new(static_cast<size_t>(bytes_), std::align_val_t{kPage}))) {
#if defined(__linux__)
        madvise(data_, static_cast<size_t>(bytes_), MADV_HUGEPAGE);  // a wish: it may be refused
#endif
        std::memcpy(data_, from.data(), from.shape(0));
    }
    ~Weights() { ::operator delete(data_, std::align_val_t{kPage}); }
    Weights(const Weights&) = delete;
    Weights& operator=(const Weights&) = delete;

    const int8_t* data() const { return data_; }

private:
    static constexpr int64_t kPage = int64_t{1} << 21;

    int64_t bytes_;
    int8_t* data_;
};

// Hands out an array piece by piece.
template <class Value>
class Pieces {
public:
    Pieces(const Value* from, size_t count, const char* name)
        : at_(from), left_(static_cast<int64_t>(count)), name_(name) {}

    const Value* take(int64_t count) {
        if (count > left_) refuse(std::string(name_) + " holds too few values.");
        const Value* taken = at_;
        at_ += count;
        left_ -= count;
        return taken;
    }

    void end() const {
        if (left_ != 0) refuse(std::string(name_) + " holds too many values.");
    }

private:
    const Value* at_;
    int64_t left_;
    const char* name_;
};

Activation activation_of(const std::string& name) {
    if (name == "none") return Activation::none;
    if (name == "tanh") return Activation::tanh;
    if (name == "relu") return Activation::relu;
    refuse("activation '" + name + "'; expected none, tanh or relu.");
}

Pooled pooled_of(const std::string& name) {
    if (name == "first") return Pooled::first;
    if (name == "mean") return Pooled::mean;
    if (name == "last") return Pooled::last;
    refuse("pooling '" + name + "'; expected first, mean or last.");
}

// Runs work(call, thread) on call.threads threads. All but the first wait until it is known how
// many could be started.
template <class Call>
void run_threads(Call& call, void (*work)(const Call&, int)) {
    if (call.threads == 1) return work(call, 0);
    std::atomic<int> count{0};
    std::vector<std::thread> others;
    const auto wait_and_work = [&](int thread) {
        int all;
        while ((all = count.load(std::memory_order_acquire)) == 0) std::this_thread::yield();
        if (thread < all) work(call, thread);
    };
    try {
        others.reserve(static_cast<size_t>(call.threads - 1));
        for (int thread = 1; thread < call.threads; ++thread)
            others.emplace_back(wait_and_work, thread);
    } catch (const std::exception&) {  // the system or memory allows no more: fewer do it too
    }
    call.threads = static_cast<int>(others.size()) + 1;
    count.store(call.threads, std::memory_order_release);
    work(call, 0);
    for (std::thread& other : others) other.join();
}

const EncoderKernels& find_kernels(const std::string& name) {
    std::string usable;
    for (const EncoderSet& set : encoder_sets()) {
        if (name.empty() || name == set.name) return *set.kernels;
        usable += usable.empty() ? set.name : std::string(", ") + set.name;
    }
    refuse("instruction set '" + name + "' does not run here; this processor has " +
           (usable.empty() ? "no AVX-512 with VNNI." : usable + "."));
}

class BoundEncoder {
public:
    BoundEncoder(const Bytes& weights, Words words, Floats floats, int64_t width, int64_t heads,
                 int64_t inner, int64_t layers, int64_t positions, int64_t types, float norm_eps,
                 const std::string& pooling, bool is_normalized, const HeadWidths& head,
                 const std::string& instruction_set)
        : weights_(weights),
          weight_count_(weights.shape(0)),
          words_(std::move(words)),
          floats_(std::move(floats)),
          vocabulary_(static_cast<int64_t>(words_.shape(0))),
          positions_(positions),
          types_(types),
          kernels_(find_kernels(instruction_set)) {
        for (const int64_t extent : {width, heads, inner, layers, vocabulary_, positions})
            if (extent < 1 || extent > kMost) refuse("every extent must be 1 or more.");
        if (width % 64 != 0 || inner % 64 != 0) refuse("width and inner must be multiples of 64.");
        if (width % heads != 0 || width / heads % 16 != 0)
            refuse("heads must divide the width into multiples of 16.");
        if (static_cast<int64_t>(words_.shape(1)) != width)
            refuse("words must be [vocabulary, width].");
        model_.width = width;
        model_.heads = heads;
        model_.inner = inner;
        model_.norm_eps = norm_eps;
        model_.pooled = pooled_of(pooling);
        model_.is_normalized = is_normalized;
        read(layers, head);
    }

    int64_t columns() const { return head_.empty() ? model_.width : head_.back().columns; }

    void encode(const Numbers& starts, const Numbers& ids, const std::optional<Numbers>& types,
                const Answers& answers, int threads) const {
        EncoderCall call{};
        call.model = &model_;
        call.texts = static_cast<int64_t>(starts.shape(0)) - 1;
        call.rows = static_cast<int64_t>(ids.shape(0));
        call.starts = starts.data();
        call.ids = ids.data();
        call.types = types ? types->data() : nullptr;
        call.answers = answers.data();
        const int64_t longest = check(call, types, answers);
        call.threads = worth(call, longest, threads);
        const nb::gil_scoped_release released;
        run(call, longest);
    }

private:
    void read(int64_t layers, const HeadWidths& head) {
        Pieces weights(weights_.data(), weight_count_, "weights");
        Pieces floats(floats_.data(), floats_.shape(0), "floats");
        const int64_t width = model_.width;
        const auto norm = [&]() -> Norm {
            const float* weight = floats.take(width);
            return {weight, floats.take(width)};
        };
        const auto linear = [&](int64_t depth, int64_t columns) -> QuantizedLinear {
            const float* scales = floats.take(columns);
            const float* sums = floats.take(columns);
            return {weights.take(depth * columns), scales, sums,
                    floats.take(columns),          depth,  columns};
        };
        model_.embeddings.words = words_.data();
        model_.embeddings.positions = floats.take(positions_ * width);
        model_.embeddings.types = types_ > 0 ? floats.take(types_ * width) : nullptr;
        model_.embeddings.norm = norm();
        for (int64_t i = 0; i < layers; ++i) {
            EncoderLayer layer{};
            layer.qkv = linear(width, 3 * width);
            layer.output = linear(width, width);
            layer.output_norm = norm();
            layer.up = linear(width, model_.inner);
            layer.down = linear(model_.inner, width);
            layer.down_norm = norm();
            layers_.push_back(layer);
        }
        int64_t depth = width;
        for (const auto& [columns, activation] : head) {
            if (columns < 1 || columns > kMost || depth % 16 != 0)
                refuse("a layer of the head reads multiples of 16 and has 1 column or more.");
            const float* weight = floats.take(columns * depth);
            head_.push_back(
                {weight, floats.take(columns), depth, columns, activation_of(activation)});
            depth = columns;
        }
        weights.end();
        floats.end();
        model_.layers = layers_.data();
        model_.layer_count = layers;
        model_.head = head_.data();
        model_.head_count = static_cast<int64_t>(head_.size());
    }

    // Returns the length of the longest text.
    int64_t check(const EncoderCall& call, const std::optional<Numbers>& types,
                  const Answers& answers) const {
        if (call.texts < 1 || call.starts[0] != 0 || call.starts[call.texts] != call.rows)
            refuse("starts: must begin with 0 and end with the number of ids.");
        int64_t longest = 0;
        for (int64_t i = 0; i < call.texts; ++i) {
            const int64_t tokens = call.starts[i + 1] - call.starts[i];
            if (tokens < 1 || tokens > positions_)
                refuse("starts: a text must have 1 to " + std::to_string(positions_) +
                       " tokens, not " + std::to_string(tokens) + ".");
            if (tokens > longest) longest = tokens;
        }
        check_range(call.ids, call.rows, vocabulary_, "ids");
        if (types) {
            if (static_cast<int64_t>(types->shape(0)) != call.rows)
                refuse("types: one is needed for each id.");
            check_range(types->data(), call.rows, types_ > 0 ? types_ : 1, "types");
        }
        if (static_cast<int64_t>(answers.shape(0)) != call.texts ||
            static_cast<int64_t>(answers.shape(1)) != columns())
            refuse("answers: must be [texts, " + std::to_string(columns()) + "].");
        return longest;
    }

    static void check_range(const int64_t* values, int64_t count, int64_t end, const char* name) {
        for (int64_t i = 0; i < count; ++i)
            if (values[i] < 0 || values[i] >= end)
                refuse(std::string(name) + ": " + std::to_string(values[i]) + " is not below " +
                       std::to_string(end) + ".");
    }

    int worth(const EncoderCall& call, int64_t longest, int threads) const {
        const int64_t layer = model_.width * (4 * model_.width + 2 * model_.inner + 2 * longest);
        const int64_t worth = 1 + call.rows * model_.layer_count * layer / kThreadProducts;
        return static_cast<int>(worth < threads ? worth : (threads < 1 ? 1 : threads));
    }

    void run(EncoderCall& call, int64_t longest) const {
        const int64_t shared = kernels_.shared_bytes(model_, call.rows, call.texts);
        const int64_t scratch = kernels_.scratch_bytes(model_, longest);
        const int64_t counters = kMeetingBytes + kernels_.steps(model_) * 4;
        std::unique_ptr<KeptMemory> memory = borrow();
        uint8_t* from =
            memory->at_least((counters + 63) / 64 * 64 + shared + call.threads * scratch);
        std::memset(from, 0, static_cast<size_t>(counters));
        call.meeting = reinterpret_cast<int32_t*>(from);
        call.memory.counters = reinterpret_cast<int32_t*>(from + kMeetingBytes);
        call.memory.shared = from + (counters + 63) / 64 * 64;
        call.memory.scratch = call.memory.shared + shared;
        call.memory.scratch_bytes = scratch;
        run_threads(call, kernels_.encode);
        const std::lock_guard<std::mutex> held(lending_);
        free_.push_back(std::move(memory));
    }

    std::unique_ptr<KeptMemory> borrow() const {
        const std::lock_guard<std::mutex> held(lending_);
        if (free_.empty()) return std::make_unique<KeptMemory>();
        std::unique_ptr<KeptMemory> memory = std::move(free_.back());
        free_.pop_back();
        return memory;
    }

    Weights weights_;
    size_t weight_count_;
    Words words_;  // held, as the floats are, so that they outlive the pointers into them
    Floats floats_;
    int64_t vocabulary_;
    int64_t positions_;
    int64_t types_;
    const EncoderKernels& kernels_;
    std::vector<EncoderLayer> layers_;
    std::vector<HeadLayer> head_;
    EncoderModel model_{};
    mutable std::mutex lending_;
    mutable std::vector<std::unique_ptr<KeptMemory>> free_;
};

using ByteRows = nb::ndarray<nb::ro, uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Sums = nb::ndarray<int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void multiply(const ByteRows& rows, const Bytes& panels, const Sums& sums, int threads,
              const std::string& instruction_set) {
    const EncoderKernels& kernels = find_kernels(instruction_set);
    ProductCall call{rows.data(),
                     panels.data(),
                     sums.data(),
                     static_cast<int64_t>(rows.shape(0)),
                     static_cast<int64_t>(rows.shape(1)),
                     static_cast<int64_t>(sums.shape(1)),
                     threads < 1 ? 1 : threads};
    if (call.count % 32 != 0 || call.columns % 32 != 0 || call.depth % 64 != 0)
        refuse("rows and columns must be multiples of 32, depth of 64.");
    if (static_cast<int64_t>(panels.shape(0)) != call.depth * call.columns ||
        static_cast<int64_t>(sums.shape(0)) != call.count)
        refuse("panels must hold depth x columns weights, and sums be [rows, columns].");
    const nb::gil_scoped_release released;
    run_threads(call, kernels.multiply);
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const EncoderSet& set : encoder_sets()) names.emplace_back(set.name);
    return names;
}

}  // namespace
}  // namespace mm_rec

NB_MODULE(_encoder, module) {
    using mm_rec::BoundEncoder;
    module.def("instruction_sets", &mm_rec::instruction_sets,
               "Names of the instruction sets that run here, best first.");
    module.def("multiply", &mm_rec::multiply, nb::arg("rows").noconvert(),
               nb::arg("panels").noconvert(), nb::arg("sums").noconvert(), nb::arg("threads"),
               nb::arg("instruction_set") = "",
               "Fill sums with the products of u8 rows and panels.");
    nb::class_<BoundEncoder>(module, "Encoder", "An encoder's weights, where they lie.")
        .def(nb::init<const mm_rec::Bytes&, mm_rec::Words, mm_rec::Floats, int64_t, int64_t,
                      int64_t, int64_t, int64_t, int64_t, float, const std::string&, bool,
                      const mm_rec::HeadWidths&, const std::string&>(),
             nb::kw_only(), nb::arg("weights").noconvert(), nb::arg("words").noconvert(),
             nb::arg("floats").noconvert(), nb::arg("width"), nb::arg("heads"), nb::arg("inner"),
             nb::arg("layers"), nb::arg("positions"), nb::arg("types"), nb::arg("norm_eps"),
             nb::arg("pooling"), nb::arg("is_normalized"), nb::arg("head"),
             nb::arg("instruction_set") = "")
        .def_prop_ro("columns", &BoundEncoder::columns)
        .def("encode", &BoundEncoder::encode, nb::arg("starts").noconvert(),
             nb::arg("ids").noconvert(), nb::arg("types").none(), nb::arg("answers").noconvert(),
             nb::arg("threads"), "Fill the answers of texts that lie one after the other.");
}
