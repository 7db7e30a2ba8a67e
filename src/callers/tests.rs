//! Blocks in memory and in the database.

use std::path::Path;

use super::*;
use crate::approval::FILE;
use crate::approval::store::tests::Crashes;

fn store(folder: &Path) -> Store {
    Store::open(&folder.join(FILE)).unwrap()
}

fn block(whom: Whom) -> Block {
    Block {
        whom,
        by: "carol".to_owned(),
        at: Timestamp::now(),
        reason: "INC-7".to_owned(),
        until: None,
        subjects: Vec::new(),
    }
}

fn user(name: &str) -> Whom {
    Whom::User(name.to_owned())
}

fn kept_out(callers: &Callers, name: &str) -> bool {
    let identity = Identity::for_tests(name, &[]);
    let blocks = callers.blocks().current();
    blocks.of(&identity, Timestamp::now()).is_some()
}

#[tokio::test]
async fn a_block_is_in_force_at_once_and_after_a_restart_until_it_is_lifted() {
    let folder = tempfile::tempdir().unwrap();
    let callers = Callers::open(store(folder.path())).await.unwrap();
    let changes = callers.blocks().changes();
    callers.block(block(user("alice"))).await.unwrap();
    assert!(kept_out(&callers, "alice") && changes.has_changed().unwrap());
    // Another program on the same database: what a gateway reads that starts after a crash.
    let again = Callers::open(store(folder.path())).await.unwrap();
    assert!(kept_out(&again, "alice") && !kept_out(&again, "bob"));
    assert!(callers.unblock(&user("alice")).await.unwrap());
    assert!(!callers.unblock(&user("alice")).await.unwrap());
    let lifted = Callers::open(store(folder.path())).await.unwrap();
    assert!(!kept_out(&callers, "alice") && !kept_out(&lifted, "alice"));
}

#[tokio::test]
async fn a_block_goes_with_the_account_and_not_with_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let callers = Callers::open(store(folder.path())).await.unwrap();
    let alice = Identity::for_tests("alice", &[]);
    callers.arrived(&alice, &Arc::default(), Timestamp::now());
    let kept = callers.block(block(user("alice"))).await.unwrap();
    assert_eq!(kept.subjects.len(), 1);
    let again = Callers::open(store(folder.path())).await.unwrap();
    let renamed = Names {
        user: "bob",
        agents: Vec::new(),
        subject: kept.subjects[0].clone(),
    };
    let blocks = again.blocks().current();
    assert!(blocks.named(&renamed, Timestamp::now()).is_some());
}

#[tokio::test]
async fn whoever_leaves_while_a_block_is_written_has_blocked_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let callers = Callers::open(store.clone()).await.unwrap();
    let (going, gone) = std::sync::mpsc::channel::<()>();
    let busy = tokio::task::LocalSet::new();
    let held = store.run(move |_| {
        gone.recv().unwrap();
        Ok(())
    });
    busy.run_until(async {
        let mut held = Box::pin(held);
        assert!(futures_util::poll!(&mut held).is_pending());
        let mut blocking = Box::pin(callers.block(block(user("alice"))));
        assert!(futures_util::poll!(&mut blocking).is_pending());
        drop(blocking);
        assert!(kept_out(&callers, "alice"));
        going.send(()).unwrap();
        held.await.unwrap();
    })
    .await;
    callers.tasks.close();
    callers.tasks.wait().await;
    let again = Callers::open(store).await.unwrap();
    assert!(kept_out(&again, "alice"));
}

/// After a crash at any moment somebody is kept out if and only if the operator was told so last.
#[tokio::test]
async fn e_20_a_crash_between_any_two_writes_forgets_no_block_and_lifts_none_by_half() {
    let mut crashes = Crashes::begin().await;
    let callers = Callers::open(crashes.store.clone()).await.unwrap();
    let whom = |callers: &Callers| -> Vec<Whom> {
        let list = callers.blocks().current().list(Timestamp::now());
        list.into_iter().map(|block| block.whom).collect()
    };
    let bot = Whom::Agent("bot".to_owned());
    let mut after = vec![whom(&callers)];
    for (is_block, name) in [
        (true, user("alice")),
        (true, bot.clone()),
        (false, user("alice")),
        (true, user("bob")),
        (true, user("alice")),
        (false, bot),
    ] {
        if is_block {
            callers.block(block(name)).await.unwrap();
        } else {
            assert!(callers.unblock(&name).await.unwrap());
        }
        crashes.told();
        after.push(whom(&callers));
    }
    crashes
        .each(async |store, steps| {
            let again = Callers::open(store).await.unwrap();
            assert_eq!(whom(&again), after[steps], "after {steps} steps");
        })
        .await;
}

#[tokio::test]
async fn blocks_have_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let callers = Callers::open(store(folder.path())).await.unwrap();
    let now = Timestamp::now();
    let full = (0..limits::BLOCKS_MAX).map(|number| block(user(&format!("user-{number}"))));
    callers.blocks().replace(Blocks::new(full, now));
    let more = callers.block(block(user("alice"))).await;
    assert!(matches!(more, Err(NotBlocked::TooMany)));
    // One that is there already can be changed.
    callers.block(block(user("user-0"))).await.unwrap();
}
