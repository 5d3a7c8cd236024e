/* The deterministic test below 2^64, in C for its 128-bit products: trial division by the smallest primes, then Miller-Rabin in Montgomery
 * form with the seven bases of Jim Sinclair (2011), which together have no strong pseudoprime below 2^64. Pure functions of their arguments. */
#ifndef PRIME_SERVER_PRIMALITY_H
#define PRIME_SERVER_PRIMALITY_H

#include <stdint.h>

typedef unsigned __int128 prime_u128;

/* x * y / 2^64 mod n, below n, for x, y < n odd; `inverse` is 1 / n mod 2^64. */
static inline uint64_t prime_mulredc(uint64_t x, uint64_t y, uint64_t n, uint64_t inverse)
{
    prime_u128 product = (prime_u128)x * y;
    uint64_t high = (uint64_t)(product >> 64);
    uint64_t taken = (uint64_t)(((prime_u128)((uint64_t)product * inverse) * n) >> 64);
    return high >= taken ? high - taken : high - taken + n;
}

static inline int prime_u64(uint64_t n)
{
    static const unsigned char smallest[] = {3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};
    static const uint64_t bases[] = {2, 325, 9375, 28178, 450775, 9780504, 1795265022};
    uint64_t inverse, one, minus_one, odd;
    int twos;
    if (n < 2) return 0;
    if (n % 2 == 0) return n == 2;
    for (unsigned i = 0; i < sizeof smallest; i++)
        if (n % smallest[i] == 0) return n == smallest[i];
    if (n < 41 * 41) return 1;
    inverse = n * 3 ^ 2; /* right to 5 bits; each step of Newton doubles them */
    for (int i = 0; i < 4; i++) inverse *= 2 - n * inverse;
    one = -n % n; /* 2^64 mod n: 1 in Montgomery form */
    minus_one = n - one;
    twos = __builtin_ctzll(n - 1);
    odd = (n - 1) >> twos;
    for (unsigned i = 0; i < sizeof bases / sizeof *bases; i++) {
        uint64_t base = bases[i] % n, x = one;
        int left = twos;
        if (base == 0) continue;
        base = (uint64_t)(((prime_u128)base << 64) % n);
        for (uint64_t bit = UINT64_C(1) << (63 - __builtin_clzll(odd)); bit; bit >>= 1) {
            x = prime_mulredc(x, x, n, inverse);
            if (odd & bit) x = prime_mulredc(x, base, n, inverse);
        }
        if (x == one) continue;
        while (x != minus_one && --left > 0) x = prime_mulredc(x, x, n, inverse);
        if (x != minus_one) return 0;
    }
    return 1;
}

#endif
