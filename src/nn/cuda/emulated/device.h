/* A GPU for tests: what `device.cuh` asks of the hardware, on one core of a CPU. Each thread of a block is a fiber that runs until
 * it has to meet others: at a barrier of the block, or wherever the lanes of a warp exchange something. Copies into shared memory
 * do not happen before they are waited for, and shared memory begins as NaN, so that a wait or a barrier too few shows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define MOST_THREADS 1024
#define MOST_COPIES 512 /* of a thread at a time */
#define STACK (64 << 10)

#define KERNEL static
#define DEVICE static
#define SHARED static __attribute__((section("shared"), aligned(16)))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct place { unsigned x, y, z; };

struct copy { void *to; const void *from; int there; };

struct fiber {
    ucontext_t context;
    char *stack;
    int done;
    unsigned turn; /* how often it met its warp */
    struct copy copies[MOST_COPIES];
    int begun, closed, last; /* copies begun; those in closed groups; those in closed groups but the last */
};

struct meeting { int arrived, turn; };

static struct fiber fibers[MOST_THREADS];
static struct meeting of_block, of_warp[MOST_THREADS / 32];
static union { float number; const void *address; struct { unsigned a[4], b[2]; } factors; } told[MOST_THREADS / 32][2][32];
static struct place threadIdx, blockIdx, gridDim;
static ucontext_t scheduler;
static int threads, waited;
static void (*kernel)(void **);
static void **arguments;

static void pause_fiber(void) { swapcontext(&fibers[threadIdx.x].context, &scheduler); }

static void meet(struct meeting *meeting, int all) {
    const int turn = meeting->turn;
    waited = 0;
    if (++meeting->arrived == all) {
        meeting->arrived = 0, meeting->turn++;
        return;
    }
    while (meeting->turn == turn) pause_fiber();
}

static void __syncthreads(void) { meet(&of_block, threads); }

/* Tells the own warp something and waits until all 32 lanes have; returns what they told. */
#define EXCHANGE(field, value)                                                                                                   \
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, side = fibers[threadIdx.x].turn++ % 2;                           \
    told[warp][side][lane].field = (value);                                                                                      \
    meet(&of_warp[warp], 32);

static float warp_xor(float value, int lanes) {
    EXCHANGE(number, value)
    return told[warp][side][lane ^ lanes].number;
}

static float bits_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* To the nearest, ties to even. */
static unsigned short rounded(float value) {
    unsigned bits;
    memcpy(&bits, &value, 4);
    if (value != value) return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static unsigned pack(float low, float high) { return rounded(low) | (unsigned)rounded(high) << 16; }

static float half_of(unsigned pair, int high) { return bits_as_float(high ? pair & 0xffff0000u : pair << 16); }

/* PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type". */
static void multiply(float *c, const unsigned *a, const unsigned *b) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, side = fibers[threadIdx.x].turn++ % 2;
    memcpy(told[warp][side][lane].factors.a, a, 16);
    memcpy(told[warp][side][lane].factors.b, b, 8);
    meet(&of_warp[warp], 32);
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        float sum = c[i];
        for (int k = 0; k < 16; k++) {
            const int part = k % 8 / 2;
            const unsigned from_a = told[warp][side][row % 8 * 4 + part].factors.a[row / 8 + k / 8 * 2];
            const unsigned from_b = told[warp][side][column * 4 + part].factors.b[k / 8];
            sum += half_of(from_a, k % 2) * half_of(from_b, k % 2);
        }
        c[i] = sum;
    }
}

/* PTX ISA, "ldmatrix": a lane receives two neighbours of one row of each matrix, or of one column. */
static void load_matrices(unsigned *out, const void *row) {
    EXCHANGE(address, row)
    for (int m = 0; m < 4; m++) memcpy(&out[m], (const unsigned *)told[warp][side][8 * m + lane / 4].address + lane % 4, 4);
}

static void load_transposed(unsigned *out, const void *row) {
    EXCHANGE(address, row)
    for (int m = 0; m < 4; m++) {
        unsigned short pair[2];
        for (int i = 0; i < 2; i++) {
            pair[i] = ((const unsigned short *)told[warp][side][8 * m + lane % 4 * 2 + i].address)[lane / 4];
        }
        memcpy(&out[m], pair, 4);
    }
}

static void begin_copy(void *to, const void *from, int there) {
    struct fiber *own = &fibers[threadIdx.x];
    if (own->begun == MOST_COPIES || (size_t)to % 16 || (there && (size_t)from % 16)) {
        fprintf(stderr, "a copy too many, or one that is not aligned\n");
        abort();
    }
    own->copies[own->begun++] = (struct copy){to, from, there};
}

static void close_copies(void) {
    struct fiber *own = &fibers[threadIdx.x];
    own->last = own->closed, own->closed = own->begun;
}

static void await_all_but_last(void) {
    struct fiber *own = &fibers[threadIdx.x];
    for (int i = 0; i < own->last; i++) {
        if (own->copies[i].there) memcpy(own->copies[i].to, own->copies[i].from, 16);
        else memset(own->copies[i].to, 0, 16);
    }
    memmove(own->copies, own->copies + own->last, (own->begun - own->last) * sizeof(struct copy));
    own->begun -= own->last, own->closed -= own->last, own->last = 0;
}

extern char __start_shared[] __attribute__((weak)), __stop_shared[] __attribute__((weak));

static void run_fiber(void) {
    kernel(arguments);
    fibers[threadIdx.x].done = 1;
    waited = 0;
    pause_fiber();
}

/* All threads of one block, each until it meets others, again and again. */
static void run_block(void) {
    int left = threads;
    if (__start_shared) memset(__start_shared, 0xff, __stop_shared - __start_shared);
    memset(&of_block, 0, sizeof of_block), memset(of_warp, 0, sizeof of_warp);
    for (int i = 0; i < threads; i++) {
        struct fiber *own = &fibers[i];
        own->done = own->turn = own->begun = own->closed = own->last = 0;
        getcontext(&own->context);
        own->context.uc_stack.ss_sp = own->stack, own->context.uc_stack.ss_size = STACK;
        makecontext(&own->context, run_fiber, 0);
    }
    for (waited = 0; left > 0; waited++) {
        if (waited > 2) {
            fprintf(stderr, "threads wait for threads that do not come\n");
            abort();
        }
        for (int i = left = 0; i < threads; i++) {
            threadIdx.x = i;
            if (!fibers[i].done) swapcontext(&scheduler, &fibers[i].context);
            left += !fibers[i].done;
        }
    }
}

static void launch(void (*of)(void **), const unsigned *grid, unsigned of_block_threads, void **with) {
    kernel = of, arguments = with, threads = of_block_threads, gridDim = (struct place){grid[0], grid[1], grid[2]};
    for (int i = 0; i < threads; i++) {
        if (!fibers[i].stack) fibers[i].stack = malloc(STACK);
    }
    for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++) run_block();
}
