//! Shared by the test programs: the recordings, comparisons of tensors, toys and file writers.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod demo;
pub mod flexar;
pub mod hart;
pub mod mask2former;
pub mod option_cases;
pub mod switti;
pub mod torch;
pub mod toy;
pub mod var;
pub mod vision;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use ttsvar::nn::{OpenMatrix, Q8Block, ReadPart, TensorSource};

/// A folder of recordings: below `TTSVAR_GOLDEN` where that is set, in `tests/data` otherwise.
pub fn golden(fixture: &str) -> PathBuf {
    let folder = golden_root().join(fixture);
    assert!(folder.is_dir(), "no recordings at {}", folder.display());
    folder
}

/// The folder that holds the folders of recordings.
fn golden_root() -> PathBuf {
    std::env::var_os("TTSVAR_GOLDEN")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data"))
}

/// Copies a folder with everything in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let inner = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_folder(&path, &inner),
            false => fs::write(inner, fs::read(&path).unwrap()).unwrap(),
        }
    }
}

/// Makes a named pipe.
#[cfg(unix)]
pub fn make_fifo(path: &Path) {
    use std::{ffi::CString, os::unix::ffi::OsStrExt};
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: The path ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o700) }, 0);
}

/// A JSON file of a fixture.
pub fn json(fixture: &str, file: &str) -> serde_json::Value {
    read_json(&golden(fixture).join(file))
}

/// A JSON file beside the fixtures.
pub fn golden_json(file: &str) -> serde_json::Value {
    read_json(&golden_root().join(file))
}

fn read_json(path: &Path) -> serde_json::Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every tensor of a safetensors file of a fixture.
pub fn tensors(fixture: &str, file: &str) -> HashMap<String, Tensor> {
    let path = golden(fixture).join(file);
    candle_core::safetensors::load(&path, &Device::Cpu)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The tensors whose names are `before`, a number and `after`, with that number, in its order.
pub fn numbered<'t>(
    tensors: &'t HashMap<String, Tensor>,
    before: &str,
    after: &str,
) -> Vec<(&'t str, usize, &'t Tensor)> {
    let number = |name: &str| {
        name.strip_prefix(before)?
            .strip_suffix(after)?
            .parse::<usize>()
            .ok()
    };
    let mut found: Vec<_> = tensors
        .iter()
        .filter_map(|(name, x)| Some((name.as_str(), number(name)?, x)))
        .collect();
    found.sort_by_key(|(_, number, _)| *number);
    assert!(
        !found.is_empty(),
        "no tensor `{before}#{after}` is recorded"
    );
    found
}

/// Three numbers of a configuration.
pub fn triple(value: &serde_json::Value) -> [f32; 3] {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{value}: {e}"))
}

/// All values as f32.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor
        .flatten_all()
        .unwrap()
        .to_dtype(DType::F32)
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// The values of a tensor of a source, read in three parts of which the last is read first; those of
/// `q8_0` in whole blocks.
pub fn values_in_parts(source: &dyn TensorSource, name: &str) -> ttsvar::Result<Vec<f32>> {
    let shape = source.info(name).expect("a tensor").shape;
    let count: usize = shape.iter().product();
    match source.open_matrix(name)? {
        OpenMatrix::Values(read) => in_parts(count, 1, read),
        OpenMatrix::Q8_0(read) => {
            let blocks = count / Q8Block::VALUES;
            let bytes = in_parts(blocks * Q8Block::BYTES, Q8Block::BYTES, read)?;
            let mut values = vec![0.0; count];
            Q8Block::write_values(&bytes, &mut values);
            Ok(values)
        }
    }
}

/// All of `count` elements, read in parts of a multiple of `unit`.
fn in_parts<T: Copy + Default>(
    count: usize,
    unit: usize,
    read: ReadPart<T>,
) -> ttsvar::Result<Vec<T>> {
    let mut all = vec![T::default(); count];
    let (first, rest) = all.split_at_mut(count / 3 / unit * unit);
    let (second, third) = rest.split_at_mut(rest.len() / 2 / unit * unit);
    let begins = [0, first.len(), first.len() + second.len()];
    for (begin, part) in begins.into_iter().zip([first, second, third]).rev() {
        read(begin, part)?;
    }
    Ok(all)
}

/// Prints the largest difference between two tensors and fails above `absolute + relative *
/// |expected|`.
#[track_caller]
pub fn assert_close(what: &str, found: &Tensor, expected: &Tensor, absolute: f32, relative: f32) {
    assert_eq!(found.dims(), expected.dims(), "{what}: shape");
    assert_values_close(what, &values(found), &values(expected), absolute, relative);
}

/// [`assert_close`] on plain numbers.
#[track_caller]
pub fn assert_values_close(
    what: &str,
    found: &[f32],
    expected: &[f32],
    absolute: f32,
    relative: f32,
) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let (mut worst, mut at) = (0f32, 0);
    let mut over = 0;
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let difference = (f - e).abs();
        if difference > worst || difference.is_nan() {
            (worst, at) = (difference, i);
        }
        over += usize::from(difference.is_nan() || difference > absolute + relative * e.abs());
    }
    println!("{what}: max difference {worst:.2e} (limit {absolute:.0e} + {relative:.0e} relative)");
    assert!(
        over == 0,
        "{what}: {over} values over the limit; worst at {at}: {} for {}",
        found[at],
        expected[at]
    );
}

/// Prints how two byte pictures differ; fails above one level or on more than `share` of the
/// values.
#[track_caller]
pub fn assert_bytes_close(what: &str, found: &[u8], expected: &[u8], share: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: number of bytes");
    let worst = found
        .iter()
        .zip(expected)
        .map(|(f, e)| f.abs_diff(*e))
        .max()
        .unwrap_or(0);
    let differing =
        found.iter().zip(expected).filter(|(f, e)| f != e).count() as f32 / found.len() as f32;
    println!(
        "{what}: max difference {worst} levels, {:.3} % of the values differ",
        100.0 * differing
    );
    assert!(
        worst <= 1 && differing <= share,
        "{what}: {worst} levels, {differing} of the values"
    );
}

/// Every n-th row and column of (1, 3, H, W).
pub fn strided(x: &Tensor, n: usize) -> Tensor {
    let indices = |size: usize| {
        Tensor::from_vec(
            (0..size as u32).step_by(n).collect::<Vec<_>>(),
            size.div_ceil(n),
            &Device::Cpu,
        )
    };
    let (_, _, h, w) = x.dims4().unwrap();
    x.index_select(&indices(h).unwrap(), 2)
        .unwrap()
        .index_select(&indices(w).unwrap(), 3)
        .unwrap()
}
