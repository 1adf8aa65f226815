//! The clock of the engines: one thread that raises their epochs, so that a guest that computes for
//! long gives way to others and can be stopped.

use std::sync::Weak;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime::EngineWeak;

/// How long a guest runs before it gives way, in milliseconds.
const EPOCH_MS: u64 = 5;

/// Raises the epochs of the engines it was told of, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    _stop: mpsc::Sender<()>,
}

/// The engines whose epochs are raised.
#[derive(Default)]
pub(crate) struct Engines(Mutex<Vec<EngineWeak>>);

impl Engines {
    pub(crate) fn add(&self, engine: &wasmtime::Engine) {
        self.0.lock().push(engine.weak());
    }

    fn tick(&self) {
        self.0.lock().retain(|engine| {
            let engine = engine.upgrade();
            engine.inspect(wasmtime::Engine::increment_epoch).is_some()
        });
    }
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(engines: Weak<Engines>) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        thread::Builder::new()
            .name("usher-epoch".into())
            .spawn(move || {
                let period = Duration::from_millis(EPOCH_MS);
                while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                    match engines.upgrade() {
                        Some(engines) => engines.tick(),
                        None => break,
                    }
                }
            })?;
        Ok(Self { _stop: stop })
    }
}
