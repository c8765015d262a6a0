// Cumulative product along time, checked on the way: the range costs no second pass over memory.
#include "kernels/entry_points.h"
#include "kernels/walk.h"

namespace mm_rec::MM_REC_ISA {
namespace {

// The bits of a float in (0, 1], minus one, lie below this; those of any other do not.
constexpr uint32_t kOneBits = 0x3f800000u;

template <class T>
struct ProductStep {
    const T* gamma;
    T* product;
    int64_t gamma_stride;
    int64_t product_stride;
    Bits<kLanes> worst = {};
    uint32_t worst_single = 0;

    float initial(int64_t) const { return 1.0f; }

    template <int W>
    Float<W> advance(Float<W> state, int64_t t, int64_t channel) {
        const Float<W> factor = load<W>(gamma + t * gamma_stride + channel);
        note((Bits<W>)factor - 1u);
        state *= factor;
        store<W>(product + t * product_stride + channel, state);
        return state;
    }

    void note(Bits<kLanes> seen) { worst = worst > seen ? worst : seen; }
    void note(Bits<1> seen) { worst_single = worst_single > seen[0] ? worst_single : seen[0]; }

    bool in_range() const {
        bool fine = worst_single < kOneBits;
        for (int lane = 0; lane < kLanes; ++lane) fine = fine && worst[lane] < kOneBits;
        return fine;
    }
};

template <class T>
bool run(const CumulativeProduct& call) {
    bool in_range = true;
    for_each_block(Blocks(call.extents, call.threads), [&](const Block& block) {
        ProductStep<T> step{
            static_cast<const T*>(call.gamma.data) + block.batch * call.gamma.batch_stride,
            static_cast<T*>(call.product.data) + block.batch * call.product.batch_stride,
            call.gamma.time_stride, call.product.time_stride};
        if (block.end - block.begin >= kLanes)
            walk_block<kLanes>(step, block, call.extents.time);
        else
            walk_block<1>(step, block, call.extents.time);
        if (!step.in_range()) {
#pragma omp atomic write
            in_range = false;
        }
    });
    return in_range;
}

}  // namespace

bool cumulative_product(const CumulativeProduct& call) {
    return call.storage == Storage::fp32 ? run<float>(call) : run<bf16>(call);
}

}  // namespace mm_rec::MM_REC_ISA
