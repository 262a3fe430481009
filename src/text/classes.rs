//! The classes of a class-conditional generator: their numbers, names and prompts.

use std::borrow::Cow;

use ttsvar_search::suggestion::closest;

use crate::{Error, Result};

/// The names of ImageNet's 1000 classes in the order of their numbers, one per line, as torchvision
/// 0.29 lists them (`torchvision/models/_meta.py`). Class 264, `Cardigan` there, has the longer name
/// of WordNet here, since class 474 is `cardigan`.
const IMAGENET: &str = include_str!("imagenet.txt");

/// The number of ImageNet's classes.
const IMAGENET_CLASSES: usize = 1000;

/// What scorers read of a class in front of its name.
const PROMPT: &str = "a photo of a ";

/// Most names that a hint lists.
const MOST_LISTED: usize = 5;

/// The classes of a generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes(Vec<Cow<'static, str>>);

impl Classes {
    /// Classes with these names, in the order of their numbers.
    ///
    /// # Errors
    /// A name is empty or a number, or two names are equal but for case.
    pub fn named(names: &[String]) -> Result<Self> {
        for (number, name) in names.iter().enumerate() {
            if name.trim().is_empty() || name.parse::<i64>().is_ok() {
                return Err(
                    Error::input(format!("the name of class {number} is `{name}`"))
                        .with_hint("give it a name that is neither empty nor a number, such as `golden retriever`"),
                );
            }
            let before = &names[..number];
            if let Some(other) = before.iter().position(|other| same(other, name)) {
                let message = format!("classes {other} and {number} are both called `{name}`");
                return Err(Error::input(message).with_hint("give every class its own name"));
            }
        }
        Ok(Self(names.iter().cloned().map(Cow::Owned).collect()))
    }

    /// Classes without names of their own: those of ImageNet if there are as many, otherwise
    /// `class 0`, `class 1`, ...
    pub fn unnamed(count: usize) -> Self {
        if count == IMAGENET_CLASSES {
            return Self(IMAGENET.lines().map(Cow::Borrowed).collect());
        }
        let name = |number| Cow::Owned(format!("class {number}"));
        Self((0..count).map(name).collect())
    }

    /// The number of classes.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The names, in the order of the numbers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The name of a class.
    pub fn name(&self, class: usize) -> Option<&str> {
        self.0.get(class).map(AsRef::as_ref)
    }

    /// The class that a number, a name or the first words of one name stand for; case does not
    /// matter.
    ///
    /// # Errors
    /// There is no such class, or several names begin with these words; the hint has names that
    /// may be meant.
    pub fn find(&self, typed: &str) -> Result<usize> {
        let typed = typed.trim();
        if let Ok(number) = typed.parse::<i128>() {
            return self.numbered(number);
        }
        if let Some(class) = self.names().position(|name| same(name, typed)) {
            return Ok(class);
        }
        let begin = |name: &str| !typed.is_empty() && begins_with_words(name, typed);
        let fitting: Vec<usize> = (0..self.count()).filter(|i| begin(&self.0[*i])).collect();
        match fitting[..] {
            [class] => Ok(class),
            [] => Err(self.unknown(typed)),
            _ => {
                let count = fitting.len();
                let message = format!("{count} classes begin with `{}`", shown(typed));
                Err(Error::input(message)
                    .with_hint(format!("did you mean {}?", self.list(&fitting))))
            }
        }
    }

    fn numbered(&self, number: i128) -> Result<usize> {
        let class = usize::try_from(number).ok();
        class.filter(|class| *class < self.count()).ok_or_else(|| {
            let last = self.count().saturating_sub(1);
            Error::input(format!("class {number}: expected a class from 0 to {last}"))
                .with_hint("give the number or the name of a class, such as --class 0")
        })
    }

    /// The error for a name that no class has, with near ones: those with the same words, the one
    /// with the most similar letters, those with the words in others.
    fn unknown(&self, typed: &str) -> Error {
        let typed_words = typed.to_lowercase();
        let words: Vec<&str> = typed_words
            .split_whitespace()
            .filter(|word| word.len() > 2)
            .collect();
        let names: Vec<String> = self.names().map(str::to_lowercase).collect();
        let has_word = |name: &str| name.split_whitespace().any(|word| words.contains(&word));
        let has_letters = |name: &str| words.iter().any(|word| name.contains(word));
        let closest = closest(typed, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let with_word = (0..self.count()).filter(|class| has_word(&names[*class]));
        let similar = names.iter().position(|name| Some(name.as_str()) == closest);
        let with_letters = (0..self.count()).filter(|class| has_letters(&names[*class]));
        let mut near: Vec<usize> = vec![];
        for class in with_word.chain(similar).chain(with_letters) {
            if !near.contains(&class) {
                near.push(class);
            }
        }
        let hint = match near.is_empty() {
            true => format!(
                "classes have numbers from 0 to {} and names",
                self.count() - 1
            ),
            false => format!("did you mean {}?", self.list(&near)),
        };
        Error::input(format!("no class is called `{}`", shown(typed))).with_hint(hint)
    }

    /// Names with their numbers, the first few.
    fn list(&self, classes: &[usize]) -> String {
        let first = classes.iter().take(MOST_LISTED);
        let name = |class: &usize| format!("`{}` ({class})", self.0[*class]);
        let mut names: Vec<String> = first.map(name).collect();
        if classes.len() > MOST_LISTED {
            names.push(format!("or {} more", classes.len() - MOST_LISTED));
        }
        names.join(", ")
    }

    /// The text that scorers read of a class, and the prompt of a search for it.
    pub fn prompt(&self, class: usize) -> String {
        format!("{PROMPT}{}", self.0[class])
    }

    /// The class with this prompt.
    pub fn of_prompt(&self, prompt: &str) -> Option<usize> {
        let name = prompt.strip_prefix(PROMPT)?;
        self.names().position(|other| other == name)
    }
}

/// A text as an error shows it: the beginning of a long one.
fn shown(typed: &str) -> String {
    const MOST: usize = 60;
    let begin: String = typed.chars().take(MOST).collect();
    let more = if begin.len() < typed.len() { "…" } else { "" };
    format!("{}{more}", begin.escape_debug())
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// `dog` is not the first word of `dogsled`.
fn begins_with_words(name: &str, words: &str) -> bool {
    let name = name.to_lowercase();
    let rest = name.strip_prefix(&words.to_lowercase());
    rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(error: &Error) -> String {
        error.hint().unwrap_or_default().to_string()
    }

    #[test]
    fn the_names_of_imagenet_are_complete_and_distinct() {
        let classes = Classes::unnamed(1000);
        assert_eq!(classes.count(), 1000);
        let names: Vec<String> = classes.names().map(str::to_owned).collect();
        assert_eq!(Classes::named(&names).unwrap().count(), 1000);
        for (class, name) in [
            (0, "tench"),
            (207, "golden retriever"),
            (263, "Pembroke"),
            (264, "Cardigan Welsh corgi"),
            (474, "cardigan"),
            (999, "toilet tissue"),
        ] {
            assert_eq!(classes.name(class), Some(name));
        }
    }

    #[test]
    fn a_class_is_found_by_number_name_and_beginning() {
        let classes = Classes::unnamed(1000);
        for (typed, class) in [
            ("207", 207),
            (" 207 ", 207),
            ("golden retriever", 207),
            ("Golden Retriever", 207),
            ("golden", 207),
            ("lion", 291),
            ("cardigan", 474),
        ] {
            assert_eq!(classes.find(typed).unwrap(), class, "{typed}");
        }
    }

    #[test]
    fn what_is_no_class_is_refused_with_near_names() {
        let classes = Classes::unnamed(1000);
        for (typed, message, near) in [
            ("1000", "expected a class from 0 to 999", "--class"),
            ("-1", "expected a class from 0 to 999", "--class"),
            ("great", "4 classes begin with", "`great grey owl` (24)"),
            (
                "golden retreiver",
                "no class is called",
                "`golden retriever` (207)",
            ),
            (
                "retriever",
                "no class is called",
                "`golden retriever` (207)",
            ),
            ("", "no class is called", "0 to 999"),
            ("xyzzy", "no class is called", "0 to 999"),
            ("dog", "no class is called", "`Maltese dog` (153)"),
        ] {
            let error = classes.find(typed).unwrap_err();
            assert!(error.to_string().contains(message), "{typed}: {error}");
            assert!(hint(&error).contains(near), "{typed}: {}", hint(&error));
        }
        let many = hint(&classes.find("cat").unwrap_err());
        assert!(many.contains("more"), "{many}");
    }

    #[test]
    fn prompts_lead_back_to_classes() {
        for classes in [Classes::unnamed(1000), Classes::unnamed(20)] {
            for class in 0..classes.count() {
                assert_eq!(classes.of_prompt(&classes.prompt(class)), Some(class));
            }
        }
        let classes = Classes::unnamed(1000);
        assert_eq!(classes.prompt(207), "a photo of a golden retriever");
        assert_eq!(classes.of_prompt("a golden retriever"), None);
    }

    #[test]
    fn names_of_a_bundle_must_differ() {
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Classes::named(&names)
        };
        assert!(named(&["a", "b"]).is_ok());
        for names in [["a", "A"], ["a", " "], ["a", "7"]] {
            assert!(named(&names).is_err(), "{names:?}");
        }
    }
}
