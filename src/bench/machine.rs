//! The machine: features of its processor, kernels, memory.

use std::fs;

use crate::nn;

/// The properties of the machine; `None` if the system does not report them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Architecture and system, such as `x86_64 linux`.
    pub system: String,
    /// Name of the processor.
    pub processor: Option<String>,
    /// Available instruction sets that the kernels can use.
    pub features: Vec<&'static str>,
    /// The selected kernels: `avx512bf16`, `avx512`, `avx2`, `neon` or `portable`.
    pub kernels: &'static str,
    /// Whether `TTSVAR_KERNELS` selected them.
    pub kernels_forced: bool,
    /// Cores that this process may use.
    pub cores: usize,
    /// Number of worker threads.
    pub threads: usize,
    /// Memory in bytes, up to the limit of this process.
    pub memory: Option<u64>,
    /// Available memory in bytes.
    pub available: Option<u64>,
}

impl Machine {
    /// Detects the properties of this machine.
    pub fn detect() -> Self {
        let free = |bytes: u64| match limit() {
            Some((limit, used)) => bytes.min(limit.saturating_sub(used)),
            None => bytes,
        };
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            system: format!("{} {}", std::env::consts::ARCH, std::env::consts::OS),
            processor: field(&processor, "model name").map(str::to_owned),
            features: features(),
            kernels: nn::kernels(),
            kernels_forced: nn::kernels_forced(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: rayon::current_num_threads(),
            memory: memory(),
            available: memory_info("MemAvailable").map(free),
        }
    }
}

/// Memory in bytes, up to the limit of this process; `None` if the system does not report it.
pub fn memory() -> Option<u64> {
    let bytes = memory_info("MemTotal")?;
    Some(limit().map_or(bytes, |(limit, _)| bytes.min(limit)))
}

/// A line of the system's report on memory, in bytes.
fn memory_info(name: &str) -> Option<u64> {
    let about = fs::read_to_string("/proc/meminfo").ok()?;
    let number = field(&about, name)?.strip_suffix("kB")?.trim();
    Some(1024 * number.parse::<u64>().ok()?)
}

/// The value of `name: value` in a listing.
fn field<'t>(listing: &'t str, name: &str) -> Option<&'t str> {
    let value = |line: &'t str| line.strip_prefix(name)?.trim_start().strip_prefix(':');
    listing.lines().find_map(value).map(str::trim)
}

/// The memory limit of the control group and its current use, in bytes, if there is a limit.
fn limit() -> Option<(u64, u64)> {
    let number = |name: &str| {
        fs::read_to_string(format!("/sys/fs/cgroup/{name}"))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    Some((number("memory.max")?, number("memory.current")?))
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let found = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    found
        .into_iter()
        .filter(|(_, there)| *there)
        .map(|(name, _)| name)
        .collect()
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    if std::arch::is_aarch64_feature_detected!("neon") {
        vec!["neon"]
    } else {
        vec![]
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    vec![]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read_by_their_names() {
        let listing =
            "MemTotal:       24576 kB\nMemAvailable: 12 kB\nmodel name\t: Any CPU @ 2: GHz\n";
        assert_eq!(field(listing, "MemTotal"), Some("24576 kB"));
        assert_eq!(field(listing, "model name"), Some("Any CPU @ 2: GHz"));
        assert_eq!(field(listing, "Mem"), None);
    }

    #[test]
    fn this_machine_has_a_core_and_kernels_that_it_can_run() {
        let machine = Machine::detect();
        assert!(machine.cores > 0 && machine.threads > 0);
        assert!(
            machine.kernels == "portable"
                || machine
                    .features
                    .iter()
                    .any(|it| it.starts_with(machine.kernels))
        );
        assert!(machine.available <= machine.memory);
    }
}
