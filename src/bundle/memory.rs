//! A search within a bound on memory: first fewer rows go through the network together, then
//! networks leave the memory between their uses. Neither changes a picture.

use std::fmt;

use ttsvar_search::DecodeSize;

use super::{Settings, System};
use crate::{Error, Result};

/// How a search keeps to a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The settings that it was asked for, and as many rows at once as there is room for.
    pub settings: Settings,
    /// The networks that are not in memory all the time.
    pub on_demand: &'static [&'static str],
}

impl System {
    /// How a search can take at most `limit` bytes, in which `widths[s]` rows are computed and
    /// `decodes[s]` images decoded at scale `s`. Text encoder, scorer and features stay in memory
    /// as far as there is room for them.
    ///
    /// # Errors
    /// Nothing helps: the error names the least that the search takes. Or the settings are not
    /// valid.
    pub fn fit(
        &self,
        settings: &Settings,
        [widths, decodes]: [&[usize]; 2],
        limit: u64,
    ) -> Result<Fit> {
        const JUDGES: [&str; 3] = ["text encoder", "scorer", "features"];
        let most = widths.iter().copied().max().unwrap_or(1).max(1);
        let mut least = u64::MAX;
        for on_demand in [&JUDGES[..0], &JUDGES[..1], &JUDGES] {
            self.stay(on_demand.is_empty(), on_demand.len() < JUDGES.len());
            let with = |rows| Settings {
                rows_at_once: Some(rows),
                ..settings.clone()
            };
            let peak = |rows| {
                Ok(self
                    .pipeline(&with(rows))?
                    .estimate(widths, decodes, DecodeSize::Full)
                    .peak_bytes)
            };
            if let Some(rows) = most_rows(most, limit, peak)? {
                let settings = if rows == most {
                    settings.clone()
                } else {
                    with(rows)
                };
                return Ok(Fit {
                    settings,
                    on_demand,
                });
            }
            least = least.min(peak(1)?);
        }
        Err(too_little(least, limit))
    }

    /// Which of the networks stay in memory between their uses.
    fn stay(&self, text: bool, judges: bool) {
        self.text.encoder.stay(text);
        self.scorers.iter().for_each(|network| network.stay(judges));
        self.features.iter().for_each(|model| model.stay(judges));
    }
}

/// What is given up, in words; nothing where nothing is.
impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self
            .settings
            .rows_at_once
            .map(|rows| format!("{rows} at most of the rows at once"));
        let networks = Some(self.on_demand).filter(|names| !names.is_empty());
        let networks = networks.map(|names| format!("{} read when needed", names.join(", ")));
        f.write_str(
            &rows
                .into_iter()
                .chain(networks)
                .collect::<Vec<_>>()
                .join("; "),
        )
    }
}

/// The most rows, `most` at most, whose peak of memory is within `limit`; `None` where a single one
/// is not. More rows never take less.
///
/// # Errors
/// Those of `peak`.
pub fn most_rows(
    most: usize,
    limit: u64,
    peak: impl Fn(usize) -> Result<u64>,
) -> Result<Option<usize>> {
    let (mut fits, mut beyond) = (0, most + 1);
    while beyond - fits > 1 {
        let rows = if beyond > most {
            most
        } else {
            fits.midpoint(beyond)
        };
        if peak(rows)? <= limit {
            fits = rows
        } else {
            beyond = rows
        }
    }
    Ok((fits > 0).then_some(fits))
}

/// What to say when a search does not fit: both in bytes.
pub fn too_little(least: u64, limit: u64) -> Error {
    let (least, limit) = (in_words(least.next_multiple_of(100_000)), in_words(limit));
    Error::input(format!(
        "the search takes {least} at least, but only {limit} may be used"
    ))
    .with_hint(
        "allow more memory, search with fewer rows, paint fewer pixels, or keep matrices in bf16",
    )
}

fn in_words(bytes: u64) -> String {
    if bytes < 1_000_000_000 {
        format!("{:.1} MB", bytes as f64 / 1e6)
    } else {
        format!("{:.1} GB", bytes.next_multiple_of(100_000_000) as f64 / 1e9)
    }
}
