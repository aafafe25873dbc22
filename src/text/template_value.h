// The values that templates compute with: Python's as far as templates can tell, sixteen bytes each, pointing into the render's heap.
// Contract: a function that can fail reports to the heap and returns a Value of kind `failed`, nullptr or false; whoever sees that returns.
// Next: template_eval.h (who makes values), template_string.h (strings).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "text/template_heap.h"
#include "text/template_string.h"

namespace sluice::text::jinja {

enum class Kind : uint8_t {
  failed,   // the heap holds the sentence
  missing,  // a variable that was never assigned
  undefined,
  none,
  boolean,
  integer,
  real,
  string,
  sequence,  // list, tuple, generator, dict view
  dict,
  range,
  name_space,
  macro,
  builtin,  // a filter-like function or a bound method
  loop,
  cycler,
  joiner,
};

struct Sequence;
struct Dict;
struct RangeValue;
struct MacroValue;
struct BuiltinValue;
struct LoopState;
struct CyclerValue;

// How an undefined value came about, for the sentence when it is used.
struct UndefinedInfo {
  const Str* name;
  const char* owner;  // type of the value that lacks `name`; nullptr: a variable
};

struct Value {
  Kind kind = Kind::undefined;
  bool input = false;  // numbers: computed from the context's numbers
  union {
    bool boolean;
    int64_t integer;
    double real;
    const Str* string;
    Sequence* sequence;
    Dict* dict;
    RangeValue* range;
    MacroValue* macro;
    BuiltinValue* builtin;
    LoopState* loop;
    CyclerValue* cycler;
    const UndefinedInfo* undefined;
  };

  constexpr Value() : undefined(nullptr) {}

  static constexpr Value of_kind(Kind kind) {
    Value v;
    v.kind = kind;
    return v;
  }
  static constexpr Value failure() { return of_kind(Kind::failed); }
  static constexpr Value none() { return of_kind(Kind::none); }
  static constexpr Value of(bool b) {
    Value v = of_kind(Kind::boolean);
    v.boolean = b;
    return v;
  }
  static constexpr Value of(int64_t i, bool input = false) {
    Value v = of_kind(Kind::integer);
    v.integer = i;
    v.input = input;
    return v;
  }
  static constexpr Value of(double d, bool input = false) {
    Value v = of_kind(Kind::real);
    v.real = d;
    v.input = input;
    return v;
  }
  static Value of(const Str* s) {  // nullptr: the heap failed
    if (s == nullptr) return failure();
    Value v = of_kind(Kind::string);
    v.string = s;
    return v;
  }
  static Value of(Sequence* s) {
    Value v = of_kind(Kind::sequence);
    v.sequence = s;
    return v;
  }
  static Value of(Dict* d, Kind kind = Kind::dict) {
    Value v = of_kind(kind);
    v.dict = d;
    return v;
  }

  bool failed() const { return kind == Kind::failed; }
  bool is(Kind k) const { return kind == k; }
  bool is_undefined() const { return kind == Kind::undefined; }
  bool is_string() const { return kind == Kind::string; }
  bool is_number() const { return kind == Kind::integer || kind == Kind::real || kind == Kind::boolean; }
  std::string_view text() const { return string->view(); }
};

enum class Flavor : uint8_t { list, tuple, generator, keys, values, items };

struct Sequence {
  Flavor flavor = Flavor::list;
  HeapVector<Value> items;
  size_t consumed = 0;  // generators are read once
};

// Of start, stop and step, so that no sum of start and a multiple of step can overflow.
inline constexpr int64_t kRangeBoundMax = int64_t{1} << 60;

struct RangeValue {
  int64_t start;
  int64_t stop;
  int64_t step;
  int64_t count;
};

struct CyclerValue {  // cycler(...) and joiner(...)
  HeapVector<Value> items;
  size_t position;
};

// An insertion-ordered dictionary with Python's key equality (1 == 1.0 == True).
struct Dict {
  struct Entry {
    Value key;
    Value value;
    uint64_t hash;
    bool live;
  };
  HeapVector<Entry> entries;
  size_t live = 0;
  uint32_t* index = nullptr;  // open addressing, entry + 1; only beyond kSmall entries
  size_t index_size = 0;
  static constexpr size_t kSmall = 8;

  Entry* find(std::string_view key) const;
  Entry* find(Heap& heap, Value key) const;  // nullptr also for an unhashable key: check heap.failed()
  bool set(Heap& heap, Value key, Value value);
  void erase(Entry* entry);

 private:
  Entry* find_hashed(Heap* heap, Value key, uint64_t hash) const;
  bool rebuild_index(Heap& heap);
};

const char* type_name(Value v);
Value make_undefined(Heap& heap, const Str* name, const char* owner);
// Fails with "'x' is undefined".
Value fail_undefined(Heap& heap, Value v);
Value fail_type(Heap& heap, std::string sentence);

bool truthy(Value v);
bool equal(Heap& heap, Value a, Value b);
enum class Order : uint8_t { less, same, greater, unordered, failed };
Order compare(Heap& heap, Value a, Value b);  // for < <= > >= and sorting
bool same_object(Value a, Value b);           // Python's `is`
Value contains(Heap& heap, Value container, Value item);
// len(): false where Python raises (the heap then fails).
bool length_of(Heap& heap, Value v, int64_t& out);
bool has_length(Value v);
bool is_iterable(Value v);

// str() and repr().
const Str* to_str(Heap& heap, Value v);
void append_str(Builder& out, Heap& heap, Value v);
void append_repr(Builder& out, Heap& heap, Value v);
std::string format_real(double d);  // repr(float)

// Iterates whatever Python iterates; a generator remembers how far it was read.
class Iterator {
 public:
  static bool open(Heap& heap, Value v, Iterator& out);
  bool next(Heap& heap, Value& out);  // false: at the end, or the heap failed

 private:
  Value source_;
  size_t position_ = 0;
  size_t size_at_start_ = 0;
};

// All items of an iterable as a new list.
Sequence* to_list(Heap& heap, Value v);
Sequence* make_sequence(Heap& heap, Flavor flavor);
Value range_item(const RangeValue& r, int64_t index);

}  // namespace sluice::text::jinja
