//! No bytes panic the channel tap, and no cut changes what is seen or forwarded.
#![no_main]

mod cuts;

use libfuzzer_sys::fuzz_target;
use portcullis::session::{Protocol, Session, Streams};
use portcullis::wire::channel;

const NAMES: [&str; 5] = [
    "",
    "base64.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "v5.channel.k8s.io",
];

fuzz_target!(|input: &[u8]| {
    let Some((&choice, input)) = input.split_first() else {
        return;
    };
    let name = NAMES[usize::from(choice) % NAMES.len()];
    let Some(protocol) = channel::Protocol::parse(name) else {
        return;
    };
    let streams = if choice & 128 == 0 {
        Streams::RemoteCommand {
            stdin: choice & 8 == 0,
            stdout: choice & 16 == 0,
            stderr: choice & 32 == 0,
            tty: choice & 64 == 0,
        }
    } else {
        Streams::PortForward {
            ports: vec![80, 443],
        }
    };
    cuts::check(
        &Session::new(streams, Protocol::Channels(protocol)),
        input,
        false,
    );
});
