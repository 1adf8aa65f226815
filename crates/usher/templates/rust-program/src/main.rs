//! A function: a server on $PORT. Every request meets it as it was before its first one.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::var("PORT")?.parse()?;
    for client in TcpListener::bind(("127.0.0.1", port))?.incoming() {
        // A caller who has gone away is not an error.
        let _ = client.and_then(answer);
    }
    Ok(())
}

fn answer(mut client: TcpStream) -> std::io::Result<()> {
    let mut head = BufReader::new(&client).lines();
    let asked = head.next().transpose()?.unwrap_or_default();
    let path = asked.split(' ').nth(1).unwrap_or("/").to_owned();
    for line in head {
        if line?.is_empty() {
            break;
        }
    }
    let page = format!(
        "<!doctype html>\n<title>my-function</title>\n<h1>Hello from Rust</h1>\n\
         <p>You asked for {}\n",
        path.replace('<', "&lt;")
    );
    write!(
        client,
        "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{page}",
        page.len()
    )
}
