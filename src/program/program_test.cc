#include <gtest/gtest.h>

#include "program/builder.h"
#include "program/text.h"
#include "program/verify.h"

namespace sluice::program {
namespace {

// One layer of everything: norm, matmul, rope, attention, convolution, scan, experts.
Program sample() {
  Builder b({.family = "sample", .name = "a b", .layers = 1, .vocabulary = 32, .context_max = 64, .hidden = 16, .params_total = 1, .params_active = 1});
  const ValueId table = b.matrix("embed", 32, 16);
  b.label("blk.0");
  ValueId x = b.embed(table, 1.0);
  const ValueId h = b.rmsnorm(x, b.vector("norm", 16), 1e-6);
  const ValueId angles = b.rope_table(b.frequencies({1.0, 0.1}), 1.0);
  const ValueId q = b.rope(angles, b.matmul(h, b.matrix("q", 16, 16)), 4, 4, false);
  const ValueId k = b.rope(angles, b.matmul(h, b.matrix("k", 8, 16)), 2, 4, false);
  const ValueId v = b.matmul(h, b.matrix("v", 8, 16));
  const ValueId kv = b.kv(2, 4, 4);
  b.kv_write(k, v, kv);
  x = b.add(x, b.matmul(b.attention(q, kv, 4, 0.5, 0, 0), b.matrix("o", 16, 16)));
  const ValueId u = b.conv1d(x, b.conv_weight("conv", 16, 4), kNoValue, true);
  const ValueId bc = b.matmul(u, b.matrix("bc", 8, 16));
  x = b.add(x, b.ssm_scan(u, u, bc, bc, kNoValue, b.scan_a("a", 16, 8, WeightTransform::kNegExp), b.vector("d", 16), 8));
  const auto [ids, weights] = b.moe_topk(b.matmul(x, b.matrix("router", 4, 16)), 2, false);
  const ValueId e = b.moe_matmul(x, ids, b.matrix("up", 24, 16, 4));
  x = b.add(x, b.moe_combine(b.moe_matmul(e, ids, b.matrix("down", 16, 24, 4)), weights));
  b.observe(x, 1);
  return b.finish(b.matmul(b.select_rows(x), table));
}

TEST(Text, PrintsAndReadsBackTheSameProgram) {
  const Program program = sample();
  ASSERT_TRUE(verify(program)) << verify(program).error().message;
  const std::string text = print(program);
  Result<Program> again = parse(text);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(print(*again), text);
  EXPECT_TRUE(verify(*again).ok());
}

TEST(Text, TiedHeadIsOneWeight) {
  const std::string text = print(sample());
  EXPECT_EQ(text.find("from=embed"), text.rfind("from=embed"));
}

TEST(Text, EveryCutLineAndFlippedByteIsRefusedOrStillVerified) {
  const std::string text = print(sample());
  for (size_t i = 0; i < text.size(); ++i) {
    std::string broken = text;
    broken[i] = static_cast<char>(broken[i] ^ 0x11);
    const Result<Program> program = parse(broken);
    if (program.ok()) (void)verify(*program).ok();
    const Result<Program> cut = parse(std::string_view(text).substr(0, i));
    EXPECT_TRUE(!cut.ok() || i == text.size() - 1);
  }
}

TEST(Verify, NamesTheOpThatReadsTooEarly) {
  Program program = sample();
  std::swap(program.ops[1], program.ops[2]);
  std::swap(program.ops[0], program.ops[2]);
  EXPECT_NE(verify(program).error().message.find("read before it is written"), std::string::npos);
}

TEST(Verify, RefusesAValueReadAfterItsBufferWasTaken) {
  Program program = sample();
  for (Op& op : program.ops) {
    if (op.code == OpCode::kMatmul && op.operands[3] == kNoValue && program.value(op.operands[4]).width == 16 && op.label == "blk.0") {
      op.operands[3] = program.operand(program.ops[0], "out");  // x is read again by the add that follows
    }
  }
  EXPECT_FALSE(verify(program).ok());
}

TEST(Verify, RefusesShapesThatDoNotFit) {
  Program program = sample();
  for (Value& value : program.values) {
    if (!value.sources.empty() && value.sources[0] == "q") value.k = 12;
  }
  EXPECT_NE(verify(program).error().message.find("16 columns, the weight 12"), std::string::npos);
}

}  // namespace
}  // namespace sluice::program
