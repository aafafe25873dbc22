// CHECK: what only our own bug can make false. It prints the condition and stops the process, in every build. DCHECK is for inner loops: it
// is compiled in only with SLUICE_DCHECK_ENABLED (presets dev, check, tsan). Never used on anything that a file or a request can cause.
#pragma once

#include <cstdio>
#include <cstdlib>

#define SLUICE_CHECK(condition)                                                                          \
  do {                                                                                                   \
    if (!(condition)) [[unlikely]] {                                                                     \
      std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", __FILE__, __LINE__, #condition);                 \
      std::abort();                                                                                      \
    }                                                                                                    \
  } while (false)

#ifdef SLUICE_DCHECK_ENABLED
#define SLUICE_DCHECK(condition) SLUICE_CHECK(condition)
#else
#define SLUICE_DCHECK(condition) \
  do {                           \
    if (false) {                 \
      (void)(condition);         \
    }                            \
  } while (false)
#endif
