"""Warnings from code that runs without the GIL."""

# Logs a warning for the logger `prime_server`; at most a few a second, the rest is counted and told with the next.
cdef void report_malformed(const char* text) noexcept nogil
