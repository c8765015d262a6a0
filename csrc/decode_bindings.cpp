// Binds a model's weights once, checks what each step is given, releases the GIL, calls.
#include "decode_bindings.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "arrays.h"
#include "decode_step.h"
#include "instruction_set.h"

namespace nb = nanobind;

namespace mm_rec {
namespace {

using Weight = nb::ndarray<nb::ro, float, nb::device::cpu>;
using Weights = std::map<std::string, Weight>;
using Ids = nb::ndarray<nb::ro, int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using States = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Memories = nb::ndarray<float, nb::ndim<6>, nb::c_contig, nb::device::cpu>;
using Logits = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// Products of one number by another that are worth a thread. It meets the others some 30 times in a
// step: below a millisecond of work, one of them that waits for its core costs more than it brings.
constexpr int64_t kThreadProducts = 4 * 1024 * 1024;
constexpr int64_t kMostExtent = int64_t{1} << 40;

[[noreturn]] void refuse(const std::string& name, const std::string& reason) {
    throw std::invalid_argument(name + " " + reason);
}

// The weights of one layer, or of the model around the layers, by name.
class Reader {
public:
    Reader(const Weights& weights, std::string owner)
        : weights_(weights), owner_(std::move(owner)) {}

    const float* vector(const std::string& name, int64_t length) const {
        const Weight& found = find(name);
        if (found.ndim() != 1 || extent(found, 0) != length || !is_packed(found, 0))
            refuse(owner_ + name, "must hold " + std::to_string(length) + " values in a row.");
        return found.data();
    }

    // [rows, columns] with contiguous rows, and a bias under the same name where there is one.
    Linear linear(const std::string& name, int64_t rows, int64_t columns,
                  bool is_biased = true) const {
        const Weight& found = find(name + ".weight");
        if (found.ndim() != 2 || extent(found, 0) != rows || extent(found, 1) != columns ||
            !is_packed(found, 1))
            refuse(owner_ + name + ".weight", "must be [" + std::to_string(rows) + ", " +
                                                  std::to_string(columns) +
                                                  "] with contiguous rows.");
        const float* bias = is_biased ? vector(name + ".bias", rows) : nullptr;
        return {found.data(), found.stride(0), bias, rows, columns};
    }

    const float* matrix(const std::string& name, int64_t rows, int64_t columns) const {
        const Weight& found = find(name);
        if (found.ndim() != 2 || extent(found, 0) != rows || extent(found, 1) != columns ||
            !is_packed(found, 1) || (rows > 1 && found.stride(0) != columns))
            refuse(owner_ + name, "must be a contiguous [" + std::to_string(rows) + ", " +
                                      std::to_string(columns) + "].");
        return found.data();
    }

private:
    static int64_t extent(const Weight& array, size_t axis) {
        return static_cast<int64_t>(array.shape(axis));
    }

    static bool is_packed(const Weight& array, size_t axis) {
        return array.shape(axis) < 2 || array.stride(axis) == 1;
    }

    const Weight& find(const std::string& name) const {
        const auto found = weights_.find(name);
        if (found == weights_.end()) refuse(owner_ + name, "is missing.");
        return found->second;
    }

    const Weights& weights_;
    std::string owner_;
};

DecodeLayer read_layer(const Reader& read, const DecodeWidths& widths) {
    const int64_t model = widths.model;
    DecodeLayer layer{};
    layer.norm1 = read.vector("norm1", model);
    layer.k = read.linear("k", model, model);
    layer.z = read.linear("z", model, model);
    layer.e = read.linear("e", model, model);
    layer.gamma_down = read.linear("gamma_down", widths.inner, model);
    layer.gamma_up = read.linear("gamma_up", model, widths.inner);
    layer.context_down = read.linear("context_down", widths.inner, model);
    layer.context_up = read.linear("context_up", model, widths.inner);
    layer.input_gate = read.linear("input_gate", model, model);
    layer.mdi_input = read.linear("mdi_input", model, model);
    layer.mdi_state = read.linear("mdi_state", model, model, false);
    layer.output = read.linear("output", model, model);
    layer.norm2 = read.vector("norm2", model);
    layer.ffn_up = read.linear("ffn_up", widths.ffn, model);
    layer.ffn_down = read.linear("ffn_down", model, widths.ffn);
    if (widths.memories == 0) return layer;
    layer.q = read.linear("q", model, model);
    layer.v = read.linear("v", model, model);
    layer.p = read.linear("p", widths.priority, model);
    layer.query = read.linear("query", model, model);
    if (widths.memories > 1)
        layer.bank_weights = read.matrix("bank_weights", widths.memories, widths.heads);
    return layer;
}

int64_t padded(int64_t width) { return (width + 15) / 16 * 16; }

// Aligned to cache lines; lives as long as one step.
class Workspace {
public:
    explicit Workspace(int64_t floats)
        : data_(static_cast<float*>(
              ::operator new(sizeof(float) * static_cast<size_t>(floats), std::align_val_t{64}))) {}
    ~Workspace() { ::operator delete(data_, std::align_val_t{64}); }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;

    float* data() const { return data_; }

private:
    float* data_;
};

class BoundModel {
public:
    BoundModel(const std::map<std::string, int64_t>& widths, Weights weights,
               std::vector<Weights> layers, std::vector<float> time_scales, float norm_eps,
               bool is_exact, bool keeps_variance)
        : weights_(std::move(weights)), layer_weights_(std::move(layers)) {
        read_widths(widths);
        if (static_cast<int64_t>(time_scales.size()) != model_.widths.memories)
            refuse("time_scales", "must hold one number for each memory.");
        for (const float scale : time_scales) decays_.push_back(std::exp(-1.0f / scale));
        for (size_t index = 0; index < layer_weights_.size(); ++index)
            layers_.push_back(read_layer(
                {layer_weights_[index], "layers[" + std::to_string(index) + "]."}, model_.widths));
        const Reader read(weights_, "");
        model_.embedding = read.matrix("embedding", model_.widths.vocabulary, model_.widths.model);
        model_.head = {model_.embedding, model_.widths.model, nullptr, model_.widths.vocabulary,
                       model_.widths.model};
        model_.norm = read.vector("norm", model_.widths.model);
        model_.layers = layers_.data();
        model_.decays = decays_.data();
        model_.norm_eps = norm_eps;
        model_.is_exact = is_exact;
        model_.scale = scale_of(keeps_variance);
    }

    void step(const Ids& ids, const States& gate_input, const States& key, const States& hidden,
              const Memories& memory, const Logits& logits, int threads) const {
        const DecodeWidths& widths = model_.widths;
        const int64_t batch = static_cast<int64_t>(ids.shape(0));
        if (batch < 1) refuse("ids", "must hold at least one token.");
        for (int64_t row = 0; row < batch; ++row)
            if (ids.data()[row] < 0 || ids.data()[row] >= widths.vocabulary)
                refuse("ids", "hold " + std::to_string(ids.data()[row]) + "; expected 0 to " +
                                  std::to_string(widths.vocabulary - 1) + ".");
        const int64_t head = widths.model / widths.heads;
        check(gate_input, {widths.layers, batch, widths.model}, "gate_input");
        check(key, {widths.layers, batch, widths.model}, "key");
        check(hidden, {widths.layers, batch, widths.model}, "hidden");
        check(memory, {widths.layers, batch, widths.memories, widths.heads, head, head}, "memory");
        check(logits, {batch, widths.vocabulary}, "logits");
        const int used = decode_threads(widths, batch, threads);
        const nb::gil_scoped_release released;
        const Workspace workspace(decode_workspace(widths, batch, used));
        kernels().decode_step({&model_,
                               batch,
                               ids.data(),
                               {gate_input.data(), key.data(), hidden.data(), memory.data()},
                               logits.data(),
                               workspace.data(),
                               used});
    }

private:
    void read_widths(const std::map<std::string, int64_t>& given) {
        const auto take = [&](const char* name, int64_t least) {
            const auto found = given.find(name);
            if (found == given.end() || found->second < least || found->second > kMostExtent)
                refuse(std::string("widths[") + name + "]",
                       "must be a number of at least " + std::to_string(least) + ".");
            return found->second;
        };
        DecodeWidths& widths = model_.widths;
        widths.layers = static_cast<int64_t>(layer_weights_.size());
        widths.model = take("model", 1);
        widths.heads = take("heads", 1);
        widths.priority = take("priority", 1);
        widths.inner = take("inner", 1);
        widths.ffn = take("ffn", 1);
        widths.memories = take("memories", 0);
        widths.vocabulary = take("vocabulary", 1);
        if (widths.layers < 1) refuse("layers", "must hold at least one.");
        if (widths.model % widths.heads != 0 || widths.model % widths.priority != 0)
            refuse("widths", "must have heads and priority that divide model.");
    }

    template <class Array>
    static void check(const Array& array, const std::vector<int64_t>& shape, const char* name) {
        for (size_t axis = 0; axis < shape.size(); ++axis) {
            if (static_cast<int64_t>(array.shape(axis)) == shape[axis]) continue;
            std::string expected;
            for (const int64_t extent : shape)
                expected += (expected.empty() ? "" : ", ") + std::to_string(extent);
            refuse(name, "must have shape [" + expected + "].");
        }
    }

    Weights weights_;  // held, so that they outlive the pointers into them
    std::vector<Weights> layer_weights_;
    std::vector<DecodeLayer> layers_;
    std::vector<float> decays_;
    DecodeModel model_{};
};

}  // namespace

int64_t decode_workspace(const DecodeWidths& widths, int64_t batch, int threads) {
    const int64_t shared = 15 * padded(widths.model) + padded(widths.priority) +
                           2 * padded(widths.inner) + padded(widths.ffn);
    return batch * (shared + threads * padded(widths.model));
}

int decode_threads(const DecodeWidths& widths, int64_t batch, int threads) {
    const int64_t layer = widths.model * (8 * widths.model + 4 * widths.inner + 2 * widths.ffn);
    const int64_t work = batch * (widths.layers * layer + widths.vocabulary * widths.model);
    const int64_t worth = 1 + work / kThreadProducts;
    return static_cast<int>(worth < threads ? worth : (threads < 1 ? 1 : threads));
}

void define_decoding(nb::module_& module) {
    nb::class_<BoundModel>(module, "DecodeModel",
                           "A model's weights, where they lie, for one token at a time.")
        .def(nb::init<const std::map<std::string, int64_t>&, Weights, std::vector<Weights>,
                      std::vector<float>, float, bool, bool>(),
             nb::arg("widths"), nb::arg("weights"), nb::arg("layers"), nb::arg("time_scales"),
             nb::arg("norm_eps"), nb::arg("is_exact"), nb::arg("keeps_variance") = false)
        .def("step", &BoundModel::step, nb::arg("ids").noconvert(),
             nb::arg("gate_input").noconvert(), nb::arg("key").noconvert(),
             nb::arg("hidden").noconvert(), nb::arg("memory").noconvert(),
             nb::arg("logits").noconvert(), nb::arg("threads"),
             "Read one token of each text: update the states in place, fill logits.");
}

}  // namespace mm_rec
