//! Tokens between two commands: files of mode 0600 in a directory of mode 0700.
//!
//! What others could have read or put there is not used: a directory or file of another owner, with
//! wider permissions, or behind a symbolic link. Everything is opened relative to the directory that
//! was checked, so nothing can be exchanged in between.

use std::borrow::Cow;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::account::Account;
use crate::cli::output::say;

/// Bytes of a file of tokens; none is that long.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Two seconds of waiting in silence.
const QUIET_TRIES: usize = 80;
const QUIET_PAUSE: Duration = Duration::from_millis(25);
/// The tokens as they are stored.
const VERSION: u32 = 1;

/// The tokens of one account.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    /// What the gateway is shown.
    pub(super) token: SecretString,
    /// When it ends, by this machine's clock.
    pub(super) expires_at: Timestamp,
    /// When it was got, by this machine's clock.
    pub(super) obtained_at: Timestamp,
    /// What gets the next one.
    pub(super) refresh: Option<SecretString>,
    /// Whom it names: a refresh must not change that (OIDC Core §12.2).
    pub(super) subject: Option<String>,
}

/// A file of the cache.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stored<'a> {
    version: u32,
    issuer: Cow<'a, str>,
    client_id: Cow<'a, str>,
    token: Cow<'a, str>,
    expires_at: Timestamp,
    obtained_at: Timestamp,
    refresh_token: Option<Cow<'a, str>>,
    subject: Option<Cow<'a, str>>,
}

/// The directory, opened and checked.
#[derive(Debug)]
pub(super) struct Cache {
    directory: OwnedFd,
    path: PathBuf,
}

/// One account's place, which nobody else looks at or changes meanwhile.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    cache: &'a Cache,
    account: &'a Account,
    key: String,
    /// Held until this is dropped; the system lets go of it if the process dies.
    lock: File,
    /// When this process began to wait for it.
    began: Timestamp,
}

impl Cache {
    /// Opens the directory; it is made if it is not there.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("{} cannot be made", path.display()))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).with_context(|| {
            format!(
                "{} cannot be opened as a directory, or is a symbolic link",
                path.display()
            )
        })?;
        check(&directory, FileType::Directory, path)?;
        Ok(Self {
            directory,
            path: path.to_owned(),
        })
    }

    /// The place of `account`, once nobody else has it.
    pub(super) fn lock<'a>(&'a self, account: &'a Account) -> anyhow::Result<Locked<'a>> {
        let key = account.cache_key();
        let name = format!("{key}.lock");
        let flags = OFlags::RDWR | OFlags::CREATE;
        let lock = self
            .file(&name, flags)?
            .context("the lock cannot be made")?;
        let began = Timestamp::now();
        wait_for(&lock).with_context(|| format!("{name} cannot be locked"))?;
        Ok(Locked {
            cache: self,
            account,
            key,
            lock,
            began,
        })
    }

    /// The tokens of `account`, if they are there.
    fn load(&self, account: &Account) -> anyhow::Result<Option<Tokens>> {
        let name = format!("{}.json", account.cache_key());
        let Some(file) = self.file(&name, OFlags::RDONLY)? else {
            return Ok(None);
        };
        let mut text = Zeroizing::new(Vec::new());
        (&file).take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        // What is wrong with it stays untold: the text around it is a token.
        let Ok(stored) = serde_json::from_slice::<Stored<'_>>(&text) else {
            say(&format!(
                "{} is damaged and not used",
                self.path.join(&name).display()
            ));
            return Ok(None);
        };
        if stored.version != VERSION
            || stored.issuer != account.issuer
            || stored.client_id != account.client_id
        {
            return Ok(None);
        }
        Ok(Some(Tokens {
            token: stored.token.into_owned().into(),
            expires_at: stored.expires_at,
            obtained_at: stored.obtained_at,
            refresh: stored.refresh_token.map(|token| token.into_owned().into()),
            subject: stored.subject.map(Cow::into_owned),
        }))
    }

    /// Deletes the tokens of every account; says how many there were.
    pub(super) fn clear(&self) -> anyhow::Result<usize> {
        let mut deleted = 0;
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name.strip_suffix(".json").is_some_and(is_key) {
                rustix::fs::unlinkat(&self.directory, entry.file_name(), AtFlags::empty())?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// Opens one file of the directory, and checks that it is ours alone.
    fn file(&self, name: &str, flags: OFlags) -> anyhow::Result<Option<File>> {
        let path = self.path.join(name);
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = rustix::fs::openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR);
        let file = match opened {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => bail!(
                "{} is a symbolic link, and not followed; delete it",
                path.display()
            ),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be opened", path.display()));
            }
        };
        check(&file, FileType::RegularFile, &path)?;
        Ok(Some(File::from(file)))
    }
}

impl Locked<'_> {
    /// The tokens, if they are there.
    pub(super) fn load(&self) -> anyhow::Result<Option<Tokens>> {
        self.cache.load(self.account)
    }

    /// Keeps these tokens: whole, or not at all.
    pub(super) fn store(&self, tokens: &Tokens) -> anyhow::Result<()> {
        let stored = Stored {
            version: VERSION,
            issuer: self.account.issuer.as_str().into(),
            client_id: self.account.client_id.as_str().into(),
            token: tokens.token.expose_secret().into(),
            expires_at: tokens.expires_at,
            obtained_at: tokens.obtained_at,
            refresh_token: tokens
                .refresh
                .as_ref()
                .map(|token| token.expose_secret().into()),
            subject: tokens.subject.as_deref().map(Cow::from),
        };
        let text = Zeroizing::new(serde_json::to_vec(&stored)?);
        let (name, draft) = (format!("{}.json", self.key), format!("{}.new", self.key));
        let directory = &self.cache.directory;
        // Only who holds the lock writes one; what is there was left by a crash.
        let _left = rustix::fs::unlinkat(directory, &draft, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = self
            .cache
            .file(&draft, flags)?
            .context("the token cannot be stored")?;
        file.write_all(&text)?;
        file.sync_all()?;
        rustix::fs::renameat(directory, &draft, directory, &name)?;
        Ok(())
    }

    /// Deletes the tokens; says whether there were any.
    pub(super) fn delete(&self) -> anyhow::Result<bool> {
        let name = format!("{}.json", self.key);
        match rustix::fs::unlinkat(&self.cache.directory, &name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("{name} cannot be deleted")),
        }
    }

    /// Tells those who wait that a login failed just now: twenty kubectls open one browser, not one
    /// after the other.
    pub(super) fn login_failed(&mut self) -> anyhow::Result<()> {
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        Ok(write!(self.lock, "{}", Timestamp::now())?)
    }

    /// Whether a login failed while this process waited for it.
    pub(super) fn waited_in_vain(&mut self) -> anyhow::Result<bool> {
        let mut text = String::new();
        self.lock.rewind()?;
        (&self.lock).take(64).read_to_string(&mut text)?;
        let failed: Option<Timestamp> = text.parse().ok();
        Ok(failed.is_some_and(|failed| failed >= self.began))
    }
}

/// Waits until nobody else has the lock; says so when that takes longer than a refresh does.
fn wait_for(lock: &File) -> io::Result<()> {
    for _ in 0..QUIET_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(QUIET_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    say("waiting for another portcullis, which is logging in");
    lock.lock()
}

/// Whether a file is of that kind, ours, and nobody else's to read or change.
fn check(file: &OwnedFd, kind: FileType, path: &Path) -> anyhow::Result<()> {
    let status = rustix::fs::fstat(file)?;
    let shown = path.display();
    ensure!(
        FileType::from_raw_mode(status.st_mode) == kind,
        "{shown} is not what belongs there; delete it"
    );
    ensure!(
        status.st_uid == rustix::process::geteuid().as_raw(),
        "{shown} belongs to another user, and is not used; delete it, or name another place with --cache-dir"
    );
    let mode = status.st_mode & 0o7777;
    let advice = match kind {
        FileType::Directory => {
            format!("`chmod 700 {shown}` if you trust what is in it, or delete it")
        }
        _ => "who can read it can be you: `portcullis logout --all`, then log in again".to_owned(),
    };
    ensure!(
        mode | 0o700 == 0o700,
        "{shown} is open to others (mode {mode:04o}), and is not used; {advice}"
    );
    Ok(())
}

/// Whether this is what [`Account::cache_key`] makes.
fn is_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
