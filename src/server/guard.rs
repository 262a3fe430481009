//! Who may ask: anyone on this machine, elsewhere those who know the token.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};
use subtle::ConstantTimeEq;

use super::{App, refusal::Refusal};
use crate::{Error, Result};

/// Letters of the shortest token that is taken.
const SHORTEST: usize = 8;

/// Knows the token, if there is one.
pub(super) struct Guard {
    token: Option<String>,
}

impl Guard {
    /// # Errors
    /// The address can be reached from elsewhere and there is no token, or the token is too short
    /// to be a secret.
    pub(super) fn new(address: SocketAddr, token: Option<String>) -> Result<Self> {
        if token.as_ref().is_some_and(|token| token.len() < SHORTEST) {
            return Err(
                Error::input(format!("the token has fewer than {SHORTEST} letters"))
                    .with_hint("take a long random one, such as `openssl rand -hex 16` prints"),
            );
        }
        if token.is_none() && !address.ip().is_loopback() {
            return Err(Error::input(format!(
                "{} can be reached from other machines, so a token is needed",
                address.ip()
            ))
            .with_hint("give one by the environment variable TTSVAR_TOKEN or --token, or listen on 127.0.0.1"));
        }
        Ok(Self { token })
    }

    /// Whether the headers bring the token. How long the comparison takes tells nothing but the
    /// token's length.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .map(|value| value.as_bytes());
        let given = given.and_then(|value| value.split_at_checked(BEARER.len()));
        given.is_some_and(|(scheme, given)| {
            scheme.eq_ignore_ascii_case(BEARER) && bool::from(given.ct_eq(token.as_bytes()))
        })
    }

    /// Whether the request names this machine as its host. Without a token, a page of another site
    /// could otherwise let its name point here and read what it likes.
    fn knows(&self, host: Option<&str>) -> bool {
        let name = host.map(|host| match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or(rest),
            None => host.split(':').next().unwrap_or(host),
        });
        self.token.is_some()
            || name.is_none_or(|name| LOCAL.iter().any(|local| name.eq_ignore_ascii_case(local)))
    }
}

const BEARER: &[u8] = b"Bearer ";
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Lets only those through who know the token.
pub(super) async fn ask(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if app.guard.admits(request.headers()) {
        return Ok(next.run(request).await);
    }
    let message = "a token is needed: send the header `Authorization: Bearer TOKEN`";
    Err(Refusal::new(
        StatusCode::UNAUTHORIZED,
        "invalid_token",
        message,
    ))
}

/// Lets only those through who mean this server.
pub(super) async fn host(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let host = request
        .headers()
        .get(header::HOST)
        .map(|host| host.to_str().unwrap_or(""));
    if app.guard.knows(host) {
        return Ok(next.run(request).await);
    }
    let message =
        "this server answers to the name localhost only; behind another name it needs a token";
    Err(Refusal::new(
        StatusCode::MISDIRECTED_REQUEST,
        "wrong_host",
        message,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(token: &str) -> Guard {
        Guard::new(([0, 0, 0, 0], 1).into(), Some(token.to_owned())).unwrap()
    }

    #[test]
    fn only_the_whole_token_is_admitted() {
        let admits = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            guard("long-enough").admits(&headers)
        };
        assert!(admits("Bearer long-enough") && admits("bearer long-enough"));
        for wrong in [
            "Bearer long-enoug",
            "Bearer long-enough2",
            "long-enough",
            "Basic long-enough",
            "Bearer",
            "",
        ] {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(!guard("long-enough").admits(&HeaderMap::new()));
    }

    #[test]
    fn other_machines_need_a_token_and_a_long_one() {
        assert!(Guard::new(([0, 0, 0, 0], 1).into(), None).is_err());
        assert!(Guard::new(([127, 0, 0, 1], 1).into(), None).is_ok());
        assert!(Guard::new(([127, 0, 0, 1], 1).into(), Some("short".to_owned())).is_err());
    }

    #[test]
    fn without_a_token_only_local_names_are_known() {
        let open = Guard::new(([127, 0, 0, 1], 1).into(), None).unwrap();
        for host in [
            "localhost:80",
            "127.0.0.1",
            "127.0.0.1:8",
            "[::1]:80",
            "LOCALHOST",
        ] {
            assert!(open.knows(Some(host)), "{host}");
        }
        for host in [
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "",
        ] {
            assert!(!open.knows(Some(host)), "{host}");
        }
        assert!(guard("long-enough").knows(Some("example.org")));
    }
}
