//! nginx in front of a program, as people run it: as a reverse proxy of one copy for each
//! processor, or with a process for each request by CGI.
//!
//! Settings are the distribution's but for what belongs to the place: folders, a port, connections
//! that are kept on both sides. Its access log is on, as ours is.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use super::launch::{Launch, free_port};
use crate::child::Watched;

/// Processes of fcgiwrap, each of which waits for one request's process at a time.
const WRAPPERS: usize = 8;

/// What nginx does with a request.
pub(super) enum Behind<'a> {
    /// Hands it to one of these ports.
    Copies(&'a [u16]),
    /// Starts this program for it.
    Cgi(&'a Path),
}

/// nginx and what it needs, and the folder that all of it lives in.
pub(super) struct Front {
    /// The processes, nginx first.
    pub(super) parts: Vec<Watched>,
    /// Where it listens.
    pub(super) address: String,
    /// To be kept while it runs.
    pub(super) folder: TempDir,
}

/// Starts nginx; whether it is ready, a request tells.
pub(super) fn start(launch: &Launch<'_>, behind: &Behind<'_>) -> Result<Front> {
    let folder = TempDir::new()?;
    let port = free_port()?;
    let settings = settings(folder.path(), port, behind);
    let file = folder.path().join("nginx.conf");
    fs::write(&file, settings)?;
    let mut command = Command::new(&launch.stage.nginx);
    command
        .arg("-p")
        .arg(folder.path())
        .arg("-c")
        .arg(&file)
        .args(["-e", "stderr"]);
    let mut parts = vec![launch.watch("nginx", &mut command)?];
    if matches!(behind, Behind::Cgi(_)) {
        let mut command = Command::new(&launch.stage.fcgiwrap);
        let socket = format!("unix:{}", socket(folder.path()));
        command.args(["-c", &WRAPPERS.to_string(), "-s", &socket]);
        parts.push(launch.watch("fcgiwrap", &mut command)?);
    }
    Ok(Front {
        parts,
        address: format!("127.0.0.1:{port}"),
        folder,
    })
}

fn socket(folder: &Path) -> String {
    folder.join("cgi.sock").display().to_string()
}

fn settings(folder: &Path, port: u16, behind: &Behind<'_>) -> String {
    // Started by root, its workers would take another user, who may not reach the checkout.
    let user = match rustix::process::geteuid().is_root() {
        true => "user root;\n",
        false => "",
    };
    let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {}/{name};\n", folder.display()))
        .concat();
    let (upstream, location) = match behind {
        Behind::Copies(ports) => (
            copies(ports),
            "proxy_pass http://copies; proxy_http_version 1.1; \
             proxy_set_header Connection \"\";"
                .to_owned(),
        ),
        Behind::Cgi(program) => (String::new(), cgi(&socket(folder), program)),
    };
    format!(
        "{user}daemon off;\npid {folder}/pid;\nworker_processes auto;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n{folders}  access_log {folder}/access.log;\n{upstream}\
         \x20 keepalive_requests 1000000;\n\
         \x20 server {{\n    listen 127.0.0.1:{port};\n    location / {{ {location} }}\n  }}\n}}\n",
        folder = folder.display()
    )
}

fn copies(ports: &[u16]) -> String {
    let servers: String = (ports.iter())
        .map(|port| format!("server 127.0.0.1:{port}; "))
        .collect();
    format!("  upstream copies {{ {servers}keepalive 64; keepalive_requests 1000000; }}\n")
}

fn cgi(socket: &str, program: &Path) -> String {
    format!(
        "fastcgi_pass unix:{socket}; fastcgi_param SCRIPT_FILENAME {}; \
         fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method; \
         fastcgi_param REQUEST_URI $request_uri; fastcgi_param SERVER_PROTOCOL $server_protocol;",
        program.display()
    )
}
