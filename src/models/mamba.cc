// Mamba (Gu and Dao 2023) and Falcon-Mamba: nothing but Mamba-1 mixers, no positions, no feed-forward part. Falcon-Mamba norms dt, B and C without
// learned weights. In GGUF both are architecture "mamba" and a flag tells them apart.
#include "models/family.h"
#include "models/frame.h"

namespace sluice::models {
namespace {

// GGUF has one epsilon, which is that of the layers; the published Falcon-Mamba's inner norms use this.
constexpr double kFalconInnerEpsilon = 1e-6;

Result<MambaShape> mixer_of(const Config& c, uint64_t hidden) {
  MambaShape s{.hidden = hidden};
  // Where expand and intermediate_size disagree, the latter counts.
  SLUICE_TRY(const uint64_t expand, c.positive_or("expand", "", 2, 64));
  SLUICE_TRY(s.inner, c.size_or("intermediate_size", "ssm.inner_size", expand * hidden));
  SLUICE_TRY(s.states, c.positive_or("state_size", "ssm.state_size", 16));
  SLUICE_TRY(s.taps, c.positive_or("conv_kernel", "ssm.conv_kernel", 4));
  s.rank = (hidden + 15) / 16;  // "auto"
  if (c.text_or("time_step_rank", "", "") != "auto") {
    SLUICE_TRY(s.rank, c.positive_or("time_step_rank", "ssm.time_step_rank", s.rank));
  }
  SLUICE_TRY(s.conv_bias, c.flag_or("use_conv_bias", "", !c.is_gguf() || c.has("blk.0.ssm_conv1d.bias")));
  SLUICE_TRY(s.proj_bias, c.flag_or("use_bias", "", c.has("blk.0.ssm_in.bias")));
  SLUICE_TRY_VOID(check_mamba(s));
  return s;
}

Result<program::Program> build_with(const Config& c, const Frame& frame, const MambaShape& mixer) {
  static constexpr std::string_view kActivations[] = {"silu", "swish"};
  SLUICE_TRY_VOID(c.expect_text("hidden_act", "", kActivations));
  Builder b(frame.facts());
  return assemble(c, frame, b, [&](const LayerNames& name) {
    return Layer{{"mamba", [&](ValueId h) { return mamba(b, name, "mixer.", mixer, h); }}, {}};
  });
}

Result<Frame> mamba_frame_of(const Config& c) {
  SLUICE_TRY(Frame frame, frame_of(c, {.epsilon_field = "layer_norm_epsilon", .epsilon = 1e-5, .tied = true}));
  frame.stem = "backbone.";
  frame.table = c.has("backbone.embedding.weight") ? "embedding.weight" : "embeddings.weight";  // the first: the authors' own files
  frame.last_norm = "norm_f.weight";
  frame.mixer_norm = "norm.weight";
  frame.context = 0;  // GGUF's 2^20 is a placeholder: there are no positions
  return frame;
}

Result<program::Program> build_mamba(const Config& c) {
  SLUICE_TRY(const Frame frame, mamba_frame_of(c));
  SLUICE_TRY(const MambaShape mixer, mixer_of(c, frame.hidden));
  return build_with(c, frame, mixer);
}

Result<program::Program> build_falcon_mamba(const Config& c) {
  SLUICE_TRY(const Frame frame, mamba_frame_of(c));
  SLUICE_TRY(MambaShape mixer, mixer_of(c, frame.hidden));
  mixer.dt_b_c_norm = true;
  SLUICE_TRY(mixer.dt_b_c_epsilon, c.number_or("mixer_rms_eps", "", kFalconInnerEpsilon));
  return build_with(c, frame, mixer);
}

bool is_falcon_gguf(const Config& c) {
  const Result<bool> flag = c.flag_or("", "ssm.dt_b_c_rms", false);
  return flag.ok() && *flag;
}

constexpr std::string_view kMambaTypes[] = {"mamba"};
constexpr std::string_view kFalconTypes[] = {"falcon_mamba"};
constexpr std::string_view kArchitectures[] = {"mamba"};

}  // namespace

extern const Family kMamba = {"mamba", kMambaTypes, kArchitectures, build_mamba};
extern const Family kFalconMamba = {"falcon-mamba", kFalconTypes, kArchitectures, build_falcon_mamba, is_falcon_gguf};

}  // namespace sluice::models
