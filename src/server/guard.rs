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
    fn accepts_host(&self, host: &str) -> bool {
        self.token.is_some()
            || host_name(host)
                .is_some_and(|name| LOCAL.iter().any(|local| name.eq_ignore_ascii_case(local)))
    }

    /// Returns whether a page that sent a request may change something. Without a token, a page of
    /// another website may not; a token is a secret that no other website knows.
    fn accepts_origin(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let same_site = headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "same-origin");
        let origin = origin.to_str().unwrap_or("");
        let origin = origin.split_once("://").map_or("", |(_, host)| host);
        let mut hosts = headers
            .get_all("x-forwarded-host")
            .iter()
            .chain(headers.get_all(header::HOST));
        self.token.is_some()
            || same_site
            || hosts.any(|host| host.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    }
}

/// The name in a `Host` header, without the port and the brackets of an IPv6 address. `None` if it
/// is not a name with a port or without one.
fn host_name(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port_is_valid = match port.strip_prefix(':') {
        Some(port) => port.is_empty() || port.parse::<u16>().is_ok_and(|_| !port.starts_with('+')),
        None => port.is_empty(),
    };
    port_is_valid.then_some(name)
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

/// Refuses requests for another host, and those that change something on behalf of another website.
pub(super) async fn check_host(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let headers = request.headers();
    let mut hosts: Vec<&[u8]> = headers
        .get_all(header::HOST)
        .iter()
        .map(|host| host.as_bytes())
        .collect();
    if hosts.len() > 1 {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "several_hosts",
            "the request has several `Host` headers, expected one",
        ));
    }
    // The target of a request may contain a host, too: `GET http://host/path`
    hosts.extend(
        request
            .uri()
            .authority()
            .map(|host| host.as_str().as_bytes()),
    );
    let accepted =
        |host: &&[u8]| str::from_utf8(host).is_ok_and(|host| app.guard.accepts_host(host));
    if !hosts.iter().all(accepted) {
        let message = "without a token, this server accepts requests to localhost only; \
                       under any other host name it requires a token";
        return Err(ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "wrong_host",
            message,
        ));
    }
    if !request.method().is_safe() && !app.guard.accepts_origin(headers) {
        let message = "the request comes from a page of another website (`Origin`), which is not \
                       allowed to change anything here";
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "wrong_origin",
            message,
        ));
    }
    Ok(next.run(request).await)
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
            "[::1]",
            "LOCALHOST",
        ] {
            assert!(open.accepts_host(host), "{host}");
        }
        for host in [
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "localhost:example.org",
            "localhost:80:90",
            "localhost:99999",
            "localhost:+80",
            "me@localhost",
            "[::1]example.org",
            "[::1",
            "",
        ] {
            assert!(!open.accepts_host(host), "{host}");
        }
        assert!(guard("long-enough").accepts_host("example.org"));
    }

    #[test]
    fn without_a_token_other_websites_may_not_change_anything() {
        let open = Guard::new(([127, 0, 0, 1], 1).into(), None).unwrap();
        let accepts = |guard: &Guard, headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| {
                let name = header::HeaderName::from_static(name);
                (name, value.parse().unwrap())
            });
            guard.accepts_origin(&headers.collect())
        };
        let host = ("host", "localhost:8080");
        for accepted in [
            &[host][..],
            &[host, ("origin", "http://localhost:8080")],
            &[
                host,
                ("origin", "https://me.example"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[
                host,
                ("origin", "https://me.example"),
                ("x-forwarded-host", "me.example"),
            ],
        ] {
            assert!(accepts(&open, accepted), "{accepted:?}");
        }
        for refused in [
            &[host, ("origin", "http://localhost:3000")][..],
            &[host, ("origin", "https://other.example")],
            &[host, ("origin", "null")],
            &[
                host,
                ("origin", "https://other.example"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            assert!(!accepts(&open, refused), "{refused:?}");
            assert!(accepts(&guard("long-enough"), refused), "{refused:?}");
        }
    }
}
