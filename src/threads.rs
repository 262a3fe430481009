//! Thread pools.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, Result};

/// A pool of `count` threads. Work that it installs uses no others.
///
/// # Errors
/// The operating system provides no more threads.
pub(crate) fn pool(count: usize) -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(count).build();
    pool.map_err(|error| Error::system(format!("cannot start a thread: {error}")))
}
