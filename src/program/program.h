// The static program: values and op records, in the order in which they run. Every value is written by exactly one op (activations), bound at load
// (weights) or kept per sequence (states, KV). The only size that is open is the number of rows of a step.
// Built by builder.h, printed and read by text.h, checked by verify.h; offsets are set by compiler/plan.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "program/ops.h"

namespace sluice::program {

using ValueId = uint32_t;
inline constexpr ValueId kNoValue = UINT32_MAX;
inline constexpr uint64_t kNoOffset = UINT64_MAX;

enum class ValueKind : uint8_t { kActivation, kWeight, kState, kKv };

// What an activation's elements are. kQ8: rows quantised to 8 bits (kernels/quantize).
enum class Element : uint8_t { kF32, kI32, kQ8 };

// How many rows an activation has: every row of the step; only rows that want logits; `factor` slots a row (chosen experts).
enum class RowSpace : uint8_t { kStep, kLogits, kSlots };

// How a weight lies in memory. Matrices are packed for matmul (kernels/matmul), `count` of them one after the other; everything else is f32 or f64.
enum class WeightForm : uint8_t {
  kMatrix,       // count x [n, k], packed strips of `dtype`
  kVector,       // [n] f32, padded to 16 with zeros
  kConv,         // [k taps, n channels padded to 16] f32
  kScanA,        // [n channels / 16, k states, 16] f32
  kFrequencies,  // [n] f64, from literals
};

// What is done to a checkpoint tensor's values before they are packed.
enum class WeightTransform : uint8_t { kNone, kNegExp /* -exp(v): A_log to A */, kAddOne /* 1 + v: zero-centred norms */ };

struct Value {
  ValueKind kind = ValueKind::kActivation;
  std::string name;  // unique, [A-Za-z0-9_.]+

  // kActivation: [rows, width].
  Element element = Element::kF32;
  uint64_t width = 0;
  RowSpace rows = RowSpace::kStep;
  uint32_t slots = 1;

  // kWeight.
  WeightForm form = WeightForm::kMatrix;
  DType dtype = DType::kF32;  // as in the checkpoint; what a matrix is packed as
  uint64_t n = 0;             // outputs, elements or channels
  uint64_t k = 0;             // inputs, taps or states
  uint64_t count = 1;         // stacked matrices (experts)
  WeightTransform transform = WeightTransform::kNone;
  std::vector<std::string> sources;  // checkpoint tensors: one (shape [n,k] or [count,n,k]), or `count` of them
  uint64_t source_row = 0;           // first row taken from the source
  uint64_t source_rows = 0;          // rows that the source has (of one matrix)
  std::vector<double> literals;      // kFrequencies

  // kState: floats per sequence. kKv: what a layer stores for one token.
  uint64_t floats = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim_k = 0;
  uint32_t head_dim_v = 0;

  // Set by compiler/plan (activations, in the arena; states, in a sequence's state; KV, in a page) and compiler/pack (weights, in the package's data).
  uint64_t offset = kNoOffset;  // bytes
  uint64_t bytes = 0;           // of one row (its stride) for activations; of the whole value otherwise
};

// One attribute value; which one counts follows from the op's schema.
struct Attribute {
  int64_t integer = 0;
  double number = 0;
};

struct Op {
  OpCode code;
  std::vector<ValueId> operands;    // in the order of schema(code).operands; kNoValue where an optional one is absent
  std::vector<Attribute> attributes;  // in the order of schema(code).attributes
  std::string label;                // where it comes from: "blk.3.attn"
};

// What a reader of the program needs to know about the model, beside its ops.
struct ModelFacts {
  std::string family;         // "jamba"
  std::string name;           // general.name, or empty
  uint64_t layers = 0;
  uint64_t vocabulary = 0;
  uint64_t context_max = 0;   // positions the model was made for; 0: no limit
  uint64_t hidden = 0;
  uint64_t params_total = 0;
  uint64_t params_active = 0;  // without the experts that a token is not routed to
};

struct Program {
  ModelFacts facts;
  std::vector<Value> values;
  std::vector<Op> ops;
  ValueId logits = kNoValue;  // the last op's output, [logit rows, vocabulary]

  const Value& value(ValueId id) const { return values[id]; }
  ValueId operand(const Op& op, std::string_view name) const;
  int64_t integer(const Op& op, std::string_view name) const;
  double number(const Op& op, std::string_view name) const;
};

// Bytes of the parts that do not depend on a run's options.
uint64_t state_floats(const Program& program);                 // per sequence
uint64_t kv_elements_per_token(const Program& program);        // keys and values of all layers

constexpr uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace sluice::program
