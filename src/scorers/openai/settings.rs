//! Address, model and limits of a vision server, from arguments or environment.

use std::{env, fmt, path::PathBuf, time::Duration};

use serde_json::{Map, Value};

use crate::{Error, Result};

/// The place of the prompt in a template.
pub(super) const PLACE: &str = "{}";

const TEMPLATE: &str = "Does this image show \"{}\"? Answer yes or no.";
const PARALLEL: usize = 8;
const TIMEOUT: u64 = 60;

/// A vision server. Values that are missing come from the environment, see
/// [`VisionServer::or_environment`].
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[cfg_attr(
    feature = "cli",
    command(next_help_heading = "Vision server for --scorer openai (API key: OPENAI_API_KEY)")
)]
pub struct VisionServer {
    /// Address, such as http://localhost:8000/v1 [default: TTSVAR_OPENAI_URL]
    #[cfg_attr(
        feature = "cli",
        arg(id = "openai-url", long = "openai-url", value_name = "URL")
    )]
    pub url: Option<String>,
    /// Name of the model [default: TTSVAR_OPENAI_MODEL]
    #[cfg_attr(
        feature = "cli",
        arg(id = "openai-model", long = "openai-model", value_name = "NAME")
    )]
    pub model: Option<String>,
    /// Question with {} for the prompt [default: TTSVAR_OPENAI_TEMPLATE, or Does this image show
    /// "{}"? Answer yes or no.]
    #[cfg_attr(
        feature = "cli",
        arg(id = "openai-template", long = "openai-template", value_name = "TEXT")
    )]
    pub template: Option<String>,
    /// Maximum number of concurrent requests [default: TTSVAR_OPENAI_PARALLEL, or 8]
    #[cfg_attr(
        feature = "cli",
        arg(
            id = "openai-parallel",
            long = "openai-parallel",
            value_name = "NUMBER"
        )
    )]
    pub parallel: Option<usize>,
    /// Seconds to wait for an answer [default: TTSVAR_OPENAI_TIMEOUT, or 60]
    #[cfg_attr(
        feature = "cli",
        arg(id = "openai-timeout", long = "openai-timeout", value_name = "SECONDS")
    )]
    pub timeout: Option<u64>,
    /// Folder in which to cache answers, so that nothing is asked twice; `none` caches in memory
    /// only [default: TTSVAR_OPENAI_CACHE, or ttsvar/answers in the user's cache]
    #[cfg_attr(
        feature = "cli",
        arg(id = "openai-cache", long = "openai-cache", value_name = "DIR")
    )]
    pub cache: Option<PathBuf>,
    /// The key that requests carry. It has no argument, since those are seen by others.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub key: Option<ApiKey>,
    /// Wait before the second attempt at a request, which doubles with each further one; `None`
    /// means half a second.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub delay: Option<Duration>,
}

/// A key, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

impl VisionServer {
    /// Fills what is missing from `TTSVAR_OPENAI_URL`, `_MODEL`, `_TEMPLATE`, `_PARALLEL`,
    /// `_TIMEOUT`, `_CACHE`, and the key from `OPENAI_API_KEY`.
    ///
    /// # Errors
    /// A variable is not a number where one is expected.
    pub fn or_environment(self) -> Result<Self> {
        Ok(Self {
            url: self.url.or_else(|| variable("TTSVAR_OPENAI_URL")),
            model: self.model.or_else(|| variable("TTSVAR_OPENAI_MODEL")),
            template: self.template.or_else(|| variable("TTSVAR_OPENAI_TEMPLATE")),
            parallel: match self.parallel {
                Some(parallel) => Some(parallel),
                None => number("TTSVAR_OPENAI_PARALLEL")?,
            },
            timeout: match self.timeout {
                Some(timeout) => Some(timeout),
                None => number("TTSVAR_OPENAI_TIMEOUT")?,
            },
            cache: self
                .cache
                .or_else(|| variable("TTSVAR_OPENAI_CACHE").map(PathBuf::from)),
            key: self
                .key
                .or_else(|| variable("OPENAI_API_KEY").map(ApiKey::new)),
            delay: self.delay,
        })
    }

    /// What records say of it: the model, and the question if it is not the usual one. The address
    /// changes no score, and is nobody's business to whom an image is given.
    pub fn recorded(&self) -> Map<String, Value> {
        let model = self.model.clone().map(|model| ("model", model));
        let template = self
            .template
            .clone()
            .filter(|template| template != TEMPLATE);
        let template = template.map(|template| ("template", template));
        let texts = model.into_iter().chain(template);
        texts
            .map(|(name, text)| (name.to_owned(), text.into()))
            .collect()
    }

    /// Reads what [`VisionServer::recorded`] wrote.
    ///
    /// # Errors
    /// It is not an object with these texts.
    pub fn from_recorded(record: &Value) -> Result<Self> {
        let wrong =
            || Error::input("`openai`: expected an object with the texts `model` and `template`");
        let record = record.as_object().ok_or_else(wrong)?;
        let text = |name: &str| match record.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong()),
        };
        Ok(Self {
            model: text("model")?,
            template: text("template")?,
            ..Self::default()
        })
    }

    /// Fills a model and a question that are missing from another server's.
    pub fn or_model_of(&mut self, other: &Self) {
        self.model = self.model.take().or_else(|| other.model.clone());
        self.template = self.template.take().or_else(|| other.template.clone());
    }

    /// Checks that it can be asked.
    ///
    /// # Errors
    /// Something is missing or not valid.
    pub(super) fn check(&self) -> Result<()> {
        let Some(url) = &self.url else {
            return Err(
                Error::input("the scorer openai needs the address of a vision server").with_hint(
                    "give --openai-url http://localhost:8000/v1, or set TTSVAR_OPENAI_URL",
                ),
            );
        };
        let form = "the address of the vision server must be of the form http://localhost:8000/v1";
        if url.contains(['@', '?', '#']) {
            // It may hold a secret, so it is not shown.
            return Err(Error::input(form)
                .with_hint("do not put keys or passwords in the address; set OPENAI_API_KEY"));
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            let found = url.escape_debug();
            return Err(Error::input(format!("{form}, found `{found}`"))
                .with_hint("begin it with http:// or https://"));
        }
        if self.model.as_ref().is_none_or(String::is_empty) {
            return Err(Error::input("the scorer openai needs the name of a model")
                .with_hint("give --openai-model NAME, or set TTSVAR_OPENAI_MODEL"));
        }
        if !self.template().contains(PLACE) {
            let template = self.template().escape_debug();
            return Err(Error::input(format!(
                "the question `{template}` has no place for the prompt"
            ))
            .with_hint("write {} where the prompt belongs"));
        }
        if !(1..=256).contains(&self.parallel()) {
            return Err(Error::input(
                "the number of concurrent requests must be 1 to 256",
            ));
        }
        if !(1..=3600).contains(&self.timeout.unwrap_or(TIMEOUT)) {
            return Err(Error::input(
                "the time limit for an answer must be 1 to 3600 seconds",
            ));
        }
        let plain = |key: &ApiKey| key.0.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.key.as_ref().is_none_or(plain) {
            return Err(Error::input("OPENAI_API_KEY contains invalid characters")
                .with_hint("a key consists of letters, digits and punctuation, without spaces"));
        }
        Ok(())
    }

    pub(super) fn template(&self) -> &str {
        self.template.as_deref().unwrap_or(TEMPLATE)
    }

    pub(super) fn parallel(&self) -> usize {
        self.parallel.unwrap_or(PARALLEL)
    }

    pub(super) fn time_limit(&self) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(TIMEOUT))
    }

    /// The folder of the cache, if answers are kept on disk.
    pub(super) fn cache_folder(&self) -> Option<PathBuf> {
        match &self.cache {
            Some(folder) if folder.as_os_str() == "none" => None,
            Some(folder) => Some(folder.clone()),
            None => Some(user_cache()?.join("ttsvar").join("answers")),
        }
    }
}

/// The folder in which programs keep what they can compute again.
fn user_cache() -> Option<PathBuf> {
    match variable("XDG_CACHE_HOME") {
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(env::home_dir()?.join(".cache")),
    }
}

/// A variable that is set and not blank.
fn variable(name: &str) -> Option<String> {
    let value = env::var(name).ok()?.trim().to_owned();
    (!value.is_empty()).then_some(value)
}

fn number<T: std::str::FromStr>(name: &str) -> Result<Option<T>> {
    let Some(text) = variable(name) else {
        return Ok(None);
    };
    let number = text.parse().map_err(|_| {
        Error::input(format!(
            "{name}: expected an integer, found `{}`",
            text.escape_debug()
        ))
    })?;
    Ok(Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> VisionServer {
        VisionServer {
            url: Some("http://localhost:8000/v1".to_owned()),
            model: Some("m".to_owned()),
            key: Some(ApiKey::new("sk-secret")),
            ..VisionServer::default()
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        assert!(!format!("{:?}", server()).contains("secret"));
    }

    #[test]
    fn records_have_the_model_and_an_unusual_question() {
        let mut server = server();
        assert_eq!(
            Value::Object(server.recorded()),
            serde_json::json!({ "model": "m" })
        );
        server.template = Some("{}?".to_owned());
        let record = Value::Object(server.recorded());
        let mut read = VisionServer::from_recorded(&record).unwrap();
        assert_eq!(
            (read.url.as_deref(), read.model.as_deref()),
            (None, Some("m"))
        );
        assert_eq!(read.template.as_deref(), Some("{}?"));
        read.model = Some("other".to_owned());
        read.or_model_of(&server);
        assert_eq!(read.model.as_deref(), Some("other"));
        for wrong in [serde_json::json!("m"), serde_json::json!({ "model": 1 })] {
            assert!(VisionServer::from_recorded(&wrong).is_err());
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        assert!(server().check().is_ok());
        let refused = |change: fn(&mut VisionServer)| {
            let mut server = server();
            change(&mut server);
            let error = server.check().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
            error
        };
        assert!(refused(|s| s.url = None).contains("address"));
        assert!(refused(|s| s.url = Some("http://me:secret@host/v1".into())).contains("form"));
        assert!(refused(|s| s.url = Some("localhost".into())).contains("found `localhost`"));
        assert!(refused(|s| s.model = None).contains("model"));
        assert!(refused(|s| s.template = Some("yes?".into())).contains("no place"));
        assert!(refused(|s| s.parallel = Some(0)).contains("1 to 256"));
        assert!(refused(|s| s.timeout = Some(0)).contains("3600"));
        assert!(refused(|s| s.key = Some(ApiKey::new("secret\n"))).contains("characters"));
    }
}
