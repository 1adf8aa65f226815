//! A secret that is changed: images that were made with it are made anew, and no others.

use usher_api::node::NodeControl;
use usher_core::function::{Delivery, SecretUse, Settings};
use usher_core::id::Name;

use crate::World;

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

fn uses_db(settings: &mut Settings) {
    let used = SecretUse {
        secret: name("db"),
        delivery: Delivery::Store,
    };
    settings.secrets.insert("DB".to_owned(), used);
}

#[tokio::test]
async fn the_next_request_meets_an_image_that_was_made_anew() {
    let world = World::new();
    let (with, without) = (
        world.revision("hello", uses_db),
        world.revision("counter", |_| {}),
    );
    let mut last = Vec::new();
    for revision in [&with, &without] {
        world.prepare(revision).await.unwrap();
        last.push(world.call(revision).await.unwrap().1.environment);
        world.quiet(revision).await;
    }
    let owner = with.function.owner.clone();
    // Neither another secret nor another owner's of the same name is any reason.
    world.node.secret_changed(&owner, &name("other")).await;
    world
        .node
        .secret_changed(&name("stranger"), &name("db"))
        .await;
    assert_eq!(world.status(&with).loaded, 1);
    world.node.secret_changed(&owner, &name("db")).await;
    let (_, proof) = world.call(&with).await.unwrap();
    assert_ne!(proof.environment, last[0], "it holds the old value");
    assert_eq!(world.status(&with).loaded, 2);
    let (_, proof) = world.call(&without).await.unwrap();
    assert_eq!(proof.environment, last[1]);
    assert_eq!(world.status(&without).loaded, 1);
}

#[tokio::test]
async fn a_request_that_runs_is_finished_and_its_environment_then_ends() {
    let world = World::new();
    let revision = world.revision("slow", uses_db);
    let running = world.begin(&revision);
    world.engine.gates().run.arrived(1).await;
    let owner = revision.function.owner.clone();
    world.node.secret_changed(&owner, &name("db")).await;
    world.engine.gates().run.open();
    let (_, old) = running.await.unwrap().unwrap();
    let (_, new) = world.call(&revision).await.unwrap();
    assert_ne!(old.environment, new.environment);
    world.quiet(&revision).await;
    world.until(|world| world.alive() == 1).await;
}
