//! The arguments of `ttsvar serve`.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use clap::Args;

use super::{Limit, output_folder, positive, whole};
use crate::{Error, system::SystemBuilder};

/// An address of this machine.
fn host(text: &str) -> Result<IpAddr, Error> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.parse().map_err(|_| {
        Error::input(format!("`{text}` is not an IP address"))
            .with_hint("127.0.0.1 is reached from this machine only, 0.0.0.0 from others too")
    })
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Serve {
    /// Address to listen on; any non-loopback address requires a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = host)]
    pub host: IpAddr,
    /// Port to listen on; 0 selects a free one, and the address is printed
    #[arg(long, short, value_name = "NUMBER", default_value = "8080")]
    pub port: u16,
    /// Secret that clients must send; prefer the environment variable, which other users cannot
    /// read
    #[arg(
        long,
        value_name = "SECRET",
        env = "TTSVAR_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,
    /// Folder for jobs, images and traces
    #[arg(
        long,
        value_name = "DIR",
        default_value = "ttsvar-jobs",
        value_parser = output_folder()
    )]
    pub folder: PathBuf,
    /// Number of searches to run in parallel [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = positive::<usize>)]
    pub workers: Option<usize>,
    /// Seconds to let running searches finish when the server shuts down
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = whole::<u64>)]
    pub grace: u64,
    #[command(flatten)]
    pub system: SystemBuilder,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub limits: ServeLimits,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(in crate::cli) struct ServeLimits {
    /// Maximum number of queued searches
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = whole::<usize>)]
    pub queue: usize,
    /// Bytes per request
    #[arg(long, value_name = "BYTES", default_value = "65536", value_parser = whole::<usize>)]
    pub max_body: usize,
    /// Characters per prompt
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = whole::<usize>)]
    pub max_prompt: usize,
    /// Candidates per search
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = whole::<usize>)]
    pub max_rows: usize,
    /// Images per request
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = whole::<usize>)]
    pub max_pictures: usize,
    /// Seconds per search
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = whole::<u64>)]
    pub max_seconds: u64,
    /// Maximum number of connections; when all are in use, the one that has kept the server waiting
    /// longest is closed
    #[arg(long, value_name = "COUNT", default_value = "512", value_parser = whole::<usize>)]
    pub max_connections: usize,
    /// Seconds a client may keep the server waiting: to send headers, to send a body, to send the next
    /// request on its connection, or to read a response
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "30",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub max_idle: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_of_this_machine() {
        for (text, address) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::", "::"),
            ("localhost", "127.0.0.1"),
        ] {
            assert_eq!(host(text).unwrap().to_string(), address);
        }
        let error = host("example.com").unwrap_err();
        assert_eq!(error.to_string(), "`example.com` is not an IP address");
        assert!(error.hint().unwrap().contains("0.0.0.0"));
    }
}
