//! T2I-CompBench's published prompts: one text file per category, one prompt per line.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{Error, Result, file};
use ttsvar_search::suggestion::suggest;

/// The category of the prompts of a file. Relations in depth (`3d_spatial`) are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// Things of a colour.
    Color,
    /// Things of a shape.
    Shape,
    /// Things of a texture.
    Texture,
    /// A thing beside, above, ... another.
    Spatial,
    /// People and things that do something.
    NonSpatial,
    /// Numbers of things.
    Numeracy,
    /// Sentences that combine several categories.
    Complex,
}

impl Category {
    /// All categories, in the order of tables.
    pub const ALL: [Self; 7] = [
        Self::Color,
        Self::Shape,
        Self::Texture,
        Self::Spatial,
        Self::NonSpatial,
        Self::Numeracy,
        Self::Complex,
    ];

    /// The name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Color => "color",
            Self::Shape => "shape",
            Self::Texture => "texture",
            Self::Spatial => "spatial",
            Self::NonSpatial => "non_spatial",
            Self::Numeracy => "numeracy",
            Self::Complex => "complex",
        }
    }

    /// The folder of the scores in the original, relative to the folder of the images.
    pub fn results(self) -> &'static str {
        match self {
            Self::Color | Self::Shape | Self::Texture => "annotation_blip",
            Self::Spatial => "labels/annotation_obj_detection_2d",
            Self::NonSpatial => "annotation_clip",
            Self::Numeracy => "annotation_num",
            Self::Complex => "annotation_3_in_1",
        }
    }
}

impl FromStr for Category {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL
            .into_iter()
            .find(|category| category.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let expected = format!("expected one of {}", names.join(", "));
            Error::input(format!("unknown category `{text}`"))
                .with_hint(suggest(text, &names, &expected))
        })
    }
}

/// The parts of a prompt that are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Its noun phrases, with questions.
    pub attributes: bool,
    /// The position of two things, with boxes.
    pub relation: bool,
    /// The whole text, by its similarity to the image.
    pub likeness: bool,
    /// The numbers of things, with boxes.
    pub numbers: bool,
}

impl Parts {
    const NONE: Self = Self {
        attributes: false,
        relation: false,
        likeness: false,
        numbers: false,
    };

    /// Returns whether a detector is needed.
    pub fn boxes(self) -> bool {
        self.relation || self.numbers
    }
}

/// A prompt of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its category.
    pub category: Category,
    /// Its place in the file.
    pub number: usize,
    /// The line.
    pub text: String,
    /// The parts that are evaluated.
    pub parts: Parts,
}

/// The prompts of some categories, and the problems with others.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    /// Category by category.
    pub all: Vec<Prompt>,
    /// Problems, one line each. The rest can be evaluated.
    pub faults: Vec<String>,
}

/// Reads the files of the `wanted` categories, or of all, from folders (`color_val.txt`, or else
/// `color.txt`) or single files whose names begin with their category.
///
/// # Errors
/// A path does not exist, or there are no prompts.
pub fn read(paths: &[PathBuf], wanted: &[Category]) -> Result<Prompts> {
    const HINT: &str = "give the folder with the published text files \
        (`examples/dataset` of Karine-Huang/T2I-CompBench)";
    for path in paths {
        fs::metadata(path).map_err(Error::io(path))?;
    }
    let expected = !wanted.is_empty() || paths.iter().any(|path| path.is_dir());
    let mut prompts = Prompts::default();
    let mut first_error = None;
    for category in Category::ALL
        .into_iter()
        .filter(|category| wanted.is_empty() || wanted.contains(category))
    {
        let name = category.name();
        let Some(path) = paths.iter().find_map(|path| file_of(path, category)) else {
            prompts
                .faults
                .extend(expected.then(|| format!("{name}: no prompt file, not evaluated")));
            continue;
        };
        match read_file(&path, category) {
            Ok(read) => prompts.all.extend(read),
            Err(error) => {
                prompts
                    .faults
                    .push(format!("{name}: {error}, not evaluated"));
                first_error.get_or_insert(error);
            }
        }
    }
    match (prompts.all.is_empty(), first_error) {
        (false, _) => Ok(prompts),
        (true, Some(error)) => Err(error.with_hint(HINT)),
        (true, None) => {
            let first = paths.first().map_or(Path::new("."), PathBuf::as_path);
            Err(
                Error::file(first, "contains no prompt file of the requested categories")
                    .with_hint(HINT),
            )
        }
    }
}

/// The file of a category in a folder, or the path itself if that is its name.
fn file_of(path: &Path, category: Category) -> Option<PathBuf> {
    let names = [
        format!("{}_val.txt", category.name()),
        format!("{}.txt", category.name()),
    ];
    if path.is_dir() {
        return names
            .iter()
            .map(|name| path.join(name))
            .find(|file| file.is_file());
    }
    let stem = path.file_stem()?.to_str()?;
    let rest = stem.strip_prefix(category.name())?;
    let other = category == Category::Complex
        && ["_val_spatial", "_val_action", "_val_spatialaction"].contains(&rest);
    (!other && (rest.is_empty() || rest.starts_with(['_', '-', '.']))).then(|| path.to_owned())
}

fn read_file(path: &Path, category: Category) -> Result<Vec<Prompt>> {
    let lines = lines(path)?;
    let parts = match category {
        Category::Complex => complex_parts(path, &lines)?,
        _ => vec![parts(category); lines.len()],
    };
    let prompts = lines.into_iter().zip(parts).enumerate();
    Ok(prompts
        .map(|(number, (text, parts))| Prompt {
            category,
            number,
            text,
            parts,
        })
        .collect())
}

/// The lines of a file without empty ones.
fn lines(path: &Path) -> Result<Vec<String>> {
    let text = file::read_text(path)?;
    let lines: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if lines.is_empty() {
        Err(Error::file(path, "contains no prompt"))
    } else {
        Ok(lines)
    }
}

fn parts(category: Category) -> Parts {
    match category {
        Category::Color | Category::Shape | Category::Texture => Parts {
            attributes: true,
            ..Parts::NONE
        },
        Category::Spatial => Parts {
            relation: true,
            ..Parts::NONE
        },
        Category::NonSpatial => Parts {
            likeness: true,
            ..Parts::NONE
        },
        Category::Numeracy => Parts {
            numbers: true,
            ..Parts::NONE
        },
        Category::Complex => Parts {
            attributes: true,
            relation: true,
            likeness: true,
            numbers: false,
        },
    }
}

/// The parts of complex prompts are given by two files beside theirs: `complex_val_spatial.txt` and
/// `complex_val_action.txt`. Prompts that are in neither have both parts.
fn complex_parts(path: &Path, prompts: &[String]) -> Result<Vec<Parts>> {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("complex_val");
    let stem = if stem == "complex" {
        "complex_val"
    } else {
        stem
    };
    let beside = |kind: &str| -> Result<Vec<String>> {
        let path = path.with_file_name(format!("{stem}_{kind}.txt"));
        Ok(lines(&path)?.iter().map(|line| start(line)).collect())
    };
    let spatial = beside("spatial")?;
    let action = beside("action")?;
    let all = parts(Category::Complex);
    let mut parts = vec![];
    for prompt in prompts {
        let start = start(prompt);
        parts.push(Parts {
            likeness: !spatial.contains(&start),
            relation: spatial.contains(&start) || !action.contains(&start),
            ..all
        });
    }
    Ok(parts)
}

/// The part of a prompt that the original compares: up to the first full stop, in lower case.
fn start(prompt: &str) -> String {
    prompt.split('.').next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        let categories = |name: &str| {
            let found = Category::ALL
                .into_iter()
                .filter(|category| file_of(Path::new(name), *category).is_some());
            found.map(Category::name).collect::<Vec<_>>()
        };
        assert_eq!(categories("data/color_val.txt"), ["color"]);
        assert_eq!(categories("non_spatial.txt"), ["non_spatial"]);
        assert_eq!(categories("spatial_val_mine.txt"), ["spatial"]);
        assert_eq!(categories("complex_val.txt"), ["complex"]);
        assert!(
            categories("complex_val_action.txt").is_empty()
                && categories("3d_spatial_val.txt").is_empty()
                && categories("colors.txt").is_empty()
        );
    }

    #[test]
    fn complex_prompts_are_what_the_files_beside_them_say() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "complex_val.txt",
            "The cat is near it.\nThe cat sings.\n\nThe cat sings near it.\n",
        );
        let read = || read(&[folder.path().to_owned()], &[Category::Complex]);
        assert!(
            read()
                .unwrap_err()
                .to_string()
                .contains("complex_val_spatial.txt"),
            "the files beside are missing"
        );
        write("complex_val_spatial.txt", "the cat is near it.\n");
        write("complex_val_action.txt", "The cat sings. Loud.\n");
        let parts: Vec<[bool; 3]> = read()
            .unwrap()
            .all
            .iter()
            .map(|prompt| {
                [
                    prompt.parts.attributes,
                    prompt.parts.relation,
                    prompt.parts.likeness,
                ]
            })
            .collect();
        assert_eq!(
            parts,
            [[true, true, false], [true, false, true], [true, true, true]]
        );
    }
}
