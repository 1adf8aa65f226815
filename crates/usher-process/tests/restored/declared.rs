//! Who declares, and who does not; and that programs find all else as without the shims.

use usher_process::restored::HookError;

use crate::guest::Guest;

/// Runs a script that writes `ready` when it has come to its end, and then waits.
async fn script(interpreter: &[&str], script: &str, more: &[(&str, &str)]) -> Guest {
    let command = [interpreter, &[script]].concat();
    Guest::start(&[], &command, more).await
}

const PYTHON: &[&str] = &["/usr/bin/python3", "-c"];
const NODE: &[&str] = &["/usr/bin/node", "-e"];
/// What holds each of them at its end.
const PYTHON_WAITS: &str = "\nprint('ready', flush=True)\nimport signal; signal.pause()";
const NODE_WAITS: &str = "\nconsole.log('ready'); setInterval(() => {}, 1000)";

#[tokio::test]
async fn who_cannot_be_told_has_declared_nothing() {
    let isolated: &[&str] = &["/usr/bin/python3", "-I", "-c"];
    let bare: &[&str] = &["/usr/bin/python3", "-S", "-c"];
    let without: &[&str] = &["/usr/bin/python3", "-E", "-c"];
    let no_addons: &[&str] = &["/usr/bin/node", "--no-addons", "-e"];
    let shell: &[&str] = &["/bin/sh", "-c"];
    for (interpreter, text) in [
        (isolated, PYTHON_WAITS),
        (bare, PYTHON_WAITS),
        (without, PYTHON_WAITS),
        (no_addons, NODE_WAITS),
        (shell, "echo ready; exec sleep 1000"),
    ] {
        let mut guest = script(interpreter, text, &[]).await.ready().await;
        assert!(!guest.hook.declared().unwrap(), "{interpreter:?}");
        let error = guest.hook.prepare().await.unwrap_err();
        assert!(matches!(error, HookError::Undeclared), "{error}");
    }
}

#[tokio::test]
async fn whoever_a_script_becomes_may_declare() {
    let text = "/usr/bin/python3 -c pass; exec /usr/bin/node -e \"console.log('ready'); \
                setInterval(() => {}, 1000)\"";
    let mut guest = script(&["/bin/sh", "-c"], text, &[]).await.ready().await;
    assert!(guest.hook.declared().unwrap());
    guest.hook.prepare().await.unwrap();
    guest.hook.restored(1).await.unwrap();

    // One that has gone does not answer for another, which has not declared anything.
    let text = "/usr/bin/python3 -c pass; echo ready; exec sleep 1000";
    let mut guest = script(&["/bin/sh", "-c"], text, &[]).await.ready().await;
    assert!(guest.hook.declared().unwrap());
    let error = guest.hook.restored(1).await.unwrap_err();
    assert!(matches!(error, HookError::Late(_)), "{error}");
}

#[tokio::test]
async fn a_program_and_its_children_see_nothing_of_the_shims() {
    let python = "
import os, subprocess, sys
child = '''import os, sys
print(os.path.exists('/proc/self/fd/3'), 'usher_restored' in sys.modules)'''
print(os.environ.get('USHER_RESTORED_FD'), os.environ['PYTHONPATH'], 'lib' in sys.path[1])
print(any('usher' in place for place in sys.path), flush=True)
subprocess.run([sys.executable, '-c', child], close_fds=False)
if os.fork() == 0:
    try: os.fstat(3)
    except OSError as error: print(error.strerror, flush=True)
    os._exit(0)
os.wait()";
    let python = format!("{python}{PYTHON_WAITS}");
    let mut guest = script(PYTHON, &python, &[("PYTHONPATH", "/var/task/lib")]).await;
    for expected in [
        "None /var/task/lib True",
        "False",
        "False False",
        "Bad file descriptor",
        "ready",
    ] {
        assert_eq!(guest.line().await.as_deref(), Some(expected));
    }
    assert!(guest.hook.declared().unwrap());
    guest.hook.prepare().await.unwrap();

    let node = "
console.log(process.env.USHER_RESTORED_FD, process.env.NODE_OPTIONS, process.execArgv.length);
const child = `let at = '';
try { at = require('fs').readlinkSync('/proc/self/fd/3') } catch {}
console.log(at.startsWith('socket'), Math.random)`;
console.log(require('child_process').execFileSync(process.execPath, ['-e', child]) + 'end');
import('node:crypto')
  .then(({ randomUUID }) => console.log(randomUUID === require('crypto').randomUUID))";
    let node = format!("{node}\n  .then(() => {{ {NODE_WAITS} }})");
    let mut guest = script(NODE, &node, &[("NODE_OPTIONS", "--no-warnings")]).await;
    for expected in [
        "undefined --no-warnings 2",
        "false [Function: random]",
        "end",
        "true",
        "ready",
    ] {
        assert_eq!(guest.line().await.as_deref(), Some(expected));
    }
    assert!(guest.hook.declared().unwrap());
    guest.hook.prepare().await.unwrap();
}

#[tokio::test]
async fn a_program_ends_by_itself_as_without_the_shims() {
    for (interpreter, text) in [(PYTHON, "print('end')"), (NODE, "console.log('end')")] {
        let mut guest = script(interpreter, text, &[]).await;
        assert_eq!(guest.line().await.as_deref(), Some("end"));
        assert_eq!(guest.line().await, None);
        let exit = guest.program.exited().await;
        assert_eq!(exit, usher_process::sandbox::Exit::Code(0));
        // It had declared, and is gone.
        let error = match guest.hook.declared() {
            Ok(_) => guest.hook.restored(1).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, HookError::Closed), "{error}");
    }
}

#[tokio::test]
async fn another_sitecustomize_is_loaded_behind_ours() {
    let text =
        format!("import sitecustomize; print(sitecustomize.__file__, flush=True){PYTHON_WAITS}");
    let mut guest = script(PYTHON, &text, &[]).await;
    let debian = guest.line().await.unwrap();
    assert!(!debian.starts_with("/opt/usher"), "{debian}");
    assert_eq!(guest.line().await.as_deref(), Some("ready"));
    assert!(guest.hook.declared().unwrap());
}

#[tokio::test]
async fn a_generator_that_is_out_of_reach_is_admitted() {
    // A library with a generator of its own, and a thread of Node that knows nothing of the shim.
    let library = format!("import ctypes; ctypes.CDLL('libgcrypt.so.20'){PYTHON_WAITS}");
    let thread = format!(
        "const {{ Worker }} = require('worker_threads');
         new Worker('setInterval(() => {{}}, 1000)', {{ eval: true, env: {{}} }})
           .on('online', () => {{ {NODE_WAITS} }})"
    );
    for (interpreter, text) in [(PYTHON, &library), (NODE, &thread)] {
        let mut guest = script(interpreter, text, &[]).await.ready().await;
        assert!(guest.hook.declared().unwrap());
        let error = guest.hook.prepare().await.unwrap_err();
        assert!(matches!(error, HookError::Stale), "{error}");
    }

    // The controls: another library, and a thread that has loaded it.
    let library = library.replace("libgcrypt.so.20", "libz.so.1");
    let thread = thread.replace(", env: {}", "");
    for (interpreter, text) in [(PYTHON, &library), (NODE, &thread)] {
        let mut guest = script(interpreter, text, &[]).await.ready().await;
        assert!(guest.hook.declared().unwrap());
        guest.hook.prepare().await.unwrap();
    }
}
