//! Runs jobs that may never end, such as looks at a hung disk, side by side, and waits for them for a limited time
//! only.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded, unbounded};

/// A job.
pub(crate) type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// Does the jobs on at most `threads` threads; `None` stands for those that have not ended when `limit` is over. They are
/// left to themselves: a disk or a name server that hangs cannot be interrupted.
pub(crate) fn run<T: Send + 'static>(jobs: Vec<Job<T>>, threads: usize, limit: Duration) -> Vec<Option<T>> {
    let deadline = Instant::now() + limit;
    let mut outcomes: Vec<Option<T>> = jobs.iter().map(|_| None).collect();
    let (work, waiting) = bounded(jobs.len());
    for numbered in jobs.into_iter().enumerate() {
        // There is room for all of them.
        let _ = work.send(numbered);
    }
    drop(work);
    let (done, news) = unbounded();
    for _ in 0..threads.min(outcomes.len()) {
        let (waiting, done) = (waiting.clone(), done.clone());
        // Should a thread not start, the others do its share.
        let _ = thread::Builder::new().name("bounded".to_owned()).spawn(move || {
            for (number, job) in waiting {
                if done.send((number, job())).is_err() {
                    return;
                }
            }
        });
    }
    drop((waiting, done));
    loop {
        match news.recv_deadline(deadline) {
            Ok((number, outcome)) => outcomes[number] = Some(outcome),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return outcomes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_jobs_are_done_by_fewer_threads_and_answered_in_order() {
        let jobs: Vec<Job<u32>> = (0_u32..20).map(|n| Box::new(move || n * n) as Job<u32>).collect();
        let outcomes = run(jobs, 3, Duration::from_secs(60));
        assert_eq!(outcomes, (0..20).map(|n| Some(n * n)).collect::<Vec<_>>());
        assert_eq!(run(Vec::<Job<()>>::new(), 3, Duration::from_secs(60)), []);
    }

    #[test]
    fn a_job_that_hangs_or_panics_is_given_up_and_the_others_are_not() {
        let (release, released) = bounded::<()>(0);
        let hang = move || {
            let _ = released.recv();
        };
        let jobs: Vec<Job<()>> = vec![Box::new(hang), Box::new(|| panic!("on purpose")), Box::new(|| ())];
        let outcomes = run(jobs, 3, Duration::from_millis(500));
        assert_eq!(outcomes, [None, None, Some(())]);
        drop(release);
    }
}
