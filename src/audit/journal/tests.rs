//! Crashes: whatever a gateway was doing when it died, the next one goes on and the log proves.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::seal::PublicKey;
use super::super::verify::{self, Flaw, Proof, VerifyError};
use super::*;

/// A log as the threads of the gateway write it, without the threads.
pub(in crate::audit) struct Log {
    pub(in crate::audit) folder: Arc<tempfile::TempDir>,
    journal: Journal,
    file: File,
    standing: Statement,
    count: usize,
}

impl Log {
    pub(in crate::audit) fn new() -> Self {
        Self::start(Arc::new(tempfile::tempdir().unwrap()))
    }

    /// The next gateway on the folder.
    pub(in crate::audit) fn start(folder: Arc<tempfile::TempDir>) -> Self {
        let (journal, file) = Journal::open(
            &folder.path().join("audit.jsonl"),
            &folder.path().join("audit.key"),
        )
        .unwrap();
        Self {
            folder,
            standing: journal.standing(),
            journal,
            file,
            count: 0,
        }
    }

    /// Writes lines and does not seal them.
    pub(in crate::audit) fn write(&mut self, lines: usize) -> &mut Self {
        for _ in 0..lines {
            self.count += 1;
            let event = format!(
                "{{\"kind\":\"Event\",\"n\":{},\"annotations\":{{}}}}\n",
                self.count
            );
            let mut line = Vec::new();
            self.standing.last.bind(event.as_bytes(), &mut line);
            self.standing.push(&line);
            self.file.write_all(&line).unwrap();
        }
        self.journal.advance(&self.standing);
        self
    }

    pub(in crate::audit) fn seal(&mut self) -> &mut Self {
        self.journal.seal().unwrap();
        self
    }

    pub(in crate::audit) fn rotate(&mut self) -> &mut Self {
        (self.file, self.standing) = self.journal.rotate().unwrap();
        self
    }

    /// Notices that the file is not where it was, or cut.
    pub(in crate::audit) fn replace_lost(&mut self) -> &mut Self {
        assert!(self.journal.has_lost());
        (self.file, self.standing) = self.journal.replace_lost().unwrap();
        self
    }

    /// The gateway is killed; what it left.
    pub(in crate::audit) fn kill(self) -> Arc<tempfile::TempDir> {
        self.folder
    }
}

pub(in crate::audit) fn prove(folder: &Path) -> Result<Proof, Flaw> {
    let key = fs::read(folder.join("audit.key")).unwrap();
    let key = PublicKey::read(&key).unwrap();
    let segments = Segments::of(&folder.join("audit.jsonl"));
    match verify::whole(&segments, &key, &mut |_| {}) {
        Ok(proof) => Ok(proof),
        Err(VerifyError::Flawed(flaw)) => Err(flaw),
        Err(error) => panic!("{error}"),
    }
}

/// The same files in another place, as an image of a disk.
pub(in crate::audit) fn copy(folder: &Path) -> Arc<tempfile::TempDir> {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let from: PathBuf = entry.unwrap().path();
        fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
    }
    Arc::new(copy)
}

/// The log proves as it is, and when a gateway went on with it.
fn goes_on(folder: Arc<tempfile::TempDir>) -> Proof {
    let at_rest = prove(folder.path()).unwrap();
    let mut next = Log::start(folder);
    next.write(2).seal().rotate().write(1).seal();
    let proof = prove(next.folder.path()).unwrap();
    assert_eq!(proof.unsealed_lines, 0);
    assert!(
        proof.lines >= at_rest.lines + 3,
        "{proof:?} after {at_rest:?}"
    );
    // A line that lacks nothing but its newline is whole again.
    assert!(proof.torn_lines <= at_rest.torn_lines);
    proof
}

#[test]
fn several_runs_make_one_chain() {
    let mut log = Log::new();
    log.write(3).seal();
    for _ in 0..3 {
        log = Log::start(log.kill());
        log.write(4).seal().rotate().write(1);
    }
    let proof = prove(log.folder.path()).unwrap();
    assert_eq!((proof.first_segment, proof.last_segment), (1, 4));
    assert_eq!((proof.lines, proof.unsealed_lines), (17, 1));
    for (name, mode) in [
        ("audit.key", 0o600),
        ("audit.jsonl", 0o600),
        ("audit-00000001.jsonl", 0o600),
    ] {
        let found = fs::metadata(log.folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
}

#[test]
fn a_log_cut_at_any_byte_behind_the_seal_goes_on() {
    let mut log = Log::new();
    log.write(2).seal();
    let active = "audit.jsonl";
    let sealed = fs::metadata(log.folder.path().join(active)).unwrap().len();
    log.write(1);
    let whole = fs::read(log.folder.path().join(active)).unwrap();
    let folder = log.kill();
    for cut in usize::try_from(sealed).unwrap()..=whole.len() {
        let image = copy(folder.path());
        fs::write(image.path().join(active), &whole[..cut]).unwrap();
        let proof = goes_on(image);
        let torn = cut as u64 != sealed && cut + 1 < whole.len();
        assert_eq!(proof.torn_lines, u64::from(torn), "cut at {cut}");
    }
}

/// Everything that a rotation does, one step after the other; killed after each.
#[test]
fn a_gateway_killed_between_any_two_steps_of_a_rotation_goes_on() {
    let mut log = Log::new();
    log.write(2).seal().rotate().write(3);
    let folder = log.folder.path().to_owned();
    let path = |name: &str| folder.join(name);
    let next = Statement::begin(3, log.standing.last, Timestamp::now());
    let segments = log.journal.segments.clone();
    let steps: [(&str, &dyn Fn()); 8] = [
        ("nothing", &|| ()),
        ("a draft of the seal", &|| {
            fs::write(path("audit-00000002.jsonl.seal.new"), "{\"for").unwrap();
        }),
        ("the seal", &|| log.journal.seal().unwrap()),
        ("a draft of the next seal", &|| {
            fs::write(path("audit-00000003.jsonl.seal.new"), "").unwrap();
        }),
        ("the next seal", &|| log.journal.put(&next).unwrap()),
        ("a draft of the next file", &|| {
            fs::write(path("audit.jsonl.new"), "").unwrap();
        }),
        ("the full file's name", &|| {
            fs::rename(segments.active(), segments.full(2)).unwrap();
        }),
        ("the next file", &|| {
            fs::rename(path("audit.jsonl.new"), segments.active()).unwrap();
        }),
    ];
    for (what, step) in steps {
        step();
        let proof = goes_on(copy(&folder));
        assert_eq!(proof.torn_lines, 0, "killed after {what}");
        assert_eq!(proof.lines, 8, "killed after {what}");
    }
}

/// The same for what takes the place of a file that somebody moved: `verify` misses it, and nothing else.
#[test]
fn a_gateway_killed_between_any_two_steps_of_a_replacement_goes_on() {
    let mut log = Log::new();
    log.write(2).seal().rotate().write(3).seal();
    let folder = log.folder.path().to_owned();
    let path = |name: &str| folder.join(name);
    fs::rename(path("audit.jsonl"), path("away")).unwrap();
    let lost = log.standing.clone();
    let next = Statement::begin(3, lost.last, Timestamp::now());
    let steps: [(&str, &dyn Fn()); 7] = [
        ("nothing", &|| ()),
        ("a draft of the seal", &|| {
            fs::write(path("audit-00000002.jsonl.seal.new"), "{\"for").unwrap();
        }),
        ("the seal", &|| log.journal.put(&lost).unwrap()),
        ("a draft of the next seal", &|| {
            fs::write(path("audit-00000003.jsonl.seal.new"), "").unwrap();
        }),
        ("the next seal", &|| log.journal.put(&next).unwrap()),
        ("what is left", &|| log.journal.set_aside(2).unwrap()),
        ("the next file", &|| {
            fs::write(path("audit.jsonl"), "").unwrap();
        }),
    ];
    for (what, step) in steps {
        step();
        let mut next = Log::start(copy(&folder));
        next.write(2).seal().rotate().write(1).seal();
        let found = next.folder.path();
        let missed = found.join("audit-00000002.jsonl");
        let flaw = prove(found).unwrap_err();
        assert_eq!(flaw.file, missed, "killed after {what}: {flaw:?}");
        fs::rename(found.join("away"), missed).unwrap();
        let proof = prove(found).unwrap_or_else(|flaw| panic!("killed after {what}: {flaw:?}"));
        assert_eq!(proof.lines, 8, "killed after {what}");
    }
}

/// All full segments are moved away, with their seals or without: the log goes on where it is.
#[test]
fn full_segments_may_be_moved_away() {
    let mut log = Log::new();
    log.write(1).rotate().write(2).rotate().write(2).seal();
    let folder = log.kill();
    for with_seals in [true, false] {
        for full in [true, false] {
            let mut log = Log::start(copy(folder.path()));
            if full {
                log.rotate(); // nothing is in the file that is written
            }
            let image = log.kill();
            for entry in fs::read_dir(image.path()).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                let segment = name.starts_with("audit-") && !name.starts_with("audit-00000004");
                let sealed = path.extension().is_some_and(|it| it == "seal");
                if segment
                    && (!sealed || with_seals && (full || !name.starts_with("audit-00000003")))
                {
                    fs::remove_file(path).unwrap();
                }
            }
            let number = if full { 4 } else { 3 };
            assert_eq!(prove(image.path()).unwrap().first_segment, number);
            let proof = goes_on(image);
            assert_eq!(
                (proof.first_segment, proof.last_segment),
                (number, number + 1)
            );
        }
    }
}

#[test]
fn a_gateway_killed_in_its_first_start_goes_on() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let segments = Segments::of(&folder.path().join("audit.jsonl"));
    open_key(&folder.path().join("audit.key"), &segments).unwrap();
    let image = copy(folder.path());
    Log::start(image).write(1).seal();
    let mut log = Log::start(folder);
    fs::remove_file(segments.active()).unwrap();
    let proof = goes_on(copy(log.folder.path()));
    assert_eq!(proof.lines, 3);
    log.write(0);
}

#[test]
fn lines_from_before_the_chain_are_its_first() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    fs::write(
        folder.path().join("audit.jsonl"),
        "{\"kind\":\"Event\"}\n{\"kind\":\"Event\"}\n{\"half",
    )
    .unwrap();
    let mut log = Log::start(folder);
    log.write(1).seal();
    let proof = prove(log.folder.path()).unwrap();
    assert_eq!(
        (proof.lines, proof.unchained_lines, proof.torn_lines),
        (4, 2, 1)
    );
}

/// What somebody does to the files.
type Act<'a> = &'a dyn Fn(&Path);

/// What was done to the log while no gateway ran is found when it is verified, also when one went on since.
#[test]
fn what_was_done_between_two_runs_stays_visible() {
    let mut log = Log::new();
    log.write(2).seal().rotate().write(3).seal();
    let folder = log.kill();
    let lines = |image: &Path| fs::read_to_string(image.join("audit.jsonl")).unwrap();
    let acts: [(&str, Act<'_>); 5] = [
        ("audit-00000002.jsonl", &|image| {
            let text = lines(image);
            fs::write(
                image.join("audit.jsonl"),
                &text.as_bytes()[..text.len() / 2],
            )
            .unwrap();
        }),
        ("audit-00000002.jsonl", &|image| {
            fs::write(
                image.join("audit.jsonl"),
                lines(image).replace("\"n\":4", "\"n\":5"),
            )
            .unwrap();
        }),
        ("audit-00000002.jsonl", &|image| {
            fs::remove_file(image.join("audit.jsonl")).unwrap();
        }),
        ("audit-00000002.jsonl.seal", &|image| {
            fs::remove_file(image.join("audit-00000002.jsonl.seal")).unwrap();
        }),
        ("audit-00000002.jsonl.seal", &|image| {
            fs::remove_file(image.join("audit-00000002.jsonl.seal")).unwrap();
            fs::remove_file(image.join("audit.jsonl")).unwrap();
        }),
    ];
    for (number, (file, act)) in acts.into_iter().enumerate() {
        let image = copy(folder.path());
        act(image.path());
        prove(image.path()).unwrap_err();
        let mut next = Log::start(image);
        next.write(2).seal();
        let flaw = prove(next.folder.path()).unwrap_err();
        assert_eq!(
            flaw.file,
            next.folder.path().join(file),
            "act {number}: {flaw:?}"
        );
        // From there on the chain is as good as ever.
        let again = Log::start(next.kill()).kill();
        let active = fs::read_to_string(again.path().join("audit.jsonl")).unwrap();
        assert_eq!(active.lines().count(), 2, "act {number}");
    }
}

#[test]
fn a_lost_key_or_a_second_gateway_stops_the_start() {
    let mut log = Log::new();
    log.write(1).seal();
    let (active, key) = (
        log.folder.path().join("audit.jsonl"),
        log.folder.path().join("audit.key"),
    );
    let error = Journal::open(&active, &key).unwrap_err();
    assert!(
        error.to_string().contains("another gateway writes it"),
        "{error}"
    );
    let folder = log.kill();
    fs::rename(&key, folder.path().join("away")).unwrap();
    let error = Journal::open(&active, &key).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is gone, but there are segments"),
        "{error}"
    );
    fs::write(&key, "no key").unwrap();
    let error = Journal::open(&active, &key).unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
}

#[test]
fn a_file_cut_or_exchanged_under_a_running_gateway_is_not_sealed() {
    let acts: [Act<'_>; 2] = [
        &|folder| {
            let file = File::options().write(true).open(folder.join("audit.jsonl"));
            file.unwrap().set_len(10).unwrap();
        },
        // As `sed -i` does it; what is there then is longer than what was written.
        &|folder| {
            let text = fs::read(folder.join("audit.jsonl")).unwrap();
            fs::write(folder.join("edited"), text.repeat(2)).unwrap();
            fs::rename(folder.join("edited"), folder.join("audit.jsonl")).unwrap();
        },
    ];
    for act in acts {
        let mut log = Log::new();
        log.write(1).rotate().write(3).seal();
        act(log.folder.path());
        let error = log.journal.seal().unwrap_err();
        assert!(error.to_string().contains("cut it off"), "{error}");
        log.journal.rotate().unwrap_err();
    }
}

/// However the file is taken away under a running gateway: the next segment is as good as ever, and `verify` names the
/// one before.
#[test]
fn a_lost_file_ends_its_segment() {
    let acts: [Act<'_>; 4] = [
        &|folder| fs::rename(folder.join("audit.jsonl"), folder.join("away")).unwrap(),
        &|folder| {
            fs::rename(folder.join("audit.jsonl"), folder.join("away")).unwrap();
            fs::write(folder.join("audit.jsonl"), "another one").unwrap();
        },
        &|folder| fs::write(folder.join("audit.jsonl"), "").unwrap(),
        &|folder| {
            let text = fs::read(folder.join("audit.jsonl")).unwrap();
            fs::write(folder.join("audit.jsonl"), &text[..text.len() - 9]).unwrap();
        },
    ];
    for (number, act) in acts.into_iter().enumerate() {
        let mut log = Log::new();
        log.write(1).rotate().write(2).seal().write(1);
        assert!(!log.journal.has_lost());
        act(log.folder.path());
        log.replace_lost();
        assert!(!log.journal.has_lost());
        log.write(2).seal().rotate().write(1).seal();
        let wrong = log.folder.path().join("audit-00000002.jsonl");
        let flaw = prove(log.folder.path()).unwrap_err();
        assert_eq!(flaw.file, wrong, "act {number}: {flaw:?}");
        // Whoever puts the file back has the whole log again.
        if number < 2 {
            fs::rename(log.folder.path().join("away"), &wrong).unwrap();
            assert_eq!(prove(log.folder.path()).unwrap().lines, 7);
        }
        let next = Log::start(log.kill());
        assert_eq!(next.standing.segment, 4, "act {number}");
    }
}

#[test]
fn a_lost_file_never_replaces_what_is_there() {
    let mut log = Log::new();
    log.write(2);
    let folder = log.folder.path().to_owned();
    let (active, full) = (
        folder.join("audit.jsonl"),
        folder.join("audit-00000001.jsonl"),
    );
    fs::rename(&active, &full).unwrap();
    fs::write(&active, "another one").unwrap();
    let error = log.journal.replace_lost().unwrap_err();
    assert!(error.to_string().contains("is there already"), "{error}");
    fs::remove_file(&active).unwrap();
    log.replace_lost().write(1).seal();
    assert_eq!(prove(&folder).unwrap().lines, 3);
}

/// Lines are kept where a seal cannot be; it comes with the next.
#[test]
fn a_lost_file_does_not_wait_for_a_seal() {
    let mut log = Log::new();
    log.write(2).seal();
    let folder = log.folder.path().to_owned();
    fs::remove_file(folder.join("audit.jsonl")).unwrap();
    let drafts = [1, 2].map(|number| folder.join(format!("audit-0000000{number}.jsonl.seal.new")));
    for draft in &drafts {
        fs::create_dir(draft).unwrap();
    }
    log.replace_lost().write(1);
    log.journal.seal().unwrap_err();
    for draft in &drafts {
        fs::remove_dir(draft).unwrap();
    }
    log.write(1).seal();
    let flaw = prove(&folder).unwrap_err();
    assert_eq!(flaw.file, folder.join("audit-00000001.jsonl"), "{flaw:?}");
}
