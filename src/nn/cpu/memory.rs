//! Requests to the system about memory.

/// Gives free memory back to the system, as far as the allocator has kept it. Freed tensors of up to
/// 32 MiB would otherwise lie beside what is computed next.
pub(crate) fn return_free_memory() {
    // SAFETY: The call only gives back pages that nothing uses.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Asks the system to back values that were not written yet by large pages, as far as they fill any.
/// It clears and finds them faster than as many small ones.
pub(crate) fn advise_large_pages<T>(values: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let all = values.as_mut_ptr_range();
        let first = (all.start as usize).next_multiple_of(PAGE);
        let beyond = all.end as usize / PAGE * PAGE;
        if first < beyond {
            // SAFETY: The range is inside of `values`. The advice changes no value.
            let _ = unsafe {
                libc::madvise(
                    first as *mut libc::c_void,
                    beyond - first,
                    libc::MADV_HUGEPAGE,
                )
            };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = values;
}
