//! Fits a search into a memory limit: first fewer rows run through the network together, then
//! networks are evicted between their uses. Neither changes an image.

use std::fmt;

use ttsvar_search::Workload;

use super::{ReleasedOutline, System, Uses, verifier::BundleVerifier};
use crate::{Error, Result, loading::Evict, options::Options};

/// The parts that are evicted at each level, least first: nothing, the text encoder, everything that
/// is not always needed.
fn evicted_levels(has_text_encoder: bool, has_verifier: bool) -> [&'static [&'static str]; 3] {
    let text: &[&str] = match has_text_encoder {
        true => &["text encoder"],
        false => &[],
    };
    let all: &[&str] = match (has_text_encoder, has_verifier) {
        (true, false) => &["text encoder", "scorer", "features"],
        (true, true) => &["text encoder", "scorer", "verifier", "features"],
        (false, false) => &["scorer", "features"],
        (false, true) => &["scorer", "verifier", "features"],
    };
    [&[], text, all]
}

/// The measures that keep a search within a limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryPlan {
    /// Rows that run through the network together; `None` if there is room for all.
    pub rows_at_once: Option<usize>,
    /// The parts that are in memory only while they are needed.
    pub evicted: &'static [&'static str],
}

/// A limit on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes.
    pub bytes: u64,
    /// Searches that run side by side within them and share the networks.
    pub searches: usize,
}

impl MemoryLimit {
    /// A limit for one search at a time.
    pub fn single(bytes: u64) -> Self {
        Self { bytes, searches: 1 }
    }
}

impl System {
    /// Fits searches with this workload each into a limit. Text encoder, scorers, verifier and
    /// features stay in memory as far as there is room, and are evicted between their uses from now
    /// on otherwise.
    ///
    /// # Errors
    /// The search does not fit; the error names the memory that it needs. Or the options are not
    /// valid.
    pub(crate) fn fit_memory(
        &self,
        options: &Options,
        workload: &Workload,
        uses: Uses,
        limit: MemoryLimit,
    ) -> Result<MemoryPlan> {
        let mut least = u64::MAX;
        for (level, evicted) in self.evicted_levels().into_iter().enumerate() {
            self.set_resident(level < 1, level < 2);
            match self.rows_within(options, workload, uses, limit)? {
                Ok(rows_at_once) => {
                    return Ok(MemoryPlan {
                        rows_at_once,
                        evicted,
                    });
                }
                Err(bytes) => least = least.min(bytes),
            }
        }
        Err(too_little_memory(least, limit.bytes))
    }

    /// The number of rows at once that keeps the same searches within a limit, without evicting
    /// anything: `None` if there is room for all rows. The inner error is the number of bytes that
    /// even one row needs.
    ///
    /// # Errors
    /// The options are not valid.
    pub(crate) fn rows_within(
        &self,
        options: &Options,
        workload: &Workload,
        uses: Uses,
        limit: MemoryLimit,
    ) -> Result<Result<Option<usize>, u64>> {
        let all_rows = workload.widest();
        let resident = self.resident_bytes(uses);
        let peak = |rows| {
            let pipeline = self.pipeline_for(options, Some(rows), uses, None)?;
            let estimate = pipeline.estimate(workload);
            let each = estimate.peak_bytes.saturating_sub(resident);
            Ok(resident + each * limit.searches.max(1) as u64)
        };
        Ok(match most_rows(all_rows, limit.bytes, peak)? {
            Some(rows) => Ok((rows < all_rows).then_some(rows)),
            None => Err(peak(1)?),
        })
    }

    /// The parts that are evicted at each level, least first.
    fn evicted_levels(&self) -> [&'static [&'static str]; 3] {
        let has_text_encoder = !self.generator.evictable().is_empty();
        let verifier = self.verifier.as_ref();
        let has_verifier = verifier.is_some_and(BundleVerifier::is_usable);
        evicted_levels(has_text_encoder, has_verifier)
    }

    /// Bytes of the networks that stay in memory.
    fn resident_bytes(&self, uses: Uses) -> u64 {
        let text = self.generator.evictable().into_iter();
        let networks = text.chain(self.generator.networks());
        let networks = networks.chain(self.evaluation_networks(uses));
        let resident = networks.filter(|network| network.is_resident());
        resident.map(Evict::bytes).sum()
    }

    fn set_resident(&self, generator: bool, evaluation: bool) {
        for network in self.generator.evictable() {
            network.set_resident(generator);
        }
        for network in self.evaluation_networks(Uses::ALL) {
            network.set_resident(evaluation);
        }
    }
}

/// Fits a search of a released model into `limit` bytes by the same measures as one whose files are
/// there.
///
/// # Errors
/// The search does not fit.
pub fn fit_outline(
    mut outline: ReleasedOutline,
    workload: &Workload,
    limit: u64,
) -> Result<(ReleasedOutline, MemoryPlan)> {
    let all_rows = workload.widest();
    let mut least = u64::MAX;
    let levels = evicted_levels(outline.generator.has_text_encoder(), false);
    for (level, evicted) in levels.into_iter().enumerate() {
        let peak = |rows: usize| {
            let at_once = outline.with_rows_at_once(rows);
            let estimate = at_once.estimate(workload, level);
            Ok(estimate.peak_bytes)
        };
        if let Some(rows) = most_rows(all_rows, limit, peak)? {
            outline = outline.with_rows_at_once(rows);
            let plan = MemoryPlan {
                rows_at_once: (rows < all_rows).then_some(rows),
                evicted,
            };
            return Ok((outline, plan));
        }
        least = least.min(peak(1)?);
    }
    Err(too_little_memory(least, limit))
}

/// The measures as text; empty if none are needed.
impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = vec![];
        if let Some(rows) = self.rows_at_once {
            let noun = match rows {
                1 => "candidate",
                _ => "candidates",
            };
            parts.push(format!("at most {rows} {noun} at once"));
        }
        if !self.evicted.is_empty() {
            parts.push(format!(
                "{} in memory only while needed",
                self.evicted.join(", ")
            ));
        }
        f.write_str(&parts.join("; "))
    }
}

/// The largest number of rows, up to `all`, whose peak of memory is within `limit`; `None` if even
/// one row exceeds it. `peak` must not decrease with the number of rows.
///
/// # Errors
/// The errors of `peak`.
pub fn most_rows(
    all: usize,
    limit: u64,
    peak: impl Fn(usize) -> Result<u64>,
) -> Result<Option<usize>> {
    let mut fits = 0;
    let mut beyond = all + 1;
    while beyond - fits > 1 {
        let rows = match beyond > all {
            true => all,
            false => fits.midpoint(beyond),
        };
        match peak(rows)? <= limit {
            true => fits = rows,
            false => beyond = rows,
        }
    }
    Ok((fits > 0).then_some(fits))
}

/// The error for a search that does not fit; both arguments in bytes.
pub fn too_little_memory(least: u64, limit: u64) -> Error {
    let least = humanize(least.next_multiple_of(100_000));
    let limit = humanize(limit);
    Error::input(format!(
        "the search needs at least {least}, but the limit is {limit}"
    ))
    .with_hint(
        "raise the limit, search with fewer candidates, generate fewer pixels, or use a smaller --dtype (bf16, then q8)",
    )
}

fn humanize(bytes: u64) -> String {
    if bytes < 1_000_000_000 {
        format!("{:.1} MB", bytes as f64 / 1e6)
    } else {
        let rounded = bytes.next_multiple_of(100_000_000);
        format!("{:.1} GB", rounded as f64 / 1e9)
    }
}
