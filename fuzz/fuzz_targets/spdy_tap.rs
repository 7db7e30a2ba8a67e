//! No bytes panic the SPDY tap, plain or tunnelled, and no cut changes what is seen or forwarded.
#![no_main]

mod cuts;

use libfuzzer_sys::fuzz_target;
use portcullis::session::{Protocol, Session, Streams};
use portcullis::wire::channel::Version;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, input)) = input.split_first() else {
        return;
    };
    let port_forward = Streams::PortForward { ports: Vec::new() };
    let session = match choice % 3 {
        0 => Session::new(port_forward, Protocol::Spdy(Version::V4)),
        1 => Session::new(port_forward, Protocol::Tunnel),
        _ => {
            let streams = Streams::RemoteCommand {
                stdin: choice & 8 == 0,
                stdout: choice & 16 == 0,
                stderr: choice & 32 == 0,
                tty: choice & 64 == 0,
            };
            Session::new(
                streams,
                Protocol::Spdy(if choice & 128 == 0 {
                    Version::V4
                } else {
                    Version::V1
                }),
            )
        }
    };
    cuts::check(&session, input, session.protocol == Protocol::Tunnel);
});
