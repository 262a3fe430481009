//! What can be typed after `ttsvar serve`.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;

use super::whole;
use crate::system::SystemBuilder;

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Serve {
    /// Where to listen; any other machine's way in needs a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one, and the address is printed
    #[arg(long, short, value_name = "NUMBER", default_value = "8080")]
    pub port: u16,
    /// Secret that clients must send; better given by the environment, where other users cannot
    /// read it
    #[arg(
        long,
        value_name = "SECRET",
        env = "TTSVAR_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,
    /// Folder for jobs, images and traces
    #[arg(long, value_name = "DIR", default_value = "ttsvar-jobs")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub system: SystemBuilder,
    /// Searches side by side [default: one a core]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    pub workers: Option<usize>,
    /// Seconds that searches under way get when the server is to end
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = whole::<u64>)]
    pub grace: u64,
    #[command(flatten)]
    pub limits: ServeLimits,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(in crate::cli) struct ServeLimits {
    /// Searches that may wait
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = whole::<usize>)]
    pub queue: usize,
    /// Bytes of a request
    #[arg(long, value_name = "BYTES", default_value = "65536", value_parser = whole::<usize>)]
    pub max_body: usize,
    /// Characters of a prompt
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = whole::<usize>)]
    pub max_prompt: usize,
    /// Rows of a search
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = whole::<usize>)]
    pub max_rows: usize,
    /// Pictures of one request
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = whole::<usize>)]
    pub max_pictures: usize,
    /// Seconds that a search may take
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = whole::<u64>)]
    pub max_seconds: u64,
}
