/* Python's integers as C ones, without a call and without an exception where they don't fit. Reads the digits themselves where this Python lets us. */
#ifndef PRIME_SERVER_PYLONG_H
#define PRIME_SERVER_PYLONG_H

#include <Python.h>
#include <stdint.h>

enum { PYLONG_FITS = 0, PYLONG_NEGATIVE = 1, PYLONG_BIG = 2 };

/* `n` is an int or of a subclass. PYLONG_BIG: 2^64 or more. */
static inline int pylong_u64(PyObject *n, uint64_t *value)
{
#if PYLONG_BITS_IN_DIGIT == 30 && PY_VERSION_HEX < 0x030F0000 && !defined(PYPY_VERSION)
    const PyLongObject *number = (const PyLongObject *)n;
#if PY_VERSION_HEX >= 0x030C0000
    const digit *digits = number->long_value.ob_digit;
    uintptr_t tag = number->long_value.lv_tag; /* the number of digits above three bits, of which two tell the sign: 0, 1 for zero, 2 */
    uintptr_t size = tag >> 3;
    if ((tag & 3) == 2) return PYLONG_NEGATIVE;
#else
    const digit *digits = number->ob_digit;
    Py_ssize_t size = Py_SIZE(n);
    if (size < 0) return PYLONG_NEGATIVE;
#endif
    switch (size) {
    case 0: *value = 0; return PYLONG_FITS;
    case 1: *value = digits[0]; return PYLONG_FITS;
    case 2: *value = digits[0] | (uint64_t)digits[1] << 30; return PYLONG_FITS;
    case 3:
        if (digits[2] >> 4) return PYLONG_BIG;
        *value = digits[0] | (uint64_t)digits[1] << 30 | (uint64_t)digits[2] << 60;
        return PYLONG_FITS;
    default: return PYLONG_BIG;
    }
#else
    int overflow;
    long long small = PyLong_AsLongLongAndOverflow(n, &overflow); /* an int: nothing can fail */
    if (overflow < 0 || (!overflow && small < 0)) return PYLONG_NEGATIVE;
    *value = overflow ? PyLong_AsUnsignedLongLong(n) : (unsigned long long)small;
    if (overflow && PyErr_Occurred()) {
        PyErr_Clear();
        return PYLONG_BIG;
    }
    return PYLONG_FITS;
#endif
}

/* Bytes that an int above 0 takes, as a whole number of 64-bit limbs; and its limbs, the least first. `bytes` is what the former said. */
static inline size_t pylong_limb_bytes(PyObject *n)
{
#if PY_VERSION_HEX >= 0x030D0000
    return ((size_t)PyLong_AsNativeBytes(n, NULL, 0, 1) + 7) / 8 * 8;
#else
    return (_PyLong_NumBits(n) + 63) / 64 * 8;
#endif
}

/* 0, or -1 with an exception. */
static inline int pylong_limbs(PyObject *n, uint64_t *limbs, size_t bytes)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyLong_AsNativeBytes(n, limbs, (Py_ssize_t)bytes, 1 | 4) < 0 ? -1 : 0; /* little endian, unsigned */
#else
    return _PyLong_AsByteArray((PyLongObject *)n, (unsigned char *)limbs, bytes, 1, 0);
#endif
}

#endif
