/* Exact primality below 2^64 for one number, in C for its 128-bit products. Pure functions of their arguments, but for a table that
 * `prime_set_up` fills once.
 *
 *     n < 2^20    a table of the odd numbers
 *     n < 2^32    the strong test to base 2, and a list of all its pseudoprimes (pseudoprimes.h, which tools/pseudoprimes.c wrote)
 *     n < 2^64    the strong test to base 2 and an almost extra strong Lucas test (Q = 1, the least P >= 3 for which the Jacobi symbol
 *                 (P^2 - 4 | n) is -1): no composite number below 2^64 passes both. That was checked by Dana Jacobsen on Jan Feitsma's
 *                 list of all base-2 pseudoprimes below 2^64 (http://www.janfeitsma.nl/math/psp2/index, https://ntheory.org/pseudoprimes.html).
 *
 * From 2^20 on, small primes are tried first. All arithmetic modulo n is Montgomery's, with R = 2^64. The chain of the strong test and the two of the
 * Lucas sequence don't depend on each other and run in one loop, which hides the multiplier's latency: one of them alone takes as long. The size
 * classes are functions that aren't inlined into each other: in one function there aren't registers enough. */
#ifndef PRIME_SERVER_PRIMALITY_H
#define PRIME_SERVER_PRIMALITY_H

#include <stdint.h>

typedef unsigned __int128 prime_u128;
typedef __int128 prime_i128;

#define PRIME_OUTLINE __attribute__((noinline))
#define PRIME_LIKELY(x) __builtin_expect(!!(x), 1)
#define PRIME_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* --- arithmetic ------------------------------------------------------------------------------------------------------------------------------ */

/* 1 / n mod 2^64, for n odd. */
static inline uint64_t prime_inverse(uint64_t n)
{
    uint64_t inverse = n * 3 ^ 2, error = 1 - n * inverse; /* right to 5 bits; each step doubles them */
    inverse *= 1 + error;
    error *= error;
    inverse *= 1 + error;
    error *= error;
    inverse *= 1 + error;
    error *= error;
    return inverse * (1 + error);
}

/* high * 2^64 mod n, for high < n. */
static inline uint64_t prime_shifted(uint64_t high, uint64_t n)
{
#if defined(__x86_64__)
    uint64_t quotient, rest;
    __asm__("divq %4" : "=a"(quotient), "=d"(rest) : "0"(UINT64_C(0)), "1"(high), "r"(n) : "cc");
    return rest;
#else
    return (uint64_t)(((prime_u128)high << 64) % n);
#endif
}

static inline uint64_t prime_high(uint64_t x, uint64_t y) { return (uint64_t)(((prime_u128)x * y) >> 64); }

static inline int64_t prime_signed_high(int64_t x, int64_t y) { return (int64_t)(((prime_i128)x * y) >> 64); }

static inline int prime_bits(uint64_t x) { return 64 - __builtin_clzll(x); }

/* The Jacobi symbol (a | n) for n odd. */
static inline int prime_jacobi(uint64_t a, uint64_t n)
{
    int sign = 1;
    for (a %= n; a; a %= n) {
        int twos = __builtin_ctzll(a);
        uint64_t odd = a >> twos;
        if ((twos & 1) && ((n & 7) == 3 || (n & 7) == 5)) sign = -sign;
        if ((odd & 3) == 3 && (n & 3) == 3) sign = -sign;
        a = n;
        n = odd;
    }
    return n == 1 ? sign : 0;
}

static inline int prime_is_square(uint64_t n)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
        if ((root | bit) * (root | bit) <= n) root |= bit;
    return root * root == n;
}

/* --- small numbers --------------------------------------------------------------------------------------------------------------------------- */

enum { PRIME_TABLE_END = 1 << 20, PRIME_PSEUDO_SLOTS = 1 << 13 };

static uint8_t prime_table[PRIME_TABLE_END / 16]; /* a bit for each odd number */

/* Every prime below 54, as a product with its inverse tells: no multiple of p has a product above (2^64 - 1) / p. For n > 53. */
#define PRIME_DIVIDES(p) (n * prime_inverse(p) <= UINT64_MAX / (p))
static inline int prime_has_small_factor(uint64_t n)
{
    return PRIME_DIVIDES(3) || PRIME_DIVIDES(5) || PRIME_DIVIDES(7) || PRIME_DIVIDES(11) || PRIME_DIVIDES(13) || PRIME_DIVIDES(17) ||
           PRIME_DIVIDES(19) || PRIME_DIVIDES(23) || PRIME_DIVIDES(29) || PRIME_DIVIDES(31) || PRIME_DIVIDES(37) || PRIME_DIVIDES(41) ||
           PRIME_DIVIDES(43) || PRIME_DIVIDES(47) || PRIME_DIVIDES(53);
}

/* --- below 2^32 ------------------------------------------------------------------------------------------------------------------------------ */

/* A residue x is kept as x * 2^64 mod n in 1...n + 1, so that its square, but for a carry when it is doubled, is one word, and the reduction a
 * single product's upper half. `inverse` is -1 / n. */
static inline uint64_t prime_square_32(uint64_t x, uint64_t bit, uint64_t inverse, uint64_t n)
{
    const uint64_t square = x * x;
    return prime_high(square * (inverse << bit), n) + 1 + ((square >> 63) & bit);
}

/* The strong test to base 2 of an odd n > 1. */
static inline int prime_strong_2_below_32(uint32_t n)
{
    uint64_t inverse = -prime_inverse(n), one = (UINT64_MAX % n + 1) % n, minus_one = n - one;
    int twos = __builtin_ctz(n - 1);
    uint32_t odd = (n - 1) >> twos;
    int left = prime_bits(odd), first = left > 5 ? 5 : left;
    uint64_t x;
    left -= first;
    x = (one << (odd >> left)) % n;
    while (left--) x = prime_square_32(x, odd >> left & 1, inverse, n);
    if (x > n) x -= n;
    if (x == one) return 1;
    for (; x != minus_one; x = prime_square_32(x, 0, inverse, n))
        if (--twos == 0) return 0;
    return 1;
}

#define PRIME_HASH UINT32_C(0x9E3779B1)

static inline uint32_t prime_slot(uint32_t n) { return n * PRIME_HASH >> (32 - 13); }

static uint32_t prime_pseudo[PRIME_PSEUDO_SLOTS]; /* the list by hash, open: an empty slot, 0, ends a search */
static uint32_t prime_pseudo_known[1 << 11]; /* a bit for each 16 bits of hash: nearly always the answer is no, at once */

static inline uint32_t prime_pseudo_bit(uint32_t n) { return n * PRIME_HASH >> 16; }

static inline int prime_is_pseudoprime(uint32_t n)
{
    uint32_t at = prime_slot(n), bit = prime_pseudo_bit(n);
    if (PRIME_LIKELY(!(prime_pseudo_known[bit >> 5] >> (bit & 31) & 1))) return 0;
    for (; prime_pseudo[at]; at = (at + 1) % PRIME_PSEUDO_SLOTS)
        if (prime_pseudo[at] == n) return 1;
    return 0;
}

/* n odd, 2^20 < n. */
static PRIME_OUTLINE int prime_below_32(uint32_t n)
{
    return !prime_has_small_factor(n) && prime_strong_2_below_32(n) && !prime_is_pseudoprime(n);
}

/* --- from 2^32 on ---------------------------------------------------------------------------------------------------------------------------- */

/* The P of the Lucas test, or 0 where n is found to be composite. n has no prime factor below 54.
 *
 * D = P^2 - 4 is a square times 5, 3, 21, 2 for P = 3, 4, 5, 6, so a table by n mod 840 holds their characters. Where none of these is -1, all primes up
 * to 7 have the character 1; of the next P, those whose D has but one more prime are 9 (11), 11 (13), 15 (17), 17 (19) and 21 (23), and those
 * between and up to 21 can't be the first. */
static uint8_t prime_parameters[840];

/* Of each n mod q: a set bit where it is no square. */
typedef struct {
    uint8_t parameter, q;
    uint32_t no_squares;
} prime_character;

static PRIME_OUTLINE uint64_t prime_large_parameter(uint64_t n)
{
    static const prime_character characters[] = {{9, 11, 0x5C4}, {11, 13, 0x9E4}, {15, 17, 0x5CE8}, {17, 19, 0x4F50C}, {21, 23, 0x7ACCA0}};
    for (unsigned i = 0; i < sizeof characters / sizeof *characters; i++) {
        const prime_character c = characters[i];
        if ((c.no_squares >> n % c.q ^ (c.q & n) >> 1) & 1) return c.parameter; /* the lower bits by quadratic reciprocity */
    }
    if (prime_is_square(n)) return 0;
    for (uint64_t p = 22;; p++) {
        int symbol = prime_jacobi(p * p - 4, n);
        if (symbol < 0) return p;
        if (symbol == 0) return 0;
    }
}

static inline uint64_t prime_lucas_parameter(uint64_t n)
{
    const uint64_t parameter = prime_parameters[n % 840];
    return PRIME_LIKELY(parameter) ? parameter : prime_large_parameter(n);
}

/* Below 2^62 residues are signed and never corrected: with |x|, |y| < 2 n and |c| <= n / 2, x * y / 2^64 - c again lies within 2 n, which is below
 * 2^63. Two products are equal in their lower halves, so the difference of their upper halves is exact. */
static inline int64_t prime_mul_62(int64_t x, int64_t y, int64_t less, uint64_t inverse, int64_t n)
{
    prime_i128 product = (prime_i128)x * y;
    return (int64_t)(product >> 64) - less - prime_signed_high((int64_t)((uint64_t)product * inverse), n);
}

/* x * x * 2^bit / 2^64: doubled by way of the inverse, while the product is under way. |x| <= n stays so. */
static inline int64_t prime_square_62(int64_t x, uint64_t bit, uint64_t inverse, int64_t n)
{
    prime_i128 square = (prime_i128)x * x;
    uint64_t low = (uint64_t)square, high = (uint64_t)(square >> 64);
    return (int64_t)(high + (high & -bit) + (low >> 63 & bit)) - prime_signed_high((int64_t)(low * (inverse + (inverse & -bit))), n);
}

/* The residue in 0...n - 1 of a number within 2 n. */
static inline int64_t prime_settle(int64_t x, int64_t n)
{
    if (x < 0) x += n;
    if (x < 0) x += n;
    return x >= n ? x - n : x;
}

/* The last part of both tests, once the chains have come to the odd parts of n - 1 and n + 1: `odd_power` is 2^odd, `v` the Lucas number. */
static inline int prime_end_62(int64_t odd_power, int64_t v, int twos, int lucas_twos, int64_t one, int64_t two, uint64_t inverse, int64_t n)
{
    int64_t x = prime_settle(odd_power, n), minus_one = n - one, two_settled = prime_settle(two, n);
    if (x != one)
        for (; x != minus_one; x = prime_settle(prime_square_62(x, 0, inverse, n), n))
            if (--twos == 0) return 0;
    v = prime_settle(v, n);
    if (v == two_settled || v == n - two_settled) return 1;
    for (; lucas_twos > 1; lucas_twos--) {
        if (v == 0) return 1;
        v = prime_settle(prime_mul_62(v, v, two, inverse, n), n);
    }
    return 0;
}

/* The Lucas chain holds V(k) V(k + 1) for the upper bits k of n + 1, in no order of their own: after a bit of 1, p is V(k) and s is V(k + 1), after
 * a 0 the other way round. From there V(2 k + 1) = p * s - P, and the square of one of them, less 2, is the other: of p where the next bit
 * differs from this one. */

/* n odd, 2^32 < n < 2^62, without a prime factor below 54. */
static PRIME_OUTLINE int prime_below_62(uint64_t n)
{
    const uint64_t inverse = prime_inverse(n), one = prime_shifted(1, n), parameter = prime_lucas_parameter(n), next = n + 1;
    const uint64_t flips = next ^ next >> 1;
    const int64_t m = (int64_t)n, two = one > n / 2 ? 2 * (int64_t)(one - n) : 2 * (int64_t)one;
    const int64_t less_two = two > m / 2 ? two - m : two < -(m / 2) ? two + m : two;
    const int twos = __builtin_ctzll(n - 1), lucas_twos = __builtin_ctzll(next);
    int at = prime_bits(n) - 1, lucas_at = prime_bits(next) - 1, last, steps;
    int64_t x = prime_settle(two, m), p, s, first;
    if (PRIME_UNLIKELY(parameter == 0)) return 0;
    p = (int64_t)prime_shifted(parameter, n);
    if (p > m / 2) p -= m;
    first = p;
    s = prime_mul_62(p, p, less_two, inverse, m);
    last = at - twos;
    steps = lucas_at - lucas_twos; /* none for a Mersenne number, of which n + 1 has a bit more */
    if (steps > last) steps = last;
    for (last = at - steps; at > last;) {
        int64_t chosen, product;
        uint64_t bit = n >> --at & 1;
        lucas_at--;
        chosen = flips >> at & 1 ? p : s;
        product = prime_mul_62(p, s, first, inverse, m);
        s = prime_mul_62(chosen, chosen, less_two, inverse, m);
        x = prime_square_62(x, bit, inverse, m);
        p = product;
    }
    while (at > twos) x = prime_square_62(x, n >> --at & 1, inverse, m);
    while (lucas_at > lucas_twos) {
        int64_t chosen = flips >> --lucas_at & 1 ? p : s;
        p = prime_mul_62(p, s, first, inverse, m);
        s = prime_mul_62(chosen, chosen, less_two, inverse, m);
    }
    return prime_end_62(x, p, twos, lucas_twos, (int64_t)one, less_two, inverse, m);
}

/* Up to 2^64 every result is corrected into 0...n - 1. `less` and the doubling cost nothing: they are done while the product is under way. */
static inline uint64_t prime_minus(uint64_t x, uint64_t y, uint64_t n)
{
    uint64_t difference = x - y, corrected = difference + n;
    return x < y ? corrected : difference;
}

static inline uint64_t prime_mul_64(uint64_t x, uint64_t y, uint64_t less, uint64_t inverse, uint64_t n)
{
    prime_u128 product = (prime_u128)x * y;
    return prime_minus(prime_minus((uint64_t)(product >> 64), less, n), prime_high((uint64_t)product * inverse, n), n);
}

static inline uint64_t prime_square_64(uint64_t x, uint64_t bit, uint64_t inverse, uint64_t n)
{
    prime_u128 square = (prime_u128)x * x;
    uint64_t low = (uint64_t)square, high = (uint64_t)(square >> 64), more = (n - high - (low >> 63)) & -bit;
    return prime_minus(prime_minus(high, more, n), prime_high(low * (inverse + (inverse & -bit)), n), n);
}

/* n odd, 2^32 < n, without a prime factor below 54; not 2^64 - 1, then. */
static PRIME_OUTLINE int prime_below_64(uint64_t n)
{
    const uint64_t inverse = prime_inverse(n), one = prime_shifted(1, n), parameter = prime_lucas_parameter(n), next = n + 1;
    const uint64_t flips = next ^ next >> 1, minus_one = n - one, two = prime_minus(one, minus_one, n);
    int twos = __builtin_ctzll(n - 1), lucas_twos = __builtin_ctzll(next);
    int at = prime_bits(n) - 1, lucas_at = prime_bits(next) - 1, last = at - twos, steps = lucas_at - lucas_twos;
    uint64_t x = two, p, s, first;
    if (PRIME_UNLIKELY(parameter == 0)) return 0;
    first = p = prime_shifted(parameter, n);
    s = prime_mul_64(p, p, two, inverse, n);
    if (steps > last) steps = last;
    for (last = at - steps; at > last;) {
        uint64_t chosen, product, bit = n >> --at & 1;
        lucas_at--;
        chosen = flips >> at & 1 ? p : s;
        product = prime_mul_64(p, s, first, inverse, n);
        s = prime_mul_64(chosen, chosen, two, inverse, n);
        x = prime_square_64(x, bit, inverse, n);
        p = product;
    }
    while (at > twos) x = prime_square_64(x, n >> --at & 1, inverse, n);
    while (lucas_at > lucas_twos) {
        uint64_t chosen = flips >> --lucas_at & 1 ? p : s;
        p = prime_mul_64(p, s, first, inverse, n);
        s = prime_mul_64(chosen, chosen, two, inverse, n);
    }
    if (x != one)
        for (; x != minus_one; x = prime_square_64(x, 0, inverse, n))
            if (--twos == 0) return 0;
    if (p == two || p == n - two) return 1;
    for (; lucas_twos > 1; lucas_twos--) {
        if (p == 0) return 1;
        p = prime_mul_64(p, p, two, inverse, n);
    }
    return 0;
}

/* --- any ------------------------------------------------------------------------------------------------------------------------------------- */

/* Fills the tables; before anything else here is called, and once. */
static inline void prime_set_up(const uint32_t *pseudoprimes, int count)
{
    for (unsigned i = 0; i < sizeof prime_table; i++) prime_table[i] = 0xFF;
    prime_table[0] &= 0xFE; /* 1 */
    for (unsigned p = 3; p < 1 << 10; p += 2)
        if (prime_table[p >> 4] >> (p >> 1 & 7) & 1)
            for (unsigned multiple = p * p; multiple < PRIME_TABLE_END; multiple += 2 * p)
                prime_table[multiple >> 4] &= (uint8_t)~(1 << (multiple >> 1 & 7));
    for (unsigned n = 1; n < 840; n += 2)
        for (unsigned p = 6; p >= 3; p--)
            if (prime_jacobi(p * p - 4, n) < 0) prime_parameters[n] = (uint8_t)p;
    for (int i = 0; i < count; i++) {
        uint32_t at = prime_slot(pseudoprimes[i]);
        prime_pseudo_known[prime_pseudo_bit(pseudoprimes[i]) >> 5] |= UINT32_C(1) << (prime_pseudo_bit(pseudoprimes[i]) & 31);
        while (prime_pseudo[at]) at = (at + 1) % PRIME_PSEUDO_SLOTS;
        prime_pseudo[at] = pseudoprimes[i];
    }
}

/* 2^32 < n, odd, without a prime factor below 54. */
static inline int prime_from_32(uint64_t n) { return n >> 62 == 0 ? prime_below_62(n) : prime_below_64(n); }

static inline int prime_u64(uint64_t n)
{
    if (n < PRIME_TABLE_END) return (n & 1 ? prime_table[n >> 4] >> (n >> 1 & 7) & 1 : n == 2);
    if (!(n & 1)) return 0;
    if (n >> 32 == 0) return prime_below_32((uint32_t)n);
    if (prime_has_small_factor(n)) return 0;
    return prime_from_32(n);
}

#endif
