//! Kinds of files, recognised by their content, never by their names.

/// A format of images that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    WebP,
}

/// The content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// An image that can be read.
    Image(Format),
    /// An image in another format.
    OtherImage(&'static str),
    /// Something else, with the remedy if there is one.
    Other(&'static str, Option<&'static str>),
}

/// The formats that can be read, for messages.
pub const READABLE: &str = "PNG, JPEG and WebP are supported";

/// The remedy for images in other formats.
pub const CONVERT: &str = "convert the image, for example with ImageMagick: magick IN OUT.png";

/// First bytes of a file from which its content is recognised.
pub const HEAD: usize = 512;

/// Recognises a file by its first [`HEAD`] bytes, or all where there are fewer.
pub fn content(head: &[u8]) -> Content {
    const IMAGES: [(&[u8], &str); 17] = [
        (b"GIF8", "GIF"),
        (b"BM", "BMP"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"II+\0", "BigTIFF"),
        (b"MM\0+", "BigTIFF"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"8BPS", "Photoshop"),
        (b"\0\0\x01\0", "ICO"),
        (b"qoif", "QOI"),
        (b"v/1\x01", "OpenEXR"),
        (b"#?RADIANCE", "Radiance HDR"),
        (b"DDS ", "DDS"),
        (b"gimp xcf", "GIMP"),
    ];
    if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Content::Image(Format::Png);
    }
    if head.starts_with(b"\xff\xd8\xff") {
        return Content::Image(Format::Jpeg);
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return Content::Image(Format::WebP);
    }
    if let Some((_, name)) = IMAGES.iter().find(|(start, _)| head.starts_with(start)) {
        return Content::OtherImage(name);
    }
    if head.get(4..8) == Some(b"ftyp") {
        return match head.get(8..12).unwrap_or_default() {
            b"avif" | b"avis" => Content::OtherImage("AVIF"),
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1" => {
                Content::OtherImage("HEIC")
            }
            _ => Content::Other("a video (MP4)", None),
        };
    }
    if let [b'P', b'1'..=b'7', b' ' | b'\n' | b'\r' | b'\t', ..] = head {
        return Content::OtherImage("PNM");
    }
    other(head)
}

/// The content of a file that is no image, except for SVG.
fn other(head: &[u8]) -> Content {
    const KINDS: [(&[u8], &str, &str); 5] = [
        (
            b"version https://git-lfs",
            "a pointer of Git LFS",
            "the image itself was not downloaded; run `git lfs pull`",
        ),
        (
            b"\0\x05\x16\x07",
            "an AppleDouble file of macOS",
            "the image is the file without `._` before its name",
        ),
        (b"%PDF", "a PDF", CONVERT),
        (b"PK\x03\x04", "a ZIP archive", "unpack it first"),
        (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    ];
    if head.is_empty() {
        return Content::Other("an empty file", None);
    }
    if let Some((_, name, hint)) = KINDS.iter().find(|(start, ..)| head.starts_with(start)) {
        return Content::Other(name, Some(hint));
    }
    if head.iter().all(|&byte| byte == 0) {
        return Content::Other("zeros", None);
    }
    let text = String::from_utf8_lossy(head).to_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("<svg") || text.starts_with("<?xml") && text.contains("<svg") {
        return Content::OtherImage("SVG");
    }
    if text.starts_with("<!doctype html") || text.starts_with("<html") || text.contains("<html") {
        let hint = "give the image itself; if a server answered with this page, download it again";
        return Content::Other("an HTML page", Some(hint));
    }
    if text.starts_with('{') {
        let hint = "give the image itself; the trace of a search is for `ttsvar inspect`";
        return Content::Other("JSON", Some(hint));
    }
    let is_text = |c: char| !c.is_control() && c != '\u{fffd}' || c.is_whitespace();
    match text.chars().all(is_text) {
        true => Content::Other("text", None),
        false => Content::Other("unknown data", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        let name = |head: &[u8]| match content(head) {
            Content::Image(format) => format!("{format:?}"),
            Content::OtherImage(name) => name.to_owned(),
            Content::Other(name, _) => name.to_owned(),
        };
        let cases: [(&[u8], &str); 22] = [
            (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", "Png"),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", "Jpeg"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
            (b"RIFF\x10\0\0\0WAVEfmt ", "unknown data"),
            (b"GIF89a", "GIF"),
            (b"BM6\0", "BMP"),
            (b"II*\0\x08", "TIFF"),
            (b"\0\0\0\x20ftypavif", "AVIF"),
            (b"\0\0\0\x18ftypheic", "HEIC"),
            (b"\0\0\0\x18ftypmp42", "a video (MP4)"),
            (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
            (b"P6\n2 2\n255\n", "PNM"),
            (b"<?xml version=\"1.0\"?>\n<svg>", "SVG"),
            (b" <!DOCTYPE html><title>404", "an HTML page"),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                "a pointer of Git LFS",
            ),
            (b"\0\x05\x16\x07\0\x02", "an AppleDouble file of macOS"),
            (b"{\"error\": 1}", "JSON"),
            (b"\xef\xbb\xbfnot an image\n", "text"),
            (b"\xc4\x01\x80", "unknown data"),
            (b"\0\0\0\0\0", "zeros"),
            (b"PK\x03\x04", "a ZIP archive"),
            (b"", "an empty file"),
        ];
        for (head, expected) in cases {
            assert_eq!(name(head), expected);
        }
    }
}
