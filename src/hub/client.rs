//! Requests to Hugging Face, or to the server that `HF_ENDPOINT` names. The user's token goes to that
//! server only, never to another one to which it redirects, and is never printed.

use std::{
    env, fs,
    io::{self, Read},
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use ureq::{
    Agent, Body,
    http::{HeaderMap, Response, Uri, header::LOCATION},
};

use crate::{Error, Result};

/// Hugging Face.
const ENDPOINT: &str = "https://huggingface.co";

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 10;

/// Limits for connecting and for the first byte of an answer.
const CONNECT: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(60);

/// The longest time without any byte, unless `HF_HUB_DOWNLOAD_TIMEOUT` sets another; a download may
/// take as long as it needs.
const IDLE: Duration = Duration::from_secs(60);

/// Bytes that are read at a time, and how many such parts may wait to be taken.
const PART: usize = 1 << 16;
const PARTS: usize = 16;

/// A client.
pub(super) struct Client {
    agent: Agent,
    endpoint: Uri,
    token: Option<String>,
    offline: bool,
    /// The longest time without any byte.
    idle: Duration,
}

/// An answer with a status of success.
pub(super) struct Answer {
    /// The headers of the last answer of the endpoint itself.
    pub headers: HeaderMap,
    /// The answer at the end of all redirects.
    pub response: Response<Body>,
    idle: Duration,
}

impl Answer {
    /// The bytes of the answer.
    pub fn into_body(self) -> Bytes {
        let (send, parts) = sync_channel(PARTS);
        let body = self.response.into_body().into_reader();
        // A read has no limit of time. A thread whose server sends nothing is left behind.
        thread::spawn(move || read_parts(body, &send));
        Bytes {
            parts,
            idle: self.idle,
        }
    }
}

/// Reads until the end, an error, or the time when nobody takes the parts any more.
fn read_parts(mut body: impl Read, send: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut part = vec![0; PART];
        let read = match body.read(&mut part) {
            Ok(0) => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read,
        };
        let is_last = read.is_err();
        let part = read.map(|bytes| {
            part.truncate(bytes);
            part
        });
        if send.send(part).is_err() || is_last {
            return;
        }
    }
}

/// The bytes of an answer, part by part.
pub(super) struct Bytes {
    parts: Receiver<io::Result<Vec<u8>>>,
    idle: Duration,
}

impl Bytes {
    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// The connection breaks off, or nothing comes for too long.
    pub fn next_part(&mut self) -> Result<Option<Vec<u8>>, RequestError> {
        match self.parts.recv_timeout(self.idle) {
            Ok(Ok(part)) => Ok(Some(part)),
            Ok(Err(error)) => Err(RequestError::Broken(error.to_string())),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = self.idle.as_secs();
                let message = format!("the server sent nothing for {seconds} s");
                Err(RequestError::Broken(message))
            }
        }
    }

    /// All of them.
    ///
    /// # Errors
    /// As [`Bytes::next_part`], or there are more than `most`.
    pub fn all(mut self, most: usize) -> Result<Vec<u8>, RequestError> {
        let mut all = vec![];
        while let Some(part) = self.next_part()? {
            all.extend(part);
            if all.len() > most {
                let message = format!("the answer has more than {most} bytes");
                return Err(RequestError::Broken(message));
            }
        }
        Ok(all)
    }
}

/// A failed request.
#[derive(Debug)]
pub(super) enum RequestError {
    /// The user forbids requests.
    Offline,
    /// The server answered with another status than success.
    Status {
        status: u16,
        /// Whether the request had a token.
        token: bool,
    },
    /// There was no complete answer.
    Broken(String),
}

impl Client {
    /// A client as the environment variables of Hugging Face's own tools set it up.
    ///
    /// # Errors
    /// `HF_ENDPOINT` or the token is not valid.
    pub fn from_env() -> Result<Self> {
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint.trim_end_matches('/');
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .build();
        Ok(Self {
            agent: config.into(),
            endpoint: endpoint
                .parse::<Uri>()
                .ok()
                .filter(|uri| uri.host().is_some() && uri.scheme().is_some())
                .ok_or_else(|| {
                    Error::input(format!(
                        "HF_ENDPOINT is `{endpoint}`, which is not a valid URL"
                    ))
                    .with_hint(format!("give a URL such as {ENDPOINT}"))
                })?,
            token: token()?,
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            idle: idle()?,
        })
    }

    /// Requests a path of the endpoint, or some of its bytes.
    pub fn get(&self, path: &str, range: Option<&str>) -> Result<Answer, RequestError> {
        if self.offline {
            return Err(RequestError::Offline);
        }
        let mut address = self.address(path)?;
        let mut headers = None;
        for _ in 0..=MOST_REDIRECTS {
            let home = origin(&address) == origin(&self.endpoint);
            let mut request = self.agent.get(&address);
            if let Some(range) = range {
                request = request.header("Range", range);
            }
            let token = self.token.as_ref().filter(|_| home);
            if let Some(token) = token {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let response = request
                .call()
                .map_err(|error| RequestError::Broken(error.to_string()))?;
            if home || headers.is_none() {
                headers = Some(response.headers().clone());
            }
            let status = response.status();
            let location = response
                .headers()
                .get(LOCATION)
                .filter(|_| status.is_redirection());
            if let Some(location) = location {
                address = redirected(&address, location.as_bytes())?;
                continue;
            }
            if !status.is_success() {
                return Err(RequestError::Status {
                    status: status.as_u16(),
                    token: token.is_some(),
                });
            }
            return Ok(Answer {
                headers: headers.unwrap_or_default(),
                response,
                idle: self.idle,
            });
        }
        Err(RequestError::Broken("too many redirects".to_owned()))
    }

    fn address(&self, path: &str) -> Result<Uri, RequestError> {
        let address = format!("{}/{path}", self.endpoint.to_string().trim_end_matches('/'));
        address
            .parse()
            .map_err(|_| RequestError::Broken(format!("`{path}` is not a valid path")))
    }
}

/// Scheme, host and port: what must agree for a server to be the same.
fn origin(address: &Uri) -> (Option<&str>, Option<String>, Option<u16>) {
    let usual = match address.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    (
        address.scheme_str(),
        address.host().map(str::to_lowercase),
        address.port_u16().or(usual),
    )
}

/// The address to which an answer of `from` redirects.
fn redirected(from: &Uri, location: &[u8]) -> Result<Uri, RequestError> {
    let broken = || RequestError::Broken("redirected to an invalid address".to_owned());
    let to: Uri = Uri::try_from(location).map_err(|_| broken())?;
    if to.host().is_some() {
        return Ok(to);
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = to.into_parts().path_and_query;
    Uri::from_parts(parts).map_err(|_| broken())
}

/// The token of `HF_TOKEN`, or of the file in which Hugging Face's login command keeps it.
fn token() -> Result<Option<String>> {
    let given = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
    let token = given.or_else(|| {
        if is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return None;
        }
        let stored = fs::read_to_string(token_file()?).ok()?;
        Some(stored.trim().to_owned()).filter(|token| !token.is_empty())
    });
    if token
        .as_ref()
        .is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return Err(
            Error::input("the Hugging Face token contains invalid characters")
                .with_hint("it comes from HF_TOKEN or from the file `token` in HF_HOME"),
        );
    }
    Ok(token)
}

fn token_file() -> Option<PathBuf> {
    if let Some(path) = variable("HF_TOKEN_PATH") {
        return Some(PathBuf::from(path));
    }
    if let Some(home) = variable("HF_HOME") {
        return Some(PathBuf::from(home).join("token"));
    }
    let cache = match variable("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => env::home_dir()?.join(".cache"),
    };
    Some(cache.join("huggingface").join("token"))
}

/// The longest time without any byte.
fn idle() -> Result<Duration> {
    const NAME: &str = "HF_HUB_DOWNLOAD_TIMEOUT";
    let Some(given) = variable(NAME) else {
        return Ok(IDLE);
    };
    match given.parse() {
        Ok(0) => Ok(IDLE), // as Hugging Face's own tools read it
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => Err(
            Error::input(format!("expected whole seconds in {NAME}, found `{given}`"))
                .with_hint(format!("set it to a number such as 60, or unset {NAME}")),
        ),
    }
}

/// A variable that is set and not blank.
fn variable(name: &str) -> Option<String> {
    let value = env::var(name).ok()?.trim().to_owned();
    (!value.is_empty()).then_some(value)
}

/// Returns whether a variable is switched on, as Hugging Face's own tools read it.
fn is_on(name: &str) -> bool {
    let value = variable(name).unwrap_or_default().to_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn a_server_is_its_scheme_host_and_port() {
        let hub = uri("https://huggingface.co");
        assert_eq!(origin(&hub), origin(&uri("https://HuggingFace.co:443/a")));
        for other in [
            "http://huggingface.co",
            "https://huggingface.co:8443",
            "https://cdn.huggingface.co",
            "https://huggingface.co.example.org",
        ] {
            assert_ne!(origin(&hub), origin(&uri(other)), "{other}");
        }
    }

    #[test]
    fn redirects_are_relative_or_absolute() {
        let from = uri("http://hub:8/a/b?c");
        let to = |location: &str| redirected(&from, location.as_bytes()).unwrap().to_string();
        assert_eq!(to("/x?y"), "http://hub:8/x?y");
        assert_eq!(to("https://cdn/x"), "https://cdn/x");
        assert!(redirected(&from, b"\xff").is_err());
    }
}
