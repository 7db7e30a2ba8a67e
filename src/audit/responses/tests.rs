use std::fs;
use std::future::poll_fn;
use std::os::unix::fs::PermissionsExt as _;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use tempfile::TempDir;

use super::read::{Saw, Shelf, State};
use super::*;
use crate::policy::RecordMode::{BestEffort, Required};

/// A folder, and what keeps at most so many bytes of an answer in it.
fn kept_in(max_bytes: u64) -> (TempDir, Arc<Responses>) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        max_bytes,
        ..Settings::new(folder.path())
    };
    let responses = Responses::start(settings, Metrics::new().0).unwrap();
    (folder, responses)
}

async fn feed(keeping: &mut Keeping, pieces: &[&[u8]]) {
    for piece in pieces {
        poll_fn(|context| keeping.poll_ready(context)).await;
        keeping.push(piece);
    }
}

async fn keep(responses: &Arc<Responses>, id: &str, pieces: &[&[u8]]) -> Option<Kept> {
    let mut keeping = responses.open(id, Required).await.unwrap();
    feed(&mut keeping, pieces).await;
    let (kept, sealed) = keeping.seal()?;
    sealed.await.unwrap();
    Some(kept)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn equal_answers_are_one_file_that_only_the_gateway_reads() {
    let (folder, responses) = kept_in(1 << 20);
    let first = keep(&responses, "one", &[b"{\"kind\":", b"\"Pod\"}"]).await;
    let first = first.unwrap();
    let file = place(&folder.path().join(FOLDER), &first.digest);
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    fs::File::open(&file)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    let again = keep(&responses, "two", &[b"{\"kind\":\"Pod\"}"]).await;
    assert_eq!(again, Some(first.clone()));
    assert_eq!(files(folder.path()), [file.as_path()]);
    let found = fs::metadata(&file).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert!(
        found.modified().unwrap() > long_ago,
        "whoever removes old files would remove what was seen just now"
    );
    let parent = fs::metadata(file.parent().unwrap()).unwrap();
    assert_eq!(parent.permissions().mode() & 0o777, 0o700);

    let expected = HEXLOWER.encode(digest::digest(&digest::SHA256, b"{\"kind\":\"Pod\"}").as_ref());
    assert_eq!(
        (first.digest.as_str(), first.bytes),
        (expected.as_str(), 14)
    );
    let saw = Shelf::of(folder.path()).find(&first.digest, 14).unwrap();
    assert_eq!(
        saw,
        Some(Saw {
            bytes: b"{\"kind\":\"Pod\"}".to_vec(),
            cut: false,
            state: State::Verified
        })
    );
    assert_eq!(keep(&responses, "three", &[]).await, None);
    assert_eq!(files(folder.path()).len(), 1, "an empty answer left a file");
}

#[tokio::test]
async fn a_long_answer_is_cut_where_the_cap_says_and_says_so() {
    let block = limits::RESPONSE_BLOCK_BYTES;
    let cap = 3 * block + 17;
    let (folder, responses) = kept_in(cap as u64);
    let answer: Vec<u8> = (0..5 * block)
        .map(|at| u8::try_from(at * 31 % 251).unwrap())
        .collect();
    let shelf = Shelf::of(folder.path());
    for (pieces, length, cut) in [
        (answer.chunks(1000).collect::<Vec<_>>(), cap, true),
        (vec![&answer[..cap]], cap, false),
        (vec![&answer[..cap], b"!"], cap, true),
    ] {
        let kept = keep(&responses, "long", &pieces).await.unwrap();
        assert_eq!(kept.bytes, length as u64);
        let saw = shelf.find(&kept.digest, kept.bytes).unwrap().unwrap();
        assert_eq!((saw.cut, saw.state), (cut, State::Verified));
        assert!(saw.bytes == answer[..length]);
    }
    // Who has no gateway at hand sees where it ends, too.
    let shown: Vec<bool> = files(folder.path())
        .iter()
        .map(|file| {
            let bytes = zstd::decode_all(fs::File::open(file).unwrap()).unwrap();
            bytes.ends_with(CUT.as_bytes())
        })
        .collect();
    assert_eq!(shown.iter().filter(|cut| **cut).count(), 1);
}

#[tokio::test]
async fn what_waits_is_bounded_however_slow_the_disk_is() {
    let (_folder, responses) = kept_in(1 << 30);
    let mut keeping = responses.open("id", Required).await.unwrap();
    let piece = [7; 16 * 1024];
    for _ in 0..64 {
        poll_fn(|context| keeping.poll_ready(context)).await;
        keeping.push(&piece);
        assert!(keeping.waiting() < limits::RESPONSE_BLOCK_BYTES + piece.len());
    }
}

/// All that an answer says of itself.
fn reads_to_an_end<R: io::Read>(answer: io::Result<Option<R>>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    answer.and_then(|found| found.unwrap().read_to_end(&mut bytes))?;
    Ok(bytes)
}

#[tokio::test]
async fn no_half_of_an_answer_verifies_whatever_a_crash_left() {
    let (folder, responses) = kept_in(1 << 20);
    let directory = folder.path().join(FOLDER);
    let answer = b"the answer, of which half is no answer";
    let kept = keep(&responses, "whole", &[answer]).await.unwrap();
    let file = place(&directory, &kept.digest);
    let whole = fs::read(&file).unwrap();
    let shelf = Shelf::of(folder.path());
    for length in 0..whole.len() {
        fs::write(&file, &whole[..length]).unwrap();
        let saw = shelf.find(&kept.digest, kept.bytes).unwrap().unwrap();
        assert_eq!(saw.state, State::Altered, "{length}");
        assert!(reads_to_an_end(shelf.kept(&kept.digest)).is_err());
    }
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(&file, &other).unwrap();
    let saw = shelf.find(&kept.digest, kept.bytes).unwrap().unwrap();
    assert_eq!(saw.state, State::Altered);
    assert!(reads_to_an_end(shelf.kept(&kept.digest)).is_err());
    fs::write(&file, &whole).unwrap();
    assert_eq!(reads_to_an_end(shelf.kept(&kept.digest)).unwrap(), answer);

    // Killed while it streams: what was written is there, under the id of its request, and nothing claims to be whole.
    let block = vec![b'x'; limits::RESPONSE_BLOCK_BYTES];
    let mut keeping = responses.open("0199-open", Required).await.unwrap();
    feed(&mut keeping, &[&block, b"never written"]).await;
    responses.open("0199-later", Required).await.unwrap(); // the writer is behind the block
    let left = fs::read(draft(&directory, "0199-open")).unwrap();
    drop(keeping);
    for (name, length) in [
        ("0199-open", left.len()),
        ("0199-torn", left.len() - 1),
        ("0199-none", 0),
    ] {
        fs::write(draft(&directory, name), &left[..length]).unwrap();
    }
    drop(responses);
    let settings = Settings::new(folder.path());
    let again = Responses::start(settings, Metrics::new().0).unwrap();
    again.open("0199-new", Required).await.unwrap();
    let saw = shelf.unfinished("0199-open").unwrap().unwrap();
    assert_eq!((&saw.bytes, saw.state), (&block, State::Unfinished));
    let begun = shelf.begun("0199-open");
    assert_eq!(reads_to_an_end(begun).unwrap(), block, "as far as it is");
    assert_eq!(shelf.unfinished("0199-none").unwrap(), None);
    assert!(!draft(&directory, "0199-none").exists());
    assert!(draft(&directory, "0199-torn").exists());
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_told_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FOLDER), "not a folder").unwrap();
    let (metrics, rendering) = Metrics::new();
    let responses = Responses::start(Settings::new(folder.path()), metrics).unwrap();
    assert!(responses.open("id", Required).await.is_err());
    assert!(responses.open("id", BestEffort).await.is_err());
    let rendered = rendering.render();
    for mode in ["required", "best-effort"] {
        let line = format!("portcullis_response_failures_total{{mode=\"{mode}\"}} 1");
        assert!(rendered.contains(&line), "{rendered}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_put_in_its_place_is_told_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, rendering) = Metrics::new();
    let responses = Responses::start(Settings::new(folder.path()), metrics).unwrap();
    let mut keeping = responses.open("id", BestEffort).await.unwrap();
    feed(&mut keeping, &[b"what was seen"]).await;
    let (kept, sealed) = keeping.seal().unwrap();
    let file = place(&folder.path().join(FOLDER), &kept.digest);
    fs::write(file.parent().unwrap(), "in the way").unwrap();
    assert!(sealed.await.is_err());
    let rendered = rendering.render();
    assert!(rendered.contains("portcullis_response_failures_total{mode=\"best-effort\"} 1"));
    assert!(rendered.contains("portcullis_response_bytes_total 0"));
}

#[test]
fn nothing_but_a_digest_or_an_id_becomes_part_of_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(folder.path());
    for name in [
        "",
        "../../etc/passwd",
        &"a".repeat(63),
        &"/".repeat(64),
        &"a".repeat(400), // longer than the name of a file may be
    ] {
        assert_eq!(shelf.find(name, 0).unwrap(), None);
        assert_eq!(shelf.unfinished(name).unwrap(), None);
    }
}
