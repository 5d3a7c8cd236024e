"""Primality from 2^64 on, by GMP: its functions are taken from the very library that gmpy2 has loaded, and called with the GIL released.

`dlopen` of gmpy2's extension module with RTLD_NOLOAD gives a handle whose search reaches the libraries that the module depends on. GMP's layout of
an integer (two ints and a pointer to 64-bit limbs) and the names of its functions are part of its binary interface, unchanged since GMP 2. Its
functions may run without the GIL if its memory comes from malloc: older versions of gmpy2 have GMP ask Python's allocator, which needs the GIL.
So where a function is missing, limbs aren't 64 bits, or memory isn't GMP's own, gmpy2's functions do the work, and hold the GIL.

`is_prime` is one call of GMP's. A worker's test is in steps, so that it ends soon after nobody waits any more: small primes, the strong
test to base 2, then the almost extra strong Lucas test of primality.h, bit by bit. Both are Baillie-PSW tests.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc

import sys

import gmpy2

from prime_server._ext.pylong cimport pylong_limb_bytes, pylong_limbs

cdef extern from "<dlfcn.h>" nogil:
    void* dlopen(const char* path, int flags)
    void* dlsym(void* handle, const char* name)
    enum:
        RTLD_NOW
        RTLD_NOLOAD

cdef enum:
    BASELINE = 24              # of mpz_probab_prime_p's repetitions: 24 is Baillie-PSW alone, each one more a round of Miller-Rabin
    STACK_LIMBS = 64           # numbers up to 4,096 bits need no memory
    SLICE = 64                 # bits of the Lucas chain between two checks, at the sizes of which one takes microseconds

ctypedef struct Mpz:
    int allocated              # 0: the limbs belong to somebody else, the number is read only
    int size                   # limbs, negative for a negative number
    uint64_t* limbs

ctypedef void (*get_memory_fn)(void** allocate, void** reallocate, void** release) noexcept nogil
ctypedef void (*one_fn)(Mpz*) noexcept nogil
ctypedef void (*two_fn)(Mpz*, const Mpz*) noexcept nogil
ctypedef void (*three_fn)(Mpz*, const Mpz*, const Mpz*) noexcept nogil
ctypedef void (*four_fn)(Mpz*, const Mpz*, const Mpz*, const Mpz*) noexcept nogil
ctypedef void (*small_fn)(Mpz*, const Mpz*, unsigned long) noexcept nogil

ctypedef struct Gmp:
    one_fn init
    one_fn clear
    void (*set_ui)(Mpz*, unsigned long) noexcept nogil
    four_fn powm
    three_fn mul
    three_fn mod
    small_fn add_ui
    small_fn sub_ui
    small_fn tdiv_q_2exp
    int (*cmp)(const Mpz*, const Mpz*) noexcept nogil
    int (*cmp_ui)(const Mpz*, unsigned long) noexcept nogil
    unsigned long (*tdiv_ui)(const Mpz*, unsigned long) noexcept nogil
    unsigned long (*scan1)(const Mpz*, unsigned long) noexcept nogil
    int (*tstbit)(const Mpz*, unsigned long) noexcept nogil
    size_t (*sizeinbase)(const Mpz*, int) noexcept nogil
    int (*si_kronecker)(long, const Mpz*) noexcept nogil
    int (*perfect_square_p)(const Mpz*) noexcept nogil
    int (*probab_prime_p)(const Mpz*, int) noexcept nogil

cdef const char** NAMES = [
    "__gmpz_init", "__gmpz_clear", "__gmpz_set_ui", "__gmpz_powm", "__gmpz_mul", "__gmpz_mod",
    "__gmpz_add_ui", "__gmpz_sub_ui", "__gmpz_tdiv_q_2exp", "__gmpz_cmp", "__gmpz_cmp_ui", "__gmpz_tdiv_ui", "__gmpz_scan1",
    "__gmpz_tstbit", "__gmpz_sizeinbase", "__gmpz_si_kronecker", "__gmpz_perfect_square_p", "__gmpz_probab_prime_p",
]
cdef Gmp gmp
cdef bint callable_freely = False

cdef enum:
    PRODUCTS = 64
cdef uint64_t[PRODUCTS] products          # of the odd primes from 3 on, as many in each as 64 bits hold
cdef object SMALL = gmpy2.primorial(1000)


cdef bint load() except -1:
    """Fills the table; False where GMP can't be called without the GIL."""
    cdef void* handle
    cdef const int* limb_bits
    cdef get_memory_fn get_memory
    cdef void* memory[3]
    cdef void* own[3]
    cdef void** entries = <void**>&gmp
    cdef size_t index
    module = getattr(sys.modules.get("gmpy2.gmpy2"), "__file__", None)
    if module is None or sys.byteorder != "little" or sizeof(unsigned long) != 8:
        return False
    handle = dlopen(module.encode(), RTLD_NOW | RTLD_NOLOAD)
    if handle == NULL:
        return False
    # The handle stays: it keeps the library where the table points to.
    limb_bits = <const int*>dlsym(handle, "__gmp_bits_per_limb")
    get_memory = <get_memory_fn>dlsym(handle, "__gmp_get_memory_functions")
    own[0] = dlsym(handle, "__gmp_default_allocate")
    own[1] = dlsym(handle, "__gmp_default_reallocate")
    own[2] = dlsym(handle, "__gmp_default_free")
    if limb_bits == NULL or limb_bits[0] != 64 or get_memory == NULL or own[0] == NULL:
        return False
    get_memory(&memory[0], &memory[1], &memory[2])
    if memory[0] != own[0] or memory[1] != own[1] or memory[2] != own[2]:
        return False
    for index in range(sizeof(Gmp) // sizeof(void*)):
        entries[index] = dlsym(handle, NAMES[index])
        if entries[index] == NULL:
            return False
    return True


cdef void multiply_small_primes() noexcept:
    cdef uint64_t product = 1
    cdef unsigned p = 3
    cdef unsigned d
    cdef int filled = 0
    while filled < PRODUCTS:
        d = 3
        while d * d <= p and p % d:
            d += 2
        if d * d > p:
            if product > (<uint64_t>-1) // p:
                products[filled] = product
                filled += 1
                product = 1
            product *= p
        p += 2


# --- steps ---------------------------------------------------------------------------------------------------------------------------------------


cdef uint64_t gcd(uint64_t a, uint64_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


cdef bint has_small_factor(const Mpz* n) noexcept nogil:
    """For n above the primes that are tried: few for short numbers, a test of which costs little more."""
    cdef int index
    cdef int count = min(PRODUCTS, 2 * n.size)
    if not n.limbs[0] & 1:
        return True
    for index in range(count):
        if gcd(products[index], gmp.tdiv_ui(n, products[index])) != 1:
            return True
    return False


cdef bint is_strong(const Mpz* n, const Mpz* base) noexcept nogil:
    """The strong test of an odd n to a base in 2...n - 2."""
    cdef Mpz minus_one, odd, x
    cdef unsigned long twos
    cdef bint passes
    gmp.init(&minus_one)
    gmp.init(&odd)
    gmp.init(&x)
    gmp.sub_ui(&minus_one, n, 1)
    twos = gmp.scan1(&minus_one, 0)
    gmp.tdiv_q_2exp(&odd, &minus_one, twos)
    gmp.powm(&x, base, &odd, n)
    passes = gmp.cmp_ui(&x, 1) == 0 or gmp.cmp(&x, &minus_one) == 0
    while not passes and twos > 1:
        twos -= 1
        gmp.mul(&odd, &x, &x)
        gmp.mod(&x, &odd, n)
        passes = gmp.cmp(&x, &minus_one) == 0
    gmp.clear(&minus_one)
    gmp.clear(&odd)
    gmp.clear(&x)
    return passes


ctypedef struct Lucas:
    const Mpz* n               # borrowed
    Mpz next                   # n + 1
    Mpz v                      # V(k) for the bits k of n + 1 that have been read
    Mpz w                      # V(k + 1)
    Mpz product
    long parameter
    unsigned long at           # the bit of n + 1 that was read last
    unsigned long twos


cdef bint lucas_start(Lucas* self, const Mpz* n) noexcept nogil:
    """False: n is composite, there is nothing to end. n is odd."""
    cdef long p = 3
    cdef int symbol
    while True:
        symbol = gmp.si_kronecker(p * p - 4, n)
        if symbol < 0:
            break
        if symbol == 0 or (p == 20 and gmp.perfect_square_p(n)):
            return False
        p += 1
    self.n = n
    self.parameter = p
    gmp.init(&self.next)
    gmp.init(&self.v)
    gmp.init(&self.w)
    gmp.init(&self.product)
    gmp.add_ui(&self.next, n, 1)
    self.twos = gmp.scan1(&self.next, 0)
    self.at = gmp.sizeinbase(&self.next, 2) - 1
    gmp.set_ui(&self.v, p)
    gmp.set_ui(&self.w, p * p - 2)
    return True


cdef void lucas_end(Lucas* self) noexcept nogil:
    gmp.clear(&self.next)
    gmp.clear(&self.v)
    gmp.clear(&self.w)
    gmp.clear(&self.product)


cdef void lucas_square(Lucas* self, Mpz* v) noexcept nogil:
    gmp.mul(&self.product, v, v)
    gmp.sub_ui(&self.product, &self.product, 2)
    gmp.mod(v, &self.product, self.n)


cdef bint lucas_step(Lucas* self) noexcept nogil:
    """Reads a bit. False once the odd part of n + 1 has been read."""
    cdef bint bit
    cdef Mpz* other
    if self.at <= self.twos:
        return False
    self.at -= 1
    bit = gmp.tstbit(&self.next, self.at)
    other = &self.v if bit else &self.w
    gmp.mul(&self.product, &self.v, &self.w)
    gmp.sub_ui(&self.product, &self.product, self.parameter)
    gmp.mod(other, &self.product, self.n)
    lucas_square(self, &self.w if bit else &self.v)
    return True


cdef bint lucas_passes(Lucas* self) noexcept nogil:
    """After the last step."""
    cdef unsigned long _left
    gmp.sub_ui(&self.product, self.n, 2)
    if gmp.cmp_ui(&self.v, 2) == 0 or gmp.cmp(&self.v, &self.product) == 0:
        return True
    for _left in range(1, self.twos):
        if self.v.size == 0:
            return True
        lucas_square(self, &self.v)
    return False


# --- for Python's integers -----------------------------------------------------------------------------------------------------------------------


cdef int borrow(object n, Mpz* number, uint64_t* room, void** owned) except -1:
    """n as GMP sees it: its limbs in `room` or, where that is too small, in `owned`, which the caller frees."""
    cdef size_t size = pylong_limb_bytes(n)
    owned[0] = NULL
    number.allocated = 0
    number.limbs = room
    if size > STACK_LIMBS * sizeof(uint64_t):
        owned[0] = malloc(size)
        if owned[0] == NULL:
            raise MemoryError()
        number.limbs = <uint64_t*>owned[0]
    if size >> 3 > 0x7FFFFFFF:
        free(owned[0])
        raise OverflowError("the number has more bits than GMP takes")
    number.size = <int>(size >> 3)
    try:
        pylong_limbs(n, number.limbs, size)
    except BaseException:
        free(owned[0])
        raise
    while number.size > 0 and number.limbs[number.size - 1] == 0:
        number.size -= 1
    return 0


cdef bint is_prime_big(object n) except -1:
    cdef uint64_t[STACK_LIMBS] room
    cdef Mpz number
    cdef void* owned
    cdef bint prime
    if not callable_freely:
        return gmpy2.is_prime(n, BASELINE)
    borrow(n, &number, room, &owned)
    if number.limbs[0] & 1 == 0:
        free(owned)
        return False
    with nogil:
        prime = gmp.probab_prime_p(&number, BASELINE) != 0
        free(owned)
    return prime


cdef bint is_strong_to(object n, object base) except -1:
    """The strong test of an odd n; 2 <= base <= n - 2."""
    cdef uint64_t[STACK_LIMBS] room, base_room
    cdef Mpz number, base_number
    cdef void* owned
    cdef void* base_owned
    cdef bint passes
    if not callable_freely:
        return gmpy2.is_strong_prp(n, base)
    borrow(n, &number, room, &owned)
    try:
        borrow(base, &base_number, base_room, &base_owned)
    except BaseException:
        free(owned)
        raise
    with nogil:
        passes = is_strong(&number, &base_number)
        free(owned)
        free(base_owned)
    return passes


cdef bint is_prime_big_checked(object n, object check) except -1:
    cdef uint64_t[STACK_LIMBS] room
    cdef Mpz number
    cdef void* owned
    cdef Lucas lucas
    cdef bint small, more = True
    cdef int _step
    check()
    if not callable_freely:
        n = gmpy2.mpz(n)
        if n % 2 == 0 or gmpy2.gcd(n, SMALL) != 1 or not gmpy2.is_strong_prp(n, 2):
            return False
        check()
        return gmpy2.is_strong_selfridge_prp(n)
    borrow(n, &number, room, &owned)
    try:
        with nogil:
            small = has_small_factor(&number)
        if small or not is_strong_to(n, 2):
            return False
        check()
        if not lucas_start(&lucas, &number):
            return False
        try:
            while more:
                with nogil:
                    for _step in range(max(1, SLICE * 64 // number.size // number.size)):
                        more = lucas_step(&lucas)
                        if not more:
                            break
                check()
            with nogil:
                more = lucas_passes(&lucas)
            return more
        finally:
            lucas_end(&lucas)
    finally:
        free(owned)


multiply_small_primes()
callable_freely = load()
WITHOUT_GIL = callable_freely
