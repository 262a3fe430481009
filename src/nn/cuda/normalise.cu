// Layer normalisation, one row per block: out = (x - mean) / std * (base + scale) + shift. `base` is 1 for the modulation of
// adaptive layers, 0 for a learned scale.
KERNEL void normalise(const scalar *x, const scalar *scale, const scalar *shift, scalar *out, int width, float base,
                      float eps) {
    const long long row = (long long)blockIdx.x * width;
    float v[4], sum = 0, power = 0;
    for (int at = 4 * threadIdx.x; at < width; at += 4 * THREADS) {
        load4(x + row + at, v);
        sum += (v[0] + v[1]) + (v[2] + v[3]);
    }
    const float mean = block_sum(sum) / width;
    for (int at = 4 * threadIdx.x; at < width; at += 4 * THREADS) {
        load4(x + row + at, v);
        for (int i = 0; i < 4; i++) power += (v[i] - mean) * (v[i] - mean);
    }
    const float inverse = 1 / sqrtf(block_sum(power) / width + eps);
    for (int at = 4 * threadIdx.x; at < width; at += 4 * THREADS) {
        float factor[4], added[4];
        load4(x + row + at, v);
        load4(scale + at, factor);
        load4(shift + at, added);
        for (int i = 0; i < 4; i++) v[i] = (v[i] - mean) * inverse * (base + factor[i]) + added[i];
        store4(out + row + at, v);
    }
}
