//! Images in the folder layout of T2I-CompBench's own programs: `samples/PROMPT_000012.png`, one
//! folder per category, the same number of images for every prompt.
//!
//! Only the number determines the prompt of an image; the text before it is arbitrary.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::prompts::{Category, Prompt};
use crate::{
    Error, Result,
    eval::external::{ExternalImage, NumberedImages},
};

/// The contents of such a folder.
#[derive(Clone, Debug, Default)]
pub struct CompBenchFolder {
    /// The images, category by category.
    pub images: Vec<ExternalImage>,
    /// Problems, one line each. The rest can be evaluated.
    pub faults: Vec<String>,
}

impl CompBenchFolder {
    /// Finds the images of these prompts, `samples` per prompt. Images of a single category may be
    /// in `path/samples`; otherwise each category has a folder: `path/color/samples`.
    ///
    /// # Errors
    /// It is not a folder, or it has no images to evaluate.
    pub fn read(path: &Path, prompts: &[&Prompt], samples: usize) -> Result<Self> {
        const HINT: &str = "T2I-CompBench's folders are \
            DIR/color/samples/PROMPT_000000.png, or DIR/samples for a single category";
        fs::read_dir(path).map_err(Error::io(path))?;
        let mut all = Self::default();
        let mut categories: BTreeMap<Category, BTreeMap<usize, usize>> = BTreeMap::new();
        for (case, prompt) in prompts.iter().enumerate() {
            categories
                .entry(prompt.category)
                .or_default()
                .insert(prompt.number, case);
        }
        for (category, cases) in &categories {
            let mut folder = path.join(category.name()).join("samples");
            let shared = path.join("samples");
            if !folder.is_dir() && the_only(&shared, prompts, *category) {
                folder = shared;
            }
            if !folder.is_dir() {
                all.faults.push(format!(
                    "{}: no such folder: its images are missing",
                    folder.display()
                ));
                continue;
            }
            all.add(&folder, prompts, cases, samples)?;
        }
        if all.images.is_empty() {
            let fault = all
                .faults
                .first()
                .map_or_else(String::new, |fault| format!(" ({fault})"));
            return Err(Error::file(
                path,
                format!("contains no image that can be evaluated{fault}"),
            )
            .with_hint(HINT));
        }
        Ok(all)
    }

    fn add(
        &mut self,
        folder: &Path,
        prompts: &[&Prompt],
        cases: &BTreeMap<usize, usize>,
        samples: usize,
    ) -> Result<()> {
        let files = NumberedImages::read(folder, |stem| name_and_number(stem).1)?;
        self.faults.extend(files.faults);
        let texts: Vec<String> = cases
            .values()
            .map(|case| plain(&prompts[*case].text))
            .collect();
        let mut found = vec![];
        let mut numbers = BTreeSet::new();
        let mut misnamed = 0;
        let mut beyond = 0;
        for (number, path) in files.files {
            let Some(&case) = cases.get(&(number / samples)) else {
                beyond += 1;
                continue;
            };
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = plain(name_and_number(&stem).0);
            let expected = plain(&prompts[case].text);
            misnamed += usize::from(name != expected && texts.contains(&name));
            numbers.insert(number);
            found.push(ExternalImage {
                case,
                sample: number % samples,
                path,
            });
        }
        let expected = cases.len() * samples;
        if found.len() < expected {
            let first = cases
                .keys()
                .flat_map(|prompt| prompt * samples..(prompt + 1) * samples)
                .find(|number| !numbers.contains(number))
                .unwrap_or(0);
            let missing = expected - found.len();
            let are = if missing == 1 { "is" } else { "are" };
            self.faults.push(format!(
                "{}: {missing} of {expected} images {are} missing; the first is {first:06}",
                folder.display()
            ));
        }
        if beyond > 0 {
            let (images, numbers) = match beyond {
                1 => ("image", "its number"),
                _ => ("images", "their numbers"),
            };
            self.faults.push(format!(
                "{}: {beyond} {images} skipped: no evaluated prompt has {numbers}",
                folder.display()
            ));
        }
        if misnamed > 0 {
            self.faults.push(format!(
                "{}: {misnamed} of {} images are named after a different prompt than their number \
                 indicates; the number counts (are there {samples} images per prompt?)",
                folder.display(),
                found.len()
            ));
        }
        self.images.extend(found);
        Ok(())
    }
}

/// Returns whether a folder without a category can only belong to this one.
fn the_only(shared: &Path, prompts: &[&Prompt], category: Category) -> bool {
    shared.is_dir() && prompts.iter().all(|prompt| prompt.category == category)
}

/// The parts of a file name without its ending: any text, and the number after the last `_`.
fn name_and_number(stem: &str) -> (&str, Option<usize>) {
    let (name, number) = stem.rsplit_once('_').unwrap_or(("", stem));
    let only_digits = number.bytes().all(|byte| byte.is_ascii_digit());
    (name, number.parse().ok().filter(|_| only_digits))
}

/// A prompt as part of a file name: on one line, without path separators, shortened.
pub fn plain(prompt: &str) -> String {
    const MOST_BYTES: usize = 200; // file systems allow 255 for the whole name
    let mut name: String = prompt
        .chars()
        .map(|c| {
            if c.is_control() || "/\\_".contains(c) {
                ' '
            } else {
                c
            }
        })
        .collect();
    name.truncate(name.floor_char_boundary(MOST_BYTES));
    name
}

/// The file name of an image.
pub fn file_name(prompt: &str, number: usize) -> String {
    format!("{}_{number:06}.png", plain(prompt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::t2i_compbench::Parts;

    const PARTS: Parts = Parts {
        attributes: true,
        relation: false,
        likeness: false,
        numbers: false,
    };

    fn prompts(texts: &[&str]) -> Vec<Prompt> {
        let prompt = |(number, text): (usize, &&str)| Prompt {
            category: Category::Color,
            number,
            text: (*text).to_owned(),
            parts: PARTS,
        };
        texts.iter().enumerate().map(prompt).collect()
    }

    #[test]
    fn the_number_determines_the_prompt() {
        let folder = tempfile::tempdir().unwrap();
        let samples = folder.path().join("samples");
        fs::create_dir_all(&samples).unwrap();
        let prompts = prompts(&["a red cat", "a blue dog"]);
        let prompts: Vec<&Prompt> = prompts.iter().collect();
        let names = [
            "a red cat_000000.png",
            "whatever_1.png",
            "a red cat_000002.png",
            "b_2.png",
            "c.png",
            "d_9.png",
            "e_0.txt",
        ];
        names
            .iter()
            .for_each(|name| fs::write(samples.join(name), "").unwrap());
        let found = CompBenchFolder::read(folder.path(), &prompts, 2).unwrap();
        let places: Vec<(usize, usize)> = found
            .images
            .iter()
            .map(|one| (one.case, one.sample))
            .collect();
        assert_eq!(places, [(0, 0), (0, 1), (1, 0)]);
        let faults = found
            .faults
            .join("\n")
            .replace(&samples.display().to_string(), "S");
        assert_eq!(
            faults,
            "S: 1 file skipped: no number in the name: `c.png`\n\
             S: 1 file skipped: another image has the same number: `b_2.png`\n\
             S: 1 of 4 images is missing; the first is 000003\n\
             S: 1 image skipped: no evaluated prompt has its number\n\
             S: 1 of 3 images are named after a different prompt than their number indicates; \
             the number counts (are there 2 images per prompt?)"
        );
    }

    #[test]
    fn file_names_are_short_and_plain() {
        assert_eq!(file_name("a cat", 12), "a cat_000012.png");
        assert_eq!(file_name("a/b_c", 0), "a b c_000000.png");
        assert!(file_name(&"é".repeat(300), 1).len() < 255);
    }
}
