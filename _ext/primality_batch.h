/* Primality of many numbers below 2^64, a chunk of up to PRIME_CHUNK at a time, in one of three ways:
 *
 *     scalar     any processor: small primes first, then the strong test to base 2 for four numbers in one loop, for each alone leaves the multiplier
 *                idle most of the time. What passes takes both tests as a single number does.
 *     avx2       the same with small primes tried by vectors
 *     avx512     primality_avx512.h
 *
 * The way is chosen once, among those that the processor and the system have. */
#ifndef PRIME_SERVER_PRIMALITY_BATCH_H
#define PRIME_SERVER_PRIMALITY_BATCH_H

#include "primality.h"

enum { PRIME_CHUNK = 2048 };

/* Numbers under test, with their places among the primes asked for. Room to fill vectors up behind the last, and to write a whole one there. */
typedef struct {
    int count;
    uint32_t places[PRIME_CHUNK + 32];
    uint64_t numbers[PRIME_CHUNK + 32];
} prime_list;

static inline void prime_append(prime_list *list, uint64_t n, int place)
{
    list->numbers[list->count] = n;
    list->places[list->count++] = (uint32_t)place;
}

/* --- scalar ---------------------------------------------------------------------------------------------------------------------------------- */

enum { PRIME_LANES = 4 };

/* For each of the lanes' odd numbers above 2^20, whether it passes the strong test to base 2: a bit. Exponents of different lengths go together, for
 * leading zeros leave 1 as it is; near the end each step asks whether it is one at which the lane's test looks. */
#define PRIME_STRONG_LANES(NAME, WORD, INVERSE, SETTLED, SQUARE) \
    static PRIME_OUTLINE unsigned NAME(const uint64_t *numbers) \
    { \
        WORD x[PRIME_LANES], n[PRIME_LANES]; \
        uint64_t inverse[PRIME_LANES], one[PRIME_LANES], all = 0; \
        unsigned passed = 0; \
        int left, end = 0; \
        _Pragma("GCC unroll 4") \
        for (int i = 0; i < PRIME_LANES; i++) { \
            const int twos = __builtin_ctzll(numbers[i] - 1); \
            n[i] = (WORD)numbers[i]; \
            inverse[i] = INVERSE(numbers[i]); \
            x[i] = (WORD)(one[i] = prime_shifted(1, numbers[i])); \
            all |= numbers[i]; \
            if (twos > end) end = twos; \
        } \
        left = prime_bits(all); \
        for (;;) { \
            if (left <= end) { \
                for (int i = 0; i < PRIME_LANES; i++) { \
                    const uint64_t settled = (uint64_t)SETTLED(x[i], n[i]); \
                    const int twos = __builtin_ctzll(numbers[i] - 1); \
                    passed |= (unsigned)((settled == one[i] && twos == left) || (settled == numbers[i] - one[i] && twos >= left)) << i; \
                } \
                if (left == 1) return passed; \
            } \
            left--; \
            _Pragma("GCC unroll 4") \
            for (int i = 0; i < PRIME_LANES; i++) x[i] = SQUARE(x[i], numbers[i] >> left & 1, inverse[i], n[i]); \
        } \
    }

#define PRIME_AS_IT_IS(x, n) (x)
#define PRIME_BELOW_2(x, n) ((x) > (n) ? (x) - (n) : (x))
PRIME_STRONG_LANES(prime_strong_lanes_32, uint64_t, -prime_inverse, PRIME_BELOW_2, prime_square_32)
PRIME_STRONG_LANES(prime_strong_lanes_62, int64_t, prime_inverse, prime_settle, prime_square_62)
PRIME_STRONG_LANES(prime_strong_lanes_64, uint64_t, prime_inverse, PRIME_AS_IT_IS, prime_square_64)

/* Answers for numbers from 2^20 on without small factors, of which there were `count` before they were tried. Where most have come here, they are no
 * random ones but chosen as primes, and those from 2^32 on go straight to both tests. */
static void prime_answer_lists(const prime_list *below_32, const prime_list *below_64, int count, uint8_t *primes)
{
    int at = 0;
    for (; at + PRIME_LANES <= below_32->count; at += PRIME_LANES) {
        const unsigned passed = prime_strong_lanes_32(below_32->numbers + at);
        for (int i = 0; i < PRIME_LANES; i++)
            primes[below_32->places[at + i]] = (passed >> i & 1) && !prime_is_pseudoprime((uint32_t)below_32->numbers[at + i]);
    }
    for (; at < below_32->count; at++) primes[below_32->places[at]] = (uint8_t)prime_below_32((uint32_t)below_32->numbers[at]);
    at = 0;
    if (below_64->count < count / 2)
        for (; at + PRIME_LANES <= below_64->count; at += PRIME_LANES) {
            uint64_t all = 0;
            unsigned passed;
            for (int i = 0; i < PRIME_LANES; i++) all |= below_64->numbers[at + i];
            passed = all >> 62 ? prime_strong_lanes_64(below_64->numbers + at) : prime_strong_lanes_62(below_64->numbers + at);
            for (int i = 0; i < PRIME_LANES; i++)
                if (passed >> i & 1) primes[below_64->places[at + i]] = (uint8_t)prime_from_32(below_64->numbers[at + i]);
        }
    for (; at < below_64->count; at++) primes[below_64->places[at]] = (uint8_t)prime_from_32(below_64->numbers[at]);
}

/* Answers 0, or what the table says, or lists the number. `tried`: it has no factor
 * below 44 but perhaps 37. */
static inline void prime_sort(uint64_t n, int place, int tried, prime_list *below_32, prime_list *below_64, uint8_t *primes)
{
    primes[place] = 0;
    if (n < PRIME_TABLE_END) primes[place] = (uint8_t)prime_u64(n);
    else if ((n & 1) && !(tried ? PRIME_DIVIDES(37) || PRIME_DIVIDES(47) || PRIME_DIVIDES(53) : prime_has_small_factor(n)))
        prime_append(n >> 32 ? below_64 : below_32, n, place);
}

static PRIME_OUTLINE void prime_chunk_scalar(const uint64_t *numbers, uint8_t *primes, int count)
{
    prime_list below_32, below_64;
    below_32.count = below_64.count = 0;
    for (int at = 0; at < count; at++) prime_sort(numbers[at], at, 0, &below_32, &below_64, primes);
    prime_answer_lists(&below_32, &below_64, count, primes);
}

/* --- AVX2 ------------------------------------------------------------------------------------------------------------------------------------ */

#if defined(__x86_64__) && defined(__GNUC__)
#define PRIME_HAS_VECTORS 1

#include <immintrin.h>

#include "primality_avx512.h"

#define PRIME_256 __attribute__((target("avx2")))

/* The sum of the digits of n to base 2^bits is congruent to n modulo the primes that divide 2^bits - 1. Eight of them, as 32-bit words in the order
 * of both vectors' lower halves, then of their upper ones. */
static inline __attribute__((always_inline)) PRIME_256 __m256i prime_256_sums(__m256i x, __m256i y, const int bits)
{
    const __m256i digit = _mm256_set1_epi64x((INT64_C(1) << bits) - 1);
    __m256i sum_x = _mm256_and_si256(x, digit), sum_y = _mm256_and_si256(y, digit);
    for (int at = bits; at < 64; at += bits) {
        sum_x = _mm256_add_epi64(sum_x, _mm256_and_si256(_mm256_srli_epi64(x, at), digit));
        sum_y = _mm256_add_epi64(sum_y, _mm256_and_si256(_mm256_srli_epi64(y, at), digit));
    }
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(sum_x), _mm256_castsi256_ps(sum_y), 0x88));
}

#define PRIME_256_DROP(p) \
    product = _mm256_mullo_epi32(sums, _mm256_set1_epi32((int)(uint32_t)prime_inverse(p))), \
    composite = _mm256_or_si256(composite, _mm256_cmpeq_epi32(product, _mm256_min_epu32(product, _mm256_set1_epi32((int)(UINT32_MAX / (p))))))

/* Of eight numbers from 2^20 on, a bit for each that is divided by an odd prime below 44 but 37. */
static inline __attribute__((always_inline)) PRIME_256 unsigned prime_256_small_factors(__m256i x, __m256i y)
{
    __m256i sums = prime_256_sums(x, y, 24), product, composite = _mm256_setzero_si256();
    PRIME_256_DROP(3), PRIME_256_DROP(5), PRIME_256_DROP(7), PRIME_256_DROP(13), PRIME_256_DROP(17);
    sums = prime_256_sums(x, y, 20);
    PRIME_256_DROP(11), PRIME_256_DROP(31), PRIME_256_DROP(41);
    sums = prime_256_sums(x, y, 18);
    PRIME_256_DROP(19);
    sums = prime_256_sums(x, y, 22);
    PRIME_256_DROP(23);
    sums = prime_256_sums(x, y, 28);
    PRIME_256_DROP(29), PRIME_256_DROP(43);
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_permute4x64_epi64(composite, 0xD8)));
}

static PRIME_OUTLINE PRIME_256 void prime_chunk_avx2(const uint64_t *numbers, uint8_t *primes, int count)
{
    const __m256i one = _mm256_set1_epi64x(1), zero = _mm256_setzero_si256();
    prime_list below_32, below_64;
    int at = 0;
    below_32.count = below_64.count = 0;
    for (; at + 8 <= count; at += 8) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(numbers + at)), y = _mm256_loadu_si256((const __m256i *)(numbers + at + 4));
        const __m256i odd_x = _mm256_cmpeq_epi64(_mm256_and_si256(x, one), one), odd_y = _mm256_cmpeq_epi64(_mm256_and_si256(y, one), one);
        const __m256i small_x = _mm256_cmpeq_epi64(_mm256_srli_epi64(x, 20), zero), small_y = _mm256_cmpeq_epi64(_mm256_srli_epi64(y, 20), zero);
        const unsigned small = (unsigned)(_mm256_movemask_pd(_mm256_castsi256_pd(small_x)) | _mm256_movemask_pd(_mm256_castsi256_pd(small_y)) << 4);
        unsigned left = (unsigned)(_mm256_movemask_pd(_mm256_castsi256_pd(odd_x)) | _mm256_movemask_pd(_mm256_castsi256_pd(odd_y)) << 4) & ~small;
        if (left) left &= ~prime_256_small_factors(x, y);
        __builtin_memset(primes + at, 0, 8);
        for (left |= small; left; left &= left - 1)
            prime_sort(numbers[at + __builtin_ctz(left)], at + __builtin_ctz(left), 1, &below_32, &below_64, primes);
    }
    for (; at < count; at++) prime_sort(numbers[at], at, 0, &below_32, &below_64, primes);
    prime_answer_lists(&below_32, &below_64, count, primes);
}
#else
#define PRIME_HAS_VECTORS 0
#endif

/* --- the choice ------------------------------------------------------------------------------------------------------------------------------ */

enum { PRIME_SCALAR, PRIME_AVX2, PRIME_AVX512, PRIME_WAYS };

static int prime_way = PRIME_SCALAR; /* set once, at import */

/* Whether the processor has the instructions and the system keeps the registers. */
static int prime_has_way(int way)
{
#if PRIME_HAS_VECTORS
    __builtin_cpu_init();
    if (way == PRIME_AVX2) return __builtin_cpu_supports("avx2") != 0;
    if (way == PRIME_AVX512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("bmi2");
#endif
    return way == PRIME_SCALAR;
}

/* 1 or 0 for each of at most PRIME_CHUNK numbers, which nobody changes meanwhile. */
static inline void prime_any_chunk(const uint64_t *numbers, uint8_t *primes, int count)
{
    enum { FEW = 4 }; /* which are done before a vector is */
    if (count <= FEW)
        for (int at = 0; at < count; at++) primes[at] = (uint8_t)prime_u64(numbers[at]);
#if PRIME_HAS_VECTORS
    else if (prime_way == PRIME_AVX512) prime_chunk_avx512(numbers, primes, count);
    else if (prime_way == PRIME_AVX2) prime_chunk_avx2(numbers, primes, count);
#endif
    else prime_chunk_scalar(numbers, primes, count);
}

#endif
