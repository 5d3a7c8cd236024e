"""How long jobs take of late, and how sure that is.

Mean and variance of the latest ones: all alike until there are `MEMORY` of them, then exponentially weighted (West, "Updating mean and variance
estimates", CACM 22:9, 1979). A single job that took seconds says little of those behind it, so who would refuse a job on its account asks for the
least that the ones before it may take: their sum less two standard errors, where the mean of few samples counts as uncertain as if they scattered.
One long job among short ones lies a standard error from zero, whatever their numbers, so by two it never counts.
"""

from libc.math cimport sqrt
from libc.stddef cimport size_t

cdef enum:
    MEMORY = 128               # samples
    ERRORS = 2                 # standard errors

cdef struct Estimate:
    double samples             # that count
    double mean                # us
    double variance

cdef inline void estimate_take(Estimate* self, double us) noexcept nogil:
    cdef double difference = us - self.mean
    if self.samples < MEMORY:
        self.samples += 1
    self.mean += difference / self.samples
    self.variance = (1 - 1 / self.samples) * (self.variance + difference * difference / self.samples)

cdef inline double estimate_least(const Estimate* self, size_t jobs) noexcept nogil:
    """What so many jobs take at the least, us in all; 0 where nothing is known."""
    cdef double variance, least
    if self.samples == 0:
        return 0
    variance = self.variance + self.mean * self.mean / self.samples
    least = jobs * self.mean - ERRORS * sqrt(jobs * variance + <double>jobs * jobs * variance / self.samples)
    return least if least > 0 else 0
