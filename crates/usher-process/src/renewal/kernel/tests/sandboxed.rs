//! A real interpreter in the whole sandbox: its filter, its users, its control group.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use usher_core::renewal::choice::Way;

use super::guest::{Renewed, whole};
use crate::renewal::kernel::{Surroundings, Writable};
use crate::renewal::stopped::Stopped;
use crate::renewal::{Injected, Snapshot};
use crate::sandbox::{Bounds, Launch, Program, Root, SandboxOptions, Sandboxes};

const PORT: u16 = 8080;
const RUNS: usize = 20;
/// Each connection changes what it can, and is answered.
const SCRIPT: &str = "
import os, signal, socket, resource, threading
server = socket.create_server(('127.0.0.1', 8080))
first = True
print('ready', flush=True)
while True:
    connection, _ = server.accept()
    kept = [os.open('/dev/null', os.O_RDONLY), os.dup(connection.fileno())]
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    os.umask(0)
    os.chdir('/tmp')
    os.nice(1)
    os.sched_setaffinity(0, [0])
    open('secret', 'w').write('secret')
    os.mkdir('/dev/shm/secret')
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    connection.sendall(b'done')
    connection.shutdown(socket.SHUT_RDWR)
    connection.detach()
";

/// The same with many threads, an epoll set, counters and pipes.
const NODE: &str = "
const fs = require('fs');
const server = require('net').createServer(connection => {
  fs.openSync('/dev/null', 'r');
  process.chdir('/tmp');
  fs.writeFileSync('secret', 'secret');
  process.umask(0);
  process.on('SIGUSR2', () => {});
  connection.end('done');
});
server.listen(8080, '127.0.0.1', () => console.log('ready'));
";

#[tokio::test(flavor = "multi_thread")]
async fn python_in_its_sandbox_is_put_back() {
    put_back(&["python3", "-u", "-c", SCRIPT], &[libc::SYS_accept4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_in_its_sandbox_is_put_back() {
    const WAITS: &[i64] = &[libc::SYS_epoll_wait, libc::SYS_epoll_pwait];
    put_back(&["node", "-e", NODE], WAITS).await;
}

/// Runs a program in a sandbox, and puts it back after each connection.
async fn put_back(command: &[&str], waits: &'static [i64]) {
    let (_folder, sandboxes, program) = launched(command).await;
    let pid = Pid::from_raw(program.pid().try_into().unwrap()).unwrap();
    until_it_waits(pid, waits);
    let mut renewed = Renewed::take(pid, surroundings(pid)).unwrap();
    for _ in 0..RUNS {
        let mut connection = program.connect(PORT).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "done");
        until_it_waits(pid, waits);
        // A program is stopped, put back and let go by one thread.
        let work = std::thread::spawn(move || {
            let mut stopped = Stopped::stop(pid).unwrap();
            assert!(renewed.compare(&mut stopped).is_err());
            if let Err(left) = renewed.put_back(&mut stopped) {
                panic!("{}", whole(&left));
            }
            if let Err(difference) = renewed.compare(&mut stopped) {
                panic!("{}", whole(&difference));
            }
            stopped.resume().unwrap();
            renewed
        });
        renewed = work.join().unwrap();
    }
    drop(renewed);
    program.kill().await;
    sandboxes.close().await;
}

/// A program in a sandbox that has said that it is ready.
async fn launched(command: &[&str]) -> (tempfile::TempDir, Sandboxes, Program) {
    let folder = tempfile::tempdir().unwrap();
    let code = folder.path().join("code");
    std::fs::create_dir(&code).unwrap();
    let own = std::env::current_exe().unwrap();
    let examples = own.ancestors().nth(2).unwrap().join("examples");
    let options = SandboxOptions {
        program: examples.join("sandbox-spawner"),
        args: Vec::new(),
        state_folder: folder.path().join("state"),
        stock: 1,
        root: Root::Host,
        predictors_apart: true,
    };
    let sandboxes = Sandboxes::open(options).await.unwrap();
    let launch = Launch {
        folder: code,
        command: command.iter().map(|&word| word.to_owned()).collect(),
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        secrets: Vec::new(),
        bounds: Bounds {
            memory_max_bytes: 256 << 20,
            tasks_max: 64,
            cpu_max_millis: None,
            scratch_max_bytes: 16 << 20,
            files_max: 256,
        },
    };
    let shell = sandboxes.shell().await.unwrap();
    let mut program = shell.launch(launch).await.unwrap();
    let (output, _errors) = program.take_output().unwrap();
    let mut output = BufReader::new(output);
    let mut line = String::new();
    output.read_line(&mut line).await.unwrap();
    assert_eq!(line, "ready\n");
    (folder, sandboxes, program)
}

/// The turn at a program's memory, held by another thread.
struct Held {
    release: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Held {
    fn of(program: &Arc<Program>) -> Self {
        let (taken, is_taken) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let program = program.clone();
        let thread = std::thread::spawn(move || {
            let _turn = program.turn().unwrap();
            taken.send(()).unwrap();
            released.recv().unwrap();
        });
        is_taken.recv().unwrap();
        Self { release, thread }
    }

    fn release(self) {
        self.release.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// Drops its pages when it is told `d`, and tells what is in the first one otherwise.
const DROPS: &str = "
import mmap, socket
region = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
region[:] = b'x' * len(region)
server = socket.create_server(('127.0.0.1', 8080))
print('ready', flush=True)
while True:
    connection, _ = server.accept()
    if connection.recv(1) == b'd':
        region.madvise(mmap.MADV_DONTNEED)
    connection.sendall(region[:1])
    connection.close()
";

/// A call that waits for the zeros that it is owed is taken back by the put-back: whoever writes
/// them must not do so afterwards. The turn is held until the program is back, which is the worst
/// that can happen to who waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_is_owed_is_not_written_after_the_put_back() {
    let (_folder, sandboxes, program) = launched(&["python3", "-u", "-c", DROPS]).await;
    let program = Arc::new(program);
    let pid = Pid::from_raw(program.pid().try_into().unwrap()).unwrap();
    let ask = async |what: &[u8]| {
        let mut connection = program.connect(PORT).await.unwrap();
        connection.write_all(what).await.unwrap();
        connection
    };
    until_it_waits(pid, &[libc::SYS_accept4]);
    assert!(program.lay());
    let injected = Injected::default();
    let mut snapshot = Snapshot::take(pid, surroundings(pid), None, None, &injected).unwrap();
    for round in 0..RUNS {
        let turn = Held::of(&program);
        let _taken_back = ask(b"d").await;
        until_it_waits(pid, &[libc::SYS_madvise]);
        // The platform takes the call meanwhile, and waits for its turn.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        let back = snapshot.put_back(Way::InPlace, false, &injected);
        back.unwrap_or_else(|error| panic!("{error}"));
        turn.release();
        let mut answer = String::new();
        ask(b"r").await.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "x", "round {round}");
        until_it_waits(pid, &[libc::SYS_accept4]);
        let back = snapshot.put_back(Way::InPlace, false, &injected);
        back.unwrap_or_else(|error| panic!("{error}"));
    }
    // The control: nobody takes this one back, and it gets its zeros.
    let mut answer = String::new();
    ask(b"d").await.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "\0");
    Arc::into_inner(program).unwrap().kill().await;
    sandboxes.close().await;
}

/// Waits until the program sleeps in one of these calls, with nothing left to do.
fn until_it_waits(pid: Pid, waits: &[i64]) {
    loop {
        let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
        let number = call
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok());
        if number.is_some_and(|number| waits.contains(&number)) {
            return;
        }
        std::thread::yield_now();
    }
}

fn surroundings(pid: Pid) -> Surroundings {
    let text = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let status = text("status");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    let first = parent.and_then(|parent| parent.trim().parse().ok());
    // Of version 1, as far as it is there; else the lists of children are read.
    let cgroup = text("cgroup");
    let group = cgroup.lines().find_map(|line| line.split_once(":pids:"));
    let group = group.map(|(_, path)| PathBuf::from(format!("/sys/fs/cgroup/pids{path}")));
    let writable = |place: &'static str| Writable {
        place,
        folder: rustix::fs::open(
            format!("/proc/{pid}/root{place}"),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap(),
    };
    Surroundings {
        group: group.filter(|group| group.is_dir()),
        first: first.and_then(Pid::from_raw),
        writable: vec![writable("/tmp"), writable("/dev/shm")],
        room: None,
        ours: Vec::new(),
    }
}
