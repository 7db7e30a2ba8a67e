use std::os::unix::fs::PermissionsExt as _;

use clap::Parser as _;

use super::*;
use crate::recording::seal::seal_all;
use crate::recording::store::Disk;

#[derive(Debug, clap::Parser)]
struct Program {
    #[command(flatten)]
    args: Args,
}

const ID: &str = "0193-one";

fn parse(words: &[&str]) -> Result<Args, clap::Error> {
    let words = std::iter::once("sessions").chain(words.iter().copied());
    Program::try_parse_from(words).map(|program| program.args)
}

async fn run_at(folder: &Path, words: &[&str]) -> anyhow::Result<(Outcome, String)> {
    let directory = folder.to_str().unwrap();
    let args = parse(&[words, &["--data-dir", directory]].concat()).unwrap();
    let mut out = Vec::new();
    let outcome = execute(&args, &mut out).await?;
    Ok((outcome, String::from_utf8(out).unwrap()))
}

/// A data directory whose gateway is gone, with a recording of two parts.
fn left_behind() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let day = folder.path().join("recordings/2026/11/20");
    std::fs::create_dir_all(&day).unwrap();
    let header = |part: u32| {
        format!(
            r#"{{"version":2,"width":80,"height":24,"portcullis":{{"id":"{ID}","kind":"exec","user":"alice","namespace":"shop","pod":"web-0","command":["sh","-c","\u001b[2Jls"],"started":"2026-11-20T10:00:00Z","part":{part}}}}}"#
        )
    };
    let first = format!("{}\n[1.0,\"o\",\"pass\"]\n", header(1));
    let second = format!(
        "{}\n[2.0,\"o\",\"word: \\u001b[1mhunter2\\r\\n\"]\n[3.0,\"o\",\"unfin",
        header(2)
    );
    std::fs::write(day.join(format!("{ID}.cast")), first).unwrap();
    std::fs::write(day.join(format!("{ID}.2.cast")), second).unwrap();
    folder
}

#[tokio::test]
async fn past_sessions_are_there_without_a_gateway_and_without_an_index() {
    let folder = left_behind();
    let at = folder.path();
    let (_, text) = run_at(at, &["ls"]).await.unwrap();
    insta::assert_snapshot!(text, @"
    ID        STARTED               VERDICT   EXIT  TIME     WHO    POD         COMMAND
    0193-one  2026-11-20 10:00:00Z  unsealed        0:00:00  alice  shop/web-0  sh -c '�[2Jls'
    ");
    for (words, count) in [
        (
            &["--user", "alice", "--since", "2026-11-20T10:00:00Z"][..],
            1,
        ),
        (&["--user", "bob"], 0),
        (&["--until", "2026-11-20T10:00:00Z"], 0),
        (&["--command", "ls", "--pod", "web-0"], 1),
        (&["--live"], 0),
    ] {
        let words = [&["ls", "-o", "json"], words].concat();
        let (_, text) = run_at(at, &words).await.unwrap();
        let list: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(list.len(), count, "{words:?}");
    }
    let (_, text) = run_at(at, &["show", ID]).await.unwrap();
    assert!(
        text.contains("verdict      unsealed\n") && !text.contains('\u{1b}'),
        "{text}"
    );
    assert!(!at.join(index::FILE).exists(), "looking changes nothing");
    let (_, text) = run_at(at, &["reindex"]).await.unwrap();
    assert!(text.contains(": 1 recordings of "), "{text}");
    let (_, text) = run_at(at, &["show", ID, "-o", "json"]).await.unwrap();
    let session: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(session["user"], "alice");

    seal_all(&at.join("recordings"), &Disk).unwrap();
    let (_, text) = run_at(at, &["show", ID]).await.unwrap();
    let second = at.join(format!("recordings/2026/11/20/{ID}.2.cast"));
    let digest = blake3::hash(&std::fs::read(second).unwrap()).to_hex();
    assert!(
        text.contains(&format!("bytes, BLAKE3 {digest}\n")),
        "{text}"
    );
}

#[tokio::test]
async fn export_joins_the_parts_and_keeps_the_file_private() {
    let folder = left_behind();
    let file = folder.path().join("out.cast");
    let words = ["export", ID, "-o", file.to_str().unwrap()];
    run_at(folder.path(), &words).await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains(r#""part":1"#) && lines[2].starts_with("[2.0,"));
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        run_at(folder.path(), &words).await.is_err(),
        "it is not written over"
    );
    let (_, printed) = run_at(folder.path(), &["export", ID]).await.unwrap();
    assert_eq!(printed, text);
}

#[tokio::test]
async fn export_writes_text_and_a_page() {
    let folder = left_behind();
    let (_, text) = run_at(folder.path(), &["export", ID, "--format", "text"])
        .await
        .unwrap();
    assert!(
        text.starts_with("password: hunter2\n[portcullis: "),
        "{text}"
    );
    let page = folder.path().join("page.html");
    let words = [
        "export",
        ID,
        "--format",
        "html",
        "-o",
        page.to_str().unwrap(),
    ];
    run_at(folder.path(), &words).await.unwrap();
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("hunter2"));
}

#[tokio::test]
async fn recordings_elsewhere_are_found_through_the_index() {
    let folder = left_behind();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::rename(
        folder.path().join("recordings"),
        elsewhere.path().join("tapes"),
    )
    .unwrap();
    let error = run_at(folder.path(), &["show", ID]).await.unwrap_err();
    assert!(
        error.to_string().contains("reindex --recordings"),
        "{error}"
    );
    let tapes = elsewhere.path().join("tapes");
    let words = ["reindex", "--recordings", tapes.to_str().unwrap()];
    run_at(folder.path(), &words).await.unwrap();
    let (_, text) = run_at(folder.path(), &["export", ID]).await.unwrap();
    assert_eq!(text.lines().count(), 3);
}

#[tokio::test]
async fn search_finds_what_the_terminal_showed() {
    let folder = left_behind();
    let (outcome, text) = run_at(folder.path(), &["search", "password: hunter2"])
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Good);
    assert_eq!(
        text,
        "0193-one alice shop/web-0 0:00:01 output: password: hunter2\n"
    );
    let (outcome, text) = run_at(folder.path(), &["search", "HUNTER2", "-o", "json"])
        .await
        .unwrap();
    assert_eq!((outcome, text.as_str()), (Outcome::Problems, "[]\n"));
    let words = ["search", "HUNTER2", "-i", "-o", "json"];
    let (outcome, text) = run_at(folder.path(), &words).await.unwrap();
    assert_eq!(outcome, Outcome::Good);
    let found: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&found[0]["atMs"], &found[0]["id"]),
        (&1000.into(), &ID.into())
    );
    let words = ["search", "hunter2", "--user", "bob"];
    assert_eq!(
        run_at(folder.path(), &words).await.unwrap().0,
        Outcome::Problems
    );
}

#[tokio::test]
async fn the_beginning_of_an_id_is_enough_as_long_as_it_is_clear() {
    let folder = left_behind();
    let day = folder.path().join("recordings/2026/11/20");
    let show = async |id: &str| run_at(folder.path(), &["show", id]).await;
    for beginning in ["0", "0193-o", ID] {
        let (_, text) = show(beginning).await.unwrap();
        assert!(text.contains(ID), "{beginning}: {text}");
    }
    assert!(show("193").await.is_err(), "only the beginning counts");
    let one = day.join(format!("{ID}.cast"));
    for other in ["0193-two", "0193-one-more"] {
        std::fs::copy(&one, day.join(format!("{other}.cast"))).unwrap();
    }
    let error = show("0193").await.unwrap_err().to_string();
    assert!(
        error.starts_with("several sessions begin with 0193; write more"),
        "{error}"
    );
    for candidate in [ID, "0193-two", "0193-one-more"] {
        assert!(error.contains(candidate), "{error}");
    }
    assert!(!error.contains('\u{1b}'), "{error}");
    let (_, text) = run_at(folder.path(), &["export", "0193-t"]).await.unwrap();
    assert!(text.contains("pass"), "{text}");
    // A whole id is one, whatever else begins with it.
    assert!(show(ID).await.is_ok());
}

#[tokio::test]
async fn what_is_not_there_is_an_error_that_says_so() {
    let folder = left_behind();
    for (words, said) in [
        (&["show", "none"][..], "no recording \"none\""),
        (&["export", "../../x"], "no recording"),
        (&["tail", ID], "no gateway runs"),
        (&["kill", ID, "--reason", "x"], "no gateway runs"),
    ] {
        let error = run_at(folder.path(), words).await.unwrap_err();
        assert!(error.to_string().contains(said), "{words:?}: {error}");
    }
    let error = run_at(&folder.path().join("none"), &["ls"])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is not a directory"), "{error}");
}

#[test]
fn places_are_said_once_and_tokens_stay_on_this_machine_or_under_tls() {
    for words in [
        &["ls", "--data-dir", "x", "--server", "y"][..],
        &["ls", "--server", "http://localhost:1"],
        &["ls", "--data-dir", "x", "--since", "yesterday"],
        &["ls", "--data-dir", "x", "--limit", "0"],
        &["kill", "x", "--data-dir", "x"],
    ] {
        assert!(parse(words).is_err(), "{words:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "abc\n").unwrap();
    let server = |url: &str| {
        crate::cli::operator::client::Client::server(url, &token, None)
            .err()
            .map(|error| error.to_string())
    };
    for url in [
        "http://127.0.0.1:9090",
        "http://localhost:9090/",
        "http://[::1]:9090",
        "https://gateway.example:9",
    ] {
        assert_eq!(server(url), None, "{url}");
    }
    for url in [
        "http://10.0.0.1:9090",
        "http://localhost.example.com",
        "ftp://localhost",
        "localhost:9090",
        "http://a@localhost",
        "http://localhost/x",
    ] {
        assert!(server(url).is_some(), "{url}");
    }
    let two_hours_ago = time("2h").unwrap();
    let ago = Timestamp::now().duration_since(two_hours_ago).as_secs();
    assert!((7200..7260).contains(&ago), "{ago}");
    assert!(time("7d").unwrap() < two_hours_ago);
}

#[test]
fn a_filter_reaches_the_gateway_as_it_was_said() {
    let args = parse(&[
        "ls",
        "--data-dir",
        "x",
        "--user",
        "a&b=ü",
        "--command",
        "rm -rf",
        "--exit-code",
        "7",
        "--since",
        "2026-11-20T10:00:00Z",
        "--live",
        "--limit",
        "3",
    ]);
    let SessionsCommand::Ls(args) = args.unwrap().command else {
        panic!("not ls");
    };
    assert_eq!(
        crate::cli::operator::client::query(&args.filter.read(args.limit)),
        "user=a%26b%3D%C3%BC&command=rm%20-rf&since=2026-11-20T10%3A00%3A00Z&exitCode=7&live=true&limit=3"
    );
}
