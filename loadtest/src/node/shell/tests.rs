use serde_json::json;
use tokio::sync::mpsc::Sender;

use super::*;
use crate::node::pod::PodRef;

fn machine_with(bytes: u64) -> Arc<Machine> {
    let object = json!({"spec": {"containers": [{"name": "main", "env": [
        {"name": "DB_PASSWORD", "value": "S3cr3t-Pa55w0rd!"}, {"name": "LOG_LEVEL", "value": "debug"},
    ]}]}});
    let container = PodRef::new("shop", "toolbox", object)
        .container(None)
        .unwrap();
    Arc::new(Machine::new(
        fs::Budget::new(bytes),
        "shop",
        "toolbox",
        &container,
    ))
}

fn machine() -> Arc<Machine> {
    machine_with(64 << 20)
}

/// A program with a client in front of it.
struct Client {
    typed: Option<Sender<Bytes>>,
    output: mpsc::Receiver<Bytes>,
    error: mpsc::Receiver<Bytes>,
    size: watch::Sender<(u16, u16)>,
    seen: String,
}

fn start(
    machine: &Arc<Machine>,
    argv: &[&str],
    tty: bool,
) -> (impl Future<Output = Outcome> + use<>, Client) {
    let (typed, stdin) = mpsc::channel(4);
    let (stdout, output) = mpsc::channel(4);
    let (stderr, error) = mpsc::channel(4);
    let (size, resized) = watch::channel((120, 40));
    let session = Session {
        stdin: Some(stdin),
        stdout: Some(stdout),
        stderr: Some(stderr),
        tty,
        size: resized,
    };
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    (
        run(Arc::clone(machine), argv, session),
        Client {
            typed: Some(typed),
            output,
            error,
            size,
            seen: String::new(),
        },
    )
}

async fn drain(receiver: &mut mpsc::Receiver<Bytes>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = receiver.recv().await {
        all.extend_from_slice(&piece);
    }
    all
}

async fn exec(machine: &Arc<Machine>, argv: &[&str], input: &[u8]) -> (Outcome, Vec<u8>, Vec<u8>) {
    let (program, mut client) = start(machine, argv, false);
    let typed = client.typed.take().unwrap();
    let feeding = async move {
        for piece in input.chunks(30_000) {
            if typed.send(Bytes::copy_from_slice(piece)).await.is_err() {
                return;
            }
        }
    };
    let (outcome, (), output, error) = tokio::join!(
        program,
        feeding,
        drain(&mut client.output),
        drain(&mut client.error)
    );
    (outcome, output, error)
}

/// Runs a script and shows everything it printed and its status.
async fn sh_on(machine: &Arc<Machine>, script: &str, input: &str) -> String {
    let (outcome, output, error) = exec(machine, &["sh", "-c", script], input.as_bytes()).await;
    let status = match outcome {
        Outcome::Exited(0) => String::new(),
        other => format!("{other:?}"),
    };
    String::from_utf8([output, error].concat()).unwrap() + &status
}

async fn sh(script: &str) -> String {
    sh_on(&machine(), script, "").await
}

#[tokio::test]
async fn the_commands_of_the_captures() {
    let script = r#"read x; echo "got $x $DB_PASSWORD"; echo err >&2; exit 5"#;
    let (outcome, output, error) =
        exec(&machine(), &["sh", "-c", script], b"line-from-client\n").await;
    assert_eq!(outcome, Outcome::Exited(5));
    assert_eq!(output, b"got line-from-client S3cr3t-Pa55w0rd!\n");
    assert_eq!(error, b"err\n");
    assert_eq!(sh("echo typed-$((40+2))").await, "typed-42\n");
    assert_eq!(
        sh_on(&machine(), "cat; echo err >&2; exit 4", "over").await,
        "overerr\nExited(4)"
    );
    let missing = exec(&machine(), &["no-such-command", "--flag"], b"")
        .await
        .0;
    let text = r#"exec: "no-such-command": executable file not found in $PATH"#;
    assert_eq!(missing, Outcome::NotStarted(text.to_owned()));
    let denied = exec(&machine(), &["/etc/passwd"], b"").await.0;
    assert_eq!(
        denied,
        Outcome::NotStarted(r#"exec: "/etc/passwd": permission denied"#.to_owned())
    );
}

#[tokio::test]
async fn the_language() {
    let cases = [
        (
            "echo a   'b  c' \"d $LOG_LEVEL\" e\\ f",
            "a b  c d debug e f\n",
        ),
        (
            "false || echo one && echo two; true && ! false && echo three",
            "one\ntwo\nthree\n",
        ),
        (
            "x='a b'; for i in $x \"$x\"; do echo [$i]; done",
            "[a]\n[b]\n[a b]\n",
        ),
        (
            "i=0; while [ $i -lt 3 ]; do i=$((i+1)); [ $i = 2 ] && continue; echo $i; done",
            "1\n3\n",
        ),
        (
            "if [ -d /etc ]; then echo dir; elif true; then echo no; else echo no; fi",
            "dir\n",
        ),
        (
            "case abc.txt in *.log) echo log;; *.txt|x) echo text;; esac",
            "text\n",
        ),
        (
            "f() { echo \"$1-$#\"; return 3; }; f a b; echo $?",
            "a-2\n3\n",
        ),
        (
            "echo ${x:-none} ${LOG_LEVEL:+set} ${#LOG_LEVEL} ${LOG_LEVEL#de} ${LOG_LEVEL%g}",
            "none set 5 bug debu\n",
        ),
        ("echo $(echo $(echo deep)) `echo old`", "deep old\n"),
        (
            "cat <<EOF\n$LOG_LEVEL \\$x\nEOF\necho after",
            "debug $x\nafter\n",
        ),
        ("cat <<'EOF'\n$LOG_LEVEL\nEOF", "$LOG_LEVEL\n"),
        ("(cd /tmp; pwd); pwd", "/tmp\n/\n"),
        ("X=1 printenv X; echo [$X]", "1\n[]\n"),
        ("set -e; false; echo not reached", "Exited(1)"),
        ("nope; echo $?", "127\nsh: nope: not found\n"),
        (
            "echo x > /nope/y; echo $?",
            "1\nsh: can't create /nope/y: No such file or directory\n",
        ),
        ("sh -c 'echo $0 $1' name arg", "name arg\n"),
        ("exit 300", "Exited(44)"),
        (
            "echo 'unclosed",
            "sh: syntax error: unexpected end of fileExited(2)",
        ),
    ];
    for (script, expected) in cases {
        assert_eq!(
            sh(script).await.replace("file\n", "file"),
            expected,
            "{script}"
        );
    }
}

#[tokio::test]
async fn files_pipes_and_tools() {
    let machine = machine();
    let cases = [
        (
            "mkdir -p /data/a && echo one > /data/a/f && echo two >> /data/a/f && cat /data/a/f",
            "one\ntwo\n",
        ),
        ("ls /data; ls /data/*; cat /data/a/? | wc -l", "a\nf\n2\n"),
        ("cat < /data/a/f | grep -v one | tr a-z A-Z", "TWO\n"),
        (
            "while read l; do echo \"<$l>\"; done < /data/a/f",
            "<one>\n<two>\n",
        ),
        (
            "seq 5 | tail -n 2; seq 3 | head -n1; seq 10 | sort -rn | head -2",
            "4\n5\n1\n10\n9\n",
        ),
        (
            "echo hello | base64; echo aGVsbG8K | base64 -d",
            "aGVsbG8K\nhello\n",
        ),
        (
            "yes | head -c 10 | wc -c; head -c 3 /dev/zero | wc -c",
            "10\n3\n",
        ),
        (
            "test -d /data; echo $?; test -d /data/a/f; echo $?",
            "0\n1\n",
        ),
        (
            "cp -r /data /copy; mv /copy/a/f /copy/g; find /copy -type f; rm -rf /copy; ls /copy; true",
            "/copy/g\nls: /copy: No such file or directory\n",
        ),
        (
            "cd /data && tar cf - a | (mkdir /out; tar xf - -C /out) && cat /out/a/f",
            "one\ntwo\n",
        ),
        (
            "env | grep DB_; hostname; whoami",
            "DB_PASSWORD=S3cr3t-Pa55w0rd!\ntoolbox\nroot\n",
        ),
        ("stty size; true", "stty: standard input: Not a tty\n"),
        (
            "printf 'echo script $1\\n' > /s; chmod +x /s; /s arg; echo a:b:c | cut -d: -f2",
            "script arg\nb\n",
        ),
        (
            "dd if=/dev/zero bs=1k count=4 2>/dev/null | wc -c",
            "4096\n",
        ),
    ];
    for (script, expected) in cases {
        assert_eq!(sh_on(&machine, script, "").await, expected, "{script}");
    }
    assert_eq!(
        sh_on(&machine, "sha256sum", "abc").await,
        format!(
            "{}  -\n",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )
    );
}

#[tokio::test]
async fn large_streams_pass_and_memory_is_bounded() {
    let machine = machine_with(8 << 20);
    let input = vec![7u8; 20 << 20];
    let (outcome, output, _) = exec(&machine, &["cat"], &input).await;
    assert_eq!((outcome, output.len()), (Outcome::Exited(0), 20 << 20));
    let (outcome, output, error) = exec(
        &machine,
        &["sh", "-c", "cat > /big; echo $?; wc -c < /big"],
        &input,
    )
    .await;
    assert_eq!(outcome, Outcome::Exited(0));
    assert!(output.starts_with(b"1\n"), "{output:?}");
    assert_eq!(error, b"cat: write error: No space left on device\n");
    assert_eq!(
        sh_on(
            &machine,
            "rm /big; head -c 4M /dev/urandom > /x; wc -c < /x",
            ""
        )
        .await,
        "4194304\n"
    );
}

#[tokio::test]
async fn nothing_grows_without_end() {
    assert!(sh("f() { f; }; f").await.contains("nested too deep"));
    assert!(
        sh("x=aaaaaaaa; while [ $? = 0 ]; do x=$x$x; done")
            .await
            .contains("too long")
    );
    assert!(
        sh("eval 'eval \"eval true\"'; echo ok")
            .await
            .contains("ok")
    );
    assert!(
        sh("x='sh -c \"$x\"'; export x; sh -c \"$x\"")
            .await
            .contains("deep")
    );
}

impl Client {
    async fn type_keys(&self, keys: &str) {
        self.typed
            .as_ref()
            .unwrap()
            .send(Bytes::copy_from_slice(keys.as_bytes()))
            .await
            .unwrap();
    }

    /// Waits until the screen shows a text after what was waited for before.
    async fn expect(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let piece =
                tokio::time::timeout(std::time::Duration::from_secs(10), self.output.recv()).await;
            let piece =
                piece.unwrap_or_else(|_| panic!("waiting for {text:?}, have {:?}", self.seen));
            self.seen
                .push_str(&String::from_utf8_lossy(&piece.expect("the session ended")));
        }
    }
}

#[tokio::test]
async fn a_terminal_session() {
    let machine = machine();
    let (program, mut client) = start(&machine, &["sh"], true);
    let user = async {
        client.expect("/ # ").await;
        client.type_keys("echo hi$DB_P\x7fPASSWORD\r").await;
        client.expect("echo hi$DB_P\x08 \x08PASSWORD\r\n").await;
        client.expect("hiS3cr3t-Pa55w0rd!\r\n/ # ").await;
        client.type_keys("stty size\r").await;
        client.expect("\r\n40 120\r\n/ # ").await;
        client.size.send((91, 31)).unwrap();
        client.type_keys("stty size\r").await;
        client.expect("\r\n31 91\r\n/ # ").await;
        client.type_keys("sleep 1000\r").await;
        client.expect("sleep 1000\r\n").await;
        client.type_keys("\x03").await;
        client.expect("^C\r\n/ # ").await;
        client.type_keys("echo $?\r").await;
        client.expect("130\r\n/ # ").await;
        client.type_keys("cat\rline\r").await;
        client.expect("line\r\nline\r\n").await;
        client.type_keys("\x04").await;
        client.expect("/ # ").await;
        client.type_keys("read -s p; echo got $p\r").await;
        client.expect("got $p\r\n").await;
        client.type_keys("hidden\r").await;
        client.expect("got hidden\r\n/ # ").await;
        client.type_keys("yes\r").await;
        client.expect("y\r\ny\r\n").await;
        client.type_keys("\x03").await;
        client.expect("/ # ").await;
        client.type_keys("for i in 1 2\r").await;
        client.expect("> ").await;
        client.type_keys("do echo n$i; done\rexit 3\r").await;
        client.expect("n1\r\nn2\r\n").await;
        drain(&mut client.output).await;
    };
    let (outcome, ()) = tokio::join!(program, user);
    assert_eq!(outcome, Outcome::Exited(3));
}

#[tokio::test]
async fn control_d_leaves_the_shell_and_control_c_ends_a_program() {
    let machine = machine();
    let (program, mut client) = start(&machine, &["/bin/sh"], true);
    let user = async {
        client.expect("# ").await;
        client.type_keys("false\r\x04").await;
        drain(&mut client.output).await;
    };
    assert_eq!(tokio::join!(program, user).0, Outcome::Exited(1));
    let (program, mut client) = start(&machine, &["cat"], true);
    let user = async {
        client.type_keys("x\r\x03").await;
        drain(&mut client.output).await;
    };
    assert_eq!(tokio::join!(program, user).0, Outcome::Exited(130));
}
