//! A program with a hook, and what puts it back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use usher_process::restored::{Hook, restored_environment};
use usher_process::sandbox::{Launch, Program, Shell};

use crate::rig::Rig;

/// A program that runs with a hook.
pub(crate) struct Guest {
    pub(crate) rig: Rig,
    pub(crate) hook: Hook,
    pub(crate) program: Arc<Program>,
    output: Lines<BufReader<pipe::Receiver>>,
    _errors: pipe::Receiver,
}

/// What a guest answers: values by the names of their generators.
pub(crate) type Values = BTreeMap<String, String>;

/// A file beside this one.
pub(crate) fn beside(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join("restored").join(name)
}

impl Guest {
    /// Starts a program with these files in its folder, and more variables.
    pub(crate) async fn start(files: &[&str], command: &[&str], more: &[(&str, &str)]) -> Self {
        let rig = Rig::new(0).await;
        for name in files {
            let file = Path::new(name).file_name().unwrap();
            std::fs::copy(beside(name), rig.code().join(file)).unwrap();
        }
        let mut launch = rig.launch(command);
        let more = more.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        launch.environment.extend(more);
        Self::launch(rig, launch).await
    }

    /// Starts a program with a hook.
    pub(crate) async fn launch(rig: Rig, launch: Launch) -> Self {
        let shell = rig.sandboxes.shell().await.unwrap();
        Self::launch_in(rig, shell, launch).await
    }

    /// Starts a program with a hook in this shell.
    pub(crate) async fn launch_in(rig: Rig, mut shell: Shell, mut launch: Launch) -> Self {
        // Node reserves more addresses than other programs use bytes.
        launch.bounds.memory_max_bytes = 512 << 20;
        restored_environment(&mut launch.environment);
        let (hook, end) = Hook::pair().unwrap();
        assert!(rig.sandboxes.has_shims());
        shell.give_hook(end);
        let mut program = shell.launch(launch).await.unwrap();
        let (output, errors) = program.take_output().unwrap();
        Self {
            rig,
            hook,
            program: Arc::new(program),
            output: BufReader::new(output).lines(),
            _errors: errors,
        }
    }

    /// The next line that it writes; none when it has ended.
    pub(crate) async fn line(&mut self) -> Option<String> {
        self.output.next_line().await.unwrap()
    }

    /// Waits until it listens.
    pub(crate) async fn ready(mut self) -> Self {
        let line = self.line().await;
        assert_eq!(line.as_deref(), Some("ready"));
        self
    }

    /// What a server of HTTP answers at `path`, as the value of that name.
    pub(crate) async fn fetched(&self, path: &str) -> Values {
        let mut connection = self.program.connect(8080).await.unwrap();
        let request = format!("GET /{path} HTTP/1.0\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        [(path.to_owned(), body.to_owned())].into()
    }

    /// What it answers.
    pub(crate) async fn values(&self) -> Values {
        let mut connection = self.program.connect(8080).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let pairs = answer.lines().map(|line| line.split_once(' ').unwrap());
        pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    }
}

/// What puts a program back; it has its state as it was when this was made.
pub(crate) struct PutBack {
    _child: Child,
    words: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl PutBack {
    pub(crate) async fn of(guest: &Guest) -> Self {
        let tool = guest.rig.folder.path().join("putback");
        let compiled = Command::new("gcc")
            .args(["-O1", "-o"])
            .arg(&tool)
            .arg(beside("putback.c"))
            .status();
        assert!(compiled.await.unwrap().success(), "gcc is needed");
        let mut child = Command::new(tool)
            .arg(guest.program.pid().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let words = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut tool = Self {
            _child: child,
            words,
            answers,
        };
        tool.say("take\n").await;
        tool
    }

    /// Puts it back.
    pub(crate) async fn put(&mut self) {
        self.say("put\n").await;
    }

    async fn say(&mut self, word: &str) {
        self.words.write_all(word.as_bytes()).await.unwrap();
        let answer = self.answers.next_line().await.unwrap();
        assert_eq!(answer.as_deref(), Some("ok"));
    }
}
