// Numbers as tensors hold them, bf16 with BF16 = 1 and f32 with 0, and sums over a block of threads. Everything is computed in
// f32 and rounded once.

#if BF16
typedef unsigned short scalar;
#else
typedef float scalar;
#endif

#define MINUS_INFINITY bits_as_float(0xff800000u)
#define WARP 32

DEVICE float low(unsigned pair) { return bits_as_float(pair << 16); }
DEVICE float high(unsigned pair) { return bits_as_float(pair & 0xffff0000u); }

// Two neighbours; `at` is even.
DEVICE void load2(const scalar *from, float *to) {
#if BF16
    unsigned pair = *(const unsigned *)from;
    to[0] = low(pair), to[1] = high(pair);
#else
    struct __align__(8) two { float a, b; };
    struct two pair = *(const struct two *)from;
    to[0] = pair.a, to[1] = pair.b;
#endif
}

DEVICE void store2(scalar *to, float a, float b) {
#if BF16
    *(unsigned *)to = pack(a, b);
#else
    struct __align__(8) two { float a, b; } pair = {a, b};
    *(struct two *)to = pair;
#endif
}

// Four neighbours; the first is the 4 n-th of an aligned tensor.
DEVICE void load4(const scalar *from, float *to) {
#if BF16
    struct __align__(8) four { unsigned a, b; };
    struct four v = *(const struct four *)from;
    to[0] = low(v.a), to[1] = high(v.a), to[2] = low(v.b), to[3] = high(v.b);
#else
    struct __align__(16) four { float a, b, c, d; };
    struct four v = *(const struct four *)from;
    to[0] = v.a, to[1] = v.b, to[2] = v.c, to[3] = v.d;
#endif
}

DEVICE void store4(scalar *to, const float *v) {
#if BF16
    struct __align__(8) four { unsigned a, b; } rounded = {pack(v[0], v[1]), pack(v[2], v[3])};
#else
    struct __align__(16) four { float a, b, c, d; } rounded = {v[0], v[1], v[2], v[3]};
#endif
    *(struct four *)to = rounded;
}

DEVICE float one(const scalar *from) {
#if BF16
    return low(*from);
#else
    return *from;
#endif
}

// The sum over all threads, the same in each; the order depends on nothing but their number.
DEVICE float block_sum(float value) {
    SHARED float of_warps[THREADS / WARP];
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2) value += warp_xor(value, lanes);
    __syncthreads(); // the sum before this one has been read
    if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = value;
    __syncthreads();
    float sum = 0;
    for (int warp = 0; warp < THREADS / WARP; warp++) sum += of_warps[warp];
    return sum;
}
