// Builds a program op by op: what a model family's block function calls. Shapes are derived here and checked again by the verifier, so a family that is
// wrong fails with its label, not with a crash. Weights are named after checkpoint tensors; the same source and slice is the same weight (tied heads).
#pragma once

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "program/program.h"

namespace sluice::program {

// A checkpoint tensor, or `names.size()` of them stacked (experts); and the rows to take of each matrix (0, 0: all).
struct Source {
  Source(std::string name) : names{std::move(name)} {}
  Source(const char* name) : names{name} {}
  explicit Source(std::vector<std::string> all) : names(std::move(all)) {}
  Source rows(uint64_t first, uint64_t of) const {
    Source slice = *this;
    slice.row = first;
    slice.rows_total = of;
    return slice;
  }
  std::vector<std::string> names;
  uint64_t row = 0;
  uint64_t rows_total = 0;
};

class Builder {
 public:
  explicit Builder(ModelFacts facts) { program_.facts = std::move(facts); }

  // Label of the ops that follow ("blk.3.attn").
  void label(std::string text) { label_ = std::move(text); }

  // Weights. Shapes as in kernels: a matrix is [n, k] (out, in), a convolution [channels, taps] in the checkpoint.
  ValueId matrix(const Source& source, uint64_t n, uint64_t k, uint64_t count = 1);
  ValueId vector(const Source& source, uint64_t n, WeightTransform transform = WeightTransform::kNone);
  ValueId conv_weight(const Source& source, uint64_t channels, uint64_t taps);
  ValueId scan_a(const Source& source, uint64_t channels, uint64_t states, WeightTransform transform);
  // `divisors`: a checkpoint tensor that divides them (GGUF's rope_freqs.weight), or empty.
  ValueId frequencies(std::vector<double> radians_per_position, const std::string& divisors = {});

  // Per sequence.
  ValueId state(uint64_t floats);
  ValueId kv(uint32_t heads, uint32_t head_dim_k, uint32_t head_dim_v);

  // Ops, each giving its (last) output. See kernels/ for what they compute.
  ValueId embed(ValueId table, double scale);
  ValueId rmsnorm(ValueId x, ValueId weight, double epsilon, uint64_t groups = 1);
  ValueId matmul(ValueId x, ValueId weight, ValueId bias = kNoValue);
  ValueId rope_table(ValueId frequencies, double magnitude);
  ValueId rope(ValueId table, ValueId x, uint64_t heads, uint64_t head_dim, bool interleaved);
  void kv_write(ValueId k, ValueId v, ValueId kv);
  ValueId attention(ValueId q, ValueId kv, uint64_t heads, double scale, double softcap, uint64_t window);
  ValueId conv1d(ValueId x, ValueId weight, ValueId bias, bool silu);
  ValueId ssm_scan(ValueId x, ValueId dt, ValueId b, ValueId c, ValueId z, ValueId a, ValueId d, uint64_t states);
  ValueId glu(ValueId gate, ValueId up, int activation);
  ValueId add(ValueId a, ValueId b);
  ValueId scale(ValueId x, double factor);
  ValueId softcap(ValueId x, double cap);
  std::pair<ValueId, ValueId> moe_topk(ValueId logits, uint64_t k, bool renormalize);  // ids, weights
  ValueId moe_matmul(ValueId x, ValueId ids, ValueId weight);                          // x: step rows or slots
  ValueId moe_combine(ValueId y, ValueId weights);
  ValueId select_rows(ValueId x);
  // Marks a value that `logits --hidden` writes out; index 0 is the first block's input, layers + 1 the last norm's output.
  void observe(ValueId x, uint64_t index);

  // The program, whose result is `logits`.
  Program finish(ValueId logits);

  const Value& value(ValueId id) const { return program_.values[id]; }

 private:
  ValueId add_value(Value value, const char* prefix);
  ValueId add_weight(Value value, const Source& source);
  ValueId activation(uint64_t width, RowSpace rows = RowSpace::kStep, uint32_t slots = 1, Element element = Element::kF32);
  ValueId like(ValueId x);
  void op(OpCode code, std::vector<ValueId> operands, std::vector<Attribute> attributes = {});

  Program program_;
  std::unordered_map<std::string, std::vector<ValueId>> weights_of_;  // by first source
  std::string label_;
};

}  // namespace sluice::program
