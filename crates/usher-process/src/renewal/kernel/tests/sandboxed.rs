//! A real interpreter in the whole sandbox: its filter, its users, its control group.

use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::guest::{Renewed, whole};
use crate::renewal::kernel::{Surroundings, Writable};
use crate::renewal::stopped::Stopped;
use crate::sandbox::{Bounds, Launch, Root, SandboxOptions, Sandboxes};

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
