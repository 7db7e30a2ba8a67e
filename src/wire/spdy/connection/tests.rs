use super::*;
use crate::wire::spdy::frame::{
    FLAG_FIN, GOAWAY_OK, RST_CANCEL, put_data, put_goaway, put_ping, put_rst_stream, put_syn_reply,
    put_syn_stream,
};
use crate::wire::spdy::headers::Deflater;

const EXEC: Expected = Expected::RemoteCommand {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: true,
};

/// A connection between two peers that may say anything.
struct Bench {
    connection: Connection,
    client: Deflater,
    server: Deflater,
    events: Vec<String>,
}

impl Bench {
    fn new(expected: Expected) -> Self {
        Self {
            connection: Connection::new(expected),
            client: Deflater::new().unwrap(),
            server: Deflater::new().unwrap(),
            events: Vec::new(),
        }
    }

    fn send(&mut self, side: Side, bytes: &[u8]) -> Result<Vec<u8>, ConnectionError> {
        let mut output = Vec::new();
        let events = &mut self.events;
        self.connection
            .receive(side, bytes, Duration::ZERO, &mut output, &mut |event, _| {
                events.push(format!("{event:?}"));
            })?;
        Ok(output)
    }

    fn syn(&mut self, id: u32, headers: &[(&str, &str)]) -> Result<Vec<u8>, ConnectionError> {
        let mut bytes = Vec::new();
        put_syn_stream(&mut bytes, id, false, &self.client.block(headers).unwrap());
        self.send(Side::Client, &bytes)
    }

    fn reply(&mut self, id: u32) -> Result<Vec<u8>, ConnectionError> {
        let mut bytes = Vec::new();
        put_syn_reply(&mut bytes, id, false, &self.server.block(&[]).unwrap());
        self.send(Side::Server, &bytes)
    }

    fn open(&mut self, id: u32, kind: &str) {
        self.syn(id, &[("streamtype", kind)]).unwrap();
        self.reply(id).unwrap();
    }

    fn data(
        &mut self,
        side: Side,
        id: u32,
        fin: bool,
        payload: &[u8],
    ) -> Result<Vec<u8>, ConnectionError> {
        let mut bytes = Vec::new();
        put_data(&mut bytes, id, fin, payload);
        self.send(side, &bytes)
    }
}

#[test]
fn an_exec_passes_unchanged() {
    let mut bench = Bench::new(EXEC);
    bench.open(1, "error");
    bench.open(3, "stdin");
    bench.open(5, "stdout");
    let mut bytes = Vec::new();
    put_data(&mut bytes, 3, false, b"ls\n");
    put_data(&mut bytes, 3, true, b"");
    put_ping(&mut bytes, 1);
    assert_eq!(bench.send(Side::Client, &bytes).unwrap(), bytes);
    let mut bytes = Vec::new();
    put_data(&mut bytes, 5, true, b"bin etc\n");
    put_data(&mut bytes, 1, false, b"{}");
    put_rst_stream(&mut bytes, 1, RST_CANCEL);
    put_goaway(&mut bytes, 5, GOAWAY_OK);
    assert_eq!(bench.send(Side::Server, &bytes).unwrap(), bytes);
    assert_eq!(
        bench
            .connection
            .open_from(Side::Client)
            .map(|stream| stream.id)
            .collect::<Vec<_>>(),
        [5]
    );
    assert!(bench.connection.gone(Side::Server));
    assert_eq!(bench.events.len(), 10, "{:#?}", bench.events);
}

#[test]
fn b48_only_streams_of_the_query_open_and_each_once() {
    let mut bench = Bench::new(EXEC);
    bench.open(1, "stdout");
    for kind in ["stdout", "stderr", "data", "STDIN", ""] {
        let mut bench = Bench::new(EXEC);
        bench.open(1, "stdout");
        assert_eq!(
            bench.syn(3, &[("streamtype", kind)]),
            Err(ConnectionError::StreamType(kind.to_owned())),
            "{kind:?}"
        );
    }
    assert_eq!(
        bench.syn(3, &[]),
        Err(ConnectionError::StreamHeader("streamtype"))
    );
}

#[test]
fn b48_stream_numbers_are_odd_and_rise() {
    for (first, second) in [(1, 1), (3, 1), (1, 2)] {
        let mut bench = Bench::new(EXEC);
        bench.open(first, "stdin");
        assert_eq!(
            bench.syn(second, &[("streamtype", "stdout")]),
            Err(ConnectionError::StreamNumber(second))
        );
    }
}

#[test]
fn b48_data_waits_for_the_reply() {
    let mut bench = Bench::new(EXEC);
    bench.syn(1, &[("streamtype", "stdin")]).unwrap();
    assert_eq!(
        bench.data(Side::Client, 1, false, b"x"),
        Err(ConnectionError::NotAccepted(1))
    );
    let mut bench = Bench::new(EXEC);
    assert_eq!(
        bench.data(Side::Client, 1, false, b"x"),
        Err(ConnectionError::NotOpened(1))
    );
    assert_eq!(
        bench.data(Side::Server, 2, false, b"x"),
        Err(ConnectionError::NotOpened(2))
    );
}

#[test]
fn b48_data_after_the_end_of_a_stream_is_neither_forwarded_nor_recorded() {
    let mut bench = Bench::new(EXEC);
    bench.open(1, "stdin");
    bench.data(Side::Client, 1, true, b"last").unwrap();
    let seen = bench.events.len();
    assert_eq!(bench.data(Side::Client, 1, false, b"hidden").unwrap(), b"");
    bench.open(3, "stdout");
    let mut rst = Vec::new();
    put_rst_stream(&mut rst, 3, RST_CANCEL);
    assert_eq!(bench.send(Side::Client, &rst).unwrap(), rst);
    assert_eq!(bench.data(Side::Server, 3, false, b"late").unwrap(), b"");
    assert_eq!(
        bench.events.len(),
        seen + 2,
        "only opened and reset: {:?}",
        bench.events
    );
}

#[test]
fn b49_output_streams_are_written_by_the_server_only() {
    let mut bench = Bench::new(EXEC);
    bench.open(1, "stdout");
    assert_eq!(
        bench.data(Side::Client, 1, false, b"forged"),
        Err(ConnectionError::WrongDirection(StreamType::Stdout))
    );
    // Closing its own half is what a reader may do.
    let mut bench = Bench::new(EXEC);
    bench.open(1, "stdout");
    assert!(!bench.data(Side::Client, 1, true, b"").unwrap().is_empty());
}

#[test]
fn b48_the_server_opens_nothing_and_the_client_accepts_nothing() {
    let mut bench = Bench::new(EXEC);
    let mut bytes = Vec::new();
    put_syn_stream(
        &mut bytes,
        2,
        false,
        &bench.server.block(&[("streamtype", "stdin")]).unwrap(),
    );
    assert_eq!(
        bench.send(Side::Server, &bytes),
        Err(ConnectionError::Unexpected("SYN_STREAM"))
    );
    let mut bench = Bench::new(EXEC);
    let mut bytes = Vec::new();
    put_syn_reply(&mut bytes, 1, false, &bench.client.block(&[]).unwrap());
    assert_eq!(
        bench.send(Side::Client, &bytes),
        Err(ConnectionError::Unexpected("SYN_REPLY"))
    );
}

#[test]
fn d11_streams_and_pings_are_bounded() {
    let mut bench = Bench::new(Expected::PortForward);
    let mut opened = 0_u32;
    let error = loop {
        let request = opened.to_string();
        let headers = [
            ("streamtype", "data"),
            ("port", "80"),
            ("requestid", request.as_str()),
        ];
        if let Err(error) = bench.syn(opened * 2 + 1, &headers) {
            break error;
        }
        opened += 1;
    };
    assert_eq!(error, ConnectionError::TooManyStreams);
    assert_eq!(
        usize::try_from(opened).unwrap(),
        limits::SPDY_PORT_FORWARD_STREAMS_MAX
    );

    let mut bench = Bench::new(EXEC);
    let mut bytes = Vec::new();
    for _ in 0..=limits::SESSION_EMPTY_FRAMES_BURST {
        put_ping(&mut bytes, 1);
    }
    assert_eq!(
        bench.send(Side::Client, &bytes),
        Err(ConnectionError::TooManyEmptyFrames)
    );
}

#[test]
fn port_forward_streams_are_checked_and_forgotten_when_both_ends_finish() {
    let mut bench = Bench::new(Expected::PortForward);
    for request in 0..1000_u32 {
        let (text, id) = (request.to_string(), request * 2 + 1);
        bench
            .syn(
                id,
                &[
                    ("streamtype", "data"),
                    ("port", "8080"),
                    ("requestid", text.as_str()),
                ],
            )
            .unwrap();
        bench.reply(id).unwrap();
        bench.data(Side::Client, id, true, b"question").unwrap();
        bench.data(Side::Server, id, true, b"answer").unwrap();
    }
    assert!(
        bench.events[0].contains("port: Some(8080), request: Some(0)"),
        "{}",
        bench.events[0]
    );
    for (port, request, part) in [
        ("0", "1", "port"),
        ("65536", "1", "port"),
        ("80", "+1", "requestid"),
    ] {
        let mut bench = Bench::new(Expected::PortForward);
        let headers = [
            ("streamtype", "data"),
            ("port", port),
            ("requestid", request),
        ];
        assert_eq!(
            bench.syn(1, &headers),
            Err(ConnectionError::StreamHeader(part))
        );
    }
    let mut bench = Bench::new(Expected::PortForward);
    let headers = [("streamtype", "data"), ("port", "80"), ("requestid", "7")];
    bench.syn(1, &headers).unwrap();
    assert_eq!(
        bench.syn(3, &headers),
        Err(ConnectionError::StreamType("data".to_owned()))
    );
}

#[test]
fn stopping_lets_the_current_frame_end_and_nothing_else() {
    let mut bench = Bench::new(EXEC);
    bench.open(1, "stdout");
    let head = [0, 0, 0, 1, FLAG_FIN, 0, 0, 4];
    bench
        .send(Side::Server, &[&head[..], b"ab"].concat())
        .unwrap();
    assert!(!bench.connection.at_boundary(Side::Server));
    bench.connection.stop(Side::Server);
    assert_eq!(
        bench
            .send(Side::Server, b"cd\x80\x03\x00\x06\0\0\0\x04\0\0\0\x02")
            .unwrap(),
        b"cd"
    );
    assert!(bench.connection.at_boundary(Side::Server));
    assert_eq!(bench.send(Side::Server, b"more").unwrap(), b"");
}
