// attention/attention-inl.h compiled for AVX2 (by its file name, cmake/rooms.cmake). Contract: attention.h.
#include "kernels/vec/vec_avx2-inl.h"
// The vocabulary comes first.
#include "kernels/attention/attention-inl.h"

namespace sluice::kernels {

AttentionFn attention_avx2(KvType type) { return attention_function(type); }

}  // namespace sluice::kernels
