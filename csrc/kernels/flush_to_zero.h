// Denormal numbers slow a decaying product a hundredfold: treat them as zero while a kernel runs.
#pragma once

#include <cstdint>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace mm_rec::MM_REC_ISA {

// Flushes denormals of the thread that holds it, and restores the thread's mode in the end.
class FlushToZero {
public:
    FlushToZero() : saved_(read()) { write(saved_ | kMode); }
    ~FlushToZero() { write(saved_); }
    FlushToZero(const FlushToZero&) = delete;
    FlushToZero& operator=(const FlushToZero&) = delete;

private:
#if defined(__SSE2__)
    static constexpr uint64_t kMode = 0x8040;  // flush-to-zero and denormals-are-zero
    static uint64_t read() { return _mm_getcsr(); }
    static void write(uint64_t mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#elif defined(__aarch64__)
    static constexpr uint64_t kMode = uint64_t{1} << 24;  // FPCR.FZ: inputs and results
    static uint64_t read() {
        uint64_t mode;
        __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
        return mode;
    }
    static void write(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
    static constexpr uint64_t kMode = 0;
    static uint64_t read() { return 0; }
    static void write(uint64_t) {}
#endif
    uint64_t saved_;
};

}  // namespace mm_rec::MM_REC_ISA
