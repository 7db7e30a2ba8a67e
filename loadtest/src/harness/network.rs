//! A network of one's own. Loopback paced by BBR, which many kernels default to, measures the pacing; all parts of a
//! measurement therefore run where reno is the default, or at least ask for it on their own sockets.

pub mod tls;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Says to the program that it already runs in a network of its own.
const OWN: &str = "LOADTEST_OWN_NETWORK";
const BACKLOG: i32 = 4096;
const PREPARE: &str = "ip link set lo up && echo reno >/proc/sys/net/ipv4/tcp_congestion_control && ulimit -n $(ulimit -Hn)";

/// Starts the program again in a network namespace with reno, as root or in a user namespace. Returns when it already
/// runs there or when the machine does not allow it; then only the harness' own sockets use reno.
pub fn enter() -> io::Result<()> {
    if std::env::var_os(OWN).is_some() {
        return Ok(());
    }
    let possible = ["-n", "-rn"].into_iter().find(|how| {
        let mut trial = Command::new("unshare");
        trial
            .args([how, "--", "sh", "-c", PREPARE])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        trial.status().is_ok_and(|status| status.success())
    });
    let Some(how) = possible else {
        return Ok(());
    };
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let script = format!("{PREPARE} && exec \"$0\" \"$@\"");
    let mut again = Command::new("unshare");
    again
        .args([how, "--", "sh", "-c", &script])
        .arg(std::env::current_exe()?)
        .args(arguments)
        .env(OWN, "1");
    Err(again.exec())
}

/// What the bytes of this run went through.
pub fn describe() -> &'static str {
    if std::env::var_os(OWN).is_some() {
        "network namespace of its own with reno"
    } else {
        "the machine's loopback, reno only on the sockets of the harness"
    }
}

/// Listens, with reno and a queue for storms.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    prefer_reno(&socket);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connects, with reno and without waiting for full segments.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    prefer_reno(&socket);
    TcpSocket::from_std_stream(socket.into())
        .connect(address)
        .await
}

/// Every kernel has reno; one that does not let us choose keeps its own, and [`describe`] does not promise more.
fn prefer_reno(socket: &Socket) {
    drop(socket.set_tcp_congestion(b"reno"));
}

/// The value of a header in the head of a request or an answer (HTTP/1.1).
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let line = lines.find(|(own, _)| own.eq_ignore_ascii_case(name));
    line.map(|(_, value)| value.trim())
}
