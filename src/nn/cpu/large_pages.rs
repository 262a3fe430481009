//! Large pages of memory: the system clears them faster than as many small ones, and finds them
//! faster.

/// Asks the system to back values that were not written yet by large pages, as far as they fill any.
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
