/* The characters of HTTP/1.x: which byte may stand where (RFC 9110 section 5.6, RFC 3986 appendix A), and scans over runs of them.
 *
 * Every scan takes a range [at, end) and reads nothing outside it.
 */
#ifndef PRIME_HTTP_SYNTAX_H
#define PRIME_HTTP_SYNTAX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum {
    PRIME_IS_TOKEN = 1,      /* tchar */
    PRIME_IS_TARGET = 2,     /* pchar (with the percent sign), / and ? */
    PRIME_IS_RAW = 4,        /* what browsers send in a target though RFC 3986 wants it encoded */
    PRIME_IS_NAME = 8,       /* unreserved and sub-delims: what a reg-name is made of, with percent-encodings */
    PRIME_IS_HEX = 16,
    PRIME_IS_DIGIT = 32,
    PRIME_IS_TEXT = 64,      /* of a field value or reason phrase: HTAB, SP, VCHAR, obs-text */
    PRIME_IS_QUOTED = 128    /* of a quoted-string: the same without the quote and the backslash */
};

#define PRIME_DIGIT(c) ((c) >= '0' && (c) <= '9')
#define PRIME_ALNUM(c) (PRIME_DIGIT(c) || ((c) >= 'A' && (c) <= 'Z') || ((c) >= 'a' && (c) <= 'z'))
#define PRIME_HEX(c) (PRIME_DIGIT(c) || ((c) >= 'A' && (c) <= 'F') || ((c) >= 'a' && (c) <= 'f'))
#define PRIME_TOKEN(c) (PRIME_ALNUM(c) || (c) == '!' || (c) == '#' || (c) == '$' || (c) == '%' || (c) == '&' || (c) == '\'' || (c) == '*' \
    || (c) == '+' || (c) == '-' || (c) == '.' || (c) == '^' || (c) == '_' || (c) == '`' || (c) == '|' || (c) == '~')
#define PRIME_NAME(c) (PRIME_ALNUM(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~' || (c) == '!' || (c) == '$' || (c) == '&' \
    || (c) == '\'' || (c) == '(' || (c) == ')' || (c) == '*' || (c) == '+' || (c) == ',' || (c) == ';' || (c) == '=')
#define PRIME_TARGET(c) (PRIME_NAME(c) || (c) == '%' || (c) == ':' || (c) == '@' || (c) == '/' || (c) == '?')
#define PRIME_RAW(c) ((c) == '[' || (c) == ']' || (c) == '{' || (c) == '}' || (c) == '|' || (c) == '^' || (c) == '`')
#define PRIME_TEXT(c) ((c) == '\t' || ((c) >= 0x20 && (c) != 0x7f))

#define PRIME_CLASS(c) (unsigned char)((PRIME_TOKEN(c) ? PRIME_IS_TOKEN : 0) | (PRIME_TARGET(c) ? PRIME_IS_TARGET : 0) \
    | (PRIME_RAW(c) ? PRIME_IS_RAW : 0) | (PRIME_NAME(c) ? PRIME_IS_NAME : 0) | (PRIME_HEX(c) ? PRIME_IS_HEX : 0) \
    | (PRIME_DIGIT(c) ? PRIME_IS_DIGIT : 0) | (PRIME_TEXT(c) ? PRIME_IS_TEXT : 0) \
    | (PRIME_TEXT(c) && (c) != '"' && (c) != '\\' ? PRIME_IS_QUOTED : 0))
#define PRIME_CLASS4(c) PRIME_CLASS(c), PRIME_CLASS((c) + 1), PRIME_CLASS((c) + 2), PRIME_CLASS((c) + 3)
#define PRIME_CLASS16(c) PRIME_CLASS4(c), PRIME_CLASS4((c) + 4), PRIME_CLASS4((c) + 8), PRIME_CLASS4((c) + 12)
#define PRIME_CLASS64(c) PRIME_CLASS16(c), PRIME_CLASS16((c) + 16), PRIME_CLASS16((c) + 32), PRIME_CLASS16((c) + 48)

static const unsigned char prime_class[256] = {PRIME_CLASS64(0), PRIME_CLASS64(64), PRIME_CLASS64(128), PRIME_CLASS64(192)};

static inline int prime_is(unsigned char byte, int wanted) {
    return prime_class[byte] & wanted;
}

/* The first byte that is in none of the wanted classes. */
static inline const char *prime_skip(const char *at, const char *end, int wanted) {
    while (at < end && prime_is((unsigned char)*at, wanted)) at++;
    return at;
}

#if defined(__SSE2__)
/* Sixteen comparisons at once; bytes from 0x80 on are negative, and so in no range. */
#define PRIME_BETWEEN(bytes, low, high) \
    _mm_and_si128(_mm_cmpgt_epi8(bytes, _mm_set1_epi8((low) - 1)), _mm_cmplt_epi8(bytes, _mm_set1_epi8((high) + 1)))
#define PRIME_EQUAL(bytes, byte) _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte))

/* Sixteen bytes a step: `usual` tells most of the wanted ones, and what it doesn't tell is looked up. */
#define PRIME_SKIP_USUAL(at, end, wanted, usual) \
    while ((end) - (at) >= 16) { \
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(at)); \
        const unsigned others = ~(unsigned)_mm_movemask_epi8(usual) & 0xffffu; \
        if (others == 0) { \
            (at) += 16; \
            continue; \
        } \
        (at) += __builtin_ctz(others); \
        if (!prime_is((unsigned char)*(at), wanted)) return at; \
        (at)++; \
    }
#endif

/* The first byte that is no tchar; letters, digits and hyphens are the usual ones. */
static inline const char *prime_skip_token(const char *at, const char *end) {
#if defined(__SSE2__)
    PRIME_SKIP_USUAL(at, end, PRIME_IS_TOKEN, _mm_or_si128(
        _mm_or_si128(PRIME_BETWEEN(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 'z'), PRIME_BETWEEN(bytes, '0', '9')), PRIME_EQUAL(bytes, '-')))
#endif
    return prime_skip(at, end, PRIME_IS_TOKEN);
}

/* The first byte that is in neither PRIME_IS_TARGET nor `more`. */
static inline const char *prime_skip_target(const char *at, const char *end, int more) {
#if defined(__SSE2__)
    PRIME_SKIP_USUAL(at, end, PRIME_IS_TARGET | more, _mm_or_si128(
        _mm_or_si128(_mm_or_si128(PRIME_BETWEEN(bytes, '$', ';'), PRIME_BETWEEN(bytes, '?', 'Z')), PRIME_BETWEEN(bytes, 'a', 'z')),
        _mm_or_si128(PRIME_EQUAL(bytes, '='), PRIME_EQUAL(bytes, '_'))))
#endif
    return prime_skip(at, end, PRIME_IS_TARGET | more);
}

/* The first byte that no field value may hold: a control byte other than HTAB. Values are long: sixteen, or eight, bytes a step. */
static inline const char *prime_skip_text(const char *at, const char *end) {
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;
#if defined(__SSE2__)
    while (end - at >= 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        const int found = _mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(PRIME_EQUAL(bytes, '\t'), low), PRIME_EQUAL(bytes, 0x7f)));
        if (found) return at + __builtin_ctz((unsigned)found);
        at += 16;
    }
#endif
    while (end - at >= 8) {
        uint64_t bytes, del;
        memcpy(&bytes, at, 8);
        del = bytes ^ (ones * 0x7f);
        /* May stop too early, at a tab or behind a byte that borrows; never too late. */
        if ((((bytes - ones * 0x20) & ~bytes) | ((del - ones) & ~del)) & high) break;
        at += 8;
    }
    return prime_skip(at, end, PRIME_IS_TEXT);
}

static inline uint64_t prime_lower8(const char *at) {
    uint64_t bytes;
    memcpy(&bytes, at, 8);
    return bytes | 0x2020202020202020u;
}

static inline uint32_t prime_lower4(const char *at) {
    uint32_t bytes;
    memcpy(&bytes, at, 4);
    return bytes | 0x20202020u;
}

/* Whether `size` bytes, four or more and none of them a control byte, are `name` in any letter case; `name` is lower-case letters, digits and
 * hyphens, on which 0x20 is set. */
static inline int prime_same(const char *at, const char *name, size_t size) {
    size_t i;
    if (size < 8) return prime_lower4(at) == prime_lower4(name) && prime_lower4(at + size - 4) == prime_lower4(name + size - 4);
    for (i = 0; i + 8 <= size; i += 8) {
        if (prime_lower8(at + i) != prime_lower8(name + i)) return 0;
    }
    return prime_lower8(at + size - 8) == prime_lower8(name + size - 8);
}

#endif
