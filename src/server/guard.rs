//! Access control: without a token, clients on this machine; otherwise those that send the token.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};
use subtle::ConstantTimeEq;

use super::{App, api_error::ApiError};
use crate::{Error, Result};

/// Characters of the shortest token that is accepted.
const MIN_TOKEN: usize = 8;

/// Checks the token, if there is one, and the host name.
pub(super) struct Guard {
    token: Option<String>,
}

impl Guard {
    /// Creates the guard of a server that listens on this address.
    ///
    /// # Errors
    /// The address is not loopback and there is no token, or the token is too short.
    pub(super) fn new(address: SocketAddr, token: Option<String>) -> Result<Self> {
        if token.as_ref().is_some_and(|token| token.len() < MIN_TOKEN) {
            let message = format!("the token must have at least {MIN_TOKEN} characters");
            return Err(Error::input(message)
                .with_hint("choose a long random one, such as `openssl rand -hex 16` prints"));
        }
        if token.is_none() && !address.ip().is_loopback() {
            let message = format!(
                "{} can be reached from other machines, so a token is required",
                address.ip()
            );
            return Err(Error::input(message).with_hint(
                "set the environment variable TTSVAR_TOKEN or --token, or listen on 127.0.0.1",
            ));
        }
        Ok(Self { token })
    }

    /// Returns whether the headers contain the token. The time that the comparison takes reveals
    /// nothing but the token's length.
    fn accepts_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let Some((scheme, given)) = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(BEARER.len()))
        else {
            return false;
        };
        scheme.eq_ignore_ascii_case(BEARER) && bool::from(given.ct_eq(token.as_bytes()))
    }

    /// Returns whether the request names this machine as its host. Without this check, and without
    /// a token, another website could let its name resolve to this machine and read everything.
    fn accepts_host(&self, host: Option<&str>) -> bool {
        let Some(host) = host else {
            return true;
        };
        let name = host_name(host);
        self.token.is_some() || LOCAL.iter().any(|local| name.eq_ignore_ascii_case(local))
    }
}

/// The name in a `Host` header, without the port and the brackets of an IPv6 address.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
}

const BEARER: &[u8] = b"Bearer ";
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Refuses requests without the token.
pub(super) async fn check_token(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if app.guard.accepts_token(request.headers()) {
        return Ok(next.run(request).await);
    }
    let message = "this server requires a token: send the header `Authorization: Bearer TOKEN`";
    Err(ApiError::new(
        StatusCode::UNAUTHORIZED,
        "invalid_token",
        message,
    ))
}

/// Refuses requests for another host.
pub(super) async fn check_host(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let host = request
        .headers()
        .get(header::HOST)
        .map(|host| host.to_str().unwrap_or(""));
    if app.guard.accepts_host(host) {
        return Ok(next.run(request).await);
    }
    let message = "without a token, this server accepts requests to localhost only; \
                   under another name it requires a token";
    Err(ApiError::new(
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
    fn only_the_whole_token_is_accepted() {
        let accepts = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            guard("long-enough").accepts_token(&headers)
        };
        assert!(accepts("Bearer long-enough") && accepts("bearer long-enough"));
        for wrong in [
            "Bearer long-enoug",
            "Bearer long-enough2",
            "long-enough",
            "Basic long-enough",
            "Bearer",
            "",
        ] {
            assert!(!accepts(wrong), "{wrong}");
        }
        assert!(!guard("long-enough").accepts_token(&HeaderMap::new()));
    }

    #[test]
    fn non_loopback_addresses_require_a_token_of_some_length() {
        assert!(Guard::new(([0, 0, 0, 0], 1).into(), None).is_err());
        assert!(Guard::new(([127, 0, 0, 1], 1).into(), None).is_ok());
        assert!(Guard::new(([127, 0, 0, 1], 1).into(), Some("short".to_owned())).is_err());
    }

    #[test]
    fn without_a_token_only_local_names_are_accepted() {
        let open = Guard::new(([127, 0, 0, 1], 1).into(), None).unwrap();
        for host in [
            "localhost:80",
            "127.0.0.1",
            "127.0.0.1:8",
            "[::1]:80",
            "LOCALHOST",
        ] {
            assert!(open.accepts_host(Some(host)), "{host}");
        }
        for host in [
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "",
        ] {
            assert!(!open.accepts_host(Some(host)), "{host}");
        }
        assert!(guard("long-enough").accepts_host(Some("example.org")));
    }
}
