// A barrier for threads that meet every few microseconds: it spins, and yields where that lasts.
#pragma once

#include <sched.h>

#include "kernels/simd.h"

namespace mm_rec::MM_REC_ISA {

class Barrier {
public:
    // Returns when all `threads` have called it; what they wrote before is then seen by all.
    void wait(int threads) {
        if (threads == 1) return;
        const int round = __atomic_load_n(&round_, __ATOMIC_ACQUIRE);
        if (__atomic_add_fetch(&arrived_, 1, __ATOMIC_ACQ_REL) == threads) {
            __atomic_store_n(&arrived_, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&round_, round + 1, __ATOMIC_RELEASE);
            return;
        }
        for (int spins = 0; __atomic_load_n(&round_, __ATOMIC_ACQUIRE) == round; ++spins) {
            if (spins < kSpins)
                pause();
            else
                sched_yield();  // another process holds the core that we wait for
        }
    }

private:
    static constexpr int kSpins = 2000;

    static void pause() {
#if defined(__SSE2__)
        _mm_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }

    alignas(64) int arrived_ = 0;
    alignas(64) int round_ = 0;
};

}  // namespace mm_rec::MM_REC_ISA
