//! `generate --image --mask`: part of an image is regenerated.

use insta::assert_snapshot;
use ttsvar::{image::Png, search::Image};

use crate::desk::Desk;

/// The image of a search, and a mask whose right half is white.
fn desk() -> Desk {
    let desk = Desk::new();
    let original = [
        "generate",
        "a red circle left of a blue star",
        "--method",
        "raw",
        "--seed",
        "3",
        "-q",
        "--out",
        "original.png",
    ];
    desk.works(&original);
    desk.write("mask.png", mask(64, |x| x >= 32));
    desk
}

fn mask(side: usize, white: impl Fn(usize) -> bool) -> Vec<u8> {
    let value = |i: usize| if white(i % side) { 255 } else { 0 };
    let pixels = (0..side * side).flat_map(|i| [value(i); 3]).collect();
    Png::new(Image::new(side, side, pixels)).encode().unwrap()
}

const EDIT: [&str; 9] = [
    "generate",
    "a red circle left of a green ring",
    "--image",
    "original.png",
    "--mask",
    "mask.png",
    "--method",
    "best-of-n",
    "-q",
];

#[test]
fn a_part_of_an_image_is_generated_again_and_repeated_with_its_original() {
    let desk = desk();
    let with = |more: &[&str]| desk.works(&[&EDIT[..], more].concat());
    with(&[
        "--n",
        "2",
        "--seed",
        "9",
        "--out",
        "edited.png",
        "--report",
        "edited.html",
    ]);
    let report = desk.text("edited.html");
    assert!(
        report.contains("--image IMAGE --mask MASK --seed 9"),
        "{report}"
    );
    let edited = desk.png("edited.png").image;
    let original = desk.png("original.png").image;
    let apart = |columns: std::ops::Range<usize>| {
        let pixels = (0..64 * 64).filter(|i| columns.contains(&(i % 64)));
        let pairs = pixels.map(|i| edited.pixels()[3 * i].abs_diff(original.pixels()[3 * i]));
        pairs.map(f64::from).sum::<f64>() / (64 * columns.len()) as f64
    };
    assert!(
        apart(0..16) < 6.0 && apart(32..64) > 12.0,
        "{} {}",
        apart(0..16),
        apart(32..64)
    );
    let shown = desk.works(&["inspect", "edited.png"]);
    let repeat = "ttsvar generate --from edited.png --image IMAGE --mask MASK   generates it again";
    assert!(shown.contains(repeat), "{shown}");
    let refused = desk.refuses(&["generate", "--from", "edited.png"]);
    assert_snapshot!(refused, @r"
    $ generate --from edited.png
    error: this image is an edit of another image, which is not recorded in it
    hint: give the original image and its mask with --image and --mask
    ");
    let again = [
        "generate",
        "--from",
        "edited.png",
        "--image",
        "original.png",
        "--mask",
        "mask.png",
        "-q",
        "--out",
        "again.png",
    ];
    desk.works(&again);
    assert_eq!(desk.read("again.png"), desk.read("edited.png"));
}

#[test]
fn what_cannot_be_edited_is_refused() {
    let desk = desk();
    desk.write("black.png", mask(64, |_| false));
    desk.write("small.png", mask(32, |x| x >= 16));
    desk.write("text.png", "no image");
    let prompt = "a red circle";
    let cases: [&[&str]; 6] = [
        &["generate", prompt, "--image", "original.png"],
        &[
            "generate",
            prompt,
            "--image",
            "original.png",
            "--mask",
            "black.png",
        ],
        &[
            "generate",
            prompt,
            "--image",
            "original.png",
            "--mask",
            "small.png",
        ],
        &[
            "generate", prompt, "--image", "text.png", "--mask", "mask.png",
        ],
        &[
            "generate",
            prompt,
            "--image",
            "original.png",
            "--mask",
            "none.png",
        ],
        &[
            "generate",
            prompt,
            "--image",
            "https://example.com/a.png",
            "--mask",
            "mask.png",
        ],
    ];
    assert_snapshot!(cases.map(|arguments| desk.refuses(arguments)).join("\n"), @r#"
    $ generate "a red circle" --image original.png
    error: the following required arguments were not provided: --mask <FILE>
    hint: --image and --mask regenerate the part of an image that is white in the mask

    $ generate "a red circle" --image original.png --mask black.png
    error: the mask covers less than a fifth of every token in the 8 x 8 grid
    hint: enlarge the white part of the mask, which is the part to regenerate

    $ generate "a red circle" --image original.png --mask small.png
    error: the image has 64 x 64 pixels, its mask 32 x 32
    hint: use a mask of the same size as the image; the part to regenerate is white in it

    $ generate "a red circle" --image text.png --mask mask.png
    error: text.png: expected an image, found text
    hint: the file is damaged, or it is not an image; PNG, JPEG and WebP are supported

    $ generate "a red circle" --image original.png --mask none.png
    error: none.png: No such file or directory (os error 2)
    hint: check that the path exists and that you have permission to read or write it

    $ generate "a red circle" --image https://example.com/a.png --mask mask.png
    error: https://example.com/a.png: No such file or directory (os error 2)
    hint: download it first; only files on this machine are read
    "#);
}
