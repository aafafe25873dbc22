// Counts allocations and locks of a test program while `counting` is on, by interposing malloc and pthread_mutex_lock:
// included by one file of a program.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLUICE_COUNTS 0
#else
#define SLUICE_COUNTS 1
#endif

// A sanitizer brings its own malloc: nothing is counted there.
namespace sluice {
inline std::atomic<bool> counting{false};
inline std::atomic<uint64_t> allocations{0}, locks{0};
}  // namespace sluice

#if SLUICE_COUNTS
#include <dlfcn.h>
#include <pthread.h>

extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* block, size_t bytes);

void* malloc(size_t bytes) {
  if (sluice::counting) ++sluice::allocations;
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
  if (sluice::counting) ++sluice::allocations;
  return __libc_calloc(count, bytes);
}
void* realloc(void* block, size_t bytes) {
  if (sluice::counting) ++sluice::allocations;
  return __libc_realloc(block, bytes);
}
int pthread_mutex_lock(pthread_mutex_t* mutex) {
  static const auto real = reinterpret_cast<int (*)(pthread_mutex_t*)>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  if (sluice::counting) ++sluice::locks;
  return real(mutex);
}
}
#endif
