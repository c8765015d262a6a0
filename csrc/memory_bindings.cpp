// Checks the arrays of the chunked matrix memory, releases the GIL, calls.
#include "memory_bindings.h"

#include <nanobind/stl/vector.h>

#include <vector>

#include "arrays.h"
#include "chunked_memory.h"
#include "instruction_set.h"

namespace mm_rec {
namespace {

using BanksIn = nb::ndarray<nb::ro, nb::ndim<4>, nb::device::cpu>;
using BanksOut = nb::ndarray<nb::ndim<4>, nb::device::cpu>;
using FactorsIn = nb::ndarray<nb::ro, float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using FactorsOut = nb::ndarray<float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using MemoryIn = nb::ndarray<nb::ro, float, nb::ndim<5>, nb::c_contig, nb::device::cpu>;
using MemoryOut = nb::ndarray<float, nb::ndim<5>, nb::c_contig, nb::device::cpu>;
using LengthsIn =
    std::optional<nb::ndarray<nb::ro, int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>>;

// Holds what belongs to banks and heads to the query and the memory.
class MemoryChecker : public Checker {
public:
    MemoryChecker(const SequenceIn& query, const MemoryIn& memory,
                  const std::vector<double>& time_scales, int threads)
        : Checker(query, "query", threads),
          banks_(static_cast<int64_t>(memory.shape(1))),
          heads_(static_cast<int64_t>(memory.shape(2))) {
        if (heads_ < 1 || call().extents.channels % heads_ != 0)
            refuse("memory", "must have a number of heads that divides the channels.");
        if (static_cast<int64_t>(time_scales.size()) != banks_ || banks_ < 1)
            refuse("time_scales", "must hold one number for each bank of the memory.");
        for (const double time_scale : time_scales)
            if (!(time_scale > 0)) refuse("time_scales", "must hold numbers above 0.");
    }

    int64_t banks() const { return banks_; }
    int64_t heads() const { return heads_; }

    template <class Array>
    float* memory(const Array& array, const char* name) const {
        const int64_t width = call().extents.channels / heads_;
        const int64_t shape[] = {call().extents.batch, banks_, heads_, width, width};
        check_shape(array, shape, name, "must have shape [batch, banks, heads, width, width].");
        return const_cast<float*>(static_cast<const float*>(array.data()));
    }

    template <class Array>
    Banks reads(const Array& array, const char* name) const {
        const Extents& all = call().extents;
        const int64_t shape[] = {all.batch, banks_, all.time, all.channels};
        check_shape(array, shape, name, "must have shape [batch, banks, time, channels].");
        if (storage_of(array, name) != call().storage)
            refuse(name, "differs in dtype from the sequences.");
        if (all.channels > 1 && array.stride(3) != 1)
            refuse(name, "must be contiguous in its last dimension.");
        return {{const_cast<void*>(static_cast<const void*>(array.data())), array.stride(0),
                 array.stride(2)},
                array.stride(1)};
    }

    template <class Array>
    float* factors(const Array& array, const char* name) const {
        const Extents& all = call().extents;
        const int64_t shape[] = {all.batch, banks_, heads_, all.time};
        check_shape(array, shape, name, "must have shape [batch, banks, heads, time].");
        return const_cast<float*>(static_cast<const float*>(array.data()));
    }

    const int64_t* lengths(const LengthsIn& array) const {
        if (!array) return nullptr;
        if (static_cast<int64_t>(array->shape(0)) != call().extents.batch)
            refuse("lengths", "must have shape [batch] of the sequences.");
        for (size_t row = 0; row < array->shape(0); ++row)
            if (array->data()[row] < 0 || array->data()[row] > call().extents.time)
                refuse("lengths", "must lie between 0 and the number of steps.");
        return array->data();
    }

private:
    template <class Array, size_t kDimensions>
    static void check_shape(const Array& array, const int64_t (&shape)[kDimensions],
                            const char* name, const char* reason) {
        for (size_t n = 0; n < kDimensions; ++n)
            if (static_cast<int64_t>(array.shape(n)) != shape[n]) refuse(name, reason);
    }

    int64_t banks_;
    int64_t heads_;
};

MemoryInputs inputs_of(const MemoryChecker& check, const SequenceIn& query,
                       const SequenceIn& priority, const SequenceIn& key, const StateIn& first_key,
                       const SequenceIn& value, const MemoryIn& memory,
                       const std::vector<double>& time_scales, const LengthsIn& lengths) {
    return {check.heads(),
            check.banks(),
            time_scales.data(),
            check.lengths(lengths),
            check.sequence(query, "query"),
            check.sequence(priority, "priority_logit"),
            check.sequence(key, "key"),
            check.sequence(value, "value"),
            check.state(first_key, "first_key"),
            check.memory(memory, "memory")};
}

void chunked_memory(const SequenceIn& query, const SequenceIn& priority, const SequenceIn& key,
                    const StateIn& first_key, const SequenceIn& value, const MemoryIn& memory,
                    const std::vector<double>& time_scales, const LengthsIn& lengths,
                    const BanksOut& reads, const FactorsOut& rstd, const MemoryOut& memory_last,
                    int threads) {
    const MemoryChecker check(query, memory, time_scales, threads);
    const ChunkedMemory call{
        check.call(),
        inputs_of(check, query, priority, key, first_key, value, memory, time_scales, lengths),
        check.reads(reads, "reads"), check.factors(rstd, "rstd"),
        check.memory(memory_last, "memory_last")};
    const nb::gil_scoped_release released;
    kernels().chunked_memory(call);
}

void chunked_memory_backward(
    const BanksIn& reads_gradient, const std::optional<MemoryIn>& memory_last_gradient,
    const SequenceIn& query, const SequenceIn& priority, const SequenceIn& key,
    const StateIn& first_key, const SequenceIn& value, const MemoryIn& memory,
    const std::vector<double>& time_scales, const LengthsIn& lengths, const BanksIn& reads,
    const FactorsIn& rstd, const SequenceOut& query_gradient, const SequenceOut& priority_gradient,
    const SequenceOut& key_gradient, const StateOut& first_key_gradient,
    const SequenceOut& value_gradient, const MemoryOut& memory_gradient, int threads) {
    const MemoryChecker check(query, memory, time_scales, threads);
    const ChunkedMemoryBackward call{
        check.call(),
        inputs_of(check, query, priority, key, first_key, value, memory, time_scales, lengths),
        check.reads(reads, "reads"),
        check.factors(rstd, "rstd"),
        check.reads(reads_gradient, "reads_gradient"),
        memory_last_gradient ? check.memory(*memory_last_gradient, "memory_last_gradient")
                             : nullptr,
        check.sequence(query_gradient, "query_gradient"),
        check.sequence(priority_gradient, "priority_gradient"),
        check.sequence(key_gradient, "key_gradient"),
        check.sequence(value_gradient, "value_gradient"),
        check.state(first_key_gradient, "first_key_gradient"),
        check.memory(memory_gradient, "memory_gradient")};
    const nb::gil_scoped_release released;
    kernels().chunked_memory_backward(call);
}

}  // namespace

void define_chunked_memory(nb::module_& module) {
    module.def("chunked_memory", &chunked_memory, fixed("query"), fixed("priority_logit"),
               fixed("key"), fixed("first_key"), fixed("value"), fixed("memory"),
               nb::arg("time_scales"), fixed("lengths").none(), fixed("reads"), fixed("rstd"),
               fixed("memory_last"), nb::arg("threads"), "Fill reads, rstd and memory_last.");
    module.def("chunked_memory_backward", &chunked_memory_backward, fixed("reads_gradient"),
               fixed("memory_last_gradient").none(), fixed("query"), fixed("priority_logit"),
               fixed("key"), fixed("first_key"), fixed("value"), fixed("memory"),
               nb::arg("time_scales"), fixed("lengths").none(), fixed("reads"), fixed("rstd"),
               fixed("query_gradient"), fixed("priority_gradient"), fixed("key_gradient"),
               fixed("first_key_gradient"), fixed("value_gradient"), fixed("memory_gradient"),
               nb::arg("threads"), "Fill the gradients of all inputs.");
}

}  // namespace mm_rec
