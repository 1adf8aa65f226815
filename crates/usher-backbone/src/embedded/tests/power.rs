//! The power goes at any moment: what was acknowledged is there, and nothing is there by half.

use bytes::Bytes;

use super::super::{Embedded, Limits};
use super::disk::Disk;
use super::{Dice, open_on, start};
use crate::embedded::Store;
use crate::{KeyValue, Op};

const ROUNDS: u64 = 60;

/// Writes pairs until the power goes, and returns the number of the last acknowledged pair.
async fn write_until_dark(backbone: &Embedded, dice: &mut Dice) -> u64 {
    let mut acknowledged = 0;
    loop {
        let number = acknowledged + 1;
        let size = usize::try_from(dice.roll(20_000)).unwrap();
        let filler = Bytes::from(vec![7; size]);
        let pair = ["pair.a", "pair.b"].map(|key| Op::put(key, number.to_string()));
        let mut batch = pair.to_vec();
        batch.push(Op::put(format!("filler.{}", number % 10), filler));
        match backbone.apply(batch).await {
            Ok(_) => acknowledged = number,
            Err(_) => return acknowledged,
        }
    }
}

async fn number(backbone: &Embedded, key: &str) -> u64 {
    let entry = backbone.get(key).await.unwrap();
    entry.map_or(0, |entry| {
        String::from_utf8(entry.value.to_vec())
            .unwrap()
            .parse()
            .unwrap()
    })
}

/// How many pairs were acknowledged, or how they were lost or left by half.
async fn round(seed: u64, lying: bool) -> Result<u64, String> {
    let mut dice = Dice(seed);
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let backbone = open_on(folder.path(), disk.opener(), Limits::default());
    disk.state().lying = lying;
    disk.state().changes_left = Some(dice.roll(200));
    let acknowledged = write_until_dark(&backbone, &mut dice).await;
    drop(backbone);

    let disk = disk.after_power_loss(&mut dice);
    let opened = Store::open(disk.opener());
    let (store, loaded) = opened.map_err(|error| format!("not opened: {error:?}"))?;
    let backbone = start(folder.path(), store, loaded, Limits::default());
    let a = number(&backbone, "pair.a").await;
    let b = number(&backbone, "pair.b").await;
    if a != b {
        return Err(format!("half a pair: {a} and {b}"));
    }
    // The pair that was under way may be there, but whole.
    if a < acknowledged || a > acknowledged + 1 {
        return Err(format!("{a} is there and {acknowledged} was acknowledged"));
    }
    backbone
        .put("after", Bytes::new())
        .await
        .map_err(|error| error.to_string())?;
    Ok(acknowledged)
}

#[tokio::test]
async fn what_is_acknowledged_survives_a_loss_of_power() {
    let mut acknowledged = 0;
    for seed in 0..ROUNDS {
        match round(seed, false).await {
            Ok(pairs) => acknowledged += pairs,
            Err(lost) => panic!("seed {seed}: {lost}"),
        }
    }
    assert!(
        acknowledged > ROUNDS,
        "the power went too early to show anything"
    );
}

/// The negative control: on a disk that only says it has synced, the rounds find the loss.
#[tokio::test]
async fn a_disk_that_lies_is_found_out() {
    let mut found = false;
    for seed in 0..ROUNDS {
        found |= round(seed, true).await.is_err();
    }
    assert!(found);
}
