//! A bare hyper server that answers every request alike: the most that any platform on hyper could
//! reach here.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// What it answers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The body.
    #[arg(long)]
    body: String,
}

/// Serves until it is ended.
pub(super) async fn serve(args: Args) -> Result<()> {
    let body = Bytes::from(args.body);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    println!("{{\"ready\":true,\"gateway\":\"{address}\"}}");
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        let answer = service_fn(move |_: Request<Incoming>| {
            let response = Response::builder()
                .header(http::header::CONTENT_TYPE, "text/plain; charset=utf-8")
                .body(Full::new(body.clone()));
            async move { Ok::<_, Infallible>(response.unwrap_or_default()) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        // A client that goes away is the normal end of a connection.
        tokio::spawn(connection);
    }
}
