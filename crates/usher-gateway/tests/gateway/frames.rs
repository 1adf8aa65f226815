//! Frames of HTTP/2 as bytes, for clients that no library would be.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::{HANGS_AFTER, Rig};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// A request that is all in one frame.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
const CANCEL: u32 = 8;
pub(crate) const CALM: u32 = 11;

/// A connection whose frames are looked at.
pub(crate) struct Frames(pub(crate) TcpStream);

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a reset, or of a farewell.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// The bytes of one frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Headers in the plainest form of HPACK: literals that are not remembered.
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

fn length(bytes: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return bytes.push(u8::try_from(length).unwrap());
    };
    bytes.push(127);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// A GET of `/`, and what comes with it.
pub(crate) fn get(more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ];
    block(&[&usual, more].concat())
}

impl Frames {
    /// A connection that has told its settings.
    pub(crate) async fn open(rig: &Rig) -> Self {
        Self::open_with(rig, &[]).await
    }

    pub(crate) async fn open_with(rig: &Rig, settings: &[u8]) -> Self {
        let mut frames = Self(TcpStream::connect(rig.address).await.unwrap());
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, settings));
        frames.0.write_all(&bytes).await.unwrap();
        frames
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0
            .write_all(&frame(kind, flags, stream, payload))
            .await
            .unwrap();
    }

    /// Asks for what a block of headers names.
    pub(crate) async fn ask(&mut self, stream: u32, head: &[u8]) {
        self.send(HEADERS, WHOLE, stream, head).await;
    }

    /// Gives a request up.
    pub(crate) async fn give_up(&mut self, stream: u32) {
        let code = CANCEL.to_be_bytes();
        self.send(RST_STREAM, 0, stream, &code).await;
    }

    /// Writes the same ten thousand times, or until nobody reads it any more.
    pub(crate) async fn flood(&mut self, bytes: &[u8]) {
        for _ in 0..10_000 {
            if self.0.write_all(bytes).await.is_err() {
                break;
            }
        }
    }

    /// The head of an answer, or how the request or the connection was ended instead.
    pub(crate) async fn answer(&mut self) -> Frame {
        let answer = self.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
        answer.unwrap()
    }

    /// The next frame; none at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes(head[5..9].try_into().unwrap()),
                payload,
            })
        };
        tokio::time::timeout(HANGS_AFTER, read).await.unwrap()
    }

    /// The next frame of one of these kinds.
    pub(crate) async fn next_of(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }

    /// Reads to the end, and tells the code of the farewell if there was one.
    pub(crate) async fn farewell(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }
}
