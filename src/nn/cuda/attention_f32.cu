// Attention of f32 queries over keys and values that lie in several blocks, with products and sums in f32: for checks and small
// models. Four lanes serve a query of a head; a tile of keys at a time, with a running maximum and sum. WIDTH is that of a head,
// a multiple of 4; arguments are those of `attention_bf16.cu`.

#define KEYS 16
#define QUERIES (THREADS / 4)
#define PITCH (WIDTH + 1)

KERNEL void attention(const scalar *q, const unsigned long long *table, scalar *out, int queries, int heads, float scale) {
    SHARED float asked[QUERIES * PITCH];
    SHARED float keys[KEYS * PITCH];
    SHARED float values[KEYS * PITCH];
    SHARED float weights[QUERIES * (KEYS + 1)];
    const int mine = threadIdx.x / 4, part = threadIdx.x % 4, head = blockIdx.y, first = blockIdx.x * QUERIES;
    const long long row = blockIdx.z, c = (long long)heads * WIDTH;
    for (int i = threadIdx.x; i < QUERIES * WIDTH; i += THREADS) {
        const int at = first + i / WIDTH;
        asked[i / WIDTH * PITCH + i % WIDTH] = at < queries ? q[(row * queries + at) * c + head * WIDTH + i % WIDTH] : 0;
    }

    float sums[WIDTH / 4], top = MINUS_INFINITY, total = 0;
#pragma unroll
    for (int i = 0; i < WIDTH / 4; i++) sums[i] = 0;
    for (unsigned long long entry = table[row]; entry < table[row + 1]; entry += 3) {
        const scalar *k = (const scalar *)table[entry] + head * WIDTH, *v = (const scalar *)table[entry + 1] + head * WIDTH;
        const int tokens = table[entry + 2];
        for (int from = 0; from < tokens; from += KEYS) {
            const int count = tokens - from < KEYS ? tokens - from : KEYS;
            __syncthreads(); // the tile before has been read
            for (int i = threadIdx.x; i < KEYS * WIDTH; i += THREADS) {
                const int key = i / WIDTH, there = key < count;
                const long long at = (from + key) * c + i % WIDTH;
                keys[key * PITCH + i % WIDTH] = there ? k[at] : 0;
                values[key * PITCH + i % WIDTH] = there ? v[at] : 0;
            }
            __syncthreads();

            float scores[KEYS / 4], best = top, sum = 0;
            for (int i = 0; i < KEYS / 4; i++) {
                const int key = 4 * i + part;
                float score = 0;
                for (int j = 0; j < WIDTH; j++) score += asked[mine * PITCH + j] * keys[key * PITCH + j];
                scores[i] = key < count ? score * scale : MINUS_INFINITY;
                best = fmaxf(best, scores[i]);
            }
            best = fmaxf(best, warp_xor(best, 1));
            best = fmaxf(best, warp_xor(best, 2));
            for (int i = 0; i < KEYS / 4; i++) {
                const float weight = exp2f(scores[i] - best);
                weights[mine * (KEYS + 1) + 4 * i + part] = weight;
                sum += weight;
            }
            const float factor = exp2f(top - best);
            top = best, total = total * factor + sum;
            __syncthreads();
#pragma unroll
            for (int i = 0; i < WIDTH / 4; i++) {
                sums[i] *= factor;
                for (int key = 0; key < KEYS; key++) {
                    sums[i] += weights[mine * (KEYS + 1) + key] * values[key * PITCH + 4 * i + part];
                }
            }
        }
    }
    total += warp_xor(total, 1);
    total += warp_xor(total, 2);
    if (first + mine < queries) {
        scalar *to = out + (row * queries + first + mine) * c + head * WIDTH + part;
#pragma unroll
        for (int i = 0; i < WIDTH / 4; i++) to[4 * i] = sums[i] / total;
    }
}
