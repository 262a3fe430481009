//! Loading the transformer of Infinity-2B with random weights, held against reading its file once:
//! `cargo bench --bench loading -- --depth 8 --rounds 5`. Before each reading, the file is dropped from the
//! cache of the system, so that both wait for the disk. Each runs in a process of its own, as it does for
//! a user. Linux only.

use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use candle_core::{Device, safetensors};
use ttsvar::{
    hub::{self, gguf_writer::write_q8_0},
    loading::RandomWeights,
    models::infinity::Infinity,
    nn::{Dtype, TensorSource, Weights},
    pipelines::infinity::random::Architecture,
};

/// The layout whose transformer is loaded.
const ARCHITECTURE: &str = "2b";

struct Settings {
    /// Blocks of the transformer, of 32.
    depth: usize,
    rounds: usize,
}

fn settings() -> Result<Settings, String> {
    let mut settings = Settings {
        depth: 8,
        rounds: 5,
    };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(name) = words.next() {
        let value = words.next().and_then(|value| value.parse().ok());
        let value = value.ok_or_else(|| format!("{name}: expected a number"))?;
        match name.as_str() {
            "--depth" => settings.depth = value,
            "--rounds" => settings.rounds = value,
            _ => return Err(format!("{name}: expected --depth or --rounds")),
        }
    }
    Ok(settings)
}

/// Drops a file from the cache of the system.
#[cfg(target_os = "linux")]
fn forget(path: &Path) {
    use std::os::fd::AsRawFd;
    let file = File::open(path).expect("the file");
    // SAFETY: The descriptor is open; the call only gives advice.
    let failed = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(failed, 0, "the cache keeps the file");
}

#[cfg(not(target_os = "linux"))]
fn forget(_: &Path) {
    panic!("only Linux drops files from its cache");
}

fn read(path: &Path) {
    let mut file = File::open(path).expect("the file");
    let mut buffer = vec![0; 1 << 20];
    while file.read(&mut buffer).expect("bytes") > 0 {}
}

fn load(path: &Path, dtype: Dtype) -> Infinity {
    let source = hub::open(path, &[]).expect("a checkpoint");
    let weights = Weights::new(source, dtype, &Device::Cpu);
    Infinity::load(&weights).expect("a transformer")
}

/// What a process of its own does with a file.
const READ: &str = "--read";
const LOAD: &str = "--load";

/// Reads or loads a file and prints the seconds that it took.
fn timed(work: &str, path: &Path, dtype: Dtype) {
    let start = Instant::now();
    let loaded = match work {
        LOAD => Some(load(path, dtype)),
        _ => {
            read(path);
            None
        }
    };
    println!("{}", start.elapsed().as_secs_f64());
    drop(loaded);
}

/// Seconds that another process needs for a file that is not in the cache.
fn seconds(work: &str, path: &Path, dtype: Dtype) -> f64 {
    forget(path);
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .arg(work)
        .arg(path)
        .arg(dtype.to_string())
        .output()
        .expect("a process");
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        panic!("{work} {}: {error}", path.display());
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    printed.trim().parse().expect("seconds")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn run(settings: &Settings) {
    let mut config = Architecture::named(ARCHITECTURE)
        .expect("an architecture")
        .transformer();
    config.depth = settings.depth;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let published = folder.path().join("model.safetensors");
    let converted = folder.path().join("model.gguf");
    let source = RandomWeights::new(config.tensors());
    write_q8_0(&source, &converted, |_| ()).expect("a converted file");
    let names = source.names().into_iter();
    let tensors = names.map(|name| (name.clone(), source.load(&name).expect("a tensor")));
    let tensors: HashMap<_, _> = tensors.collect();
    safetensors::save(&tensors, &published).expect("a file");
    drop(tensors);
    for path in [&published, &converted] {
        let file = File::open(path).and_then(|file| file.sync_all());
        file.expect("a file on disk"); // only then can the cache forget it
    }

    for (name, path, dtype) in [
        ("f32 to f32", &published, Dtype::F32),
        ("f32 to bf16", &published, Dtype::Bf16),
        ("f32 to q8", &published, Dtype::Q8),
        ("converted to q8", &converted, Dtype::Q8),
    ] {
        let rounds = (0..settings.rounds).map(|_| {
            let plain = seconds(READ, path, dtype);
            (plain, seconds(LOAD, path, dtype))
        });
        let (plain, loaded): (Vec<_>, Vec<_>) = rounds.unzip();
        let ratios = plain
            .iter()
            .zip(&loaded)
            .map(|(plain, loaded)| loaded / plain);
        let ratio = median(ratios.collect());
        let (plain, loaded) = (median(plain), median(loaded));
        let bytes = std::fs::metadata(path).expect("the file").len();
        println!(
            "{name}: {:.2} GB, read {plain:.2} s, loaded {loaded:.2} s, ratio {ratio:.2}",
            bytes as f64 / 1e9
        );
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [work, path, dtype] = &words[..]
        && [READ, LOAD].contains(&work.as_str())
    {
        timed(work, Path::new(path), dtype.parse().expect("a type"));
        return ExitCode::SUCCESS;
    }
    match settings() {
        Ok(settings) => run(&settings),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
