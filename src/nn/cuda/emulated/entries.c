/* A kernel file made callable: `launch_kernel` takes arguments as the driver's cuLaunchKernel does, each by its address. */
#include "device.h"

#include "../values.cuh"
#include KERNEL_FILE

#define AT(i) (*(scalar **)a[i])
#define NUMBERS(i) (*(float **)a[i])
#define TABLE(i) (*(unsigned long long **)a[i])
#define LONG(i) (*(long long *)a[i])
#define INT(i) (*(int *)a[i])
#define REAL(i) (*(float *)a[i])

#if defined(normalise_cu)
static void normalise_entry(void **a) { normalise(AT(0), AT(1), AT(2), AT(3), INT(4), REAL(5), REAL(6)); }
#elif defined(residual_cu)
static void residual_entry(void **a) { residual(AT(0), AT(1), AT(2), AT(3), LONG(4), INT(5)); }
#elif defined(rotate_cu)
static void split_and_rotate_entry(void **a) {
    split_and_rotate(AT(0), NUMBERS(1), NUMBERS(2), NUMBERS(3), AT(4), TABLE(5), LONG(6), INT(7), INT(8), INT(9));
}
#elif defined(group_norm_cu)
static void group_sums_entry(void **a) { group_sums(AT(0), NUMBERS(1), LONG(2)); }
static void group_apply_entry(void **a) {
    group_apply(AT(0), NUMBERS(1), AT(2), AT(3), AT(4), LONG(5), INT(6), INT(7), LONG(8), REAL(9), INT(10));
}
#elif defined(attention_bf16_cu) || defined(attention_f32_cu)
static void attention_entry(void **a) { attention(AT(0), TABLE(1), AT(2), INT(3), INT(4), REAL(5)); }
#endif

#define ENTRY(name) \
    if (!strcmp(kernel_name, #name)) return launch(name##_entry, grid, block, a), 1;

int launch_kernel(const char *kernel_name, const unsigned *grid, unsigned block, void **a) {
#if defined(normalise_cu)
    ENTRY(normalise)
#elif defined(residual_cu)
    ENTRY(residual)
#elif defined(rotate_cu)
    ENTRY(split_and_rotate)
#elif defined(group_norm_cu)
    ENTRY(group_sums)
    ENTRY(group_apply)
#elif defined(attention_bf16_cu) || defined(attention_f32_cu)
    ENTRY(attention)
#endif
    return 0;
}
