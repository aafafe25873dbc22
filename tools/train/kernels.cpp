// kernels.cpp: the inner loops of training that PyTorch has no fused form of, for the CPU.
// Contract: C functions over raw pointers, called from kernels.py; f32 or bf16 (as uint16_t) in and
// out, f32 inside; parallel over sequences or rows with a fixed schedule, so a rerun gives the same
// bits. Built by kernels.py without linking libgomp: torch's own copy must serve both.
// Equations: shared/reference/architectures.md sections 1 and 2. Tests: test_kernels.py.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int W = 16;  // channels a vector; AVX2 spills with 16 (6x slower), so 8 there
#else
constexpr int W = 8;
#endif
constexpr int N = 16;      // state size
constexpr int CHUNK = 16;  // steps between saved states
constexpr int MAX_DRAWS = 32;
constexpr float LOG2E = 1.4426950408889634f;

typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef uint32_t vu __attribute__((vector_size(W * 4)));
typedef uint16_t vh __attribute__((vector_size(W * 2)));

static inline vf splat(float x) {
  return vf{} + x;
}

static inline vf load(const float* p) {
  vf v;
  memcpy(&v, p, sizeof v);
  return v;
}
static inline void store(float* p, vf v) {
  memcpy(p, &v, sizeof v);
}
static inline vf load(const uint16_t* p) {  // bf16 -> f32
  vh h;
  memcpy(&h, p, sizeof h);
  vu u = __builtin_convertvector(h, vu) << 16;
  vf v;
  memcpy(&v, &u, sizeof v);
  return v;
}
static inline void store(uint16_t* p, vf v) {  // round to nearest even
  vu u;
  memcpy(&u, &v, sizeof u);
  u = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  vh h = __builtin_convertvector(u, vh);
  memcpy(p, &h, sizeof h);
}
static inline float get(const float* p) {
  return *p;
}
static inline float get(const uint16_t* p) {
  uint32_t u = uint32_t(*p) << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
static inline void put(float* p, float v) {
  *p = v;
}
static inline void put(uint16_t* p, float v) {
  uint32_t u;
  memcpy(&u, &v, 4);
  *p = uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

static inline vf exp2_fraction(vf f) {  // |f| <= 0.5, degree 6, relative error < 2e-7
  vf p = splat(1.5403530e-4f);
  p = p * f + 1.3333558e-3f;
  p = p * f + 9.6181291e-3f;
  p = p * f + 5.5504109e-2f;
  p = p * f + 2.4022651e-1f;
  p = p * f + 6.9314718e-1f;
  return p * f + 1.0f;
}
#if defined(__AVX512F__)
static inline vf exp2v(vf x) {
  const __m512 whole = _mm512_roundscale_ps((__m512)x, 8);
  return (vf)_mm512_scalef_ps((__m512)exp2_fraction(x - (vf)whole), whole);
}
#else
static inline vf exp2v(vf x) {
  x = x < -126.0f ? splat(-126.0f) : x;
  x = x > 126.0f ? splat(126.0f) : x;
  vf shifted = x + 12582912.0f;  // 1.5 * 2^23: rounds to nearest, integer in the low bits
  vf p = exp2_fraction(x - (shifted - 12582912.0f));
  vi bits, scale;
  memcpy(&bits, &p, sizeof bits);
  memcpy(&scale, &shifted, sizeof scale);
  bits += (scale - 0x4b400000) << 23;
  memcpy(&p, &bits, sizeof p);
  return p;
}
#endif
static inline vf sigmoid(vf x) {
  return 1.0f / (1.0f + exp2v(x * -LOG2E));
}

static inline float softplus1(float x) {
  return x > 20.0f ? x : log1pf(expf(x));
}
static inline vf log2v(vf x) {  // for x >= 1; mantissa in [sqrt(.5), sqrt(2)), atanh series
  vi bits;
  memcpy(&bits, &x, sizeof bits);
  vi e = (bits - 0x3f3504f3) >> 23;
  vi mant = bits - (e << 23);
  vf m;
  memcpy(&m, &mant, sizeof m);
  vf s = (m - 1.0f) / (m + 1.0f), z = s * s;
  vf p = splat(0.22222222f);
  p = p * z + 0.28571429f;
  p = p * z + 0.4f;
  p = p * z + 0.66666667f;
  p = p * z + 2.0f;
  return __builtin_convertvector(e, vf) + p * s * LOG2E;
}
static inline vf softplus(vf x) {  // max(x, 0) + log(1 + exp(-|x|))
  vf magnitude = x < 0.0f ? -x : x;
  vf tail = log2v(1.0f + exp2v(magnitude * -LOG2E)) * (1.0f / LOG2E);
  return (x > 0.0f ? x : splat(0.0f)) + tail;
}
static inline float sum(vf v) {
  float total = 0;
  for (int i = 0; i < W; i++) total += v[i];
  return total;
}

// Selective scan. u, dt, z, y: (batch, T, C); b, c: (batch, T, N); a2 = -exp(A_log) * log2(e): (N, C);
// bias, d: (C). h: (batch, T / CHUNK, C / W, N, W), the state before each chunk.
template <class E>
static void scan_forward(int batch, int T, int C, const E* u, const E* dt, const E* z, const E* b, const E* c,
                         const float* a2, const float* bias, const float* d, E* y, float* saved) {
  const int blocks = C / W, chunks = (T + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static)
  for (int s = 0; s < batch; s++) {
    std::vector<float> bc(size_t(T) * 2 * N);
    for (int i = 0; i < T; i++)
      for (int n = 0; n < N; n++) {
        bc[i * 2 * N + n] = get(b + (size_t(s) * T + i) * N + n);
        bc[i * 2 * N + N + n] = get(c + (size_t(s) * T + i) * N + n);
      }
    for (int k = 0; k < blocks; k++) {
      vf h[N] = {}, a[N];
      for (int n = 0; n < N; n++) a[n] = load(a2 + size_t(n) * C + k * W);
      const vf vbias = load(bias + k * W), vd = load(d + k * W);
      for (int i = 0; i < T; i++) {
        if (i % CHUNK == 0) {
          float* out = saved + ((size_t(s) * chunks + i / CHUNK) * blocks + k) * N * W;
          for (int n = 0; n < N; n++) store(out + n * W, h[n]);
        }
        const size_t at = (size_t(s) * T + i) * C + k * W;
        const vf x = load(u + at), step = softplus(load(dt + at) + vbias), in = step * x;
        const float* bi = &bc[i * 2 * N];
        vf total = vd * x;
        for (int n = 0; n < N; n++) {
          h[n] = exp2v(step * a[n]) * h[n] + in * bi[n];
          total += h[n] * bi[N + n];
        }
        const vf gate = load(z + at);
        store(y + at, total * gate * sigmoid(gate));
      }
    }
  }
}

// Gradients of scan_forward. da2, dbias, dd: (batch, ...) partial sums, one a sequence, added up by
// the caller in order. Chunks run backwards; inside one the states are recomputed.
template <class E>
static void scan_backward(int batch, int T, int C, const E* u, const E* dt, const E* z, const E* b, const E* c,
                          const float* a2, const float* bias, const float* d, const float* saved, const E* dy, E* du,
                          E* ddt, E* dz, E* db, E* dc, float* da2, float* dbias, float* dd) {
  const int blocks = C / W, chunks = (T + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static)
  for (int s = 0; s < batch; s++) {
    std::vector<float> carry(size_t(blocks) * N * W, 0.0f);
    float* da_s = da2 + size_t(s) * N * C;
    float* dbias_s = dbias + size_t(s) * C;
    float* dd_s = dd + size_t(s) * C;
    memset(da_s, 0, size_t(N) * C * 4);
    memset(dbias_s, 0, size_t(C) * 4);
    memset(dd_s, 0, size_t(C) * 4);
    alignas(64) static thread_local float sb[CHUNK * N * W], sc[CHUNK * N * W];  // lane sums
    for (int q = chunks - 1; q >= 0; q--) {
      const int first = q * CHUNK, len = T - first < CHUNK ? T - first : CHUNK;
      float bf[CHUNK * N], cf[CHUNK * N];
      for (int i = 0; i < len * N; i++) {
        bf[i] = get(b + (size_t(s) * T + first) * N + i);
        cf[i] = get(c + (size_t(s) * T + first) * N + i);
      }
      memset(sb, 0, sizeof sb);
      memset(sc, 0, sizeof sc);
      for (int k = 0; k < blocks; k++) {
        vf x[CHUNK], in[CHUNK], raw[CHUNK], step[CHUNK], g[CHUNK], total[CHUNK], dstep[CHUNK], din[CHUNK];
        vf decay[CHUNK], state[CHUNK + 1];
        const vf vbias = load(bias + k * W), vd = load(d + k * W);
        vf sum_d = load(dd_s + k * W);
        for (int i = 0; i < len; i++) {
          const size_t at = (size_t(s) * T + first + i) * C + k * W;
          x[i] = load(u + at);
          raw[i] = load(dt + at) + vbias;
          step[i] = softplus(raw[i]);
          in[i] = step[i] * x[i];
          const vf gate = load(z + at);
          g[i] = load(dy + at) * gate * sigmoid(gate);
          sum_d += g[i] * x[i];
          total[i] = vd * x[i];
          dstep[i] = splat(0.0f);
          din[i] = splat(0.0f);
        }
        store(dd_s + k * W, sum_d);
        for (int n = 0; n < N; n++) {
          const vf a = load(a2 + size_t(n) * C + k * W);
          vf h = load(saved + (((size_t(s) * chunks + q) * blocks + k) * N + n) * W);
          state[0] = h;
#pragma GCC unroll 4
          for (int i = 0; i < len; i++) {
            decay[i] = exp2v(step[i] * a);
            h = decay[i] * h + in[i] * bf[i * N + n];
            state[i + 1] = h;
            total[i] += h * cf[i * N + n];
          }
          vf dh = load(&carry[(size_t(k) * N + n) * W]);
          vf da = load(da_s + size_t(n) * C + k * W);
          float *lane_b = sb + n * CHUNK * W, *lane_c = sc + n * CHUNK * W;
#pragma GCC unroll 4
          for (int i = len - 1; i >= 0; i--) {
            dh += g[i] * cf[i * N + n];
            store(lane_c + i * W, load(lane_c + i * W) + g[i] * state[i + 1]);
            store(lane_b + i * W, load(lane_b + i * W) + dh * in[i]);
            din[i] += dh * bf[i * N + n];
            dh *= decay[i];
            const vf grad = dh * state[i];  // d loss / d (step * a_n), natural exponent
            dstep[i] += grad * a;
            da += grad * step[i];
          }
          store(&carry[(size_t(k) * N + n) * W], dh);
          store(da_s + size_t(n) * C + k * W, da);
        }
        vf sum_bias = load(dbias_s + k * W);
        for (int i = 0; i < len; i++) {
          const size_t at = (size_t(s) * T + first + i) * C + k * W;
          const vf gate = load(z + at), sg = sigmoid(gate);
          store(dz + at, load(dy + at) * total[i] * sg * (1.0f + gate * (1.0f - sg)));
          store(du + at, g[i] * vd + din[i] * step[i]);
          const vf t = (dstep[i] * (1.0f / LOG2E) + din[i] * x[i]) * sigmoid(raw[i]);
          store(ddt + at, t);
          sum_bias += t;
        }
        store(dbias_s + k * W, sum_bias);
      }
      for (int i = 0; i < len * N; i++) {
        put(db + (size_t(s) * T + first) * N + i, sum(load(sb + ((i % N) * CHUNK + i / N) * W)));
        put(dc + (size_t(s) * T + first) * N + i, sum(load(sc + ((i % N) * CHUNK + i / N) * W)));
      }
    }
  }
}

// Causal depthwise convolution of 4 taps, then silu. x, y: (batch, T, C); w: (4, C); bias: (C).
template <class E>
static void conv_forward(int batch, int T, int C, const E* x, const float* w, const float* bias, E* y) {
#pragma omp parallel for schedule(static)
  for (int s = 0; s < batch; s++)
    for (int k = 0; k < C; k += W) {
      const vf w0 = load(w + k), w1 = load(w + C + k), w2 = load(w + 2 * C + k), w3 = load(w + 3 * C + k);
      const vf vbias = load(bias + k);
      vf x0 = {}, x1 = {}, x2 = {};
      for (int i = 0; i < T; i++) {
        const size_t at = (size_t(s) * T + i) * C + k;
        const vf x3 = load(x + at), v = vbias + w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3;
        store(y + at, v * sigmoid(v));
        x0 = x1, x1 = x2, x2 = x3;
      }
    }
}

// dw: (batch, 4, C), dbias: (batch, C): partial sums as in scan_backward.
template <class E>
static void conv_backward(int batch, int T, int C, const E* x, const float* w, const float* bias, const E* dy, E* dx,
                          float* dw, float* dbias) {
#pragma omp parallel for schedule(static)
  for (int s = 0; s < batch; s++)
    for (int k = 0; k < C; k += W) {
      const vf w0 = load(w + k), w1 = load(w + C + k), w2 = load(w + 2 * C + k), w3 = load(w + 3 * C + k);
      const vf vbias = load(bias + k);
      vf g0 = {}, g1 = {}, g2 = {}, g3 = {}, gb = {};  // sums for the taps and the bias
      vf x0 = {}, x1 = {}, x2 = {};
      vf p1 = {}, p2 = {}, p3 = {};  // gradients of the three steps before, oldest last
      for (int i = 0; i < T + 3; i++) {
        const size_t at = (size_t(s) * T + i) * C + k;
        vf dv = {};
        if (i < T) {
          const vf x3 = load(x + at), v = vbias + w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3;
          const vf sg = sigmoid(v);
          dv = load(dy + at) * sg * (1.0f + v * (1.0f - sg));
          g0 += dv * x0, g1 += dv * x1, g2 += dv * x2, g3 += dv * x3, gb += dv;
          x0 = x1, x1 = x2, x2 = x3;
        }
        if (i >= 3) store(dx + at - size_t(3) * C, w3 * p3 + w2 * p2 + w1 * p1 + w0 * dv);
        p3 = p2, p2 = p1, p1 = dv;
      }
      float* out = dw + size_t(s) * 4 * C + k;
      store(out, g0), store(out + C, g1), store(out + 2 * C, g2), store(out + 3 * C, g3);
      store(dbias + size_t(s) * C + k, gb);
    }
}

// RMSNorm of f32 rows into E. x: (rows, D) with row stride; y: (rows, D); scale: (rows).
template <class X, class E>
static void norm_forward(int64_t rows, int D, int64_t stride, const X* x, const float* w, float eps, E* y,
                         float* scale) {
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; r++) {
    vf total = {};
    for (int k = 0; k < D; k += W) {
      const vf v = load(x + r * stride + k);
      total += v * v;
    }
    const float f = 1.0f / std::sqrt(sum(total) / D + eps);
    scale[r] = f;
    for (int k = 0; k < D; k += W) store(y + r * D + k, load(x + r * stride + k) * f * load(w + k));
  }
}

// dx = (dy*w - x * f^2 * mean(dy*w*x)) * f; dw: (parts, D), rows split into `parts` fixed ranges.
template <class X, class E>
static void norm_backward(int64_t rows, int D, int64_t stride, const X* x, const float* w, const float* scale,
                          const E* dy, X* dx, int parts, float* dw) {
#pragma omp parallel for schedule(static)
  for (int part = 0; part < parts; part++) {
    float* g = dw + size_t(part) * D;
    memset(g, 0, size_t(D) * 4);
    for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++) {
      const float f = scale[r];
      vf total = {};
      for (int k = 0; k < D; k += W) {
        const vf v = load(x + r * stride + k), t = load(dy + r * D + k);
        total += v * t * load(w + k);
        store(g + k, load(g + k) + v * t * f);
      }
      const float m = sum(total) / D * f * f;
      for (int k = 0; k < D; k += W)
        store(dx + r * D + k, (load(dy + r * D + k) * load(w + k) - load(x + r * stride + k) * m) * f);
    }
  }
}

// SwiGLU: x: (rows, 2F) = [gate | up]; y: (rows, F) = silu(gate) * up.
template <class E>
static void swiglu_forward(int64_t rows, int F, const E* x, E* y) {
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; r++)
    for (int k = 0; k < F; k += W) {
      const vf g = load(x + r * 2 * F + k), v = load(x + r * 2 * F + F + k);
      store(y + r * F + k, g * sigmoid(g) * v);
    }
}

template <class E>
static void swiglu_backward(int64_t rows, int F, const E* x, const E* dy, E* dx) {
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; r++)
    for (int k = 0; k < F; k += W) {
      const vf g = load(x + r * 2 * F + k), v = load(x + r * 2 * F + F + k), t = load(dy + r * F + k);
      const vf sg = sigmoid(g);
      store(dx + r * 2 * F + k, t * v * sg * (1.0f + g * (1.0f - sg)));
      store(dx + r * 2 * F + F + k, t * g * sg);
    }
}

// Cross-entropy: logits (rows, V) become their gradient times `factor`; loss: (rows), of the targets
// alone; target < 0: no loss and no gradient. The gradient is that of a distribution which gives 1 - share
// to the target and share / draws to each of soft: (rows, draws). unlikely: (rows) or null, a token (negative: none)
// whose -penalty log(1 - p) joins the gradient (unlikelihood, Welleck et al. 2020).
template <class E>
static void cross_entropy(int64_t rows, int V, E* logits, const int64_t* target, const int64_t* soft, int draws,
                          float share, const int64_t* unlikely, float penalty, float factor, float* loss) {
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; r++) {
    E* x = logits + r * V;
    if (target[r] < 0) {
      memset((void*)x, 0, size_t(V) * sizeof(E));
      loss[r] = 0;
      continue;
    }
    vf top = load(x);
    for (int k = W; k < V; k += W) {
      const vf v = load(x + k);
      top = v > top ? v : top;
    }
    float peak = top[0];
    for (int i = 1; i < W; i++) peak = top[i] > peak ? top[i] : peak;
    const float hit = get(x + target[r]);
    vf total = {};
    for (int k = 0; k < V; k += W) total += exp2v((load(x + k) - peak) * LOG2E);
    const float all = sum(total), f = factor / all;
    loss[r] = std::log(all) + peak - hit;
    float weight[MAX_DRAWS + 1], value[MAX_DRAWS + 1];  // one entry a distinct token, the target first
    int64_t token[MAX_DRAWS + 1] = {target[r]};
    int count = 1;
    weight[0] = draws ? 1.0f - share : 1.0f;
    for (int k = 0; k < draws; k++) {
      int at = 0;
      while (at < count && token[at] != soft[r * draws + k]) at++;
      if (at == count) token[count] = soft[r * draws + k], weight[count++] = 0;
      weight[at] += share / draws;
    }
    const int64_t not_this = unlikely ? unlikely[r] : -1;
    float push = 0;  // penalty p / (1 - p): d/dx_j is -push p_j, and push more for the token itself
    if (not_this >= 0) {
      const float p = std::fmin(std::exp(get(x + not_this) - peak) / all, 0.999f);
      push = penalty * p / (1.0f - p);
    }
    const float g = f * (1.0f - push);
    for (int i = 0; i < count; i++) value[i] = std::exp(get(x + token[i]) - peak) * g - factor * weight[i];
    for (int k = 0; k < V; k += W) store(x + k, exp2v((load(x + k) - peak) * LOG2E) * g);
    for (int i = 0; i < count; i++) put(x + token[i], value[i]);
    if (not_this >= 0) put(x + not_this, get(x + not_this) + push * factor);
  }
}

#define EXPORT extern "C" __attribute__((visibility("default")))
#define BOTH(E, NAME)                                                                                                  \
  EXPORT void scan_forward_##NAME(int batch, int T, int C, const E* u, const E* dt, const E* z, const E* b,            \
                                  const E* c, const float* a2, const float* bias, const float* d, E* y, float* h) {    \
    scan_forward(batch, T, C, u, dt, z, b, c, a2, bias, d, y, h);                                                      \
  }                                                                                                                    \
  EXPORT void scan_backward_##NAME(int batch, int T, int C, const E* u, const E* dt, const E* z, const E* b,           \
                                   const E* c, const float* a2, const float* bias, const float* d, const float* h,     \
                                   const E* dy, E* du, E* ddt, E* dz, E* db, E* dc, float* da2, float* dbias,          \
                                   float* dd) {                                                                        \
    scan_backward(batch, T, C, u, dt, z, b, c, a2, bias, d, h, dy, du, ddt, dz, db, dc, da2, dbias, dd);               \
  }                                                                                                                    \
  EXPORT void conv_forward_##NAME(int batch, int T, int C, const E* x, const float* w, const float* bias, E* y) {      \
    conv_forward(batch, T, C, x, w, bias, y);                                                                          \
  }                                                                                                                    \
  EXPORT void conv_backward_##NAME(int batch, int T, int C, const E* x, const float* w, const float* bias,             \
                                   const E* dy, E* dx, float* dw, float* dbias) {                                      \
    conv_backward(batch, T, C, x, w, bias, dy, dx, dw, dbias);                                                         \
  }                                                                                                                    \
  EXPORT void norm_forward_f32_##NAME(int64_t rows, int D, int64_t stride, const float* x, const float* w, float eps,  \
                                      E* y, float* scale) {                                                            \
    norm_forward(rows, D, stride, x, w, eps, y, scale);                                                                \
  }                                                                                                                    \
  EXPORT void norm_backward_f32_##NAME(int64_t rows, int D, int64_t stride, const float* x, const float* w,            \
                                       const float* scale, const E* dy, float* dx, int parts, float* dw) {             \
    norm_backward(rows, D, stride, x, w, scale, dy, dx, parts, dw);                                                    \
  }                                                                                                                    \
  EXPORT void swiglu_forward_##NAME(int64_t rows, int F, const E* x, E* y) {                                           \
    swiglu_forward(rows, F, x, y);                                                                                     \
  }                                                                                                                    \
  EXPORT void swiglu_backward_##NAME(int64_t rows, int F, const E* x, const E* dy, E* dx) {                            \
    swiglu_backward(rows, F, x, dy, dx);                                                                               \
  }                                                                                                                    \
  EXPORT void cross_entropy_##NAME(int64_t rows, int V, E* logits, const int64_t* target, const int64_t* soft,         \
                                   int draws, float share, const int64_t* unlikely, float penalty, float factor,       \
                                   float* loss) {                                                                      \
    cross_entropy(rows, V, logits, target, soft, draws, share, unlikely, penalty, factor, loss);                       \
  }

BOTH(float, f32)
BOTH(uint16_t, bf16)
EXPORT void norm_forward_bf16in(int64_t rows, int D, int64_t stride, const uint16_t* x, const float* w, float eps,
                                uint16_t* y, float* scale) {
  norm_forward(rows, D, stride, x, w, eps, y, scale);
}
EXPORT void norm_backward_bf16in(int64_t rows, int D, int64_t stride, const uint16_t* x, const float* w,
                                 const float* scale, const uint16_t* dy, uint16_t* dx, int parts, float* dw) {
  norm_backward(rows, D, stride, x, w, scale, dy, dx, parts, dw);
}
