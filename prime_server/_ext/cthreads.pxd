"""The raw declarations of threads and atomics that the loops use; Cython's own libraries have none of them."""

cdef extern from * nogil:
    """
    #include <pthread.h>

    static inline int prime_load(const int *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void prime_store(int *at, int value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
    /* Ordered with what this thread loads next: both sides of "I go to sleep" and "there is work" need it. */
    static inline void prime_store_ordered(int *at, int value) { __atomic_store_n(at, value, __ATOMIC_SEQ_CST); }
    static inline int prime_load_ordered(const int *at) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
    """
    ctypedef struct Mutex "pthread_mutex_t":
        pass
    ctypedef struct Condition "pthread_cond_t":
        pass
    ctypedef struct Thread "pthread_t":
        pass
    int mutex_init "pthread_mutex_init"(Mutex*, const void*)
    int mutex_destroy "pthread_mutex_destroy"(Mutex*)
    int mutex_lock "pthread_mutex_lock"(Mutex*)
    int mutex_trylock "pthread_mutex_trylock"(Mutex*)
    int mutex_unlock "pthread_mutex_unlock"(Mutex*)
    int condition_init "pthread_cond_init"(Condition*, const void*)
    int condition_destroy "pthread_cond_destroy"(Condition*)
    int condition_wait "pthread_cond_wait"(Condition*, Mutex*)
    int condition_signal "pthread_cond_signal"(Condition*)
    int thread_create "pthread_create"(Thread*, const void*, void* (*)(void*) noexcept nogil, void*)
    int thread_join "pthread_join"(Thread, void**)

    int atomic_load "prime_load"(const int*)
    void atomic_store "prime_store"(int*, int)
    void atomic_store_ordered "prime_store_ordered"(int*, int)
    int atomic_load_ordered "prime_load_ordered"(const int*)
