//! Shows how far the reading of networks is, if it takes long: a bar on a terminal, otherwise one
//! line per network.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::ProgressBar;

use super::{console::Console, numbers, progress::bytes_bar};
use crate::loading::LoadListener;

/// Time after which the user is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Follows networks as they are read.
pub(super) struct Reading {
    console: Console,
    patience: Duration,
    current: Mutex<Option<Current>>,
}

/// The network that is read.
struct Current {
    name: String,
    /// Bytes to read.
    bytes: u64,
    /// Bytes that were read.
    read: u64,
    began: Instant,
    /// Once the user was told.
    bar: Option<ProgressBar>,
}

impl Reading {
    pub(super) fn new(console: &Console) -> Self {
        Self {
            console: *console,
            patience: PATIENCE,
            current: Mutex::new(None),
        }
    }

    fn with_current<T>(&self, work: impl FnOnce(&mut Option<Current>) -> T) -> T {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut current)
    }

    /// Tells the user for the first time.
    fn tell(&self, current: &Current) -> ProgressBar {
        let what = format!("of the {}", current.name);
        if !self.console.terminal {
            self.console.note(&line(current));
        }
        bytes_bar(&self.console, current.bytes, &what)
    }
}

fn line(current: &Current) -> String {
    format!(
        "reading the {}, {}",
        current.name,
        numbers::bytes(current.bytes)
    )
}

impl LoadListener for Reading {
    fn begun(&self, network: &str, bytes: u64) {
        self.with_current(|current| {
            *current = Some(Current {
                name: network.to_owned(),
                bytes,
                read: 0,
                began: Instant::now(),
                bar: None,
            });
        });
    }

    fn read(&self, bytes: u64) {
        self.with_current(|current| {
            let Some(current) = current else { return };
            current.read += bytes;
            if current.bar.is_none() && current.began.elapsed() >= self.patience {
                current.bar = Some(self.tell(current));
            }
            if let Some(bar) = &current.bar {
                bar.set_position(current.read);
            }
        });
    }

    fn ended(&self) {
        self.with_current(|current| {
            let bar = current.take().and_then(|current| current.bar);
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(patience: Duration) -> Reading {
        Reading {
            patience,
            ..Reading::new(&Console::new(true, false))
        }
    }

    fn is_told(reading: &Reading) -> bool {
        reading.with_current(|current| current.as_ref().is_some_and(|c| c.bar.is_some()))
    }

    #[test]
    fn the_user_is_told_only_if_reading_takes_long() {
        let patient = reading(Duration::from_secs(60));
        patient.begun("transformer", 100);
        patient.read(50);
        assert!(!is_told(&patient));
        let impatient = reading(Duration::ZERO);
        impatient.begun("transformer", 100);
        assert!(!is_told(&impatient));
        impatient.read(50);
        assert!(is_told(&impatient));
        let position = impatient
            .with_current(|current| current.as_ref()?.bar.as_ref().map(ProgressBar::position));
        assert_eq!(position, Some(50));
        impatient.ended();
        assert!(!is_told(&impatient));
    }

    #[test]
    fn a_line_names_the_network_and_its_size() {
        let current = Current {
            name: "text encoder".to_owned(),
            bytes: 4_900_000_000,
            read: 0,
            began: Instant::now(),
            bar: None,
        };
        assert_eq!(line(&current), "reading the text encoder, 4.9 GB");
    }
}
