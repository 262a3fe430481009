//! Pictures that were made elsewhere, in the folders that T2I-CompBench's own programs expect:
//! `samples/PROMPT_000012.png`, a folder a category, the same number of pictures for every prompt.
//!
//! The number alone says which prompt a picture belongs to; the text before it may be anything.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::prompts::{Category, Prompt};
use crate::{Error, Result, eval::shown::other_pictures};

/// What such a folder holds.
#[derive(Clone, Debug, Default)]
pub struct PictureFolder {
    /// The pictures, category by category.
    pub pictures: Vec<Picture>,
    /// What is missing or wrong, a line each. The rest can be judged.
    pub faults: Vec<String>,
}

/// A picture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Place of its prompt among those that were given.
    pub case: usize,
    /// Which of several for this prompt.
    pub sample: usize,
    /// Where it is.
    pub path: PathBuf,
}

impl PictureFolder {
    /// Looks what there is for these prompts, `samples` pictures each. Of one category the pictures
    /// may lie in `path/samples`, of several each has a folder: `path/color/samples`.
    ///
    /// # Errors
    /// It is no folder, or there is nothing in it to judge.
    pub fn read(path: &Path, prompts: &[&Prompt], samples: usize) -> Result<Self> {
        const HINT: &str = "T2I-CompBench's folders are DIR/color/samples/PROMPT_000000.png, or DIR/samples of one category";
        fs::read_dir(path).map_err(Error::io(path))?;
        let mut all = Self::default();
        let mut places: BTreeMap<Category, BTreeMap<usize, usize>> = BTreeMap::new();
        for (case, prompt) in prompts.iter().enumerate() {
            places
                .entry(prompt.category)
                .or_default()
                .insert(prompt.number, case);
        }
        for (category, places) in &places {
            let own = path.join(category.name()).join("samples");
            let shared = path.join("samples");
            let folder = if !own.is_dir() && the_only(&shared, prompts, *category) {
                shared
            } else {
                own
            };
            if !folder.is_dir() {
                all.faults.push(format!(
                    "{}: no such folder: its pictures are missing",
                    folder.display()
                ));
                continue;
            }
            all.add(&folder, prompts, places, samples)?;
        }
        if all.pictures.is_empty() {
            let fault = all
                .faults
                .first()
                .map_or_else(String::new, |fault| format!(" ({fault})"));
            return Err(
                Error::file(path, format!("holds no picture that can be judged{fault}"))
                    .with_hint(HINT),
            );
        }
        Ok(all)
    }

    fn add(
        &mut self,
        folder: &Path,
        prompts: &[&Prompt],
        places: &BTreeMap<usize, usize>,
        samples: usize,
    ) -> Result<()> {
        let files = numbered(folder, &mut self.faults)?;
        let texts: Vec<String> = places
            .values()
            .map(|case| plain(&prompts[*case].text))
            .collect();
        let (mut found, mut misnamed) = (vec![], 0);
        for (number, (name, path)) in files {
            let (prompt, sample) = (number / samples, number % samples);
            let Some(case) = places.get(&prompt).copied() else {
                continue;
            };
            let own = plain(&prompts[case].text);
            misnamed += usize::from(name != own && texts.contains(&name));
            found.push(Picture { case, sample, path });
        }
        let expected = places.len() * samples;
        if found.len() < expected {
            let has = |case: usize, sample: usize| {
                found
                    .iter()
                    .any(|one| (one.case, one.sample) == (case, sample))
            };
            let all = places.iter().flat_map(|(number, case)| {
                (0..samples).map(move |i| (number * samples + i, *case, i))
            });
            let first = all
                .filter(|(_, case, i)| !has(*case, *i))
                .map(|(number, ..)| number)
                .next()
                .unwrap_or(0);
            let missing = expected - found.len();
            let are = if missing == 1 { "is" } else { "are" };
            let place = folder.display();
            self.faults.push(format!(
                "{place}: {missing} of {expected} pictures {are} missing, the first {first:06}"
            ));
        }
        if misnamed > 0 {
            self.faults.push(format!(
                "{}: {misnamed} of {} pictures are named after another prompt than their number says; the number counts \
                 (are there {samples} pictures a prompt?)",
                folder.display(),
                found.len()
            ));
        }
        self.pictures.extend(found);
        Ok(())
    }
}

/// Whether a folder without a category can only be meant for this one.
fn the_only(shared: &Path, prompts: &[&Prompt], category: Category) -> bool {
    shared.is_dir() && prompts.iter().all(|prompt| prompt.category == category)
}

/// The PNG files of a folder by the numbers at the ends of their names, with what stands before.
fn numbered(folder: &Path, faults: &mut Vec<String>) -> Result<BTreeMap<usize, (String, PathBuf)>> {
    let (mut found, mut paths) = (BTreeMap::new(), vec![]);
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        paths.push(entry.map_err(Error::io(folder))?.path());
    }
    paths.retain(|path| {
        path.extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("png"))
    });
    paths.sort();
    let (mut without, mut twice) = (0, 0);
    for path in paths {
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        let (name, number) = stem.rsplit_once('_').unwrap_or(("", &stem));
        match number.parse::<usize>() {
            Ok(number) if found.contains_key(&number) => twice += 1,
            Ok(number) => drop(found.insert(number, (plain(name), path))),
            Err(_) => without += 1,
        }
    }
    let place = folder.display();
    faults.extend(other_pictures(folder));
    if without > 0 {
        faults.push(format!(
            "{place}: left out for want of a number at the end of the name: {without}"
        ));
    }
    if twice > 0 {
        faults.push(format!(
            "{place}: left out since another picture has the same number: {twice}"
        ));
    }
    Ok(found)
}

/// A prompt as part of a file name: in one line, without signs that separate folders, not too long.
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

/// The name of a picture.
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
        let one = |(number, text): (usize, &&str)| Prompt {
            category: Category::Color,
            number,
            text: (*text).to_owned(),
            parts: PARTS,
        };
        texts.iter().enumerate().map(one).collect()
    }

    #[test]
    fn the_number_says_what_a_picture_shows() {
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
        let found = PictureFolder::read(folder.path(), &prompts, 2).unwrap();
        let places: Vec<(usize, usize)> = found
            .pictures
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
            "S: left out for want of a number at the end of the name: 1\n\
             S: left out since another picture has the same number: 1\n\
             S: 1 of 4 pictures is missing, the first 000003\n\
             S: 1 of 3 pictures are named after another prompt than their number says; the number counts \
             (are there 2 pictures a prompt?)"
        );
    }

    #[test]
    fn names_of_pictures_fit_into_folders() {
        assert_eq!(file_name("a cat", 12), "a cat_000012.png");
        assert_eq!(file_name("a/b_c", 0), "a b c_000000.png");
        assert!(file_name(&"é".repeat(300), 1).len() < 255);
    }
}
