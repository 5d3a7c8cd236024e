"""What a server takes on: no more requests, and no more bytes of them, than its bounds allow.

What is over them is answered 503 at once, and told to come again when what is in flight will have been served at the rate of late: `Retry-After`.
The rate is that of a time in which there was something to serve, so an idle hour doesn't count. An eighth of both bounds is kept for clients that ask
for one thing at a time, so that a flood over few connections doesn't shut out the others.
"""

cdef enum:
    PACE_US = 1_000_000        # that the rate is taken over
    LEAST_US = 50_000          # and of the first one, at least
    MOST_SECONDS = 600         # that anybody is sent away for
    KEPT = 8                   # one part in so many of a bound


cdef int seconds_of(int64_t us) noexcept nogil:
    return 1 if us <= 1_000_000 else MOST_SECONDS if us > MOST_SECONDS * <int64_t>1_000_000 else <int>((us + 999_999) // 1_000_000)


cdef class Admission(Asking):
    cdef bint overloaded(self, const Pending* pending, int64_t now) noexcept nogil:
        cdef bint behind = pending.connection.waiting_for_workers > 0
        cdef size_t requests = self.max_in_flight - (self.max_in_flight // KEPT if behind else 0)
        cdef size_t room = self.max_payload - (self.max_payload // KEPT if behind else 0)
        if self.in_flight == 0:
            self.pace_since = now
            self.pace_count = 0
        # A single request is taken however big it is.
        if self.in_flight < requests and (self.payload + pending.payload <= room or self.in_flight == 0):
            return False
        self.overloads += 1
        return True

    cdef void served(self, int64_t now) noexcept nogil:
        self.pace_count += 1
        if now - self.pace_since >= PACE_US:
            self.look(now)

    cdef void look(self, int64_t now) noexcept nogil:
        cdef double rate = self.pace_count * 1e6 / (now - self.pace_since)
        self.pace = rate if self.pace <= 0 else (self.pace + rate) / 2
        self.pace_since = now
        self.pace_count = 0

    cdef int retry_after(self, int64_t now) noexcept nogil:
        if now - self.pace_since >= (PACE_US if self.pace > 0 else LEAST_US):
            self.look(now)
        return seconds_of(<int64_t>(self.in_flight * 1e6 / self.pace) if self.pace > 0 else 0)
