// The memory and the budgets of one template render: a bump allocator that is freed as a whole, a step counter, and the first error.
// Contract: make<T>() always succeeds (headers are small and are counted); anything whose size the input decides asks bytes() or afford()
// first and must handle a refusal. After the first failure the render only unwinds.
// Next: template_string.h (strings with origin), template_value.h (values).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "text/chat_template.h"

namespace sluice::text::jinja {

class Heap {
 public:
  explicit Heap(const RenderLimits& limits) : limits_(limits) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  const RenderLimits& limits() const { return limits_; }

  template <class T, class... Args>
  T* make(Args&&... args) {
    static_assert(std::is_trivially_destructible_v<T>, "the heap never runs destructors");
    return new (take(sizeof(T), alignof(T))) T{std::forward<Args>(args)...};
  }

  // Uninitialised array, or nullptr (and a failure) when the memory budget does not allow it.
  template <class T>
  T* array(size_t count) {
    static_assert(std::is_trivially_destructible_v<T>, "the heap never runs destructors");
    if (count > SIZE_MAX / sizeof(T) || !afford(count * sizeof(T))) return nullptr;
    return static_cast<T*>(take(count * sizeof(T), alignof(T)));
  }
  char* bytes(size_t count) { return array<char>(count); }

  // May `count` more bytes be held? A refusal is a failure of the render.
  bool afford(size_t count);
  // Bytes held outside the arena (growing output buffers).
  bool hold(size_t count);
  void release(size_t count) { held_ -= count; }

  // Charges `steps` units of work: one per evaluated node, one per 64 bytes that a string operation walks.
  bool work(uint64_t steps);
  bool walk_bytes(size_t count) { return work(1 + count / 64); }

  bool enter();  // one level deeper; pair with leave()
  void leave() { --depth_; }

  bool failed() const { return failed_; }
  const std::string& error() const { return error_; }
  void fail(std::string sentence);  // the first sentence wins

 private:
  void* take(size_t count, size_t alignment);

  RenderLimits limits_;
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* next_ = nullptr;
  size_t left_ = 0;
  uint64_t used_ = 0;
  uint64_t held_ = 0;
  uint64_t steps_ = 0;
  uint32_t depth_ = 0;
  bool failed_ = false;
  std::string error_;
};

// A growing array in the heap. Old storage is not reused, so the total is at most twice the final size.
template <class T>
struct HeapVector {
  T* items = nullptr;
  size_t size = 0;
  size_t capacity = 0;

  bool reserve(Heap& heap, size_t wanted) {
    if (wanted <= capacity) return true;
    size_t grown = capacity < 4 ? 4 : capacity * 2;
    if (grown < wanted) grown = wanted;
    T* fresh = heap.array<T>(grown);
    if (fresh == nullptr) return false;
    for (size_t i = 0; i < size; ++i) new (fresh + i) T(items[i]);
    items = fresh;
    capacity = grown;
    return true;
  }
  bool push(Heap& heap, const T& item) {
    const T copy = item;  // `item` may live in this vector
    if (size == capacity && !reserve(heap, size + 1)) return false;
    new (items + size) T(copy);
    ++size;
    return true;
  }
  T* begin() const { return items; }
  T* end() const { return items + size; }
};

}  // namespace sluice::text::jinja
