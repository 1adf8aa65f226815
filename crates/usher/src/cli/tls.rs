//! The words about TLS.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use usher_gateway::acme::LETS_ENCRYPT;

/// What `usher up` can be told of TLS.
#[derive(Clone, Debug, Args)]
pub(crate) struct TlsArgs {
    /// Where functions answer over TLS; port 0 takes a free one, `off`: nowhere [default:
    /// 127.0.0.1:8443 if it is free, or a free port where --gateway takes one]
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub(crate) gateway_tls: Option<Listen>,
    /// A certificate for host names, with those that vouch for it, in PEM; may be given again
    #[arg(long = "tls-cert", value_name = "FILE", requires = "keys")]
    pub(crate) certificates: Vec<PathBuf>,
    /// The key of a certificate, in the order of --tls-cert
    #[arg(long = "tls-key", value_name = "FILE", requires = "certificates")]
    pub(crate) keys: Vec<PathBuf>,
    /// A host name that a certificate authority is to make a certificate for (ACME), which agrees to
    /// its terms; the authority must reach --gateway at port 80 of that name; may be given again
    #[arg(long = "acme-name", value_name = "NAME")]
    pub(crate) acme_names: Vec<String>,
    /// The directory of the certificate authority
    #[arg(long, value_name = "URL", default_value = LETS_ENCRYPT)]
    pub(crate) acme_directory: String,
    /// What vouches for the authority's own certificate, in PEM, where the system does not
    #[arg(long, value_name = "FILE")]
    pub(crate) acme_root: Option<PathBuf>,
    /// Where the authority may write to when something is wrong, such as mailto:me@example.com
    #[arg(long, value_name = "URL")]
    pub(crate) acme_contact: Option<String>,
}

/// Whether and where TLS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

fn listen(text: &str) -> Result<Listen, String> {
    match text {
        "off" => Ok(Listen::Off),
        address => address
            .parse()
            .map(Listen::At)
            .map_err(|_| "write an address with a port such as 127.0.0.1:8443, or off".to_owned()),
    }
}
