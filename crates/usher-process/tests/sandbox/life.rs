//! What a program gets: its folder, its environment, its streams, its network, its end.

use usher_process::sandbox::Exit;

use crate::rig::Rig;

#[tokio::test]
async fn a_program_runs_with_its_folder_environment_and_streams() {
    let rig = Rig::new(1).await;
    println!("{}", rig.sandboxes.means());
    std::fs::write(rig.code().join("text"), "of the function").unwrap();
    let script = "pwd; id -u; cat text; echo $MORE; echo wrong >&2; ls /; ls -la /dev /etc; cat /proc/self/status; exit 3";
    let mut launch = rig.launch(&["sh", "-c", script]);
    launch.environment.push(("MORE".to_owned(), "more".to_owned()));
    let ran = rig.run(launch).await;
    println!("{} {}", ran.output, ran.errors);
    assert_eq!(ran.exit, Exit::Code(3), "{ran:?}");
    assert!(ran.output.starts_with("/var/task\n1000\nof the functionmore\n"));
}
