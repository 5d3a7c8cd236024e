"""The characters of HTTP/1.x, for the modules that read it."""

from libc.stddef cimport size_t

cdef extern from "http_syntax.h" nogil:
    enum:
        IS_TOKEN "PRIME_IS_TOKEN"
        IS_TARGET "PRIME_IS_TARGET"
        IS_RAW "PRIME_IS_RAW"
        IS_NAME "PRIME_IS_NAME"
        IS_HEX "PRIME_IS_HEX"
        IS_DIGIT "PRIME_IS_DIGIT"
        IS_TEXT "PRIME_IS_TEXT"
        IS_QUOTED "PRIME_IS_QUOTED"
    bint is_in "prime_is"(unsigned char byte, int wanted) noexcept
    const char* skip "prime_skip"(const char* at, const char* end, int wanted) noexcept
    const char* skip_token "prime_skip_token"(const char* at, const char* end) noexcept
    const char* skip_target "prime_skip_target"(const char* at, const char* end, int more) noexcept
    const char* skip_text "prime_skip_text"(const char* at, const char* end) noexcept
    bint same "prime_same"(const char* at, const char* name, size_t size) noexcept
