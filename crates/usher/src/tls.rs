//! TLS of a platform: which certificates its gateway is given, and who keeps them current.
//!
//! ```text
//!  words ─► Wanted ─► certificates ─► gateway ─┬ files: read again when they change, or at SIGHUP
//!                                              └ ACME: ordered, and ordered again in time
//! ```
//!
//! Where nobody said where TLS is to be spoken, an address that is taken is no reason not to start:
//! the platform does without then, and says so.
//!
//! Deliberately absent: how certificates are made and chosen (`usher-gateway`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use usher_core::route::Domain;
use usher_gateway::acme::{self, Orders};
use usher_gateway::tls::{Certificates, Files};
use usher_gateway::{Config, Gateway, Tls};

use crate::cli::tls::{Listen, TlsArgs};

/// Where TLS is spoken where nobody says otherwise.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);

/// How often files are looked at that may change, in milliseconds.
const FILES_LOOK_EVERY_MS: u64 = 5_000;

/// What is wanted of TLS.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    listen: SocketAddr,
    /// Whether the platform does without where the address is taken.
    optional: bool,
    files: Vec<Files>,
    orders: Option<Orders>,
}

/// TLS as a platform has it.
pub(crate) struct Served {
    certificates: Arc<Certificates>,
    optional: bool,
    orders: Option<Orders>,
}

/// What keeps certificates current; ends when it is dropped.
pub(crate) struct Keepers(Vec<JoinHandle<()>>);

impl Drop for Keepers {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// What the words want of a platform whose gateway listens there; none: no TLS.
pub(crate) fn wanted(args: TlsArgs, gateway: SocketAddr) -> anyhow::Result<Option<Wanted>> {
    if args.certificates.len() != args.keys.len() {
        let (certificates, keys) = (args.certificates.len(), args.keys.len());
        bail!(
            "--tls-cert was given {certificates} times and --tls-key {keys} times; \
             give one key for each certificate, in the same order"
        );
    }
    let named = !args.certificates.is_empty() || !args.acme_names.is_empty();
    let listen = match args.gateway_tls {
        Some(Listen::Off) if named => {
            bail!("--gateway-tls off leaves nobody to show a certificate to; leave out one of them")
        }
        Some(Listen::Off) => return Ok(None),
        Some(Listen::At(listen)) => listen,
        // Whoever takes a free port has another platform beside this one.
        None if gateway.port() == 0 => SocketAddr::new(LISTEN.ip(), 0),
        None => LISTEN,
    };
    for name in &args.acme_names {
        let labels = name.split('.').all(|label| {
            let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            !label.is_empty() && label.bytes().all(|byte| inside(byte) || byte == b'-')
        });
        if !labels || name.len() > 253 {
            bail!("--acme-name {name:?} is no host name; write one in lower case, without \"*\"");
        }
    }
    let files = args.certificates.into_iter().zip(args.keys);
    Ok(Some(Wanted {
        listen,
        optional: args.gateway_tls.is_none() && !named,
        files: files
            .map(|(certificates, key)| Files { certificates, key })
            .collect(),
        orders: (!args.acme_names.is_empty()).then(|| Orders {
            names: args.acme_names,
            directory: args.acme_directory,
            root: args.acme_root,
            contact: args.acme_contact,
            folder: Default::default(),
        }),
    }))
}

impl Wanted {
    /// What the gateway is to be told, and what is left to do once it serves. `data` is the
    /// platform's folder.
    pub(crate) fn open(self, data: &Path, domain: &Domain) -> anyhow::Result<(Tls, Served)> {
        let folder = data.join("tls");
        let certificates = Certificates::new(&folder, domain.clone(), self.files)?;
        let tls = Tls {
            listen: self.listen,
            certificates: Arc::clone(&certificates),
        };
        let orders = self.orders.map(|orders| Orders {
            folder: folder.join("acme"),
            ..orders
        });
        let served = Served {
            certificates,
            optional: self.optional,
            orders,
        };
        Ok((tls, served))
    }
}

/// Binds a gateway, without TLS where that is optional and its address is taken.
pub(crate) async fn bind(
    config: Config,
    served: Option<&Served>,
    bind: impl AsyncFn(Config) -> Result<Gateway, usher_gateway::BindError>,
) -> anyhow::Result<Gateway> {
    let optional = served.is_some_and(|served| served.optional);
    match (bind(config.clone()).await, config.tls) {
        (Err(error), Some(tls)) if optional && error.listen == tls.listen => {
            tracing::warn!(
                listen = %tls.listen,
                "the address for TLS is taken, so there is none; --gateway-tls ADDR names another"
            );
            let tls = None;
            Ok(bind(Config { tls, ..config }).await?)
        }
        (bound, _) => Ok(bound?),
    }
}

impl Served {
    /// Keeps the certificates current from now on; the gateway serves already.
    pub(crate) fn keep(self) -> anyhow::Result<Keepers> {
        let mut keepers = Keepers(Vec::new());
        if self.certificates.has_files() {
            let hang_up = signal(SignalKind::hangup()).context("SIGHUP cannot be heard")?;
            let certificates = Arc::clone(&self.certificates);
            keepers.0.push(tokio::spawn(follow(certificates, hang_up)));
        }
        if let Some(orders) = self.orders {
            keepers
                .0
                .push(tokio::spawn(acme::keep(self.certificates, orders)));
        }
        Ok(keepers)
    }
}

/// Reads the files again and again. What was wrong is told once, not each time.
async fn follow(certificates: Arc<Certificates>, mut hang_up: tokio::signal::unix::Signal) {
    let mut look = tokio::time::interval(Duration::from_millis(FILES_LOOK_EVERY_MS));
    let mut told = None;
    loop {
        tokio::select! {
            _ = look.tick() => {}
            _ = hang_up.recv() => told = None,
        }
        let read = Arc::clone(&certificates);
        let Ok(read) = tokio::task::spawn_blocking(move || read.reload()).await else {
            return;
        };
        match read {
            Ok(changed) => {
                told = None;
                if changed {
                    tracing::info!("certificates were read again");
                }
            }
            Err(error) => {
                let text = format!("{:#}", anyhow::Error::from(error));
                if told.as_ref() != Some(&text) {
                    tracing::error!(error = text, "the certificates stay as they were");
                }
                told = Some(text);
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        tls: TlsArgs,
    }

    fn told(words: &[&str], gateway: &str) -> anyhow::Result<Option<Wanted>> {
        let words = Words::try_parse_from([&["usher"], words].concat())?;
        wanted(words.tls, gateway.parse().unwrap())
    }

    #[test]
    fn tls_is_spoken_unless_it_is_switched_off_and_is_optional_only_where_nobody_asked() {
        let wanted = told(&[], "127.0.0.1:8080").unwrap().unwrap();
        assert_eq!((wanted.listen, wanted.optional), (LISTEN, true));
        let wanted = told(&[], "127.0.0.1:0").unwrap().unwrap();
        assert_eq!((wanted.listen.port(), wanted.optional), (0, true));
        let wanted = told(&["--gateway-tls", "[::1]:443"], "127.0.0.1:0").unwrap();
        let wanted = wanted.unwrap();
        assert_eq!(wanted.listen, "[::1]:443".parse().unwrap());
        assert!(!wanted.optional);
        assert!(
            told(&["--gateway-tls", "off"], "127.0.0.1:1")
                .unwrap()
                .is_none()
        );
        let wanted = told(&["--acme-name", "a.example"], "127.0.0.1:80").unwrap();
        assert!(!wanted.unwrap().optional);
    }

    #[test]
    fn contradictions_are_told() {
        for (words, said) in [
            (&["--tls-cert", "a"][..], "--tls-key"),
            (
                &["--tls-cert", "a", "--tls-cert", "b", "--tls-key", "c"],
                "--tls-key 1 times",
            ),
            (
                &["--gateway-tls", "off", "--acme-name", "a"],
                "leaves nobody",
            ),
            (&["--gateway-tls", "8443"], "or off"),
            (&["--acme-name", "*.a.example"], "no host name"),
            (&["--acme-name", "../a"], "no host name"),
            (&["--acme-name", "A.example"], "no host name"),
        ] {
            let error = told(words, "127.0.0.1:80").unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
