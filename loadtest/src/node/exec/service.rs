//! The main process of a container whose program is not simulated: it prints its log, and what it
//! is sent.

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{Log, Outcome, Session};

/// Runs until its log ends, which it does not while the pod runs.
pub(super) async fn run(log: &Log, session: Session) -> Outcome {
    let Session {
        stdin,
        stdout,
        stderr,
        tty,
        size: _,
    } = session;
    let ending = if tty { "\r\n" } else { "\n" };
    let echoed = stdout.clone();
    let printing = async {
        let mut number = log.written(Timestamp::now());
        while log.wait_for(number).await {
            let line = log.line(number);
            let target = if line.stderr && !tty {
                &stderr
            } else {
                &stdout
            };
            if let Some(target) = target
                && target.send(Bytes::from(line.text + ending)).await.is_err()
            {
                return;
            }
            number += 1;
        }
    };
    tokio::join!(printing, echo(stdin, echoed));
    Outcome::Exited(0)
}

async fn echo(stdin: Option<mpsc::Receiver<Bytes>>, stdout: Option<mpsc::Sender<Bytes>>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(bytes) = stdin.recv().await {
        if let Some(stdout) = &stdout
            && stdout.send(bytes).await.is_err()
        {
            return;
        }
    }
}
