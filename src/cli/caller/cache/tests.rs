use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use clap::Parser as _;
use tempfile::TempDir;

use super::*;
use crate::cli::caller::account::{AccountArgs, Source};

#[test]
fn what_is_stored_is_found_again_by_the_same_account_only() {
    let (_home, cache, account) = cache();
    let other = Account {
        client_id: "other".to_owned(),
        ..account.clone()
    };
    let place = cache.lock(&account).unwrap();
    assert!(place.load().unwrap().is_none());
    place.store(&tokens("one")).unwrap();
    place.store(&tokens("two")).unwrap();
    let found = place.load().unwrap().unwrap();
    assert_eq!(found.token.expose_secret(), "two");
    assert_eq!(found.refresh.unwrap().expose_secret(), "refresh");
    assert_eq!(found.subject.as_deref(), Some("dora"));
    assert!(cache.lock(&other).unwrap().load().unwrap().is_none());
    assert!(place.delete().unwrap());
    assert!(!place.delete().unwrap());
}

#[test]
fn nobody_else_can_read_what_is_stored() {
    let (home, cache, account) = cache();
    cache.lock(&account).unwrap().store(&tokens("t")).unwrap();
    let folder = home.path().join("portcullis");
    assert_eq!(mode(&folder), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
        files += 1;
    }
    assert_eq!(files, 2, "the tokens and the lock");
}

#[test]
fn what_others_could_have_read_or_put_there_is_not_used() {
    let (home, cache, account) = cache();
    let place = cache.lock(&account).unwrap();
    place.store(&tokens("t")).unwrap();
    let folder = home.path().join("portcullis");
    let file = folder.join(format!("{}.json", account.cache_key()));

    chmod(&file, 0o640);
    let error = place.load().unwrap_err().to_string();
    assert!(
        error.contains("mode 0640") && error.contains("portcullis logout"),
        "{error}"
    );
    place.store(&tokens("t")).unwrap();
    assert!(place.load().unwrap().is_some(), "a new login replaces it");

    let elsewhere = home.path().join("elsewhere");
    std::fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    let error = place.load().unwrap_err().to_string();
    assert!(error.contains("symbolic link"), "{error}");
    place.store(&tokens("new")).unwrap();
    let kept = std::fs::read_to_string(&elsewhere).unwrap();
    assert!(
        !kept.contains("new"),
        "a link is replaced, not written through"
    );

    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(place.load().is_err(), "a folder");
    drop(place);

    let lock = folder.join(format!("{}.lock", account.cache_key()));
    std::fs::remove_file(&lock).unwrap();
    symlink(&elsewhere, &lock).unwrap();
    assert!(cache.lock(&account).is_err(), "a lock behind a link");
}

#[test]
fn a_folder_that_is_open_to_others_is_not_used() {
    let (home, _cache, _account) = cache();
    let folder = home.path().join("portcullis");
    for wide in [0o755, 0o770, 0o1777] {
        chmod(&folder, wide);
        let error = Cache::open(&folder).unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }
    chmod(&folder, 0o700);
    Cache::open(&folder).unwrap();
    let link = home.path().join("link");
    symlink(&folder, &link).unwrap();
    assert!(Cache::open(&link).is_err());
}

#[test]
fn a_damaged_file_or_another_accounts_is_as_good_as_none() {
    let (home, cache, account) = cache();
    let place = cache.lock(&account).unwrap();
    place.store(&tokens("t")).unwrap();
    let file = home
        .path()
        .join("portcullis")
        .join(format!("{}.json", account.cache_key()));
    let good = std::fs::read_to_string(&file).unwrap();
    for bad in [
        good.replace("cli", "evil"),
        good.replace("issuer.test", "evil.test"),
        good.replace("\"version\":1", "\"version\":2"),
        good.chars().take(good.len() / 2).collect(),
        String::new(),
    ] {
        assert_ne!(bad, good);
        std::fs::write(&file, bad).unwrap();
        assert!(place.load().unwrap().is_none());
    }
}

#[test]
fn who_waited_for_a_login_that_failed_hears_of_it() {
    let (_home, cache, account) = cache();
    let mut first = cache.lock(&account).unwrap();
    let waits = format!(":{} ", first.lock.metadata().unwrap().ino());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| cache.lock(&account).unwrap().waited_in_vain().unwrap());
        // The waiter is waiting once the system lists it as such.
        let listed = |line: &str| line.contains("->") && line.contains(&waits);
        while !std::fs::read_to_string("/proc/locks")
            .unwrap()
            .lines()
            .any(listed)
        {
            std::thread::yield_now();
        }
        first.login_failed().unwrap();
        drop(first);
        assert!(waiter.join().unwrap());
    });
    let mut later = cache.lock(&account).unwrap();
    assert!(!later.waited_in_vain().unwrap(), "it did not wait");
}

#[test]
fn logging_out_everywhere_deletes_tokens_and_nothing_else() {
    let (home, cache, account) = cache();
    cache.lock(&account).unwrap().store(&tokens("t")).unwrap();
    let other = home.path().join("portcullis/notes.json");
    std::fs::write(&other, "mine").unwrap();
    assert_eq!(cache.clear().unwrap(), 1);
    assert_eq!(cache.clear().unwrap(), 0);
    assert!(other.exists());
    assert!(cache.lock(&account).unwrap().load().unwrap().is_none());
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    account: AccountArgs,
}

fn cache() -> (TempDir, Cache, Account) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("portcullis");
    let line = Line::parse_from(["", "--issuer=https://issuer.test", "--client-id=cli"]);
    let source = AccountArgs {
        cache_dir: Some(path.clone()),
        ..line.account
    };
    let Some(Source::Provider(account)) = source.source().unwrap() else {
        panic!("no account")
    };
    (home, Cache::open(&path).unwrap(), account)
}

fn tokens(token: &str) -> Tokens {
    Tokens {
        token: token.into(),
        expires_at: Timestamp::MAX,
        obtained_at: Timestamp::UNIX_EPOCH,
        refresh: Some("refresh".into()),
        subject: Some("dora".to_owned()),
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
