//! Finds the recorded sessions and reads them.

use std::fs;
use std::path::{Path, PathBuf};

use http::{Request, Response, request, response};
use portcullis::gateway::upgrade::{Agreed, Offer};
use portcullis::request::RequestInfo;
use portcullis::session::{Session, Side};
use serde_json::Value;

/// One recorded connection, from the upgrade on.
pub(crate) struct Capture {
    pub(crate) name: String,
    pub(crate) session: Session,
    pub(crate) agreed: Agreed,
    /// The command, for exec.
    pub(crate) command: Vec<String>,
    /// What was sent after the heads, in the order in which it was seen.
    pub(crate) steps: Vec<(Side, Vec<u8>)>,
    pub(crate) ended_by: Side,
    pub(crate) meta: Value,
}

impl Capture {
    pub(crate) fn sent(&self, side: Side) -> Vec<u8> {
        let steps = self.steps.iter().filter(|(from, _)| *from == side);
        steps.flat_map(|(_, bytes)| bytes.clone()).collect()
    }

    /// The exit code that the client's process had, if it was that of the command.
    pub(crate) fn client_exit_code(&self) -> Option<i64> {
        self.meta["steps"][0]["exit_code"].as_i64()
    }
}

pub(crate) fn captures() -> Vec<Capture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures");
    let mut folders: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.join("meta.json").exists()) // others hold plain requests
        .collect();
    folders.sort();
    let found: Vec<_> = folders
        .iter()
        .flat_map(|folder| sessions_in(folder))
        .collect();
    assert!(found.len() >= 60, "only {} captures found", found.len());
    found
}

fn sessions_in(folder: &Path) -> Vec<Capture> {
    let meta: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("meta.json")).unwrap()).unwrap();
    let negotiated = meta["negotiated"].as_array().cloned().unwrap_or_default();
    let is_session = |connection: &&Value| {
        let path = connection["path"].as_str().unwrap();
        ["/exec", "/attach", "/portforward"]
            .iter()
            .any(|end| path.ends_with(end))
    };
    negotiated
        .iter()
        .filter(is_session)
        .filter_map(|it| load(folder, &meta, it))
        .collect()
}

fn load(folder: &Path, meta: &Value, negotiated: &Value) -> Option<Capture> {
    let number = negotiated["conn"].as_str().unwrap();
    let read = |end: &str| fs::read(folder.join(format!("{number}.{end}"))).ok();
    let (client, server) = (read("client.bin")?, read("server.bin")?);
    let timeline = String::from_utf8(read("timeline.jsonl")?).unwrap();
    let name = format!("{} {number}", folder.file_name().unwrap().to_str().unwrap());
    let (request, client_head) = request_head(&client);
    let (answer, server_head) = response_head(&server);
    let target = request.uri.to_string();
    let info = RequestInfo::parse(&request.method, &target).unwrap();
    let offer = Offer::parse(&request, info.session().unwrap().kind)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let agreed = offer
        .accept(&answer)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut steps = Vec::new();
    for line in timeline.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let at = |key: &str| usize::try_from(line[key].as_u64().unwrap()).unwrap();
        let (side, bytes, head) = match line["dir"].as_str() {
            Some("c") => (Side::Client, &client, client_head),
            _ => (Side::Server, &server, server_head),
        };
        let (from, to) = (at("offset").max(head), at("offset") + at("len"));
        if from < to {
            steps.push((side, bytes[from..to].to_vec()));
        }
    }
    let connections = meta["connections"].as_array().unwrap();
    let entry = connections
        .iter()
        .find(|entry| entry["n"] == number)
        .unwrap();
    let ended_by = if entry["ended_by"] == "client" {
        Side::Client
    } else {
        Side::Server
    };
    let session = agreed.session(&info.session().unwrap());
    Some(Capture {
        name,
        session,
        agreed,
        command: info.query.all("command").map(ToOwned::to_owned).collect(),
        steps,
        ended_by,
        meta: meta.clone(),
    })
}

fn head(bytes: &[u8]) -> (Vec<&str>, usize) {
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    (
        std::str::from_utf8(&bytes[..end])
            .unwrap()
            .split("\r\n")
            .collect(),
        end + 4,
    )
}

fn request_head(bytes: &[u8]) -> (request::Parts, usize) {
    let (lines, length) = head(bytes);
    let mut words = lines[0].split(' ');
    let mut builder = Request::builder()
        .method(words.next().unwrap())
        .uri(words.next().unwrap());
    for (name, value) in lines[1..].iter().filter_map(|line| line.split_once(':')) {
        builder = builder.header(name, value.trim());
    }
    (builder.body(()).unwrap().into_parts().0, length)
}

fn response_head(bytes: &[u8]) -> (response::Parts, usize) {
    let (lines, length) = head(bytes);
    let mut builder = Response::builder().status(lines[0].split(' ').nth(1).unwrap());
    for (name, value) in lines[1..].iter().filter_map(|line| line.split_once(':')) {
        builder = builder.header(name, value.trim());
    }
    (builder.body(()).unwrap().into_parts().0, length)
}
