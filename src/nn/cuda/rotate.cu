// Splits projections (R, L, 3 C) into queries, keys and values, a head of a token a warp. Queries and keys are brought to length
// 1, queries multiplied by their head's temperature, both turned by the angles of their token, one pair of neighbours at a time.
//
// q is (R, L, C); `kept` holds the addresses of keys and then of values (L, C) of each row; cos and sin are (L, width / 2).

#define LEAST_LENGTH 1e-12f // PyTorch's F.normalize

// out = turned(scale * x / |x|)
DEVICE void turn(const scalar *x, float scale, const float *cos, const float *sin, scalar *out, int width, int lane) {
    float power = 0, pair[2];
    for (int i = lane; i < width / 2; i += WARP) {
        load2(x + 2 * i, pair);
        power += pair[0] * pair[0] + pair[1] * pair[1];
    }
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2) power += warp_xor(power, lanes);
    scale /= fmaxf(sqrtf(power), LEAST_LENGTH);
    for (int i = lane; i < width / 2; i += WARP) {
        load2(x + 2 * i, pair);
        const float a = pair[0] * scale, b = pair[1] * scale;
        store2(out + 2 * i, a * cos[i] - b * sin[i], a * sin[i] + b * cos[i]);
    }
}

KERNEL void split_and_rotate(const scalar *qkv, const float *temperature, const float *cos, const float *sin, scalar *q,
                             const unsigned long long *kept, long long heads_of_tokens, int tokens, int heads, int width) {
    const long long number = (long long)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP; // (row, token, head)
    if (number >= heads_of_tokens) return;
    const int lane = threadIdx.x % WARP, head = number % heads, token = number / heads % tokens;
    const long long row = number / heads / tokens, c = (long long)heads * width;
    const scalar *from = qkv + (row * tokens + token) * 3 * c + (long long)head * width;
    const long long to = token * c + (long long)head * width;
    scalar *k = (scalar *)kept[2 * row], *v = (scalar *)kept[2 * row + 1];
    cos += (long long)token * (width / 2), sin += (long long)token * (width / 2);
    turn(from, temperature[head], cos, sin, q + row * tokens * c + to, width, lane);
    turn(from + c, 1, cos, sin, k + to, width, lane);
    for (int i = lane; i < width / 2; i += WARP) {
        float pair[2];
        load2(from + 2 * c + 2 * i, pair);
        store2(v + to + 2 * i, pair[0], pair[1]);
    }
}
