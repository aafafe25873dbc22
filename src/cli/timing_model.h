// `sluice bench --time-model`: the time of a step predicted by lpu/cpu_time.h beside the measured one. Rates come from calibration programs with random
// weights (chains of matrices of each type that the model has, and two small hybrid models), whose ops are timed one by one; the model's own time is
// measured in the same rounds, between calibrations. All by CPU time of one thread, so that other processes take nothing from either.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/model_loading.h"

namespace sluice::cli {

struct PredictedTime {
  std::string what;       // "prefill 128"
  double predicted_s = 0, measured_s = 0;  // a token; means over rounds without the fifth at either end
  double error = 0;                        // predicted / measured - 1
  double error_low = 0, error_high = 0;    // against the slowest and the fastest round
};
void print(const PredictedTime& time);
nlohmann::ordered_json json_of(const PredictedTime& time);

// `model` was loaded with one thread. Prefill of `rows` tokens, and decoding after them.
Result<std::vector<PredictedTime>> predict_times(LoadedModel& model, uint64_t rows, uint64_t rounds);

}  // namespace sluice::cli
