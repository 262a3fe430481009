//! The images in a folder, and what was left out.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{Content, READABLE, content_of};
use crate::{Error, Result, file::is_hidden};

/// The images in a folder. Hidden files are ignored, among them the `._NAME` files that macOS leaves
/// on foreign disks; so are files that are neither an image nor named like one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFolder {
    /// Files that are images in a format that can be read, or are named like one; sorted.
    pub images: Vec<PathBuf>,
    /// Number of images in each other format.
    other: BTreeMap<&'static str, usize>,
}

impl ImageFolder {
    /// Lists a folder.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut all = Self::default();
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            let path = entry.map_err(Error::io(folder))?.path();
            if is_hidden(&path) || !path.is_file() {
                continue;
            }
            match content_of(&path) {
                Ok(Content::Image(_)) => all.images.push(path),
                Ok(Content::OtherImage(format)) => *all.other.entry(format).or_default() += 1,
                _ if is_named_like_an_image(&path) => all.images.push(path),
                _ => {}
            }
        }
        all.images.sort();
        Ok(all)
    }

    /// A warning about the images in other formats, if there are any.
    pub fn left_out(&self, folder: &Path) -> Option<String> {
        let count: usize = self.other.values().sum();
        let formats: Vec<String> = self
            .other
            .iter()
            .map(|(format, count)| format!("{count} {format}"))
            .collect();
        (count > 0).then(|| {
            let files = if count == 1 { "file" } else { "files" };
            format!(
                "{}: {count} {files} skipped ({}): only {READABLE}",
                folder.display(),
                formats.join(", ")
            )
        })
    }
}

fn is_named_like_an_image(path: &Path) -> bool {
    const ENDINGS: [&str; 4] = ["jpeg", "jpg", "png", "webp"];
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    ENDINGS.contains(&ending.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_content_and_the_rest_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write("b.png", b"\x89PNG\r\n\x1a\n");
        write("a", b"\xff\xd8\xff\xe0");
        write("c.JPG", b"<html>");
        write("._b.png", b"\0\x05\x16\x07");
        write(".hidden.png", b"\x89PNG\r\n\x1a\n");
        write("Thumbs.db", b"\xff\xd8\xff");
        write("d.png", b"GIF89a");
        write("e.avif", b"\0\0\0\x20ftypavif");
        write("notes.txt", b"hello");
        write("empty.txt", b"");
        fs::create_dir(folder.path().join("f.png")).unwrap();
        let found = ImageFolder::read(folder.path()).unwrap();
        let names: Vec<_> = found
            .images
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a", "b.png", "c.JPG"]);
        let left_out = found.left_out(Path::new("D")).unwrap();
        assert_eq!(
            left_out,
            "D: 2 files skipped (1 AVIF, 1 GIF): only PNG, JPEG and WebP are supported"
        );
    }
}
