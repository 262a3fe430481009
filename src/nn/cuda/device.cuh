// What the kernels ask of the hardware: matrix products of a warp, copies into shared memory that run beside the work.
// `emulated/device.h` has the same for a CPU, so that the kernels can be tested where there is no GPU. No header is
// included: the run-time compiler needs no toolkit then.

#define KERNEL extern "C" __global__
#define DEVICE __device__ __forceinline__
#define SHARED __shared__ __align__(16)

DEVICE float bits_as_float(unsigned bits) { return __uint_as_float(bits); }

// Two numbers rounded to bf16, the first in the lower half.
DEVICE unsigned pack(float low, float high) {
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

DEVICE float warp_xor(float value, int lanes) { return __shfl_xor_sync(0xffffffffu, value, lanes); }

// c (16, 8) += a (16, 16) b (16, 8), bf16 in, f32 out; spread over the lanes as PTX says for mma.m16n8k16.
DEVICE void multiply(float *c, const unsigned *a, const unsigned *b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DEVICE unsigned shared_address(const void *at) { return (unsigned)__cvta_generic_to_shared(at); }

// Four matrices of 8 x 8 bf16; lane 8 m + r names row r of matrix m.
DEVICE void load_matrices(unsigned *out, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same, each matrix transposed.
DEVICE void load_transposed(unsigned *out, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Begins to copy 16 bytes into shared memory, or zeros where there is nothing to copy.
DEVICE void begin_copy(void *to, const void *from, int there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}

// Closes a group of copies.
DEVICE void close_copies(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for this thread's copies of all groups but the last.
DEVICE void await_all_but_last(void) { asm volatile("cp.async.wait_group 1;" ::: "memory"); }
