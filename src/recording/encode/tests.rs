use proptest::prelude::*;

use super::*;
use crate::recording::tests::fixtures::{data, tar_member};
use crate::session::{EndReason, Ending, ExitStatus, TerminalSize};
use crate::wire::asciicast::Event;

fn millis(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// The bytes of each stream, as a reader of the recording gets them back.
fn decode(lines: &[u8]) -> [Vec<u8>; 3] {
    let mut streams = [const { Vec::new() }; 3];
    let mut last: Option<(usize, Vec<u8>)> = None;
    for line in lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let event = Event::parse(line).unwrap();
        match event.code.as_str() {
            "i" | "o" => {
                if let Some((at, bytes)) = last.take() {
                    streams[at].extend(bytes);
                }
                last = Some((usize::from(event.code == "o"), event.data.into_bytes()));
            }
            STDERR => last.as_mut().unwrap().0 = 2,
            RAW => last.as_mut().unwrap().1 = BASE64.decode(event.data).unwrap(),
            other => panic!("{other}"),
        }
    }
    if let Some((at, bytes)) = last {
        streams[at].extend(bytes);
    }
    streams
}

fn kind(index: usize) -> StreamType {
    [StreamType::Stdin, StreamType::Stdout, StreamType::Stderr][index]
}

fn encoder(stdin: bool, tty: bool) -> Encoder {
    Encoder::new(Options {
        stdin,
        tty,
        ..Options::default()
    })
}

#[test]
fn a_session_looks_like_this() {
    let mut encoder = encoder(false, false);
    let mut out = Vec::new();
    let mut put = |at, event: &SessionEvent<'_>| encoder.event(event, millis(at), &mut out);
    put(
        1,
        &SessionEvent::Resize(TerminalSize {
            width: 120,
            height: 40,
        }),
    );
    // What `script` says whose own input is no terminal.
    let unknown = TerminalSize {
        width: 0,
        height: 0,
    };
    put(1, &SessionEvent::Resize(unknown));
    put(2, &data(StreamType::Stdin, b"not recorded"));
    put(3, &data(StreamType::Stdout, b"gr\xc3"));
    put(4, &data(StreamType::Stderr, b"no\n"));
    put(5, &data(StreamType::Stdout, b"\xbc\xc3\x9fe\xff\n"));
    let exit = ExitStatus {
        code: Some(7),
        message: String::new(),
    };
    put(6, &SessionEvent::Exit(&exit));
    let ending = Ending {
        reason: EndReason::Expired,
        message: "bye".to_owned(),
    };
    put(7, &SessionEvent::Ending(&ending));
    let expected = r#"[0.001000,"r","120x40"]
[0.003000,"o","gr"]
[0.004000,"o","no\n"]
[0.004000,"portcullis.stderr","3"]
[0.005000,"o","üße�\n"]
[0.005000,"portcullis.raw","w7zDn2X/Cg=="]
[0.006000,"x","7"]
[0.007000,"m","portcullis: ended (token-expired): bye"]
"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(encoder.lines(), 8);
}

#[test]
fn c52_typed_input_is_kept_as_echoed() {
    let mut encoder = encoder(true, true);
    let mut out = Vec::new();
    for (at, event) in [
        (1, data(StreamType::Stdin, b"s")),
        (2, data(StreamType::Stdout, b"s")),
        (3, data(StreamType::Stdin, b"\r")),
        (4, data(StreamType::Stdout, b"\r\nPassword: ")),
        (5, data(StreamType::Stdin, b"hunter2\r")),
        (6, data(StreamType::Stdout, b"\r\n")),
    ] {
        encoder.event(&event, millis(at), &mut out);
    }
    encoder.finish(millis(9), &mut out);
    let [input, output, _] = decode(&out);
    assert_eq!(input, b"s\r*******\r");
    assert_eq!(output, b"s\r\nPassword: \r\n");
}

#[test]
fn a_full_recording_says_so_and_still_ends() {
    let mut encoder = encoder(false, false);
    let mut out = Vec::new();
    encoder.full(10, true, millis(1), &mut out);
    assert_eq!(memchr::memchr_iter(b'\n', &out).count(), 2);
    assert!(String::from_utf8_lossy(&out).contains(r#""o","\r\n[portcullis: the recording"#));
    out.clear();
    encoder.event(&data(StreamType::Stdout, b"more"), millis(2), &mut out);
    assert!(out.is_empty());
    let exit = ExitStatus {
        code: Some(0),
        message: String::new(),
    };
    encoder.event(&SessionEvent::Exit(&exit), millis(3), &mut out);
    assert_eq!(out, b"[0.003000,\"x\",\"0\"]\n");
}

#[test]
fn a_forwarded_connection_is_one_line() {
    let mut encoder = encoder(false, false);
    let mut out = Vec::new();
    let stream = SessionStream {
        kind: StreamType::Data,
        port: Some(80),
        connection: Some(4),
    };
    let piece = |from, bytes| SessionEvent::Data {
        stream,
        from,
        bytes,
    };
    encoder.event(&SessionEvent::Opened(stream), millis(10), &mut out);
    encoder.event(&piece(Side::Client, b"GET"), millis(11), &mut out);
    encoder.event(&piece(Side::Server, b"200 OK"), millis(12), &mut out);
    for from in [Side::Client, Side::Server] {
        assert!(out.is_empty());
        encoder.event(
            &SessionEvent::Finished { stream, from },
            millis(60),
            &mut out,
        );
    }
    let json = r#"{"port":80,"bytesSent":3,"bytesReceived":6,"openedMs":10,"durationMs":50}"#;
    assert_eq!(Event::parse(&out).unwrap().data, json);
}

#[test]
fn a_copy_is_summed_up_and_its_errors_are_kept() {
    let command = ["tar", "cf", "-", "/etc/x"].map(str::to_owned);
    let mut encoder = Encoder::new(Options {
        copy: Copy::of(&command, false, false),
        ..Options::default()
    });
    let mut out = Vec::new();
    let archive = [tar_member("etc/x", b'0', b"hunter2"), vec![0; 1024]].concat();
    encoder.event(&data(StreamType::Stdout, &archive), millis(1), &mut out);
    encoder.event(&data(StreamType::Stderr, b"tar: x"), millis(2), &mut out);
    encoder.finish(millis(3), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(
        !text.contains("hunter2") && text.contains("tar: x"),
        "{text}"
    );
    assert!(text.contains("portcullis.copy"), "{text}");
    assert_eq!(encoder.copied().unwrap().bytes, 2048);
}

#[test]
fn f11_what_pretends_to_be_a_copy_is_kept() {
    let begin = |command: &[&str], stdin| {
        let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        let copy = Copy::of(&command, false, true).or_else(|| Copy::of(&command, false, false));
        Encoder::new(Options {
            stdin,
            copy,
            ..Options::default()
        })
    };
    let mut out = Vec::new();
    let mut download = begin(&["tar", "cf", "-", "/x"], false);
    download.event(
        &data(StreamType::Stdout, b"uid=0(root)\n"),
        millis(1),
        &mut out,
    );
    download.finish(millis(2), &mut out);
    assert_eq!(decode(&lines_of_streams(&out))[1], b"uid=0(root)\n");
    for stdin in [true, false] {
        out.clear();
        let typed = "id\n".repeat(300);
        let mut upload = begin(&["tar", "-xmf", "-", "-C", "/"], stdin);
        upload.event(
            &data(StreamType::Stdin, typed.as_bytes()),
            millis(1),
            &mut out,
        );
        upload.event(
            &data(StreamType::Stdout, b"uid=0(root)\n"),
            millis(2),
            &mut out,
        );
        upload.finish(millis(3), &mut out);
        let [input, output, _] = decode(&lines_of_streams(&out));
        assert_eq!(input, if stdin { typed.as_bytes() } else { b"" });
        assert_eq!(output, b"uid=0(root)\n");
    }
}

/// Without the lines that are no stream.
fn lines_of_streams(lines: &[u8]) -> Vec<u8> {
    let of_stream = |line: &&[u8]| !String::from_utf8_lossy(line).contains(COPY);
    lines
        .split_inclusive(|byte| *byte == b'\n')
        .filter(of_stream)
        .flatten()
        .copied()
        .collect()
}

proptest! {
    #[test]
    fn nothing_is_lost_wherever_bytes_are_cut(
        pieces in proptest::collection::vec(
            (0_usize..3, prop_oneof![
                proptest::collection::vec(any::<u8>(), 1..20),
                "[aé€😀]{1,6}".prop_map(String::into_bytes),
            ]),
            0..20,
        ),
        cut in 1_usize..8,
    ) {
        let (mut whole, mut pieced) = (encoder(true, false), encoder(true, false));
        let (mut one, mut many) = (Vec::new(), Vec::new());
        let mut expected = [const { Vec::new() }; 3];
        for (index, bytes) in &pieces {
            whole.event(&data(kind(*index), bytes), millis(1), &mut one);
            for piece in bytes.chunks(cut) {
                pieced.event(&data(kind(*index), piece), millis(1), &mut many);
            }
            expected[*index].extend_from_slice(bytes);
        }
        whole.finish(millis(2), &mut one);
        pieced.finish(millis(2), &mut many);
        prop_assert_eq!(decode(&one), expected.clone());
        prop_assert_eq!(decode(&many), expected);
    }

    #[test]
    fn text_is_shown_alike_wherever_it_is_cut(bytes in proptest::collection::vec(any::<u8>(), 0..60), cut in 1_usize..8) {
        let shown = |size: usize| {
            let (mut encoder, mut out) = (encoder(false, false), Vec::new());
            for piece in bytes.chunks(size) {
                encoder.event(&data(StreamType::Stdout, piece), millis(1), &mut out);
            }
            encoder.finish(millis(1), &mut out);
            out.split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| Event::parse(line).unwrap())
                .filter(|event| event.code == "o")
                .map(|event| event.data)
                .collect::<String>()
        };
        prop_assert_eq!(shown(cut), shown(1000));
        prop_assert_eq!(shown(cut), String::from_utf8_lossy(&bytes));
    }
}
