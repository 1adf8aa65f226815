//! What a program writes, given to the request that runs at the time.
//!
//! A program knows no requests, only its two streams. What it writes while a request runs is that
//! request's. What it writes before, while it starts, is kept within a bound and given to the
//! first request, or told with the reason why the program did not start.
//!
//! Deliberately absent: lines, which the node makes.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use usher_core::id::RequestId;
use usher_engine::{GuestOutput, GuestStream};

use crate::sandbox::Denial;

/// What is kept of a program's output while no request runs, in bytes.
const EARLY_MAX_BYTES: usize = 64 << 10;
/// How much of that is told with a failed start, in bytes.
const TOLD_MAX_BYTES: usize = 4 << 10;
/// Sentences of the platform that are kept while no request runs.
const NOTES_MAX: usize = 32;
/// One read, in bytes.
const READ_BYTES: usize = 16 << 10;
/// Reads of one stream before others get a turn.
const READS_MAX: usize = 16;

/// The output of one program. Its tasks end with it.
#[derive(Default)]
pub(crate) struct Output {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    streams: OnceLock<[Stream; 2]>,
    denials: OnceLock<Mutex<mpsc::Receiver<Denial>>>,
    sink: Mutex<Sink>,
}

struct Stream {
    which: GuestStream,
    pipe: Receiver,
    /// Whoever reads holds it, so that bytes stay in their order.
    turn: Mutex<()>,
}

/// Where output goes now.
#[derive(Default)]
struct Sink {
    current: Option<(RequestId, Arc<dyn GuestOutput>)>,
    early: Vec<(GuestStream, Vec<u8>)>,
    early_bytes: usize,
    notes: Vec<String>,
    /// Nothing is kept of what is written while no request runs.
    muted: bool,
}

impl Output {
    /// Reads a program's two pipes from now on, and tells what the filter of system calls denied.
    /// Must be called within a runtime, once.
    pub(crate) fn follow(
        &mut self,
        pipes: Option<(Receiver, Receiver)>,
        denials: Option<mpsc::Receiver<Denial>>,
    ) {
        if let Some((stdout, stderr)) = pipes {
            let stream = |which, pipe| Stream {
                which,
                pipe,
                turn: Mutex::new(()),
            };
            // A second program would have a second output.
            let _ = self.shared.streams.set([
                stream(GuestStream::Stdout, stdout),
                stream(GuestStream::Stderr, stderr),
            ]);
            for at in 0..2 {
                self.tasks
                    .push(tokio::spawn(read(Arc::clone(&self.shared), at)));
            }
        }
        if let Some(denials) = denials {
            let _ = self.shared.denials.set(Mutex::new(denials));
            self.tasks
                .push(tokio::spawn(note(Arc::clone(&self.shared))));
        }
    }

    /// Takes sentences of the platform, for as long as the output is there.
    pub(crate) fn teller(&self) -> Arc<dyn Fn(&str) + Send + Sync> {
        let shared = Arc::downgrade(&self.shared);
        Arc::new(move |text| {
            if let Some(shared) = shared.upgrade() {
                shared.sink.lock().note(text.to_owned());
            }
        })
    }

    /// From now on what the program writes is this request's; what it wrote before its first
    /// request is given to it too.
    pub(crate) fn attach(&self, request: RequestId, output: Arc<dyn GuestOutput>) {
        let mut sink = self.shared.sink.lock();
        for (stream, bytes) in std::mem::take(&mut sink.early) {
            output.write(request, stream, &bytes);
        }
        sink.early_bytes = 0;
        for text in std::mem::take(&mut sink.notes) {
            output.note(request, &text);
        }
        sink.current = Some((request, output));
    }

    /// The request is over: what the program has written until now is still its own.
    pub(crate) fn detach(&self) {
        self.shared.drain();
        self.shared.sink.lock().current = None;
    }

    /// Tells the request that runs, or the next one, a sentence of the platform.
    pub(crate) fn note(&self, text: String) {
        self.shared.sink.lock().note(text);
    }

    /// From now on, or no longer, what is written while no request runs is forgotten.
    pub(crate) fn mute(&self, muted: bool) {
        self.shared.drain();
        self.shared.sink.lock().muted = muted;
    }

    /// The end of what was written while no request ran, for people who look for the reason of a
    /// failed start; empty where nothing was.
    pub(crate) fn told(&self) -> String {
        self.shared.told()
    }

    /// The same later on, when the program may be gone.
    pub(crate) fn told_later(&self) -> impl Fn() -> String + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.told()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    /// Takes what is there without waiting for more. False: nothing will come any more.
    fn pump(&self, stream: &Stream, read: impl Fn(&mut [u8]) -> io::Result<usize>) -> bool {
        let _turn = stream.turn.lock();
        let mut buffer = [0; READ_BYTES];
        for _ in 0..READS_MAX {
            match read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.sink.lock().take(stream.which, &buffer[..count]),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Takes what the program has written until now, and what it was denied: that is told before
    /// it goes on. The pipes are read themselves: the runtime may not have been told yet that there
    /// is something in them.
    fn drain(&self) {
        if let Some(denials) = self.denials.get() {
            while let Ok(denial) = denials.lock().try_recv() {
                self.denied(&denial);
            }
        }
        for stream in self.streams.get().into_iter().flatten() {
            let read = |buffer: &mut [u8]| Ok(rustix::io::read(&stream.pipe, buffer)?);
            self.pump(stream, read);
        }
    }

    fn denied(&self, denial: &Denial) {
        let text = format!("denied by the sandbox: {denial}");
        self.sink.lock().note(text);
    }

    fn told(&self) -> String {
        self.drain();
        let sink = self.sink.lock();
        let all = sink
            .early
            .iter()
            .flat_map(|(_, bytes)| bytes.iter().copied());
        let all = all.collect::<Vec<_>>();
        let tail = &all[all.len().saturating_sub(TOLD_MAX_BYTES)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }
}

impl Sink {
    fn take(&mut self, stream: GuestStream, bytes: &[u8]) {
        if let Some((request, output)) = &self.current {
            return output.write(*request, stream, bytes);
        }
        if self.muted {
            return;
        }
        let room = EARLY_MAX_BYTES.saturating_sub(self.early_bytes);
        let kept = &bytes[..bytes.len().min(room)];
        self.early_bytes += kept.len();
        if !kept.is_empty() {
            self.early.push((stream, kept.to_vec()));
        }
        if kept.len() < bytes.len() && room > 0 {
            self.note(format!(
                "the program wrote more than {EARLY_MAX_BYTES} bytes while no request ran; the \
                 rest is not logged"
            ));
        }
    }

    fn note(&mut self, text: String) {
        match &self.current {
            Some((request, output)) => output.note(*request, &text),
            None if self.notes.len() < NOTES_MAX && !self.muted => self.notes.push(text),
            None => {}
        }
    }
}

async fn read(shared: Arc<Shared>, at: usize) {
    let Some(stream) = shared.streams.get().map(|streams| &streams[at]) else {
        return;
    };
    let read = |buffer: &mut [u8]| stream.pipe.try_read(buffer);
    while stream.pipe.readable().await.is_ok() && shared.pump(stream, read) {
        tokio::task::yield_now().await;
    }
}

async fn note(shared: Arc<Shared>) {
    let Some(denials) = shared.denials.get() else {
        return;
    };
    while let Some(denial) = poll_fn(|context| denials.lock().poll_recv(context)).await {
        shared.denied(&denial);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write;

    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<(RequestId, String)>>);

    impl GuestOutput for Recorder {
        fn write(&self, request: RequestId, _: GuestStream, bytes: &[u8]) {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.0.lock().push((request, text));
        }

        fn note(&self, request: RequestId, text: &str) {
            self.0.lock().push((request, text.to_owned()));
        }
    }

    fn pipe() -> (std::io::PipeWriter, Receiver) {
        let (reader, writer) = std::io::pipe().unwrap();
        let reader = Receiver::from_owned_fd(reader.into()).unwrap();
        (writer, reader)
    }

    #[tokio::test]
    async fn what_is_written_belongs_to_the_request_that_runs() {
        let (mut writer, stdout) = pipe();
        let (_held, stderr) = pipe();
        let mut output = Output::default();
        output.follow(Some((stdout, stderr)), None);
        writer.write_all(b"begins").unwrap();
        assert_eq!(output.told(), "begins");
        let recorder = Arc::new(Recorder::default());
        for number in 1..=2 {
            output.attach(RequestId(number), recorder.clone());
            writer
                .write_all(format!("run {number}").as_bytes())
                .unwrap();
            output.detach();
        }
        let expected = [(1, "begins"), (1, "run 1"), (2, "run 2")];
        let expected = expected.map(|(request, text)| (RequestId(request), text.to_owned()));
        assert_eq!(*recorder.0.lock(), expected);
    }

    #[tokio::test]
    async fn early_output_is_bounded_and_that_is_told() {
        let mut sink = Sink::default();
        for _ in 0..3 {
            sink.take(GuestStream::Stderr, &vec![b'x'; EARLY_MAX_BYTES / 2 + 1]);
        }
        assert_eq!(sink.early_bytes, EARLY_MAX_BYTES);
        assert_eq!(sink.notes.len(), 1);
    }
}
