/* Primality of many numbers below 2^64 by AVX-512 with its 52-bit multiplier (IFMA): the same tests as in primality.h, eight numbers a vector.
 *
 *     sieve      the table for n < 2^20, and the odd primes up to 101 or 263, of which each costs two instructions: n is folded to 52 bits modulo the
 *                product of several, and is a multiple of p if its product with 1 / p mod 2^52 is at most (2^52 - 1) / p
 *     strong     what is left, by size: below 2^32, below 2^48 and above; four vectors at a time, those that are 1 modulo 8 apart: of the others
 *                2^((n - 1) / 2) alone tells, for a number that passes the strong test to base 2 passes Euler's with Jacobi's symbol, too
 *                (Pomerance, Selfridge, Wagstaff, The pseudoprimes to 25 * 10^9, theorem 3), and there that leaves one place to look at
 *     Lucas      what has passed; two vectors at a time, of which each has two independent products a step
 *
 * Between them the numbers close up, so that no lane is idle. Modulo n < 2^48 a residue is one limb and R = 2^52, above it is two and R = 2^104. R is so
 * much larger than n that nothing needs a correction: the products' upper part, which is at most n, less that of a multiple of n, which is less than n,
 * plus n, is positive and below 2 n. Exponents of different lengths go together, for their leading zeros leave a chain where it starts, and so do
 * different numbers of trailing zeros: near the end each step asks whether it is one at which the lane's test looks.
 *
 * The compiler needn't be told of the processor: each function has its own target. primality_batch.h, which includes this, has what is common. */
#ifndef PRIME_SERVER_PRIMALITY_AVX512_H
#define PRIME_SERVER_PRIMALITY_AVX512_H

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#include "primality.h"

#define PRIME_512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512ifma,bmi2,popcnt")))
#define PRIME_512_INLINE static inline __attribute__((always_inline)) PRIME_512

typedef __m512i prime_v;

PRIME_512_INLINE prime_v prime_v_all(uint64_t x) { return _mm512_set1_epi64((long long)x); }
PRIME_512_INLINE prime_v prime_v_low(prime_v sum, prime_v x, prime_v y) { return _mm512_madd52lo_epu64(sum, x, y); }
PRIME_512_INLINE prime_v prime_v_high(prime_v sum, prime_v x, prime_v y) { return _mm512_madd52hi_epu64(sum, x, y); }
PRIME_512_INLINE prime_v prime_v_add(prime_v x, prime_v y) { return _mm512_add_epi64(x, y); }
PRIME_512_INLINE prime_v prime_v_sub(prime_v x, prime_v y) { return _mm512_sub_epi64(x, y); }
PRIME_512_INLINE prime_v prime_v_zero(void) { return _mm512_setzero_si512(); }

#define PRIME_LIMB ((UINT64_C(1) << 52) - 1)

/* Closes up: appends the lanes of `kept`. The vector may come from the very list, as far as it has been read. */
PRIME_512_INLINE void prime_v_append(prime_list *list, __mmask8 kept, prime_v numbers, __m256i places)
{
    _mm512_storeu_si512(list->numbers + list->count, _mm512_maskz_compress_epi64(kept, numbers));
    _mm256_storeu_si256((__m256i *)(list->places + list->count), _mm256_maskz_compress_epi32(kept, places));
    list->count += __builtin_popcount(kept);
}

/* --- sieve ----------------------------------------------------------------------------------------------------------------------------------- */

/* For `low`, `high`: n below and from 2^48 on; `folded` is congruent to n modulo the product, which is at most 2^35.8. */
#define PRIME_FOLD(product) folded = prime_v_low(low, high, prime_v_all((UINT64_C(1) << 48) % (product)))
#define PRIME_DROP(p) \
    kept = _mm512_mask_cmpgt_epu64_mask(kept, prime_v_low(prime_v_zero(), folded, prime_v_all(prime_inverse(p) & PRIME_LIMB)), \
                                        prime_v_all(PRIME_LIMB / (p)))
#define PRIME_DROP_3(p, q, r) PRIME_FOLD(UINT64_C(p) * q * r), PRIME_DROP(p), PRIME_DROP(q), PRIME_DROP(r)
#define PRIME_DROP_4(p, q, r, s) PRIME_FOLD(UINT64_C(p) * q * r * s), PRIME_DROP(p), PRIME_DROP(q), PRIME_DROP(r), PRIME_DROP(s)
#define PRIME_DROP_5(p, q, r, s, t) \
    PRIME_FOLD(UINT64_C(p) * q * r * s * t), PRIME_DROP(p), PRIME_DROP(q), PRIME_DROP(r), PRIME_DROP(s), PRIME_DROP(t)

/* What is small is answered, what has no factor below 30 is listed, all else is answered 0. */
static PRIME_512 void prime_v_sieve(const uint64_t *numbers, uint8_t *primes, int count, prime_list *list)
{
    const prime_v limb_48 = prime_v_all((UINT64_C(1) << 48) - 1), end = prime_v_all(PRIME_TABLE_END), one = prime_v_all(1);
    __m256i places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    list->count = 0;
    for (int at = 0; at < count; at += 8, places = _mm256_add_epi32(places, _mm256_set1_epi32(8))) {
        const int more = count - at;
        const __mmask8 valid = more >= 8 ? 0xFF : (__mmask8)((1 << more) - 1);
        const prime_v n = _mm512_maskz_loadu_epi64(valid, numbers + at);
        const prime_v low = _mm512_and_si512(n, limb_48), high = _mm512_srli_epi64(n, 48);
        const __mmask8 small = _mm512_cmplt_epu64_mask(n, end);
        __mmask8 kept = _mm512_mask_test_epi64_mask((__mmask8)~small, n, one);
        uint64_t answers = 0;
        prime_v folded;
        PRIME_FOLD(UINT64_C(3) * 5 * 7 * 11 * 13 * 17 * 19 * 23 * 29);
        PRIME_DROP(3), PRIME_DROP(5), PRIME_DROP(7), PRIME_DROP(11), PRIME_DROP(13), PRIME_DROP(17), PRIME_DROP(19), PRIME_DROP(23), PRIME_DROP(29);
        if (small) {
            const __m256i words = _mm512_mask_i64gather_epi32(_mm256_setzero_si256(), small, _mm512_srli_epi64(n, 6), prime_table, 4);
            const __m256i shifts = _mm256_and_si256(_mm512_cvtepi64_epi32(_mm512_srli_epi64(n, 1)), _mm256_set1_epi32(31));
            __mmask8 prime = _mm256_test_epi32_mask(_mm256_srlv_epi32(words, shifts), _mm256_set1_epi32(1));
            prime &= _mm512_test_epi64_mask(n, one);
            prime |= _mm512_cmpeq_epi64_mask(n, prime_v_all(2));
            answers = _pdep_u64(prime & small & valid, UINT64_C(0x0101010101010101));
        }
        __builtin_memcpy(primes + at, &answers, (size_t)(more < 8 ? more : 8));
        prime_v_append(list, kept, n, places);
    }
}

/* Sorts by size what has no factor below 102 or, from 2^32 on, where the tests take longer, 264. The longest stay in the list. */
static PRIME_512 void prime_v_sift(prime_list *list, prime_list *below_32, prime_list *below_48)
{
    const prime_v limb_48 = prime_v_all((UINT64_C(1) << 48) - 1), end_32 = prime_v_all(UINT64_C(1) << 32);
    const int count = list->count;
    list->count = below_32->count = below_48->count = 0;
    for (int at = 0; at < count; at += 8) {
        const prime_v n = _mm512_loadu_si512(list->numbers + at);
        const __m256i places = _mm256_loadu_si256((const __m256i *)(list->places + at));
        const prime_v low = _mm512_and_si512(n, limb_48), high = _mm512_srli_epi64(n, 48);
        const int more = count - at;
        __mmask8 kept = more >= 8 ? 0xFF : (__mmask8)((1 << more) - 1), shorter;
        prime_v folded;
        PRIME_DROP_3(31, 37, 41), PRIME_DROP_3(43, 47, 53);
        PRIME_DROP_5(59, 61, 67, 71, 73);
        PRIME_DROP_5(79, 83, 89, 97, 101);
        if ((shorter = _mm512_mask_cmplt_epu64_mask(kept, n, end_32))) prime_v_append(below_32, shorter, n, places);
        kept &= (__mmask8)~shorter;
        if (kept == 0) continue;
        PRIME_DROP_5(103, 107, 109, 113, 127);
        PRIME_DROP_5(131, 137, 139, 149, 151);
        PRIME_DROP_4(157, 163, 167, 173);
        PRIME_DROP_4(179, 181, 191, 193);
        PRIME_DROP_4(197, 199, 211, 223);
        PRIME_DROP_4(227, 229, 233, 239);
        PRIME_DROP_4(241, 251, 257, 263);
        if ((shorter = _mm512_mask_cmple_epu64_mask(kept, n, limb_48))) prime_v_append(below_48, shorter, n, places);
        prime_v_append(list, kept & (__mmask8)~shorter, n, places);
    }
}

/* --- what both sizes share ------------------------------------------------------------------------------------------------------------------- */

/* 1 / n mod 2^52, and what is above that isn't 0. */
PRIME_512_INLINE prime_v prime_v_inverse(prime_v n)
{
    const prime_v one = prime_v_all(1), zero = prime_v_zero();
    prime_v inverse = _mm512_xor_si512(prime_v_add(n, prime_v_add(n, n)), prime_v_all(2)); /* right to 5 bits */
    for (int bits = 5; bits < 52; bits *= 2)
        inverse = prime_v_low(inverse, inverse, prime_v_sub(one, prime_v_low(zero, n, inverse)));
    return inverse;
}

/* How many bits the longest has. */
PRIME_512_INLINE int prime_v_bits(prime_v n) { return prime_bits((uint64_t)_mm512_reduce_or_epi64(n)); }

/* The lowest bit set, by itself. */
PRIME_512_INLINE prime_v prime_v_lowest(prime_v x) { return _mm512_and_si512(x, prime_v_sub(prime_v_zero(), x)); }

/* `width` bits of the exponent, from the place `left` on. */
PRIME_512_INLINE prime_v prime_v_window(prime_v exponent, int left, const int width)
{
    return _mm512_and_si512(_mm512_srl_epi64(exponent, _mm_cvtsi32_si128(left)), prime_v_all((UINT64_C(1) << width) - 1));
}

/* A bit for each lane of all vectors. */
PRIME_512_INLINE uint32_t prime_v_gathered(const __mmask8 *passed, const int vectors)
{
    uint32_t result = 0;
    #pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) result |= (uint32_t)passed[v] << 8 * v;
    return result;
}

/* --- one limb -------------------------------------------------------------------------------------------------------------------------------- */

/* x * y / R plus c less a multiple of n, for x * y <= n * R: in c - n ... c + n. */
PRIME_512_INLINE prime_v prime_v_mul_1(prime_v x, prime_v y, prime_v c, prime_v inverse, prime_v n)
{
    const prime_v zero = prime_v_zero(), multiple = prime_v_low(zero, prime_v_low(zero, x, y), inverse);
    return prime_v_sub(prime_v_high(c, x, y), prime_v_high(zero, multiple, n));
}

/* x mod n, for x < 4 n. */
PRIME_512_INLINE prime_v prime_v_settle_1(prime_v x, prime_v n)
{
    x = _mm512_min_epu64(x, prime_v_sub(x, prime_v_add(n, n)));
    return _mm512_min_epu64(x, prime_v_sub(x, n));
}

/* dividend mod n, for a quotient below 2^32. */
PRIME_512_INLINE prime_v prime_v_rest_1(prime_v dividend, prime_v n)
{
    const prime_v quotient = _mm512_cvttpd_epu64(_mm512_div_pd(_mm512_cvtepu64_pd(dividend), _mm512_cvtepu64_pd(n)));
    prime_v rest = prime_v_sub(dividend, _mm512_mullo_epi64(quotient, n));
    rest = _mm512_mask_add_epi64(rest, _mm512_movepi64_mask(rest), rest, n); /* the quotient is rounded, so it may be 1 too much */
    return _mm512_min_epu64(rest, prime_v_sub(rest, n));
}

/* The strong test to base 2 for `vectors` of odd numbers; if not `deep`, of such as aren't 1 modulo 8. Of the exponent, `window` bits go together:
 * below 2^32 up to 3, below 2^48 one. Passed: a bit. */
PRIME_512_INLINE uint32_t prime_v_strong_1(const uint64_t *numbers, const int vectors, const int window, const int deep)
{
    prime_v n[4], inverse[4], exponent[4], lowest[4], one[4], x[4], all = prime_v_zero(), lows = prime_v_zero();
    __mmask8 passed[4];
    int left, end;
    #pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        n[v] = _mm512_loadu_si512(numbers + 8 * v);
        inverse[v] = prime_v_inverse(n[v]);
        exponent[v] = prime_v_sub(n[v], prime_v_all(1));
        lowest[v] = prime_v_lowest(exponent[v]);
        x[v] = one[v] = prime_v_rest_1(prime_v_all(UINT64_C(1) << 52), n[v]);
        passed[v] = 0;
        all = _mm512_or_si512(all, exponent[v]);
        lows = _mm512_or_si512(lows, lowest[v]);
    }
    left = prime_v_bits(all);
    end = deep ? prime_v_bits(lows) - 1 : 1;
    if (left - window >= end) {
        left -= window;
        #pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) x[v] = _mm512_sllv_epi64(x[v], prime_v_window(exponent[v], left, window));
    }
    while (left - window >= end) {
        left -= window;
        #pragma GCC unroll 4
        for (int i = 0; i < window; i++) {
            #pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) x[v] = prime_v_mul_1(x[v], x[v], n[v], inverse[v], n[v]);
        }
        #pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) x[v] = _mm512_sllv_epi64(x[v], prime_v_window(exponent[v], left, window));
    }
    for (;;) {
        if (left <= end) {
            const prime_v place = prime_v_all(UINT64_C(1) << left);
            #pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                const prime_v settled = window > 1 && left == end ? prime_v_settle_1(prime_v_mul_1(x[v], one[v], n[v], inverse[v], n[v]), n[v])
                                                                   : prime_v_settle_1(x[v], n[v]);
                passed[v] |= _mm512_mask_cmpeq_epi64_mask(_mm512_cmpeq_epi64_mask(lowest[v], place), settled, one[v]);
                passed[v] |= _mm512_mask_cmpeq_epi64_mask(_mm512_cmpge_epu64_mask(lowest[v], place), settled, prime_v_sub(n[v], one[v]));
            }
        }
        if (--left == 0) break;
        #pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            x[v] = _mm512_sllv_epi64(prime_v_mul_1(x[v], x[v], n[v], inverse[v], n[v]), prime_v_window(exponent[v], left, 1));
    }
    return prime_v_gathered(passed, vectors);
}

/* The almost extra strong Lucas test, for n < 2^48. The chain is that of primality.h. */
PRIME_512_INLINE uint32_t prime_v_lucas_1(const uint64_t *numbers, const uint64_t *parameters, const int vectors)
{
    prime_v n[2], inverse[2], flips[2], lowest[2], two[2], less_two[2], less_first[2], p[2], s[2];
    prime_v all = prime_v_zero(), lows = prime_v_zero();
    __mmask8 passed[2];
    int left, end;
    #pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        prime_v next, one;
        n[v] = _mm512_loadu_si512(numbers + 8 * v);
        inverse[v] = prime_v_inverse(n[v]);
        next = prime_v_add(n[v], prime_v_all(1));
        flips[v] = _mm512_xor_si512(next, _mm512_srli_epi64(next, 1));
        lowest[v] = prime_v_lowest(next);
        one = prime_v_rest_1(prime_v_all(UINT64_C(1) << 52), n[v]);
        s[v] = two[v] = prime_v_settle_1(prime_v_add(one, one), n[v]);
        p[v] = prime_v_rest_1(_mm512_mullo_epi64(one, _mm512_loadu_si512(parameters + 8 * v)), n[v]);
        less_two[v] = prime_v_sub(prime_v_add(n[v], n[v]), two[v]);
        less_first[v] = prime_v_sub(prime_v_add(n[v], n[v]), p[v]);
        passed[v] = 0;
        all = _mm512_or_si512(all, next);
        lows = _mm512_or_si512(lows, lowest[v]);
    }
    left = prime_v_bits(all);
    end = prime_v_bits(lows) - 1;
    for (;;) {
        left--;
        #pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            const __mmask8 flip = _mm512_test_epi64_mask(flips[v], prime_v_all(UINT64_C(1) << left));
            const prime_v chosen = _mm512_mask_blend_epi64(flip, s[v], p[v]);
            p[v] = prime_v_mul_1(p[v], s[v], less_first[v], inverse[v], n[v]);
            s[v] = prime_v_mul_1(chosen, chosen, less_two[v], inverse[v], n[v]);
        }
        if (left > end) continue;
        const prime_v place = prime_v_all(UINT64_C(1) << left);
        #pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            /* V at the odd part of n + 1 where this is the lane's last bit set, and then after each 0. */
            const __mmask8 odd = _mm512_cmpeq_epi64_mask(lowest[v], place);
            const prime_v value = prime_v_settle_1(_mm512_mask_blend_epi64(odd, s[v], p[v]), n[v]);
            passed[v] |= _mm512_mask_cmpeq_epi64_mask(odd, value, two[v]);
            passed[v] |= _mm512_mask_cmpeq_epi64_mask(odd, value, prime_v_sub(n[v], two[v]));
            if (left > 1) passed[v] |= _mm512_mask_cmpeq_epi64_mask(_mm512_cmpge_epu64_mask(lowest[v], place), value, prime_v_zero());
        }
        if (left <= 1) break;
    }
    return prime_v_gathered(passed, vectors);
}

/* --- two limbs ------------------------------------------------------------------------------------------------------------------------------- */

/* low + high * 2^52; as a factor the lower limb is taken modulo 2^52, so what is above in it doesn't matter. */
typedef struct {
    prime_v low, high;
} prime_v2;

/* Carries what is above 52 bits, or is negative, from the lower limb to the upper, and leaves it. */
PRIME_512_INLINE prime_v2 prime_v2_carried(prime_v low, prime_v high)
{
    const prime_v2 carried = {low, prime_v_add(high, _mm512_srai_epi64(low, 52))};
    return carried;
}

PRIME_512_INLINE prime_v2 prime_v2_clean(prime_v low, prime_v high)
{
    prime_v2 x = prime_v2_carried(low, high);
    x.low = _mm512_and_si512(x.low, prime_v_all(PRIME_LIMB));
    return x;
}

PRIME_512_INLINE prime_v2 prime_v2_sub(prime_v2 x, prime_v2 y) { return prime_v2_clean(prime_v_sub(x.low, y.low), prime_v_sub(x.high, y.high)); }

PRIME_512_INLINE __mmask8 prime_v2_equal(__mmask8 among, prime_v2 x, prime_v2 y)
{
    return _mm512_mask_cmpeq_epi64_mask(_mm512_mask_cmpeq_epi64_mask(among, x.low, y.low), x.high, y.high);
}

/* x, or x - n where that isn't negative. */
PRIME_512_INLINE prime_v2 prime_v2_reduced(prime_v2 x, prime_v2 n)
{
    const prime_v2 less = prime_v2_sub(x, n);
    const __mmask8 negative = _mm512_movepi64_mask(less.high);
    x.low = _mm512_mask_blend_epi64(negative, less.low, x.low);
    x.high = _mm512_mask_blend_epi64(negative, less.high, x.high);
    return x;
}

/* x mod n, for x < 4 n; all limbs clean. */
PRIME_512_INLINE prime_v2 prime_v2_settled(prime_v2 x, prime_v2 n)
{
    x.low = _mm512_and_si512(x.low, prime_v_all(PRIME_LIMB));
    return prime_v2_reduced(prime_v2_reduced(prime_v2_reduced(x, n), n), n);
}

/* The end of a product of which the limbs are t0, t1 and t2, the last with what is to be added in it; `high` is for the limb after these. */
PRIME_512_INLINE prime_v2 prime_v2_end(prime_v t0, prime_v t1, prime_v t2, prime_v high, prime_v inverse, prime_v2 n)
{
    const prime_v zero = prime_v_zero();
    const prime_v first = prime_v_low(zero, t0, inverse);
    const prime_v u1 = prime_v_sub(t1, prime_v_high(prime_v_low(zero, first, n.high), first, n.low));
    const prime_v second = prime_v_low(zero, u1, inverse);
    const prime_v less = prime_v_high(prime_v_low(prime_v_high(zero, first, n.high), second, n.high), second, n.low);
    const prime_v low = prime_v_sub(prime_v_add(t2, _mm512_srai_epi64(u1, 52)), less);
    return prime_v2_carried(low, prime_v_sub(high, prime_v_high(zero, second, n.high)));
}

/* x * y / R + c less a multiple of n: in c - n ... c + 2^37, for x, y < 2^70. */
PRIME_512_INLINE prime_v2 prime_v2_mul(prime_v2 x, prime_v2 y, prime_v2 c, prime_v inverse, prime_v2 n)
{
    const prime_v zero = prime_v_zero();
    const prime_v t0 = prime_v_low(zero, x.low, y.low);
    const prime_v t1 = prime_v_low(prime_v_low(prime_v_high(zero, x.low, y.low), x.low, y.high), x.high, y.low);
    const prime_v t2 = prime_v_low(prime_v_high(prime_v_high(c.low, x.low, y.high), x.high, y.low), x.high, y.high);
    return prime_v2_end(t0, t1, t2, c.high, inverse, n);
}

PRIME_512_INLINE prime_v2 prime_v2_square(prime_v2 x, prime_v2 c, prime_v inverse, prime_v2 n)
{
    const prime_v zero = prime_v_zero(), twice = prime_v_add(x.high, x.high);
    const prime_v t0 = prime_v_low(zero, x.low, x.low);
    const prime_v t1 = prime_v_low(prime_v_high(zero, x.low, x.low), x.low, twice);
    const prime_v t2 = prime_v_low(prime_v_high(c.low, x.low, twice), x.high, x.high);
    return prime_v2_end(t0, t1, t2, c.high, inverse, n);
}

PRIME_512_INLINE prime_v2 prime_v2_shifted(prime_v2 x, prime_v by)
{
    const prime_v low = _mm512_and_si512(x.low, prime_v_all(PRIME_LIMB));
    prime_v2 shifted;
    shifted.low = _mm512_sllv_epi64(low, by);
    shifted.high = prime_v_add(_mm512_sllv_epi64(x.high, by), _mm512_srli_epi64(shifted.low, 52));
    return shifted;
}

PRIME_512_INLINE prime_v2 prime_v2_split(prime_v n)
{
    const prime_v2 limbs = {_mm512_and_si512(n, prime_v_all(PRIME_LIMB)), _mm512_srli_epi64(n, 52)};
    return limbs;
}

/* 2^84 mod n, or that and n more, for 2^48 <= n. */
PRIME_512_INLINE prime_v2 prime_v2_power_84(prime_v n, prime_v2 limbs)
{
    const prime_v zero = prime_v_zero();
    const prime_v quotient = _mm512_cvttpd_epu64(_mm512_div_pd(_mm512_set1_pd(0x1p84), _mm512_cvtepu64_pd(n)));
    const prime_v low = prime_v_sub(zero, prime_v_low(zero, quotient, limbs.low));
    const prime_v high = prime_v_low(prime_v_high(zero, quotient, limbs.low), quotient, limbs.high);
    prime_v2 rest = prime_v2_clean(low, prime_v_sub(prime_v_all(UINT64_C(1) << 32), high));
    const __mmask8 negative = _mm512_movepi64_mask(rest.high);
    return prime_v2_clean(_mm512_mask_add_epi64(rest.low, negative, rest.low, limbs.low),
                          _mm512_mask_add_epi64(rest.high, negative, rest.high, limbs.high));
}

/* x * factor mod n, for x < 2 n and a factor below 2^32. */
PRIME_512_INLINE prime_v2 prime_v2_scaled(prime_v2 x, prime_v factor, prime_v n, prime_v2 limbs)
{
    const prime_v zero = prime_v_zero();
    const __m512d value = _mm512_fmadd_pd(_mm512_cvtepu64_pd(x.high), _mm512_set1_pd(0x1p52), _mm512_cvtepu64_pd(x.low));
    const __m512d product = _mm512_mul_pd(value, _mm512_cvtepu64_pd(factor));
    const prime_v quotient = _mm512_cvttpd_epu64(_mm512_div_pd(product, _mm512_cvtepu64_pd(n)));
    const prime_v low = prime_v_sub(prime_v_low(zero, x.low, factor), prime_v_low(zero, quotient, limbs.low));
    const prime_v high = prime_v_sub(prime_v_low(prime_v_high(zero, x.low, factor), x.high, factor),
                                     prime_v_low(prime_v_high(zero, quotient, limbs.low), quotient, limbs.high));
    prime_v2 rest = prime_v2_clean(low, high);
    const __mmask8 negative = _mm512_movepi64_mask(rest.high);
    rest = prime_v2_clean(_mm512_mask_add_epi64(rest.low, negative, rest.low, limbs.low),
                          _mm512_mask_add_epi64(rest.high, negative, rest.high, limbs.high));
    return prime_v2_settled(rest, limbs);
}

/* The strong test to base 2 for `vectors` of odd numbers, 2^48 < n. */
PRIME_512_INLINE uint32_t prime_v_strong_2(const uint64_t *numbers, const int vectors, const int deep)
{
    enum { WINDOW = 3 }; /* 2^(2 * (64 + 2^3)) / R is below n, and the upper limb's square one limb */
    prime_v inverse[4], exponent[4], lowest[4], all = prime_v_zero(), lows = prime_v_zero();
    prime_v2 n[4], one[4], x[4];
    __mmask8 passed[4];
    int left, end;
    #pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        const prime_v whole = _mm512_loadu_si512(numbers + 8 * v);
        n[v] = prime_v2_split(whole);
        inverse[v] = prime_v_inverse(whole);
        exponent[v] = prime_v_sub(whole, prime_v_all(1));
        lowest[v] = prime_v_lowest(exponent[v]);
        x[v] = one[v] = prime_v2_scaled(prime_v2_power_84(whole, n[v]), prime_v_all(1 << 20), whole, n[v]);
        passed[v] = 0;
        all = _mm512_or_si512(all, exponent[v]);
        lows = _mm512_or_si512(lows, lowest[v]);
    }
    left = prime_v_bits(all);
    end = deep ? prime_v_bits(lows) - 1 : 1;
    if (left - WINDOW >= end) {
        left -= WINDOW;
        #pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) x[v] = prime_v2_shifted(x[v], prime_v_window(exponent[v], left, WINDOW));
    }
    while (left - WINDOW >= end) {
        left -= WINDOW;
        #pragma GCC unroll 4
        for (int i = 0; i < WINDOW; i++) {
            #pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) x[v] = prime_v2_square(x[v], n[v], inverse[v], n[v]);
        }
        #pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) x[v] = prime_v2_shifted(x[v], prime_v_window(exponent[v], left, WINDOW));
    }
    for (;;) {
        if (left <= end) {
            const prime_v place = prime_v_all(UINT64_C(1) << left);
            #pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                const prime_v2 settled = prime_v2_settled(prime_v2_mul(x[v], one[v], n[v], inverse[v], n[v]), n[v]);
                passed[v] |= prime_v2_equal(_mm512_cmpeq_epi64_mask(lowest[v], place), settled, one[v]);
                passed[v] |= prime_v2_equal(_mm512_cmpge_epu64_mask(lowest[v], place), settled, prime_v2_sub(n[v], one[v]));
            }
        }
        if (--left == 0) break;
        #pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            x[v] = prime_v2_shifted(prime_v2_square(x[v], n[v], inverse[v], n[v]), prime_v_window(exponent[v], left, 1));
    }
    return prime_v_gathered(passed, vectors);
}

/* The almost extra strong Lucas test, 2^48 < n. */
PRIME_512_INLINE uint32_t prime_v_lucas_2(const uint64_t *numbers, const uint64_t *parameters, const int vectors)
{
    prime_v inverse[2], flips[2], lowest[2], all = prime_v_zero(), lows = prime_v_zero();
    prime_v2 n[2], two[2], less_two[2], less_first[2], p[2], s[2];
    __mmask8 passed[2];
    int left, end;
    #pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        const prime_v whole = _mm512_loadu_si512(numbers + 8 * v), next = prime_v_add(whole, prime_v_all(1));
        prime_v2 power, twice;
        n[v] = prime_v2_split(whole);
        inverse[v] = prime_v_inverse(whole);
        flips[v] = _mm512_xor_si512(next, _mm512_srli_epi64(next, 1));
        lowest[v] = prime_v_lowest(next);
        power = prime_v2_power_84(whole, n[v]);
        s[v] = two[v] = prime_v2_scaled(power, prime_v_all(1 << 21), whole, n[v]);
        p[v] = prime_v2_scaled(power, _mm512_slli_epi64(_mm512_loadu_si512(parameters + 8 * v), 20), whole, n[v]);
        twice = prime_v2_clean(prime_v_add(n[v].low, n[v].low), prime_v_add(n[v].high, n[v].high));
        less_two[v] = prime_v2_sub(twice, two[v]);
        less_first[v] = prime_v2_sub(twice, p[v]);
        passed[v] = 0;
        all = _mm512_or_si512(all, next);
        lows = _mm512_or_si512(lows, lowest[v]);
    }
    left = prime_v_bits(all);
    end = prime_v_bits(lows) - 1;
    for (;;) {
        left--;
        #pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            const __mmask8 flip = _mm512_test_epi64_mask(flips[v], prime_v_all(UINT64_C(1) << left));
            prime_v2 chosen;
            chosen.low = _mm512_mask_blend_epi64(flip, s[v].low, p[v].low);
            chosen.high = _mm512_mask_blend_epi64(flip, s[v].high, p[v].high);
            p[v] = prime_v2_mul(p[v], s[v], less_first[v], inverse[v], n[v]);
            s[v] = prime_v2_square(chosen, less_two[v], inverse[v], n[v]);
        }
        if (left > end) continue;
        const prime_v place = prime_v_all(UINT64_C(1) << left);
        #pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            const __mmask8 odd = _mm512_cmpeq_epi64_mask(lowest[v], place);
            const prime_v2 zero = {prime_v_zero(), prime_v_zero()};
            prime_v2 value;
            value.low = _mm512_mask_blend_epi64(odd, s[v].low, p[v].low);
            value.high = _mm512_mask_blend_epi64(odd, s[v].high, p[v].high);
            value = prime_v2_settled(value, n[v]);
            passed[v] |= prime_v2_equal(odd, value, two[v]);
            passed[v] |= prime_v2_equal(odd, value, prime_v2_sub(n[v], two[v]));
            if (left > 1) passed[v] |= prime_v2_equal(_mm512_cmpge_epu64_mask(lowest[v], place), value, zero);
        }
        if (left <= 1) break;
    }
    return prime_v_gathered(passed, vectors);
}

/* --- a chunk --------------------------------------------------------------------------------------------------------------------------------- */

static PRIME_OUTLINE PRIME_512 uint32_t prime_shallow_32_by_4(const uint64_t *numbers) { return prime_v_strong_1(numbers, 4, 3, 0); }
static PRIME_OUTLINE PRIME_512 uint32_t prime_strong_32_by_4(const uint64_t *numbers) { return prime_v_strong_1(numbers, 4, 3, 1); }
static PRIME_OUTLINE PRIME_512 uint32_t prime_strong_32_by_1(const uint64_t *numbers) { return prime_v_strong_1(numbers, 1, 3, 1); }
static PRIME_OUTLINE PRIME_512 uint32_t prime_shallow_48_by_4(const uint64_t *numbers) { return prime_v_strong_1(numbers, 4, 1, 0); }
static PRIME_OUTLINE PRIME_512 uint32_t prime_strong_48_by_4(const uint64_t *numbers) { return prime_v_strong_1(numbers, 4, 1, 1); }
static PRIME_OUTLINE PRIME_512 uint32_t prime_strong_48_by_1(const uint64_t *numbers) { return prime_v_strong_1(numbers, 1, 1, 1); }
static PRIME_OUTLINE PRIME_512 uint32_t prime_shallow_64_by_4(const uint64_t *numbers) { return prime_v_strong_2(numbers, 4, 0); }
static PRIME_OUTLINE PRIME_512 uint32_t prime_strong_64_by_4(const uint64_t *numbers) { return prime_v_strong_2(numbers, 4, 1); }
static PRIME_OUTLINE PRIME_512 uint32_t prime_strong_64_by_1(const uint64_t *numbers) { return prime_v_strong_2(numbers, 1, 1); }
static PRIME_OUTLINE PRIME_512 uint32_t prime_lucas_48_by_2(const uint64_t *numbers, const uint64_t *p) { return prime_v_lucas_1(numbers, p, 2); }
static PRIME_OUTLINE PRIME_512 uint32_t prime_lucas_48_by_1(const uint64_t *numbers, const uint64_t *p) { return prime_v_lucas_1(numbers, p, 1); }
static PRIME_OUTLINE PRIME_512 uint32_t prime_lucas_64_by_2(const uint64_t *numbers, const uint64_t *p) { return prime_v_lucas_2(numbers, p, 2); }
static PRIME_OUTLINE PRIME_512 uint32_t prime_lucas_64_by_1(const uint64_t *numbers, const uint64_t *p) { return prime_v_lucas_2(numbers, p, 1); }

/* Fills the last vectors up with the last number. */
static inline void prime_pad(prime_list *list)
{
    for (int at = list->count; at & 31; at++) list->numbers[at] = list->numbers[list->count - 1];
}

/* At `at` in a list: how many numbers go together, `most` or one vector; and of what they gave, the bits that count. */
static inline int prime_step(const prime_list *list, int at, int most) { return list->count - at > 8 ? most : 8; }
static inline uint32_t prime_counting(const prime_list *list, int at, uint32_t passed)
{
    const int more = list->count - at;
    return more < 32 ? passed & ((UINT32_C(1) << more) - 1) : passed;
}

/* Both tests for the last numbers of a list if they are few, for one number takes a vector as long as eight. */
static inline void prime_finish_few(prime_list *list, uint8_t *primes, int few)
{
    for (int rest = list->count % 8 <= few ? list->count % 8 : 0; rest; rest--) {
        list->count--;
        primes[list->places[list->count]] = (uint8_t)prime_u64(list->numbers[list->count]);
    }
}

typedef uint32_t (*prime_strong_fn)(const uint64_t *numbers);
typedef uint32_t (*prime_lucas_fn)(const uint64_t *numbers, const uint64_t *parameters);

/* The same test of four vectors without a deep look, of four, and of one. */
typedef struct {
    prime_strong_fn shallow_by_4, by_4, by_1;
} prime_strong_fns;

/* Brings what is 1 modulo 8 to the end, but for a few numbers, and fills up. Returns how many at the beginning, whole groups, need no deep look. */
static PRIME_512 int prime_v_part(prime_list *list, prime_list *room)
{
    enum { FEW = 64 };
    const int count = list->count;
    int shallow = 0;
    if (count >= FEW) {
        list->count = room->count = 0;
        for (int at = 0; at < count; at += 8) {
            const prime_v n = _mm512_loadu_si512(list->numbers + at);
            const __m256i places = _mm256_loadu_si256((const __m256i *)(list->places + at));
            const int more = count - at;
            const __mmask8 valid = more >= 8 ? 0xFF : (__mmask8)((1 << more) - 1), deep = _mm512_mask_testn_epi64_mask(valid, n, prime_v_all(6));
            prime_v_append(room, deep, n, places);
            prime_v_append(list, valid & (__mmask8)~deep, n, places);
        }
        shallow = list->count & ~31;
        __builtin_memcpy(list->numbers + list->count, room->numbers, (size_t)room->count * sizeof *list->numbers);
        __builtin_memcpy(list->places + list->count, room->places, (size_t)room->count * sizeof *list->places);
        list->count = count;
    }
    prime_pad(list);
    return shallow;
}

/* Of the numbers at `at`, `step` of them, those that pass. */
static inline uint32_t prime_passing(const prime_list *list, int at, int step, int shallow, const prime_strong_fns *strong)
{
    const prime_strong_fn test = at < shallow ? strong->shallow_by_4 : step == 32 ? strong->by_4 : strong->by_1;
    return prime_counting(list, at, test(list->numbers + at));
}

/* Keeps, at the beginning of the list, what passes. */
static void prime_keep_strong(prime_list *list, prime_list *room, const prime_strong_fns *strong)
{
    const int shallow = prime_v_part(list, room);
    int kept = 0;
    for (int at = 0, step; at < list->count; at += step) {
        step = prime_step(list, at, 32);
        for (uint32_t passed = prime_passing(list, at, step, shallow, strong); passed; passed &= passed - 1, kept++) {
            const int which = at + __builtin_ctz(passed);
            list->numbers[kept] = list->numbers[which];
            list->places[kept] = list->places[which];
        }
    }
    list->count = kept;
}

/* Of eight numbers, a bit for each that may be in the list of pseudoprimes. */
static inline PRIME_512 uint32_t prime_v_known(const uint64_t *numbers)
{
    const __m256i n = _mm512_cvtepi64_epi32(_mm512_loadu_si512(numbers));
    const __m256i bit = _mm256_srli_epi32(_mm256_mullo_epi32(n, _mm256_set1_epi32((int)PRIME_HASH)), 16);
    const __m256i words = _mm256_i32gather_epi32((const int *)prime_pseudo_known, _mm256_srli_epi32(bit, 5), 4);
    return _mm256_test_epi32_mask(_mm256_srlv_epi32(words, _mm256_and_si256(bit, _mm256_set1_epi32(31))), _mm256_set1_epi32(1));
}

static PRIME_512 void prime_answer_below_32(prime_list *list, prime_list *room, uint8_t *primes, const prime_strong_fns *strong)
{
    const int shallow = prime_v_part(list, room);
    for (int at = 0, step; at < list->count; at += step) {
        uint32_t passed, known = 0;
        step = prime_step(list, at, 32);
        passed = prime_passing(list, at, step, shallow, strong);
        for (int i = 0; i < step; i += 8) known |= prime_v_known(list->numbers + at + i) << i;
        for (known &= passed; known; known &= known - 1)
            if (prime_is_pseudoprime((uint32_t)list->numbers[at + __builtin_ctz(known)])) passed &= ~(known & -known);
        for (; passed; passed &= passed - 1) primes[list->places[at + __builtin_ctz(passed)]] = 1;
    }
}

static void prime_answer_lucas(prime_list *list, uint8_t *primes, prime_lucas_fn by_2, prime_lucas_fn by_1)
{
    if (list->count == 0) return;
    prime_pad(list);
    for (int at = 0, step; at < list->count; at += step) {
        uint64_t parameters[16];
        uint32_t passed, have = 0;
        step = prime_step(list, at, 16);
        for (int i = 0; i < step; i++) {
            parameters[i] = prime_lucas_parameter(list->numbers[at + i]);
            have |= (uint32_t)(parameters[i] != 0) << i;
        }
        passed = step == 16 ? by_2(list->numbers + at, parameters) : by_1(list->numbers + at, parameters);
        for (passed = prime_counting(list, at, passed & have); passed; passed &= passed - 1) primes[list->places[at + __builtin_ctz(passed)]] = 1;
    }
}

static PRIME_OUTLINE void prime_chunk_avx512(const uint64_t *numbers, uint8_t *primes, int count)
{
    static const prime_strong_fns strong_32 = {prime_shallow_32_by_4, prime_strong_32_by_4, prime_strong_32_by_1};
    static const prime_strong_fns strong_48 = {prime_shallow_48_by_4, prime_strong_48_by_4, prime_strong_48_by_1};
    static const prime_strong_fns strong_64 = {prime_shallow_64_by_4, prime_strong_64_by_4, prime_strong_64_by_1};
    prime_list list, below_32, below_48, room;
    prime_v_sieve(numbers, primes, count, &list);
    if (list.count == 0) return;
    prime_v_sift(&list, &below_32, &below_48);
    prime_finish_few(&below_32, primes, 1);
    prime_finish_few(&below_48, primes, 2);
    /* Where most are left they are chosen as primes, and would take both tests. */
    prime_finish_few(&list, primes, list.count <= 6 && 2 * list.count > count ? 6 : 3);
    prime_answer_below_32(&below_32, &room, primes, &strong_32);
    prime_keep_strong(&below_48, &room, &strong_48);
    prime_finish_few(&below_48, primes, 1);
    prime_answer_lucas(&below_48, primes, prime_lucas_48_by_2, prime_lucas_48_by_1);
    prime_keep_strong(&list, &room, &strong_64);
    prime_finish_few(&list, primes, 2);
    prime_answer_lucas(&list, primes, prime_lucas_64_by_2, prime_lucas_64_by_1);
}

#endif
#endif
