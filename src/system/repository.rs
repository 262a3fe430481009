//! Released models by the repository of Hugging Face that publishes them. A repository with several
//! models has variants: `infinity-8b-512` is the variant `8b-512` of FoundationVision/Infinity.

use ttsvar_search::suggestion::suggest;

use crate::{
    Error, Result,
    hub::{catalog::entry, released},
};

/// The name of the released model that a repository publishes under a variant: the end of its name,
/// or the whole. A repository with a single model needs none. Upper and lower case are the same.
///
/// # Errors
/// The repository is unknown, or the variant is missing or unknown; the error lists those that
/// exist.
pub fn model_of_repository(repository: &str, variant: Option<&str>) -> Result<&'static str> {
    let published = models(repository);
    if published.is_empty() {
        let known = repositories();
        let expected = format!("expected one of {}", known.join(", "));
        return Err(Error::input(format!(
            "no released model in the repository `{}` is known",
            repository.escape_debug()
        ))
        .with_hint(suggest(repository, &known, &expected)));
    }
    match (variant, &published[..]) {
        (None, [only]) => Ok(*only),
        (None, several) => Err(Error::input(format!(
            "{repository} publishes several models, and no variant is given"
        ))
        .with_hint(one_of(several))),
        (Some(variant), _) => {
            let wanted = variant.to_lowercase();
            let named = |name: &&&str| **name == wanted || variant_of(name) == wanted;
            published.iter().find(named).copied().ok_or_else(|| {
                Error::input(format!(
                    "{repository} has no variant `{}`",
                    variant.escape_debug()
                ))
                .with_hint(one_of(&published))
            })
        }
    }
}

/// The released models that a repository publishes.
fn models(repository: &str) -> Vec<&'static str> {
    let published_there =
        |name: &&str| entry(name).is_some_and(|entry| entry.is_published_by(repository));
    released::NAMES
        .into_iter()
        .filter(published_there)
        .collect()
}

/// The repositories of all released models, each once.
fn repositories() -> Vec<&'static str> {
    let mut repositories: Vec<&str> = released::NAMES
        .iter()
        .filter_map(|name| entry(name)?.repository())
        .collect();
    repositories.dedup();
    repositories
}

/// The variant of a released model: what follows the family in its name.
fn variant_of(name: &str) -> &str {
    name.split_once('-').map_or(name, |(_, variant)| variant)
}

fn one_of(names: &[&str]) -> String {
    let variants: Vec<&str> = names.iter().map(|name| variant_of(name)).collect();
    format!("its variants are {}", variants.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_released_model_is_a_variant_of_its_repository() {
        for name in released::NAMES {
            let repository = entry(name).unwrap().repository().unwrap();
            for variant in [name, variant_of(name), &name.to_uppercase()] {
                assert_eq!(
                    model_of_repository(repository, Some(variant)).unwrap(),
                    name
                );
            }
        }
        assert_eq!(
            model_of_repository("mit-han-lab/hart-0.7b-1024px", None).unwrap(),
            "hart"
        );
    }

    #[test]
    fn a_missing_or_unknown_variant_is_an_error_that_lists_them() {
        for variant in [None, Some("3b")] {
            let error = model_of_repository("FoundationVision/Infinity", variant).unwrap_err();
            let hint = error.hint().unwrap();
            assert_eq!(hint, "its variants are 2b, 8b, 8b-512");
        }
        let error = model_of_repository("FoundationVision/Infinty", None).unwrap_err();
        assert!(error.hint().unwrap().contains("FoundationVision/Infinity"));
    }
}
