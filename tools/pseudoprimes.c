/* Writes _ext/pseudoprimes.h: the odd composite numbers below 2^32 that pass the strong test to base 2.
 *
 *     cc -O2 -I_ext -o build/pseudoprimes tools/pseudoprimes.c && build/pseudoprimes > _ext/pseudoprimes.h      (or: make pseudoprimes)
 *
 * Every odd number below 2^32 is put to the very test of primality.h (`prime_strong_2_below_32`), and to a sieve of Eratosthenes that decides. So test
 * and list together are right for all of them by construction. Ends with status 1 where a prime fails the test, or where the number of primes
 * isn't pi(2^32) = 203,280,221. Takes some three minutes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "primality.h"

enum { SEGMENT = 1 << 19 }; /* odd numbers at a time: a byte each, for the second-level cache */

int main(void)
{
    static unsigned char small[1 << 16], composite[SEGMENT];
    static uint64_t next[6542], primes[6542];
    uint64_t count = 1; /* 2 */
    size_t prime_count = 0, listed = 0;
    for (uint64_t p = 3; p < 1 << 16; p += 2) {
        if (small[p]) continue;
        primes[prime_count] = p;
        next[prime_count++] = p * p / 2; /* the index of p * p among the odd numbers */
        for (uint64_t multiple = p * p; multiple < 1 << 16; multiple += 2 * p) small[multiple] = 1;
    }
    printf("/* The strong pseudoprimes to base 2 below 2^32, all 2,314 of them; written by tools/pseudoprimes.c. */\n");
    printf("static const uint32_t prime_pseudoprimes[] = {");
    for (uint64_t from = 0; from < UINT64_C(1) << 31; from += SEGMENT) {
        memset(composite, 0, sizeof composite);
        if (from == 0) composite[0] = 1; /* 1 */
        for (size_t i = 0; i < prime_count; i++) {
            uint64_t at = next[i];
            for (; at < from + SEGMENT; at += primes[i]) composite[at - from] = 1;
            next[i] = at;
        }
        for (uint64_t i = 0; i < SEGMENT; i++) {
            uint32_t n = (uint32_t)(2 * (from + i) + 1);
            int passes = n > 1 && prime_strong_2_below_32(n);
            count += !composite[i];
            if (!composite[i] && !passes) {
                fprintf(stderr, "%u is prime and fails the test\n", n);
                return 1;
            }
            if (composite[i] && passes) printf("%s%u,", listed++ % 12 ? " " : "\n    ", n);
        }
    }
    printf("\n};\n");
    fprintf(stderr, "%zu pseudoprimes, %llu primes\n", listed, (unsigned long long)count);
    return count == 203280221 ? 0 : 1;
}
