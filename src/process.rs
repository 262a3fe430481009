//! Memory use of this process, as Linux reports it.

use std::fs;

/// Peak memory in bytes; `None` if the system does not report it.
pub fn peak_bytes() -> Option<u64> {
    status("VmHWM:")
}

/// Resident memory in bytes; `None` if the system does not report it.
pub fn resident_bytes() -> Option<u64> {
    status("VmRSS:")
}

/// A line `name: number kB` of the status, in bytes.
fn status(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
