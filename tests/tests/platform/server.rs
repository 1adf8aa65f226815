//! The binary as a process: a server that says when it is ready, or a command that ends.
//!
//! A process ends with what holds it. What it told on standard error is shown where a test fails.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use usher_api::client::Client;

use crate::{event, target};

/// A server that is up.
pub(crate) struct Server {
    pub(crate) gateway: SocketAddr,
    pub(crate) gateway_tls: Option<SocketAddr>,
    pub(crate) api: SocketAddr,
    child: Child,
    stderr: NamedTempFile,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: ExitStatus,
    /// Standard output, one value for each line.
    pub(crate) lines: Vec<Value>,
    pub(crate) stderr: String,
}

/// The binary, which stands above the folder of this test.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let mut beside = test.ancestors().map(|folder| folder.join("usher"));
    let found = beside.find(|path| path.is_file());
    found.expect("`cargo build --release --workspace` makes the binary that is tested")
}

/// The binary with JSON on, and with compiled code kept between the tests.
pub(crate) fn usher() -> Command {
    as_usual(Command::new(binary()))
}

fn as_usual(mut command: Command) -> Command {
    command
        .arg("--json")
        .env("USHER_CACHE", target().join("test-cache/platform"))
        .env_remove("USHER_API")
        .env_remove("USHER_DATA")
        .env_remove("USHER_KEY")
        .env_remove("RUST_LOG")
        .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
        .env_remove("OTEL_EXPORTER_OTLP_HEADERS")
        .env_remove("OTEL_SERVICE_NAME")
        .env_remove("OTEL_TRACES_SAMPLER")
        .env_remove("OTEL_TRACES_SAMPLER_ARG")
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn run(api: Option<SocketAddr>, args: &[&str]) -> Told {
    let mut command = usher();
    if let Some(api) = api {
        command.env("USHER_API", format!("http://{api}"));
    }
    let output = event("a command ends", command.args(args).output()).await;
    let output = output.unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let line = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    Told {
        status: output.status,
        lines: stdout.lines().map(line).collect(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Told {
    /// What a command that succeeded told.
    pub(crate) fn done(self) -> Vec<Value> {
        assert!(self.status.success(), "{self:?}");
        self.lines
    }

    /// The error that a command told which failed: once for programs, once for people.
    pub(crate) fn error(self) -> Value {
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        assert!(self.stderr.starts_with("usher: "), "{self:?}");
        assert_eq!(self.lines.len(), 1, "{self:?}");
        let error = self.lines[0]["error"].clone();
        assert!(error["message"].is_string(), "{self:?}");
        error
    }
}

impl Server {
    /// The platform on a folder.
    pub(crate) async fn up(data: &Path) -> Self {
        Self::up_with(data, &[]).await
    }

    /// The platform on a folder, told more.
    pub(crate) async fn up_with(data: &Path, more: &[&str]) -> Self {
        let data = data.to_str().unwrap();
        let usual = [
            "up",
            "--gateway",
            "127.0.0.1:0",
            "--api",
            "127.0.0.1:0",
            "--data",
            data,
        ];
        Self::start(&[&usual, more].concat()).await
    }

    /// The platform on a folder, with its gateway at this address, told more.
    pub(crate) async fn up_at(data: &Path, gateway: SocketAddr, more: &[&str]) -> Self {
        let (data, gateway) = (data.to_str().unwrap(), gateway.to_string());
        let usual = ["up", "--gateway", &gateway, "--api", "127.0.0.1:0"];
        Self::start(&[&usual, &["--data", data][..], more].concat()).await
    }

    /// The platform with the bundled functions.
    pub(crate) async fn demo() -> Self {
        Self::start(&[
            "up",
            "--demo",
            "--gateway",
            "127.0.0.1:0",
            "--api",
            "127.0.0.1:0",
        ])
        .await
    }

    /// One function in the foreground.
    pub(crate) async fn serve(path: &Path) -> Self {
        let path = path.to_str().unwrap();
        Self::start(&["serve", path, "--listen", "127.0.0.1:0"]).await
    }

    /// The platform on a folder which is, or one of whose own folders is, a file system of this
    /// size that it alone sees.
    pub(crate) async fn up_mounted(data: &Path, small: &Path, size: &str) -> Self {
        let mut command = Command::new("unshare");
        let mount = "mount -t tmpfs -o size=$1 none \"$2\" && shift 2 && exec \"$@\"";
        command.args(["--mount", "--", "sh", "-c", mount, "sh", size]);
        command.arg(small).arg(binary());
        let (free, data) = ("127.0.0.1:0", data.to_str().unwrap());
        let words = ["up", "--gateway", free, "--api", free, "--data", data];
        Self::start_by(as_usual(command), &words).await
    }

    /// A path as the platform sees it.
    pub(crate) fn seen(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        root.join(path.strip_prefix("/").unwrap())
    }

    async fn start(args: &[&str]) -> Self {
        Self::start_by(usher(), args).await
    }

    /// The platform on a folder, in another working folder.
    pub(crate) async fn up_within(within: &Path, data: &Path) -> Self {
        let mut command = usher();
        command.current_dir(within);
        let data = data.to_str().unwrap();
        let free = "127.0.0.1:0";
        let args = ["up", "--gateway", free, "--api", free, "--data", data];
        Self::start_by(command, &args).await
    }

    async fn start_by(mut command: Command, args: &[&str]) -> Self {
        let stderr = NamedTempFile::new().unwrap();
        let mut child = command
            .args(args)
            .stdout(Stdio::piped())
            .stderr(stderr.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = event("a server is up", lines.next_line()).await.unwrap();
        let Some(ready) = ready else {
            panic!("{args:?} ended at once: {}", read(stderr.path()));
        };
        let ready: Value = serde_json::from_str(&ready).unwrap();
        assert_eq!(ready["ready"], true, "{ready}");
        let address = |role: &str| ready[role].as_str().unwrap().parse().unwrap();
        let gateway_tls = ready["gateway_tls"].as_str();
        Self {
            gateway: address("gateway"),
            gateway_tls: gateway_tls.map(|address| address.parse().unwrap()),
            api: address("api"),
            child,
            stderr,
        }
    }

    /// A client of its API.
    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.api)).unwrap()
    }

    /// Runs a command that speaks to it.
    pub(crate) async fn run(&self, args: &[&str]) -> Told {
        run(Some(self.api), args).await
    }

    /// What it told on standard error so far.
    pub(crate) fn told(&self) -> String {
        read(self.stderr.path())
    }

    /// Has it crash, as a fault of its own would.
    pub(crate) async fn crash(mut self) {
        let pid = Pid::from_raw(self.pid()).unwrap();
        kill_process(pid, Signal::ABORT).unwrap();
        self.ended().await;
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id().expect("it still runs")).unwrap()
    }

    /// The most memory that it ever held, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.pid())));
        let mut peak = status
            .lines()
            .filter_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.next().unwrap().trim().trim_end_matches(" kB");
        peak.parse().unwrap()
    }

    /// How much more that is than it was before, in KiB. What the kernel tells may be a few pages
    /// less than a moment ago: it counts them by the processor, and adds that up at times.
    pub(crate) fn peak_grown_kib(&self, before: u64) -> u64 {
        self.peak_kib().saturating_sub(before)
    }

    /// The memory that it holds now, in KiB.
    pub(crate) fn held_kib(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.pid())));
        let mut held = status
            .lines()
            .filter_map(|line| line.strip_prefix("VmRSS:"));
        let held = held.next().unwrap().trim().trim_end_matches(" kB");
        held.parse().unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let pid = Pid::from_raw(self.pid()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// The same to all processes of its group, as a terminal does it.
    pub(crate) fn interrupt_all(&self) {
        let pid = Pid::from_raw(self.pid()).unwrap();
        kill_process_group(pid, Signal::INT).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        event("a server ends", self.child.wait()).await.unwrap()
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.ended().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server told:\n{}", read(self.stderr.path()));
        }
    }
}

fn read(path: &Path) -> String {
    let mut text = Vec::new();
    let file = File::open(path).and_then(|mut file| file.read_to_end(&mut text));
    file.unwrap();
    String::from_utf8_lossy(&text).into_owned()
}
