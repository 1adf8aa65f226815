//! A body cut into its lines, as they come.
//!
//! Deliberately absent: what a line means.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream;
use http_body::Body;
use http_body_util::BodyExt;

/// The longest line that is read, in bytes.
pub(super) const LINE_MAX_BYTES: usize = 1024 * 1024;

/// The lines of a body without their ends, empty ones left out. An error says why there are no
/// more.
pub(super) fn of<B>(body: B) -> impl Stream<Item = Result<Bytes, String>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let reader = Reader {
        body: Some(body),
        held: BytesMut::new(),
        searched: 0,
    };
    stream::try_unfold(reader, |mut reader| async move {
        Ok(reader.next().await?.map(|line| (line, reader)))
    })
}

struct Reader<B> {
    /// None once it has ended.
    body: Option<B>,
    held: BytesMut,
    /// So many of the held bytes are known to hold no line's end.
    searched: usize,
}

impl<B> Reader<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let end = self.held[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let line = self.held.split_to(self.searched + end).freeze();
                self.held.advance(1);
                self.searched = 0;
                if !line.is_empty() {
                    return Ok(Some(line));
                }
                continue;
            }
            self.searched = self.held.len();
            if self.searched > LINE_MAX_BYTES {
                return Err(format!("a line is longer than {LINE_MAX_BYTES} bytes"));
            }
            let Some(body) = &mut self.body else {
                self.searched = 0;
                let rest = self.held.split().freeze();
                return Ok((!rest.is_empty()).then_some(rest));
            };
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.held.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => self.body = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::StreamExt;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    async fn lines(pieces: Vec<Bytes>) -> Vec<Result<Bytes, String>> {
        let frames = pieces
            .into_iter()
            .map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        of(StreamBody::new(stream::iter(frames))).collect().await
    }

    #[tokio::test]
    async fn lines_do_not_depend_on_how_the_bytes_were_cut() {
        let text = b"one\n\ntwo\nthree";
        for size in 1..=text.len() {
            let pieces = text.chunks(size).map(Bytes::copy_from_slice).collect();
            let read: Vec<_> = lines(pieces)
                .await
                .into_iter()
                .map(Result::unwrap)
                .collect();
            assert_eq!(read, ["one", "two", "three"], "pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let piece = Bytes::from(vec![b'x'; LINE_MAX_BYTES]);
        let read = lines(vec![piece.clone(), piece]).await;
        assert_eq!(read.len(), 1);
        assert!(read[0].is_err());
    }
}
