//! The lines that tell how a pass goes (B12.7, B12.8): at every `stats_interval`, and at the pass's end.
//!
//! Only text is made here; the pass counts, and logs what it gets back at INFO.

use crate::python;

/// Where a pass stands.
#[derive(Debug)]
pub struct PassFigures<'a> {
    /// Partitions done so far.
    pub attempted: u64,
    /// [`attempted`](Self::attempted) as the last call had it, 0 before the first: with no difference there is nothing
    /// to tell but the time.
    pub last_attempted: u64,
    /// Partitions that the pass found, those that it skips included.
    pub total: u64,
    /// Seconds since the pass began.
    pub elapsed: f64,
    /// Pairs of a partition and a node that went well.
    pub success: u64,
    /// Pairs of a partition and a node that failed.
    pub failure: u64,
    /// Suffixes of the partitions that were compared.
    pub suffix_count: u64,
    /// Suffixes that had to be hashed for that.
    pub suffix_hash: u64,
    /// Suffixes that differed, counted once per node.
    pub suffix_sync: u64,
    /// Seconds that each finished partition took; put into another order here.
    pub partition_times: &'a mut [f64],
}

/// The lines about a pass that stands there.
pub fn stats_lines(progress: PassFigures<'_>) -> Vec<String> {
    let PassFigures { attempted, elapsed, suffix_count, .. } = progress;
    if attempted <= progress.last_attempted {
        return vec![format!("Nothing replicated for {} seconds.", python::repr_float(elapsed))];
    }
    let total = progress.total.max(1);
    let mut lines = vec![
        format!(
            "{attempted}/{total} ({:.2}%) partitions replicated in {elapsed:.2}s ({:.2}/sec, {} remaining)",
            percentage(attempted, total),
            attempted as f64 / if elapsed == 0.0 { 0.000_001 } else { elapsed },
            remaining(attempted, total, elapsed),
        ),
        format!("{} successes, {} failures", progress.success, progress.failure),
    ];
    if suffix_count > 0 {
        lines.push(format!(
            "{suffix_count} suffixes checked - {:.2}% hashed, {:.2}% synced",
            percentage(progress.suffix_hash, suffix_count),
            percentage(progress.suffix_sync, suffix_count),
        ));
        lines.extend(partition_times_line(progress.partition_times));
    }
    lines
}

/// The slowest, fastest and middle partition; none before the first one is finished.
fn partition_times_line(times: &mut [f64]) -> Option<String> {
    if times.is_empty() {
        return None;
    }
    let (faster, median, slower) = times.select_nth_unstable_by(times.len() / 2, f64::total_cmp);
    let min = faster.iter().copied().fold(*median, f64::min);
    let max = slower.iter().copied().fold(*median, f64::max);
    Some(format!("Partition times: max {max:.4}s, min {min:.4}s, med {median:.4}s"))
}

fn percentage(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

/// What is left of the pass if it goes on like this, in the largest unit of which it has more than one (B12.8).
fn remaining(attempted: u64, total: u64, elapsed: f64) -> String {
    let completion = attempted as f64 / total as f64;
    let seconds = 1.0 / completion * elapsed - elapsed;
    let (amount, unit) = match seconds {
        s if s <= 60.0 => (s, 's'),
        s if s / 60.0 <= 60.0 => (s / 60.0, 'm'),
        s => (s / 60.0 / 60.0, 'h'),
    };
    format!("{}{unit}", amount as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(attempted: u64, total: u64, elapsed: f64, partition_times: &mut [f64]) -> PassFigures<'_> {
        PassFigures {
            attempted,
            last_attempted: 0,
            total,
            elapsed,
            success: 3,
            failure: 1,
            suffix_count: 8,
            suffix_hash: 1,
            suffix_sync: 32,
            partition_times,
        }
    }

    #[test]
    fn a_pass_tells_its_progress_outcome_suffixes_and_times() {
        let lines = stats_lines(progress(2, 8, 30.0, &mut [0.5, 0.25, 2.0, 1.0]));
        assert_eq!(
            lines,
            [
                "2/8 (25.00%) partitions replicated in 30.00s (0.07/sec, 1m remaining)",
                "3 successes, 1 failures",
                "8 suffixes checked - 12.50% hashed, 400.00% synced",
                "Partition times: max 2.0000s, min 0.2500s, med 1.0000s",
            ]
        );
    }

    #[test]
    fn a_pass_that_did_not_get_on_tells_the_time() {
        let stuck = PassFigures { last_attempted: 2, ..progress(2, 8, 0.0006911754608154297, &mut []) };
        assert_eq!(stats_lines(stuck), ["Nothing replicated for 0.0006911754608154297 seconds."]);
    }

    #[test]
    fn nothing_finished_yet_has_no_times_and_nothing_found_divides_nothing() {
        assert_eq!(stats_lines(progress(1, 8, 1.0, &mut [])).len(), 3);
        assert!(stats_lines(progress(1, 0, 0.0, &mut []))[0].starts_with("1/1 (100.00%)"));
    }

    #[test]
    fn what_is_left_is_told_in_whole_units() {
        let left = |elapsed| remaining(1, 2, elapsed);
        assert_eq!([59.9, 60.0, 60.1, 3600.0, 3601.0, 86_400.0].map(left), ["59s", "60s", "1m", "60m", "1h", "24h"]);
    }
}
