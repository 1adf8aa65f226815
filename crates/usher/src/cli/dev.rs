//! The words of `usher dev`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::Tuning;

/// `usher dev`.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// A folder with function.toml or of a program, or a file of one
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Where it answers; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Have the function's pages reload by themselves: a script is added to text/html
    #[arg(long)]
    pub(crate) live_reload: bool,
    /// A variable that the program gets beside those of its manifest; may be given again
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}
