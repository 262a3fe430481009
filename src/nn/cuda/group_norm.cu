// Group normalisation of maps (B, C, H, W), with or without a SiLU. The values of a group lie together and are met in slices of a
// fixed size, so that large images have enough blocks and sums an order that does not depend on the number of images.

// Mean of a slice, and the sum of squared distances from it: `found` (groups of all images, slices, 2).
KERNEL void group_sums(const scalar *x, float *found, long long size) {
    const long long first = (long long)blockIdx.x * SLICE;
    const int count = size - first < SLICE ? size - first : SLICE;
    float v[4], sum = 0, power = 0;
    x += blockIdx.y * size + first;
    for (int at = 4 * threadIdx.x; at < count; at += 4 * THREADS) {
        load4(x + at, v);
        sum += (v[0] + v[1]) + (v[2] + v[3]);
    }
    const float mean = block_sum(sum) / count;
    for (int at = 4 * threadIdx.x; at < count; at += 4 * THREADS) {
        load4(x + at, v);
        for (int i = 0; i < 4; i++) power += (v[i] - mean) * (v[i] - mean);
    }
    power = block_sum(power);
    if (threadIdx.x == 0) {
        found += 2 * ((long long)blockIdx.y * gridDim.x + blockIdx.x);
        found[0] = mean, found[1] = power;
    }
}

// Normalises a slice: weight and bias are (C), a group has `channels` of them with `pixels` values each.
KERNEL void group_apply(const scalar *x, const float *found, const scalar *weight, const scalar *bias, scalar *out,
                        long long size, int groups, int channels, long long pixels, float eps, int silu) {
    const int slices = gridDim.x;
    float sum = 0, power = 0, v[4];
    found += 2 * (long long)blockIdx.y * slices;
    for (int i = threadIdx.x; i < slices; i += THREADS) {
        const long long rest = size - (long long)i * SLICE;
        sum += found[2 * i] * (rest < SLICE ? rest : SLICE);
    }
    const float mean = block_sum(sum) / size;
    for (int i = threadIdx.x; i < slices; i += THREADS) {
        const long long rest = size - (long long)i * SLICE;
        const float apart = found[2 * i] - mean;
        power += found[2 * i + 1] + apart * apart * (rest < SLICE ? rest : SLICE);
    }
    const float inverse = 1 / sqrtf(block_sum(power) / size + eps);
    const long long first = (long long)blockIdx.x * SLICE;
    const int channel = blockIdx.y % groups * channels;
    for (int i = 4 * threadIdx.x; i < SLICE && first + i < size; i += 4 * THREADS) {
        const long long at = blockIdx.y * size + first + i;
        load4(x + at, v);
        for (int j = 0; j < 4; j++) {
            const int own = channel + (first + i + j) / pixels;
            const float y = (v[j] - mean) * inverse * one(weight + own) + one(bias + own);
            v[j] = silu ? y / (1 + expf(-y)) : y;
        }
        store4(out + at, v);
    }
}
