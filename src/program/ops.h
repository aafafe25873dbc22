// The op table: codes, operands and attributes. One list; the builder, the text form, the verifier and the runtime's binding all read it.
// To add an op: a line here, its shape rule in verify.cc, its kernel folder, its binding in runtime/.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace sluice::program {

//          code           text name
#define SLUICE_OPS(X)                                                                     \
  X(kEmbed, "embed")            /* out = row `token` of table, times scale */             \
  X(kRmsNorm, "rmsnorm")        /* kernels/rmsnorm */                                     \
  X(kQuantize, "quantize")      /* kernels/quantize */                                    \
  X(kMatmul, "matmul")          /* kernels/matmul; out = x W^T (+ bias) (+ addend) */     \
  X(kRopeTable, "rope_table")   /* kernels/rope: cos and sin of each row's position */    \
  X(kRope, "rope")              /* kernels/rope */                                        \
  X(kKvWrite, "kv_write")       /* kernels/attention */                                   \
  X(kAttention, "attention")    /* kernels/attention */                                   \
  X(kConv1d, "conv1d")          /* kernels/conv1d */                                      \
  X(kSsmScan, "ssm_scan")       /* kernels/ssm_scan */                                    \
  X(kGlu, "glu")                /* kernels/glu */                                         \
  X(kAdd, "add")                /* kernels/elementwise */                                 \
  X(kScale, "scale")            /* kernels/elementwise */                                 \
  X(kSoftcap, "softcap")        /* kernels/elementwise */                                 \
  X(kMoeTopk, "moe_topk")       /* kernels/moe */                                         \
  X(kMoeMatmul, "moe_matmul")   /* kernels/matmul over the rows of each chosen expert */  \
  X(kMoeCombine, "moe_combine") /* kernels/moe; out = sum of weighted slots (+ addend) */ \
  X(kSelectRows, "select_rows") /* the rows that want logits */                           \
  X(kObserve, "observe")        /* copies x to the step's observer, if there is one */

enum class OpCode : uint8_t {
#define X(code, text) code,
  SLUICE_OPS(X)
#undef X
};

enum class OperandRole : uint8_t {
  kIn,        // activation read
  kOptional,  // activation read, may be absent
  kAddend,    // activation that `out` is added to; may be absent; shares out's buffer and ends here
  kInPlace,   // activation read, whose buffer `out` takes over; ends here
  kOut,       // activation written
  kWeight,
  kOptionalWeight,
  kState,
  kKv,
};

struct OperandSpec {
  std::string_view name;
  OperandRole role;
};

struct AttributeSpec {
  std::string_view name;
  bool is_integer;
};

struct OpSchema {
  std::string_view name;
  std::span<const OperandSpec> operands;
  std::span<const AttributeSpec> attributes;
};

const OpSchema& schema(OpCode code);
std::optional<OpCode> op_from_name(std::string_view name);
inline constexpr size_t kOpCount = 0
#define X(code, text) +1
    SLUICE_OPS(X)
#undef X
    ;

}  // namespace sluice::program
