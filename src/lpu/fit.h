// The two free latencies of the model and how they were fitted: to row 2 (fp16 matmul utilisation) and row 3 (BERT-base) of the table in docs/lpu.md, to
// nothing else. Every other row is predicted with these. fit_test.cc repeats the fit and checks that no other row's result stands in fit.cc.
#pragma once

#include "base/result.h"
#include "lpu/schedule.h"

namespace sluice::lpu {

// Published here, for every chip file.
extern const Latencies kFitted;

struct Row2 {
  double lowest, mean;  // utilisation over N = 1376..3500
};
Row2 row2_utilisation(const Chip& v1, const Latencies& latencies);
Result<double> row3_seconds(const Chip& v1, const Latencies& latencies);

// The fit itself, on LPU v1.
Result<Latencies> fit(const Chip& v1);

}  // namespace sluice::lpu
