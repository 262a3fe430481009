//! Thread pools, and work that threads share.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
    thread,
};

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

/// Workers that share tasks: each takes the next one as soon as it is done with the one before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workers {
    /// Tasks that run in parallel. A single worker computes with all threads.
    pub count: usize,
    /// Threads with which each of several workers computes.
    pub threads_each: usize,
}

impl Workers {
    /// Workers that compute with one thread each.
    pub fn single_threaded(count: usize) -> Self {
        Self {
            count,
            threads_each: 1,
        }
    }

    /// Runs `work` on each task, and `keep` on each result that it sends. Results come in any order;
    /// `keep` runs on the calling thread.
    ///
    /// # Errors
    /// The first error of `keep` or of `work`, after which no task begins; or the operating system
    /// provides no more threads.
    pub fn share<T: Sync, R: Send>(
        self,
        tasks: &[T],
        work: impl Fn(&T, &Results<R>) -> Result<()> + Sync,
        mut keep: impl FnMut(R) -> Result<()>,
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let failed = Mutex::new(None);
        let run = |results: &Results<R>| {
            while !stop.load(Ordering::Relaxed)
                && let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed))
            {
                work(task, results)?;
            }
            Ok(())
        };
        let pools = (0..self.count.clamp(1, tasks.len().max(1)))
            .map(|_| {
                (self.count > 1)
                    .then(|| pool(self.threads_each))
                    .transpose()
            })
            .collect::<Result<Vec<_>>>()?;
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            for pool in &pools {
                let results = Results {
                    sender: sender.clone(),
                    stop: &stop,
                };
                let (run, failed) = (&run, &failed);
                scope.spawn(move || {
                    let done = match pool {
                        Some(pool) => pool.install(|| run(&results)),
                        None => run(&results),
                    };
                    if let Err(error) = done {
                        results.stop.store(true, Ordering::Relaxed);
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.get_or_insert(error);
                    }
                });
            }
            drop(sender);
            for result in receiver {
                if let Err(error) = keep(result) {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        })?;
        failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }
}

/// Where a worker sends its results.
pub(crate) struct Results<'a, R> {
    sender: Sender<R>,
    stop: &'a AtomicBool,
}

impl<R> Results<'_, R> {
    /// Sends a result. Returns false once no more are wanted.
    pub fn send(&self, result: R) -> bool {
        self.sender.send(result).is_ok() && !self.stop.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASKS: [usize; 6] = [0, 1, 2, 3, 4, 5];

    #[test]
    fn every_task_is_done_once_and_may_have_several_results() {
        for count in [1, 3, 20] {
            let mut kept = vec![];
            let twice = |task: &usize, results: &Results<usize>| {
                results.send(*task);
                results.send(task + 10);
                Ok(())
            };
            let keep = |result| {
                kept.push(result);
                Ok(())
            };
            Workers::single_threaded(count)
                .share(&TASKS, twice, keep)
                .expect("results");
            kept.sort_unstable();
            assert_eq!(kept, [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]);
        }
    }

    #[test]
    fn no_task_begins_after_an_error() {
        for count in [1, 3] {
            let begun = AtomicUsize::new(0);
            let fail = |task: &usize, _: &Results<()>| {
                begun.fetch_add(1, Ordering::Relaxed);
                Err(Error::input(format!("task {task}")))
            };
            let error = Workers::single_threaded(count).share(&TASKS, fail, |()| Ok(()));
            assert!(error.is_err_and(|error| error.to_string().starts_with("task ")));
            assert!(begun.into_inner() <= count);
        }
    }

    #[test]
    fn workers_are_told_when_no_more_results_are_wanted() {
        let endless = |_: &usize, results: &Results<()>| {
            while results.send(()) {}
            Ok(())
        };
        let full = |()| Err(Error::input("the disk is full"));
        let error = Workers::single_threaded(2).share(&TASKS, endless, full);
        assert!(error.is_err_and(|error| error.to_string() == "the disk is full"));
    }
}
