//! What a program gets: its folder, its environment, its streams, its network, its end.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use usher_process::sandbox::{Exit, Fault, Launch, LaunchError, Root, Sandboxes, ShellError};

use crate::attacks::compile;
use crate::rig::{BOUNDS, Rig, options, ran};

/// Answers one connection at a port of its own choice, from Python.
const SERVER: &str = "\
import socket, sys
server = socket.create_server(('127.0.0.1', 8080))
print('ready', flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(b'served ' + connection.recv(100))
    connection.close()
";

#[tokio::test]
async fn a_program_runs_with_its_folder_environment_and_streams() {
    let rig = Rig::new(1).await;
    std::fs::write(rig.code().join("text"), "of the function").unwrap();
    let script = "pwd; id -u; cat text; echo $MORE; env | wc -l; echo wrong >&2; exit 3";
    let mut launch = rig.launch(&["sh", "-c", script]);
    launch
        .environment
        .push(("MORE".to_owned(), "more".to_owned()));
    let ran = rig.run(launch).await;
    assert_eq!(ran.exit, Exit::Code(3), "{ran:?}");
    // The shell adds where it is to what it was given.
    assert_eq!(ran.output, "/var/task\n1000\nof the functionmore\n3\n");
    assert_eq!(ran.errors, "wrong\n");
    assert_eq!(ran.denials, []);
}

#[tokio::test]
async fn connections_reach_the_program_in_its_own_network() {
    let rig = Rig::new(1).await;
    let launch = rig.launch(&["python3", "-c", SERVER]);
    let mut program = rig.start(launch).await;
    let refused = program.connect(8081).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let (mut output, _errors) = program.take_output().unwrap();
    let mut ready = [0; 6];
    output.read_exact(&mut ready).await.unwrap();
    for name in ["a", "b", "c"] {
        let mut connection = program.connect(8080).await.unwrap();
        connection.write_all(name.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, format!("served {name}"));
    }
    program.kill().await;
    assert_eq!(rig.sandboxes.alive(), 0);
}

#[tokio::test]
async fn the_api_listener_is_reached_from_inside_and_the_other_one_closed() {
    let rig = Rig::new(0).await;
    let script = "import urllib.request as r
print(r.urlopen('http://127.0.0.1:9001/').read().decode())
try: r.urlopen('http://127.0.0.1:9002/')
except Exception as error: print(error)";
    let mut shell = rig.sandboxes.shell().await.unwrap();
    let listener = shell.take_api_listener().unwrap();
    assert!(shell.take_api_listener().is_none());
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let program = shell.launch(rig.launch(&["python3", "-c", script])).await;
    let serve = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
        connection.write_all(answer).await.unwrap();
        connection.shutdown().await.unwrap();
        let mut request = String::new();
        connection.read_to_string(&mut request).await.unwrap();
    };
    let (ran, ()) = tokio::join!(ran(program.unwrap()), serve);
    assert_eq!(
        ran.output, "hi\n<urlopen error [Errno 111] Connection refused>\n",
        "{ran:?}"
    );
}

#[tokio::test]
async fn every_way_to_end_is_told_apart() {
    let rig = Rig::new(2).await;
    let mut asked = rig
        .start(rig.launch(&["sh", "-c", "echo; exec sleep 100"]))
        .await;
    assert_ne!(asked.pid(), 0);
    let (mut output, _errors) = asked.take_output().unwrap();
    output.read_u8().await.unwrap();
    asked.terminate();
    assert_eq!(asked.exited().await, Exit::Signal(15));
    // Any number may ask, and again.
    assert_eq!(asked.exited().await, Exit::Signal(15));

    let crash = rig.run(rig.launch(&["sh", "-c", "kill -SEGV $$"])).await;
    assert_eq!(crash.exit, Exit::Signal(11));

    let hog = "x = bytearray(1 << 30)";
    let hog = rig.run(rig.launch(&["python3", "-c", hog])).await;
    assert_eq!(hog.exit, Exit::OutOfMemory, "{hog:?}");

    let hang = rig.start(rig.launch(&["sleep", "100"])).await;
    let exited = {
        let waits = hang.exited();
        tokio::pin!(waits);
        tokio::select! {
            exit = &mut waits => Some(exit),
            () = std::future::ready(()) => None,
        }
    };
    assert_eq!(exited, None);
    hang.kill().await;
    drop(asked);
    rig.sandboxes.close().await;
    assert_eq!(rig.sandboxes.alive(), 0);
    let closed = rig.sandboxes.shell().await.unwrap_err();
    assert!(matches!(closed, ShellError::Closed), "{closed}");
}

#[tokio::test]
async fn what_cannot_be_run_is_said() {
    let rig = Rig::new(0).await;
    let files = [
        ("plain", "echo hi\n", 0o755),
        ("forbidden", "#!/bin/sh\n", 0o644),
        ("orphan", "#!/no/such/interpreter\n", 0o755),
    ];
    for (name, text, mode) in files {
        let path = rig.code().join(name);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let cases = [
        ("nowhere", Fault::NotFound),
        ("./nowhere", Fault::NotFound),
        ("./plain", Fault::WrongFormat),
        ("./forbidden", Fault::NotExecutable),
        ("./orphan", Fault::NoInterpreter),
        ("/etc", Fault::NotExecutable),
    ];
    for (command, expected) in cases {
        let shell = rig.sandboxes.shell().await.unwrap();
        match shell.launch(rig.launch(&[command])).await.unwrap_err() {
            LaunchError::Program { program, fault } => {
                assert_eq!((program.as_str(), fault), (command, expected));
            }
            other => panic!("{command}: {other}"),
        }
    }
    let mut missing = rig.launch(&["true"]);
    missing.folder = rig.code().join("missing");
    let shell = rig.sandboxes.shell().await.unwrap();
    let missing = shell.launch(missing).await.unwrap_err();
    assert!(matches!(missing, LaunchError::Folder { .. }), "{missing}");

    let mut long = rig.launch(&["true"]);
    long.environment
        .push(("LONG".to_owned(), "x".repeat(200_000)));
    let shell = rig.sandboxes.shell().await.unwrap();
    let long = shell.launch(long).await.unwrap_err();
    assert!(matches!(long, LaunchError::TooLong { .. }), "{long}");

    let mut fits = rig.launch(&["sh", "-c", "echo ${#LONG}"]);
    fits.environment
        .push(("LONG".to_owned(), "x".repeat(90_000)));
    assert_eq!(rig.run(fits).await.output, "90000\n");
}

#[tokio::test]
async fn a_state_folder_has_one_platform() {
    let rig = Rig::new(0).await;
    let state = rig.folder.path().join("state");
    let second = Sandboxes::open(options(&state, 0)).await;
    let second = second.unwrap_err();
    assert!(
        matches!(second, usher_process::sandbox::OpenError::InUse(_)),
        "{second}"
    );
}

#[tokio::test]
async fn usual_runtimes_run_unharmed() {
    let rig = Rig::new(1).await;
    let python = "import threading, subprocess, multiprocessing, tempfile, ssl, ctypes, asyncio
t = threading.Thread(target=lambda: print('thread')); t.start(); t.join()
print(subprocess.run(['echo', 'child'], capture_output=True, text=True).stdout, end='')
with multiprocessing.Pool(2) as pool: print(sum(pool.map(abs, range(10))))
with tempfile.NamedTemporaryFile() as f: f.write(b'x')
asyncio.run(asyncio.sleep(0)); ssl.create_default_context(); print('done')";
    let ran = rig.run(rig.launch(&["python3", "-c", python])).await;
    assert_eq!(ran.output, "thread\nchild\n45\ndone\n", "{ran:?}");
    assert_eq!(ran.denials, []);
    let node = "const {Worker} = require('worker_threads'), os = require('os');
os.cpus(); os.networkInterfaces();
new Worker(`require('worker_threads').parentPort.postMessage(1)`, {eval: true})
  .on('message', () => require('child_process').exec('echo child', (e, out) => {
    require('dns').lookup('localhost', (e, at) => {
      require('fs').writeFileSync(os.tmpdir() + '/x', at)
      process.stdout.write(out + at + '\\n') }) }))";
    let ran = rig.run(rig.launch(&["node", "-e", node])).await;
    assert_eq!(ran.output, "child\n127.0.0.1\n", "{ran:?}");
    assert_eq!(ran.denials, []);
}

#[tokio::test]
async fn a_folder_can_be_the_root_if_it_has_the_places() {
    let folder = tempfile::tempdir().unwrap();
    let (root, state) = (folder.path().join("root"), folder.path().join("state"));
    std::fs::create_dir_all(root.join("var/task")).unwrap();
    std::fs::create_dir_all(root.join("bin")).unwrap();
    compile(&root.join("bin/hostile"));
    let mut wanted = options(&state, 0);
    wanted.root = Root::Folder(root.clone());
    let refused = Sandboxes::open(wanted.clone()).await.unwrap_err();
    assert!(
        refused.to_string().contains("has no folder proc"),
        "{refused}"
    );
    for place in ["proc", "tmp", "dev"] {
        std::fs::create_dir(root.join(place)).unwrap();
    }
    let sandboxes = Sandboxes::open(wanted.clone()).await.unwrap();
    assert!(!sandboxes.has_shims());
    let launch = |words: &[&str]| Launch {
        folder: root.clone(),
        command: words.iter().map(|&word| word.to_owned()).collect(),
        environment: Vec::new(),
        secrets: Vec::new(),
        bounds: BOUNDS,
    };
    for (words, said) in [
        (["hostile", "read", "/bin/hostile"], "open\n"),
        (["hostile", "read", "/usr/bin/env"], "shut ENOENT\n"),
        (["hostile", "make", "/bin/more"], "shut EROFS\n"),
        (["hostile", "make", "/dev/shm/more"], "open\n"),
    ] {
        let shell = sandboxes.shell().await.unwrap();
        let ran = ran(shell.launch(launch(&words)).await.unwrap()).await;
        // Landlock speaks before the mounts do.
        let told = ran.output.replace("EACCES", "EROFS");
        assert_eq!(told, said, "{words:?}: {ran:?}");
    }
    sandboxes.close().await;
    drop(sandboxes);
    // What the restored hook loads needs a place too, which a root may do without.
    std::fs::create_dir_all(root.join("opt/usher")).unwrap();
    let sandboxes = Sandboxes::open(wanted).await.unwrap();
    assert!(sandboxes.has_shims());
    let words = ["hostile", "read", "/opt/usher/restored.so"];
    let shell = sandboxes.shell().await.unwrap();
    let read = ran(shell.launch(launch(&words)).await.unwrap()).await;
    assert_eq!(read.output, "open\n", "{read:?}");
    sandboxes.close().await;
}
