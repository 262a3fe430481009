//! T2I-CompBench's prompts as they are published: a text file a category, a prompt a line.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{Error, Result};

/// What the prompts of a file ask for. Relations in depth (`3d_spatial`) are not judged here.
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
    /// So many of each.
    Numeracy,
    /// Sentences with some of all that.
    Complex,
}

impl Category {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 7] = [
        Self::Color,
        Self::Shape,
        Self::Texture,
        Self::Spatial,
        Self::NonSpatial,
        Self::Numeracy,
        Self::Complex,
    ];

    /// As files and tables have it.
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

    /// Where the original writes the scores of the category, below the folder of its pictures.
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
            let names = Self::ALL.map(Self::name).join(", ");
            Error::input(format!("unknown category `{text}`"))
                .with_hint(format!("there are {names}"))
        })
    }
}

/// What of a prompt is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Its noun phrases, by questions.
    pub attributes: bool,
    /// Where two things stand, by boxes.
    pub relation: bool,
    /// All of it, by its likeness to the picture.
    pub likeness: bool,
    /// How many things there are, by boxes.
    pub numbers: bool,
}

impl Parts {
    const NONE: Self = Self {
        attributes: false,
        relation: false,
        likeness: false,
        numbers: false,
    };

    /// Whether a detector is needed.
    pub fn boxes(self) -> bool {
        self.relation || self.numbers
    }
}

/// A prompt of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What it asks for.
    pub category: Category,
    /// Its place in the file.
    pub number: usize,
    /// The line.
    pub text: String,
    /// What is judged.
    pub parts: Parts,
}

/// The prompts of some categories, and what could not be read.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    /// Category by category.
    pub all: Vec<Prompt>,
    /// What is missing, a line each. The rest can be judged.
    pub faults: Vec<String>,
}

/// Reads the files of the `wanted` categories, or of all, from folders (`color_val.txt`, or else
/// `color.txt`) or single files whose names begin with their category.
///
/// # Errors
/// A path does not exist, or there is no prompt at all.
pub fn read(paths: &[PathBuf], wanted: &[Category]) -> Result<Prompts> {
    const HINT: &str = "give the folder with the published text files (`examples/dataset` of Karine-Huang/T2I-CompBench)";
    for path in paths {
        fs::metadata(path).map_err(Error::io(path))?;
    }
    let expected = !wanted.is_empty() || paths.iter().any(|path| path.is_dir());
    let (mut prompts, mut why) = (Prompts::default(), None);
    for category in Category::ALL
        .into_iter()
        .filter(|category| wanted.is_empty() || wanted.contains(category))
    {
        let name = category.name();
        let Some(path) = paths.iter().find_map(|path| file_of(path, category)) else {
            prompts
                .faults
                .extend(expected.then(|| format!("{name}: no file of prompts, not judged")));
            continue;
        };
        match read_file(&path, category) {
            Ok(own) => prompts.all.extend(own),
            Err(error) => {
                prompts.faults.push(format!("{name}: {error}, not judged"));
                why.get_or_insert(error);
            }
        }
    }
    match (prompts.all.is_empty(), why) {
        (false, _) => Ok(prompts),
        (true, Some(error)) => Err(error.with_hint(HINT)),
        (true, None) => {
            let first = paths.first().map_or(Path::new("."), PathBuf::as_path);
            Err(Error::file(first, "holds no file of prompts that was asked for").with_hint(HINT))
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
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let lines: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if lines.is_empty() {
        Err(Error::file(path, "holds no prompt"))
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

/// What the prompts of the complex category hold is said by two files beside theirs:
/// `complex_val_spatial.txt` and `complex_val_action.txt`. Prompts that are in neither have both.
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
    let (spatial, action) = (beside("spatial")?, beside("action")?);
    let all = parts(Category::Complex);
    let of = |prompt: &String| match start(prompt) {
        own if spatial.contains(&own) => Parts {
            likeness: false,
            ..all
        },
        own if action.contains(&own) => Parts {
            relation: false,
            ..all
        },
        _ => all,
    };
    Ok(prompts.iter().map(of).collect())
}

/// What of a prompt the original compares: up to the first full stop, in lower case.
fn start(prompt: &str) -> String {
    prompt.split('.').next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        let of = |name: &str| {
            let found = Category::ALL
                .into_iter()
                .filter(|category| file_of(Path::new(name), *category).is_some());
            found.map(Category::name).collect::<Vec<_>>()
        };
        assert_eq!(of("data/color_val.txt"), ["color"]);
        assert_eq!(of("non_spatial.txt"), ["non_spatial"]);
        assert_eq!(of("spatial_val_mine.txt"), ["spatial"]);
        assert_eq!(of("complex_val.txt"), ["complex"]);
        assert!(
            of("complex_val_action.txt").is_empty()
                && of("3d_spatial_val.txt").is_empty()
                && of("colors.txt").is_empty()
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
