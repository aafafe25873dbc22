// Constants of the math functions, shared by the scalar definitions (kernels/vec/math.h) and the vector forms (kernels/vec/math-inl.h).
// Polynomials are weighted minimax fits (Lawson's iteration), rounded to f32 coefficient by coefficient, the rest refitted after each.
#pragma once

namespace sluice::kernels {

// Adding 1.5 * 2^23 rounds a float of magnitude below 2^22 to the nearest integer, ties to even, and leaves that integer in the low bits.
inline constexpr float kRoundMagic = 0x1.8p23f;
inline constexpr float kLog2E = 0x1.715476p0f;
inline constexpr float kLn2High = 0x1.62e43p-1f;       // n * high is exact enough for x - n * high to be exact
inline constexpr float kLn2Low = -0x1.05c61p-29f;

// exp: 1 + r + r^2 (c0 + c1 r + ...), |r| <= ln(2)/2; relative error of the polynomial 3.1e-9.
inline constexpr float kExpC0 = 0x1.fffffcp-2f;
inline constexpr float kExpC1 = 0x1.555492p-3f;
inline constexpr float kExpC2 = 0x1.5558aep-5f;
inline constexpr float kExpC3 = 0x1.12398p-7f;
inline constexpr float kExpC4 = 0x1.6a4f1ep-10f;
inline constexpr float kExpLow = -0x1.5d589ep6f;   // the last x with e^x >= 2^-126; below it exp is 0
inline constexpr float kExpHigh = 0x1.62e42ep6f;   // the last x with e^x finite; above it exp is infinite

// 2^f: 1 + f (c0 + c1 f + ...), |f| <= 1/2; relative error of the polynomial 9.3e-8.
inline constexpr float kExp2C0 = 0x1.62e42ap-1f;
inline constexpr float kExp2C1 = 0x1.ebf9cp-3f;
inline constexpr float kExp2C2 = 0x1.c6b6cp-5f;
inline constexpr float kExp2C3 = 0x1.3ce94p-7f;
inline constexpr float kExp2C4 = 0x1.5be7cep-10f;
inline constexpr float kExp2Low = -126.0f;

// atanh(s): s + s^3 (c0 + c1 s^2 + ...), 0 <= s <= 1/3; relative error 4.5e-9.
inline constexpr float kAtanhC0 = 0x1.555502p-2f;
inline constexpr float kAtanhC1 = 0x1.99d1c8p-3f;
inline constexpr float kAtanhC2 = 0x1.1ec09ap-3f;
inline constexpr float kAtanhC3 = 0x1.1ec838p-3f;

// tanh(x): x + x^3 (c0 + c1 x^2 + ...), |x| <= 0.625; relative error 4.5e-9.
inline constexpr float kTanhSmall = 0.625f;
inline constexpr float kTanhC0 = -0x1.555532p-2f;
inline constexpr float kTanhC1 = 0x1.1106fcp-3f;
inline constexpr float kTanhC2 = -0x1.b83730p-5f;
inline constexpr float kTanhC3 = 0x1.520746p-6f;
inline constexpr float kTanhC4 = -0x1.755e8ep-8f;

// gelu_tanh(x) = x * sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), the same function as 0.5 x (1 + tanh(...)).
inline constexpr float kGeluScale = 0x1.988454p0f;  // 2 sqrt(2/pi)
inline constexpr float kGeluCubic = 0.044715f;

}  // namespace sluice::kernels
