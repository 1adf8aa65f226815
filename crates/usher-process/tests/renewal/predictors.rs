//! What processors learn of a program's branches is kept apart where the kernel can have them do
//! so, and the table of means says how it is, as the kernel tells it of the program itself.

use std::fs;

use usher_core::function::Isolation;
use usher_process::sandbox::{Bounds, Launch, Mean, SandboxOptions, Sandboxes};

use crate::chance::Chance;
use crate::rig::{Guest, Rig, sandboxes};
use crate::secret::Secret;

/// Lines of a process's status.
const BRANCHES: &str = "SpeculationIndirectBranch";
const STORES: &str = "Speculation_Store_Bypass";
/// What the second one says where the kernel restricts all that have a filter, unasked.
const STORES_BY_FILTER: &str = "thread force mitigated";
/// What the first one says where the kernel restricts who asks, for good.
const RESTRICTED: &str = "conditional force disabled";
/// And what it says of others then.
const ON_REQUEST: [&str; 2] = ["conditional enabled", "conditional disabled"];
/// What it says where nothing needs to be done.
const BY_ITSELF: [&str; 2] = ["always disabled", "not affected"];
const BOUNDS: Bounds = Bounds {
    memory_max_bytes: 64 << 20,
    tasks_max: 8,
    cpu_max_millis: None,
    scratch_max_bytes: 1 << 20,
    files_max: 64,
};

/// What the kernel says of a process.
fn said(process: &str, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let said = line.and_then(|rest| rest.strip_prefix(':'));
    // A kernel without the line knows no restriction.
    said.unwrap_or("no such line").trim().to_owned()
}

fn row(sandboxes: &Sandboxes) -> Mean {
    let rows = sandboxes.means().rows();
    let row = rows.iter().find(|row| row.what == "branch predictors");
    row.unwrap().clone()
}

/// The row of the table, and what the kernel says of a program's branches and stores.
async fn sandboxed(predictors_apart: bool) -> (Mean, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let options = SandboxOptions {
        predictors_apart,
        ..sandboxes(folder.path())
    };
    let sandboxes = Sandboxes::open(options).await.unwrap();
    let row = row(&sandboxes);
    let code = folder.path().join("code");
    fs::create_dir(&code).unwrap();
    let launch = Launch {
        folder: code,
        command: ["/bin/sleep", "1000"].map(str::to_owned).to_vec(),
        environment: Vec::new(),
        secrets: Vec::new(),
        bounds: BOUNDS,
    };
    let program = sandboxes.shell().await.unwrap().launch(launch).await;
    let program = program.unwrap();
    let pid = program.pid().to_string();
    let (branches, stores) = (said(&pid, BRANCHES), said(&pid, STORES));
    program.kill().await;
    sandboxes.close().await;
    (row, branches, stores)
}

/// What this process may guess is what any process may that nobody has restricted: the control.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_of_programs_are_kept_apart_where_the_kernel_permits_it() {
    let before = said("self", BRANCHES);
    let (row, branches, stores) = sandboxed(true).await;
    println!("of this process `{before}`, of a program `{branches}` and `{stores}`: {row:?}");
    if ON_REQUEST.contains(&before.as_str()) {
        assert_eq!(branches, RESTRICTED);
        assert!(row.full && row.way.contains("a barrier"), "{row:?}");
    } else {
        // Nothing can be asked for: it is how it is for all, and the table says so.
        assert_eq!(branches, before);
        let by_itself = BY_ITSELF.contains(&branches.as_str());
        assert_eq!(row.full, by_itself, "`{branches}`, but {row:?}");
        assert_eq!(row.way.contains("not kept apart"), !by_itself, "{row:?}");
    }
    // Stores that are bypassed are left as the kernel has them.
    let own = said("self", STORES);
    assert!(stores == own || stores == STORES_BY_FILTER, "{stores}");
    assert_eq!(said("self", BRANCHES), before, "the platform is as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_are_shared_where_the_platform_is_told_so() {
    let (row, branches, _) = sandboxed(false).await;
    // The filter alone restricts them with older kernels, unless they are told otherwise.
    assert_eq!(branches, said("self", BRANCHES));
    assert!(
        !row.full && row.way.contains("was told to share"),
        "{row:?}"
    );
}

/// A program can neither give its restriction up nor take it on, and a put-back leaves it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_run_changes_what_is_restricted() {
    let rig = Rig::new();
    let image = rig.hostile(Guest::C, Isolation::Request, "").await;
    let mut seat = image.seat().await;
    let pid = seat.pid().unwrap().to_string();
    let before = (said(&pid, BRANCHES), said(&pid, STORES));
    let secret = Secret::new(&mut Chance::new());
    for channel in ["branches-free", "branches-bound", "speculation"] {
        let planted = seat.plant(channel, &secret.hex()).await.unwrap();
        assert_eq!(planted.told, "denied EPERM", "{channel}");
        let pid = seat.pid().unwrap().to_string();
        assert_eq!((said(&pid, BRANCHES), said(&pid, STORES)), before);
    }
}
