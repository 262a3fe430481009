// Attention of bf16 queries over keys and values that lie in several blocks, on tensor cores. No score matrix: a tile of keys at a
// time, with a running maximum and sum for each query (Milakov & Gimelshein 2018; Dao 2023).
//
// A warp serves 16 queries of a head. Keys of the next tile come in while the values of this one are used. Each query meets the
// tiles in the same order in every batch. WIDTH is that of a head, a multiple of 16.
//
// q and out are (R, L, C). `table` begins with R + 1 numbers: where in it the blocks of each row begin. A block is three numbers:
// the addresses of its keys and values (T, C), and T.

#define KEYS 64              // of a tile
#define PITCH (WIDTH + 8)    // from one key to the next in shared memory: eight rows of a matrix then lie in different banks
#define STEPS (WIDTH / 16)   // of a product over the width of a head
#define CHUNKS (WIDTH / 8)   // of 16 bytes in a head
#define BLOCKS_AT_ONCE __launch_bounds__(THREADS, 3) // 168 registers per thread: just enough for WIDTH 128

struct tile {
    unsigned long long entry; // of the block in the table
    int first, count;         // which of its tokens
};

DEVICE struct tile tile_of(const unsigned long long *table, unsigned long long entry, unsigned long long end, int first) {
    struct tile tile = {entry, first, 0};
    if (entry < end) {
        const long long rest = (long long)table[entry + 2] - first;
        tile.count = rest < KEYS ? rest : KEYS;
    }
    return tile;
}

DEVICE struct tile next_tile(const unsigned long long *table, struct tile tile, unsigned long long end) {
    const int first = tile.first + KEYS;
    if ((unsigned long long)first < table[tile.entry + 2]) return tile_of(table, tile.entry, end, first);
    return tile_of(table, tile.entry + 3, end, 0);
}

// Begins to bring the tile's rows of one head; what lies behind its last is zero. `which` is 0 for keys, 1 for values.
DEVICE void fetch(scalar *to, const unsigned long long *table, struct tile tile, int which, int head, long long c) {
    const scalar *from = (const scalar *)table[tile.entry + which] + tile.first * c + head * WIDTH;
    for (int i = threadIdx.x; i < KEYS * CHUNKS; i += THREADS) {
        const int key = i / CHUNKS, chunk = i % CHUNKS, there = key < tile.count;
        begin_copy(to + key * PITCH + 8 * chunk, from + (there ? key * c + 8 * chunk : 0), there);
    }
}

KERNEL void BLOCKS_AT_ONCE attention(const scalar *q, const unsigned long long *table, scalar *out, int queries, int heads,
                                     float scale) {
    SHARED scalar keys[KEYS * PITCH];
    SHARED scalar values[KEYS * PITCH];
    const int lane = threadIdx.x % WARP, group = lane / 4, part = lane % 4, head = blockIdx.y;
    const long long row = blockIdx.z, c = (long long)heads * WIDTH;
    const int first = blockIdx.x * (THREADS / WARP * 16) + threadIdx.x / WARP * 16;
    const int own[2] = {first + group, first + group + 8}; // the queries of this lane

    unsigned query[STEPS][4];
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int at = own[i % 2];
            const scalar *from = q + (row * queries + at) * c + head * WIDTH + 16 * step + 8 * (i / 2) + 2 * part;
            query[step][i] = at < queries ? *(const unsigned *)from : 0;
        }
    }

    float sums[2 * STEPS][4], top[2] = {MINUS_INFINITY, MINUS_INFINITY}, total[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < 2 * STEPS; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) sums[i][j] = 0;
    }

    const unsigned long long end = table[row + 1];
    struct tile tile = tile_of(table, table[row], end, 0);
    if (tile.count > 0) fetch(keys, table, tile, 0, head, c);
    close_copies();
    while (tile.count > 0) {
        fetch(values, table, tile, 1, head, c);
        close_copies();
        await_all_but_last();
        __syncthreads(); // the keys are there

        float scores[KEYS / 8][4];
#pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
#pragma unroll
            for (int i = 0; i < 8; i++) scores[2 * j + i / 4][i % 4] = 0;
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
                unsigned key[4];
                const int of = 16 * j + lane / 16 * 8 + lane % 8;
                load_matrices(key, keys + of * PITCH + 16 * step + lane / 8 % 2 * 8);
                multiply(scores[2 * j], query[step], key);
                multiply(scores[2 * j + 1], query[step], key + 2);
            }
        }
        __syncthreads(); // the keys have been read
        const struct tile next = next_tile(table, tile, end);
        if (next.count > 0) fetch(keys, table, next, 0, head, c);
        close_copies();

        // Scores become weights: lanes of a group hold the same two queries.
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float best = top[r], sum = 0;
#pragma unroll
            for (int i = 0; i < KEYS / 4; i++) {
                float *score = &scores[i / 2][2 * r + i % 2];
                *score = i / 2 * 8 + 2 * part + i % 2 < tile.count ? *score * scale : MINUS_INFINITY;
                best = fmaxf(best, *score);
            }
            best = fmaxf(best, warp_xor(best, 1));
            best = fmaxf(best, warp_xor(best, 2));
            const float factor = exp2f(top[r] - best);
#pragma unroll
            for (int i = 0; i < KEYS / 4; i++) {
                float *score = &scores[i / 2][2 * r + i % 2];
                *score = exp2f(*score - best);
                sum += *score;
            }
            top[r] = best, total[r] = total[r] * factor + sum;
#pragma unroll
            for (int i = 0; i < 2 * STEPS; i++) sums[i][2 * r] *= factor, sums[i][2 * r + 1] *= factor;
        }

        await_all_but_last();
        __syncthreads(); // the values are there
#pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
            const float *a = scores[2 * j], *b = scores[2 * j + 1];
            const unsigned weight[4] = {pack(a[0], a[1]), pack(a[2], a[3]), pack(b[0], b[1]), pack(b[2], b[3])};
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
                unsigned value[4];
                const int of = 16 * j + lane % 16;
                load_transposed(value, values + of * PITCH + 16 * step + lane / 16 * 8);
                multiply(sums[2 * step], weight, value);
                multiply(sums[2 * step + 1], weight, value + 2);
            }
        }
        __syncthreads(); // the values have been read
        tile = next;
    }

#pragma unroll
    for (int r = 0; r < 2; r++) {
        total[r] += warp_xor(total[r], 1);
        total[r] += warp_xor(total[r], 2);
        const float inverse = 1 / total[r];
        if (own[r] < queries) {
            scalar *to = out + (row * queries + own[r]) * c + head * WIDTH + 2 * part;
#pragma unroll
            for (int i = 0; i < 2 * STEPS; i++) store2(to + 8 * i, sums[i][2 * r] * inverse, sums[i][2 * r + 1] * inverse);
        }
    }
}
