use std::io::Cursor;

use serde_json::{Value, json};

use super::export::{Format, export};
use super::transcript::{Line, Transcript, lines};
use super::*;
use crate::wire::asciicast::{EXIT, Events, Header, INPUT, MARKER, RESIZE, put_header};

const MS: Duration = Duration::from_millis(1);

fn metadata() -> Metadata {
    Metadata {
        id: "0199".to_owned(),
        kind: "exec".to_owned(),
        namespace: "shop".to_owned(),
        pod: "web-0".to_owned(),
        command: vec!["sh".to_owned()],
        tty: true,
        user: "alice </dd><script>alert(1)</script>".to_owned(),
        user_agent: "kubectl\u{1b}]0;x\u{7}".to_owned(),
        part: 1,
        ..Metadata::default()
    }
}

/// Two parts, with what recordings have besides output.
fn two_parts(version: Version) -> Vec<Vec<u8>> {
    let header = Header {
        version,
        columns: 80,
        rows: 24,
        timestamp: 1_700_000_000,
        command: Some("sh"),
        title: None,
    };
    let mut events = Events::new(version);
    let mut first = Vec::new();
    put_header(&mut first, &header, &metadata());
    events.put(&mut first, MS, RESIZE, "100x30");
    events.put(
        &mut first,
        10 * MS,
        OUTPUT,
        "$ ls\r\n\u{1b}[31mred\u{1b}[m\r\n",
    );
    events.put(&mut first, 20 * MS, OUTPUT, "oops \u{fffd}\n");
    events.put(&mut first, 20 * MS, STDERR, "6");
    events.put(&mut first, 20 * MS, RAW, &BASE64.encode(b"oops \xff\n"));
    let mut second = Vec::new();
    put_header(
        &mut second,
        &header,
        &Metadata {
            part: 2,
            ..metadata()
        },
    );
    events.put(&mut second, 1500 * MS, INPUT, "x");
    events.put(
        &mut second,
        1500 * MS,
        OUTPUT,
        "\u{1b}]52;c;eA==\u{7}</script><!-- \u{1b}[6nend",
    );
    events.put(
        &mut second,
        1600 * MS,
        MARKER,
        "portcullis: ended (killed): by bob",
    );
    events.put(&mut second, 1700 * MS, EXIT, "137");
    vec![first, second]
}

fn parts(parts: Vec<Vec<u8>>) -> Parts {
    let open = |part| Ok(Box::new(Cursor::new(part)) as PartReader);
    Box::new(parts.into_iter().map(open))
}

fn moments(reader: &mut Reader) -> Vec<Moment> {
    let mut found = Vec::new();
    while let Some(moment) = reader.next_moment().unwrap() {
        found.push(moment);
    }
    found
}

fn exported(format: Format, recording: Vec<Vec<u8>>) -> (String, Flaws) {
    let mut out = Vec::new();
    let flaws = export(format, parts(recording), &mut out).unwrap();
    (String::from_utf8(out).unwrap(), flaws)
}

#[test]
fn both_versions_read_the_same_across_parts() {
    for version in [Version::V2, Version::V3] {
        let mut reader = Reader::new(parts(two_parts(version))).unwrap();
        assert_eq!(reader.metadata().unwrap(), metadata());
        let found = moments(&mut reader);
        let times: Vec<u128> = found.iter().map(|it| it.at.as_millis()).collect();
        assert_eq!(times, [1, 10, 20, 1500, 1500, 1600, 1700]);
        let codes: String = found.iter().map(|it| it.code.as_str()).collect();
        assert_eq!(codes, "rooiomx");
        assert!(!found[1].stderr && found[2].stderr);
        assert_eq!(found[2].raw.as_deref(), Some(&b"oops \xff\n"[..]));
        assert_eq!(reader.flaws(), Flaws::default());
    }
}

#[test]
fn a_recording_cut_anywhere_replays_to_its_last_whole_line() {
    let whole = two_parts(Version::V2).concat();
    let whole: Vec<u8> = whole
        .split_inclusive(|b| *b == b'\n')
        .take(6)
        .flatten()
        .copied()
        .collect();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in header..=whole.len() {
        let mut reader = Reader::new(parts(vec![whole[..cut].to_vec()])).unwrap();
        moments(&mut reader);
        // A line that lacks only its line break is whole.
        let complete = [b'\n', b']'].contains(&whole[cut - 1]);
        let flaws = reader.flaws();
        assert_eq!((flaws.unfinished, flaws.damaged), (!complete, 0), "{cut}");
    }
}

#[test]
fn a_crash_between_two_parts_costs_nothing_of_those_before() {
    let [first, second] = two_parts(Version::V2).try_into().unwrap();
    let before = moments(&mut Reader::new(parts(vec![first.clone()])).unwrap());
    let header = second.iter().position(|byte| *byte == b'\n').unwrap();
    for cut in 0..header {
        let recording = vec![first.clone(), second[..cut].to_vec()];
        let mut reader = Reader::new(parts(recording)).unwrap();
        assert_eq!(moments(&mut reader), before, "{cut}");
        let flaws = reader.flaws();
        assert_eq!((flaws.unfinished, flaws.damaged), (true, 0), "{cut}");
    }
    // A header that is damaged is a line that is left out; what stands behind it is read.
    let damaged = [&b"\0\0\n"[..], &second[header + 1..]].concat();
    let mut reader = Reader::new(parts(vec![first.clone(), damaged])).unwrap();
    let whole = moments(&mut Reader::new(parts(vec![first, second])).unwrap());
    assert_eq!(moments(&mut reader), whole);
    assert_eq!(reader.flaws().damaged, 1);
}

#[test]
fn damage_is_left_out_and_counted_and_comments_are_none() {
    let mut recording = two_parts(Version::V3);
    recording[0].extend_from_slice(b"# a comment\n\n[1,2]\ngarbage\n");
    let long = usize::try_from(limits::RECORDING_LINE_BYTES_MAX).unwrap() + 10;
    recording[0].extend(std::iter::repeat_n(b'x', long));
    recording[0].push(b'\n');
    let mut reader = Reader::new(parts(recording.clone())).unwrap();
    assert_eq!(moments(&mut reader).len(), 7);
    assert_eq!(reader.flaws().damaged, 3);
    assert_eq!(reader.flaws().to_string(), "3 damaged lines were left out");
    let (cast, _) = exported(Format::Cast, recording);
    assert!(
        cast.lines()
            .skip(1)
            .all(|line| Event::parse(line.as_bytes()).is_ok())
    );
    let refused = |bytes: &[u8]| {
        Reader::new(parts(vec![bytes.to_vec()]))
            .err()
            .unwrap()
            .to_string()
    };
    assert!(refused(b"").contains("it is empty"));
    assert!(refused(b"{\"version\":1}\n").contains("version 1"));
}

#[test]
fn the_cast_of_all_parts_reads_like_the_parts() {
    for version in [Version::V2, Version::V3] {
        let recording = two_parts(version);
        let (cast, flaws) = exported(Format::Cast, recording.clone());
        assert_eq!(flaws, Flaws::default());
        assert_eq!(cast.lines().filter(|line| line.starts_with('{')).count(), 1);
        let mut merged = Reader::new(one_part(Cursor::new(cast.clone()))).unwrap();
        let mut apart = Reader::new(parts(recording.clone())).unwrap();
        assert_eq!(moments(&mut merged), moments(&mut apart));
        // One part is copied byte for byte.
        assert_eq!(
            exported(Format::Cast, vec![recording[0].clone()])
                .0
                .as_bytes(),
            recording[0]
        );
        // Without its last line break it gets one.
        let (mended, _) = exported(Format::Cast, vec![cast.trim_end().as_bytes().to_vec()]);
        assert_eq!(mended, cast);
    }
}

#[test]
fn text_has_no_escapes_and_says_how_it_ended() {
    let (text, _) = exported(Format::Text, two_parts(Version::V2));
    assert_eq!(
        text,
        "$ ls\nred\noops \u{fffd}\n</script><!-- end\n[portcullis: ended (killed): by bob]\n[exit code 137]\n"
    );
    let mut cut = two_parts(Version::V2);
    let length = cut[1].len();
    cut[1].truncate(length - 3);
    let (text, flaws) = exported(Format::Text, cut);
    assert!(flaws.unfinished);
    assert!(
        text.ends_with("truncated, or still being written]\n"),
        "{text}"
    );
}

fn transcript(outputs: &[&str]) -> Vec<String> {
    let (mut transcript, mut found) = (Transcript::default(), Vec::new());
    let mut take = |line: Line| found.push(line.text);
    for data in outputs {
        let moment = Moment {
            at: MS,
            code: OUTPUT.to_owned(),
            data: (*data).to_owned(),
            stderr: false,
            raw: None,
        };
        transcript.push(&moment, &mut take);
    }
    transcript.finish(MS, &mut take);
    found
}

#[test]
fn a_transcript_edits_lines_as_terminals_do() {
    for (output, expected) in [
        ("10%\r20%\r100%\n", vec!["100%"]),
        ("long line\rnew\n", vec!["newg line"]),
        ("long line\r\u{1b}[Knew\n", vec!["new"]),
        ("ab\u{8} \u{8}c\n", vec!["ac"]),
        ("a\tb\n", vec!["a       b"]),
        ("abc\u{1b}[2D\u{1b}[Px\n", vec!["ax"]),
        ("abc\u{1b}[3D\u{1b}[@x\n", vec!["xabc"]),
        ("a\r\n\r\nb", vec!["a", "", "b"]),
        ("x\u{1b}[2J\u{1b}[Hy\u{1b}[5;1Hz\r\n", vec!["x", "y", "z"]),
        (
            "\u{1b}]0;title\u{7}\u{1b}[1;32m$\u{1b}[0m \u{1b}[6nls\r\n",
            vec!["$ ls"],
        ),
    ] {
        assert_eq!(transcript(&[output]), expected, "{output:?}");
    }
    // A few bytes do not become much text.
    for far in ["\u{1b}[99999999C", "\u{1b}[16000G", "\u{1b}[16000@"] {
        let found = transcript(&[&format!("a\r{far}b\n")]);
        assert!(found[0].ends_with('b') || found[0].starts_with('b'));
        assert!(found[0].len() <= 1002, "{far:?}: {}", found[0].len());
    }
    assert_eq!(transcript(&["hel", "lo\r", "\nx"]), ["hello", "x"]);
    let hidden = transcript(&["shown\n\u{1b}]0;", "rm -rf /\n"]);
    assert_eq!(hidden[0], "shown");
    assert!(hidden[1].contains("the last 11 characters are inside a control string"));
}

#[test]
fn an_endless_line_is_continued_on_the_next() {
    let max = limits::RECORDING_TRANSCRIPT_LINE_MAX;
    let found = transcript(&[&"x".repeat(2 * max + 1)]);
    let lengths: Vec<usize> = found.iter().map(String::len).collect();
    assert_eq!(lengths, [max, max, 1]);
}

#[test]
fn a_line_has_the_time_of_its_beginning() {
    let mut reader = Reader::new(parts(two_parts(Version::V3))).unwrap();
    let mut found = Vec::new();
    lines(&mut reader, &mut |line| {
        found.push((line.at.as_millis(), line.text));
    })
    .unwrap();
    assert_eq!(found[2], (20, "oops \u{fffd}".to_owned()));
    assert_eq!(found[3].0, 1500);
    assert_eq!(clock_face(Duration::from_millis(3_723_045)), "1:02:03.045");
}

/// What stands between the tags of the element with this id.
fn data_of(page: &str, id: &str) -> Value {
    let (_, rest) = page.split_once(&format!("id=\"{id}\">")).unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    assert!(!json.contains('<'));
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_page_loads_nothing_and_runs_only_its_own_program() {
    let (page, _) = exported(Format::Html, two_parts(Version::V2));
    assert_eq!(
        data_of(&page, "events"),
        json!([
            [0.001, "r", "100x30"],
            [0.01, "o", "$ ls\r\n\u{1b}[31mred\u{1b}[m\r\n"],
            [0.02, "e", "oops \u{fffd}\n"],
            [1.5, "o", "</script><!-- end"],
            [1.6, "m", "portcullis: ended (killed): by bob"],
            [1.7, "x", "137"]
        ])
    );
    assert_eq!(
        data_of(&page, "page"),
        json!({"columns": 80, "rows": 24, "tty": true})
    );
    for network in [
        "http:", "https:", "//cdn", "src=", "href=", "url(", "@import", "fetch(", "import(",
    ] {
        assert!(!page.contains(network), "{network}");
    }
    assert!(page.contains("default-src 'none'; script-src 'sha256-"));
    assert!(!page.contains("unsafe-inline"));
    assert_eq!(page.matches("<script").count(), 3);
    assert_eq!(page.matches("</script>").count(), 3);
    assert!(page.contains("alice &lt;/dd&gt;&lt;script&gt;alert(1)&lt;/script&gt;</dd>"));
    assert!(page.contains("kubectl\\u{1b}]0;x\\u{7}"));
    assert!(!page.contains('\u{1b}'));
}

#[test]
fn the_policy_of_a_page_names_the_digest_of_its_program() {
    let (page, _) = exported(Format::Html, two_parts(Version::V3));
    for (element, directive) in [("script", "script-src"), ("style", "style-src")] {
        let (_, rest) = page.split_once(&format!("<{element}>")).unwrap();
        let (content, _) = rest.split_once(&format!("</{element}>")).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content.as_bytes());
        let source = format!("{directive} 'sha256-{}'", BASE64.encode(digest.as_ref()));
        assert!(page.contains(&source), "{source}");
    }
}

#[test]
fn a_page_that_would_be_too_large_is_cut_and_says_so() {
    let mut part = two_parts(Version::V2).swap_remove(0);
    let mut events = Events::new(Version::V2);
    let chunk = "x".repeat(1 << 20);
    for second in 1..40 {
        events.put(&mut part, Duration::from_secs(second), OUTPUT, &chunk);
    }
    let (page, _) = exported(Format::Html, vec![part]);
    assert!(page.len() < limits::RECORDING_HTML_BYTES_MAX + (1 << 20));
    assert!(page.contains("portcullis: cut at 0:00:32.000"));
    data_of(&page, "events");
}
