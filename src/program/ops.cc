#include "program/ops.h"

#include "base/check.h"

namespace sluice::program {
namespace {

using enum OperandRole;

constexpr OperandSpec kEmbedOperands[] = {{"table", kWeight}, {"out", kOut}};
constexpr OperandSpec kRmsNormOperands[] = {{"x", kIn}, {"weight", kOptionalWeight}, {"out", kOut}};
constexpr OperandSpec kQuantizeOperands[] = {{"x", kIn}, {"out", kOut}};
constexpr OperandSpec kMatmulOperands[] = {
    {"x", kIn}, {"weight", kWeight}, {"bias", kOptionalWeight}, {"addend", kAddend}, {"out", kOut}};
constexpr OperandSpec kRopeTableOperands[] = {{"frequencies", kWeight}, {"out", kOut}};
constexpr OperandSpec kRopeOperands[] = {{"table", kIn}, {"x", kInPlace}, {"out", kOut}};
constexpr OperandSpec kKvWriteOperands[] = {{"k", kIn}, {"v", kIn}, {"kv", kKv}};
constexpr OperandSpec kAttentionOperands[] = {{"q", kIn}, {"kv", kKv}, {"out", kOut}};
constexpr OperandSpec kConv1dOperands[] = {{"x", kIn}, {"weight", kWeight}, {"bias", kOptionalWeight}, {"state", kState}, {"out", kOut}};
constexpr OperandSpec kSsmScanOperands[] = {{"x", kIn},      {"dt", kIn},    {"b", kIn},         {"c", kIn},    {"z", kOptional},
                                            {"a", kWeight}, {"d", kWeight}, {"state", kState}, {"out", kOut}};
constexpr OperandSpec kGluOperands[] = {{"gate", kIn}, {"up", kOptional}, {"out", kOut}};
constexpr OperandSpec kAddOperands[] = {{"a", kIn}, {"b", kIn}, {"out", kOut}};
constexpr OperandSpec kUnaryOperands[] = {{"x", kIn}, {"out", kOut}};
constexpr OperandSpec kMoeTopkOperands[] = {{"logits", kIn}, {"ids", kOut}, {"weights", kOut}};
constexpr OperandSpec kMoeMatmulOperands[] = {{"x", kIn}, {"ids", kIn}, {"weight", kWeight}, {"out", kOut}};
constexpr OperandSpec kMoeCombineOperands[] = {{"y", kIn}, {"weights", kIn}, {"addend", kAddend}, {"out", kOut}};
constexpr OperandSpec kObserveOperands[] = {{"x", kIn}};

constexpr AttributeSpec kEmbedAttributes[] = {{"scale", false}};
constexpr AttributeSpec kRmsNormAttributes[] = {{"epsilon", false}, {"groups", true}};
constexpr AttributeSpec kRopeTableAttributes[] = {{"magnitude", false}};
constexpr AttributeSpec kRopeAttributes[] = {{"heads", true}, {"head_dim", true}, {"interleaved", true}};
constexpr AttributeSpec kAttentionAttributes[] = {{"heads", true}, {"scale", false}, {"softcap", false}, {"window", true}};
constexpr AttributeSpec kConv1dAttributes[] = {{"silu", true}};
constexpr AttributeSpec kGluAttributes[] = {{"activation", true}};
constexpr AttributeSpec kFactorAttributes[] = {{"factor", false}};
constexpr AttributeSpec kMoeTopkAttributes[] = {{"k", true}, {"renormalize", true}};
constexpr AttributeSpec kObserveAttributes[] = {{"index", true}};

constexpr OpSchema kSchemas[] = {
    {"embed", kEmbedOperands, kEmbedAttributes},
    {"rmsnorm", kRmsNormOperands, kRmsNormAttributes},
    {"quantize", kQuantizeOperands, {}},
    {"matmul", kMatmulOperands, {}},
    {"rope_table", kRopeTableOperands, kRopeTableAttributes},
    {"rope", kRopeOperands, kRopeAttributes},
    {"kv_write", kKvWriteOperands, {}},
    {"attention", kAttentionOperands, kAttentionAttributes},
    {"conv1d", kConv1dOperands, kConv1dAttributes},
    {"ssm_scan", kSsmScanOperands, {}},
    {"glu", kGluOperands, kGluAttributes},
    {"add", kAddOperands, {}},
    {"scale", kUnaryOperands, kFactorAttributes},
    {"softcap", kUnaryOperands, kFactorAttributes},
    {"moe_topk", kMoeTopkOperands, kMoeTopkAttributes},
    {"moe_matmul", kMoeMatmulOperands, {}},
    {"moe_combine", kMoeCombineOperands, {}},
    {"select_rows", kUnaryOperands, {}},
    {"observe", kObserveOperands, kObserveAttributes},
};
static_assert(sizeof(kSchemas) / sizeof(kSchemas[0]) == kOpCount);

}  // namespace

const OpSchema& schema(OpCode code) {
  SLUICE_CHECK(static_cast<size_t>(code) < kOpCount);
  return kSchemas[static_cast<size_t>(code)];
}

std::optional<OpCode> op_from_name(std::string_view name) {
  for (size_t i = 0; i < kOpCount; ++i) {
    if (kSchemas[i].name == name) return static_cast<OpCode>(i);
  }
  return std::nullopt;
}

}  // namespace sluice::program
