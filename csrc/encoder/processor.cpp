#include "processor.h"

#if defined(MM_REC_X86)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mm_rec {
namespace {

#if defined(MM_REC_X86)
bool has_vnni() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

// Whether the processor has tiles for int8 and bfloat16, and Linux lets this process use them.
bool has_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
    constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;
    constexpr unsigned kAll = kBf16 | kTile | kInt8;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kAll) != kAll) return false;
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

#endif

std::vector<EncoderSet> usable() {
    std::vector<EncoderSet> sets;
#if defined(MM_REC_X86)
    if (!has_vnni()) return sets;
    const bool has_bf16 = __builtin_cpu_supports("avx512bf16");
#if defined(ENCODER_HAS_TILES)
    if (has_bf16 && has_tiles()) sets.push_back({"amx", &encoder_amx::kernels});
#endif
    if (has_bf16) sets.push_back({"avx512_bf16", &encoder_bf16::kernels});
    sets.push_back({"avx512_vnni", &encoder_vnni::kernels});
#endif
    return sets;
}

}  // namespace

const std::vector<EncoderSet>& encoder_sets() {
    static const std::vector<EncoderSet> sets = usable();
    return sets;
}

}  // namespace mm_rec
