// The ordered dictionary (template_value.h): linear up to eight entries, then an open-addressed index.
// Contract: key equality is Python's; lists and dictionaries are refused as keys. Next: template_value.cc.
#include <bit>
#include <cmath>

#include <fmt/format.h>

#include "text/template_value.h"

namespace sluice::text::jinja {

namespace {

uint64_t mix(uint64_t h) {  // the finaliser of MurmurHash3: every input bit reaches every output bit
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccdu;
  h ^= h >> 33;
  h *= 0xc4ceb9fe1a85ec53u;
  return h ^ h >> 33;
}

uint64_t hash_text(std::string_view text) {
  uint64_t h = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return mix(h);
}

bool hash_value(Heap& heap, Value key, uint64_t& out) {
  switch (key.kind) {
    case Kind::string: out = hash_text(key.text()); return heap.walk_bytes(key.string->size);
    case Kind::boolean: out = mix(key.boolean); return true;
    case Kind::integer: out = mix(static_cast<uint64_t>(key.integer)); return true;
    case Kind::real:
      if (key.real == std::floor(key.real) && std::abs(key.real) < 0x1p63) {
        out = mix(static_cast<uint64_t>(static_cast<int64_t>(key.real)));
      } else {
        out = mix(std::bit_cast<uint64_t>(key.real));
      }
      return true;
    case Kind::undefined:
    case Kind::none: out = mix(static_cast<uint64_t>(key.kind)); return true;
    case Kind::sequence:
      if (key.sequence->flavor == Flavor::tuple && heap.enter()) {
        uint64_t h = 0x345678;
        for (const Value& item : key.sequence->items) {
          uint64_t part = 0;
          if (!heap.work(1) || !hash_value(heap, item, part)) break;
          h = mix(h * 31 + part);
        }
        heap.leave();
        out = h;
        return !heap.failed();
      }
      [[fallthrough]];
    case Kind::dict: heap.fail(fmt::format("unhashable type: '{}'", type_name(key))); return false;
    default: out = mix(reinterpret_cast<uintptr_t>(key.sequence)); return true;
  }
}

bool same_key(Heap* heap, Value a, Value b) {
  if (a.is_string()) return b.is_string() && a.text() == b.text();
  if (heap == nullptr) return false;
  return equal(*heap, a, b);
}

}  // namespace

Dict::Entry* Dict::find_hashed(Heap* heap, Value key, uint64_t hash) const {
  if (index == nullptr) {
    for (Entry& entry : entries) {
      if (entry.live && entry.hash == hash && same_key(heap, entry.key, key)) return &entry;
    }
    return nullptr;
  }
  for (size_t at = hash & (index_size - 1); index[at] != 0; at = (at + 1) & (index_size - 1)) {
    if (heap != nullptr && !heap->work(1)) return nullptr;
    Entry& entry = entries.items[index[at] - 1];
    if (entry.live && entry.hash == hash && same_key(heap, entry.key, key)) return &entry;
  }
  return nullptr;
}

Dict::Entry* Dict::find(std::string_view key) const {
  if (live == 0) return nullptr;
  Str text;
  text.data = key.data();
  text.size = key.size();
  return find_hashed(nullptr, Value::of(&text), hash_text(key));
}

Dict::Entry* Dict::find(Heap& heap, Value key) const {
  uint64_t hash = 0;
  if (!hash_value(heap, key, hash)) return nullptr;
  return find_hashed(&heap, key, hash);
}

bool Dict::rebuild_index(Heap& heap) {
  size_t size = 32;
  while (size < entries.size * 4) size *= 2;
  uint32_t* fresh = heap.array<uint32_t>(size);
  if (fresh == nullptr) return false;
  for (size_t i = 0; i < size; ++i) fresh[i] = 0;
  for (size_t i = 0; i < entries.size; ++i) {
    size_t at = entries.items[i].hash & (size - 1);
    while (fresh[at] != 0) at = (at + 1) & (size - 1);
    fresh[at] = static_cast<uint32_t>(i + 1);
  }
  index = fresh;
  index_size = size;
  return true;
}

bool Dict::set(Heap& heap, Value key, Value value) {
  uint64_t hash = 0;
  if (!hash_value(heap, key, hash)) return false;
  if (Entry* entry = find_hashed(&heap, key, hash)) {
    entry->value = value;
    return true;
  }
  if (heap.failed() || !entries.push(heap, Entry{key, value, hash, true})) return false;
  ++live;
  if (entries.size <= kSmall) return true;
  if (index == nullptr || entries.size * 2 > index_size) return rebuild_index(heap);
  size_t at = hash & (index_size - 1);
  while (index[at] != 0) at = (at + 1) & (index_size - 1);
  index[at] = static_cast<uint32_t>(entries.size);
  return true;
}

void Dict::erase(Entry* entry) {
  entry->live = false;
  --live;
}

}  // namespace sluice::text::jinja
