//! Images of other programs: PNG, JPEG and WebP of every kind give the pixels that Pillow reads.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::support::golden;

/// The largest difference in a value, and the mean difference, that a kind of file may have. PNG and
/// WebP are exact. JPEG is decoded by another program than Pillow's libjpeg-turbo, which rounds
/// differently; where chroma is subsampled, it is also interpolated differently. On scenes of up to
/// 374 x 311 pixels, single values of the latter differed by up to 13 levels, on average by 0.45.
fn limits(name: &str) -> (u8, f64) {
    const SUBSAMPLED: [&str; 5] = [
        "420.jpg",
        "422.jpg",
        "coarse.jpg",
        "progressive.jpg",
        "restarts.jpg",
    ];
    match name {
        _ if SUBSAMPLED.contains(&name) => (4, 0.6),
        _ if name.ends_with(".jpg") => (3, 0.06),
        _ => (0, 0.0),
    }
}

fn folder() -> PathBuf {
    std::env::var_os("TTSVAR_IMAGES").map_or_else(|| golden("images"), PathBuf::from)
}

#[test]
fn images_have_the_pixels_that_pillow_reads() {
    let index: Value =
        serde_json::from_slice(&fs::read(folder().join("expected.json")).unwrap()).unwrap();
    let pixels = fs::read(folder().join("expected.bin")).unwrap();
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    let mut wrong = vec![];
    for (name, about) in index["images"].as_object().unwrap() {
        let (width, height) = (number(&about["width"]), number(&about["height"]));
        let expected = &pixels[number(&about["at"])..][..3 * width * height];
        let image = match ttsvar::image::open(folder().join(name)) {
            Ok(image) => image,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        if (image.width(), image.height()) != (width, height) {
            wrong.push(format!("{name}: {} x {}", image.width(), image.height()));
            continue;
        }
        let differences = || {
            image
                .pixels()
                .iter()
                .zip(expected)
                .map(|(a, b)| a.abs_diff(*b))
        };
        let largest = differences().max().unwrap();
        let sum: f64 = differences().map(f64::from).sum();
        let mean = sum / expected.len() as f64;
        let (most, most_mean) = limits(name);
        println!(
            "{name}: largest difference {largest} (limit {most}), mean {mean:.3} (limit {most_mean})"
        );
        if largest > most || mean > most_mean {
            wrong.push(format!("{name}: {largest}, mean {mean}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn decoded(bytes: &[u8]) -> Result<ttsvar::search::Image, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, bytes).unwrap();
    ttsvar::image::open(&path).map_err(|error| error.to_string())
}

/// Every prefix of a file, and the file with single bytes changed, is refused or read, never a panic.
#[test]
fn damaged_images_are_refused() {
    for name in [
        "palette-clear.png",
        "420.jpg",
        "progressive.jpg",
        "ycck.jpg",
        "lossy-alpha.webp",
        "lossless.webp",
        "moving-alpha.webp",
    ] {
        let whole = fs::read(golden("images").join(name)).unwrap();
        for end in (0..whole.len()).step_by(37) {
            let cut = decoded(&whole[..end]);
            // Of an animation, the first frame may be whole.
            assert!(
                cut.is_err() || name == "moving-alpha.webp",
                "{name} cut at {end}"
            );
        }
        for at in (0..whole.len()).step_by(53) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            let _ = decoded(&damaged);
        }
    }
}

/// A 16 x 16 JPEG whose header says that it is 65,000 pixels wide and high.
#[test]
fn the_size_is_checked_before_anything_is_decoded() {
    let mut jpeg = fs::read(golden("images").join("444.jpg")).unwrap();
    let at = jpeg
        .windows(2)
        .position(|pair| pair == b"\xff\xc0")
        .unwrap();
    jpeg[at + 5..at + 9].copy_from_slice(&[0xfd, 0xe8, 0xfd, 0xe8]);
    let error = decoded(&jpeg).unwrap_err();
    assert!(
        error.contains("65000 x 65000 pixels; the limit is"),
        "{error}"
    );
    // A size within the limit that so few bytes cannot fill
    jpeg[at + 5..at + 9].copy_from_slice(&[0x20, 0, 0x20, 0]);
    let error = decoded(&jpeg).unwrap_err();
    assert!(error.ends_with("the JPEG ends too early"), "{error}");
    let mut png = fs::read(golden("images").join("rgb.png")).unwrap();
    png[16..24].copy_from_slice(&[0, 0, 0xfd, 0xe8, 0, 0, 0xfd, 0xe8]);
    let check = flate2::Crc::new;
    let mut sum = check();
    sum.update(&png[12..29]);
    png[29..33].copy_from_slice(&sum.sum().to_be_bytes());
    let error = decoded(&png).unwrap_err();
    assert!(
        error.contains("65000 x 65000 pixels; the limit is"),
        "{error}"
    );
}

#[test]
fn other_formats_are_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[u8], &str, &str); 6] = [
        (
            b"GIF89a\x01\0",
            "GIF, but only PNG, JPEG and WebP are supported",
            "convert",
        ),
        (b"\0\0\0\x20ftypavif\0", "AVIF", "convert"),
        (b"II*\0\x08\0\0\0", "TIFF", "convert"),
        (
            b"<!DOCTYPE html><html>",
            "found an HTML page",
            "download it again",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "Git LFS",
            "git lfs pull",
        ),
        (b"", "an empty file", "damaged"),
    ];
    for (bytes, expected, remedy) in cases {
        let path = folder.path().join("x.png");
        fs::write(&path, bytes).unwrap();
        let error = ttsvar::image::open(&path).unwrap_err();
        let hint = error.hint().unwrap_or_default().to_owned();
        assert!(
            error.to_string().contains(expected) && hint.contains(remedy),
            "{error}, {hint}"
        );
    }
}
