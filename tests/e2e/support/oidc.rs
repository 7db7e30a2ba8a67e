//! The certified OIDC provider of `tests/clients/oidc-provider`.

use serde_json::{Value, json};

use super::process::{PATIENCE, Process, Running};
use super::world::{Workshop, tool};

/// A running provider; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Provider {
    process: Running,
    /// Its issuer URL.
    pub(crate) issuer: String,
}

impl Provider {
    /// Starts one that knows `accounts`: the claims of each, by name.
    pub(crate) fn start(workshop: &Workshop, accounts: &Value) -> Self {
        let (certificate, key) = workshop.ca.server(&["127.0.0.1", "localhost"]).unwrap();
        let certificate = workshop.write("oidc.crt", &certificate);
        let key = workshop.write("oidc.key", &key);
        let accounts = workshop.write("oidc-accounts.json", &accounts.to_string());
        let script = tool("node/clients/oidc-provider/provider.mjs");
        let mut process = Process::new(workshop.runtime(), tool("node/node"))
            .args([
                "--preserve-symlinks".as_ref(),
                "--preserve-symlinks-main".as_ref(),
                script.as_os_str(),
            ])
            .args([certificate, key, workshop.path("ca.crt"), accounts])
            .interactive()
            .start();
        let said = process.wait_for("its issuer", |text| text.contains('\n'));
        let said: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        Self {
            process,
            issuer: said["issuer"].as_str().unwrap().to_owned(),
        }
    }

    /// An ID token for `account`, through the authorization-code flow with PKCE.
    pub(crate) fn token(
        &mut self,
        account: &str,
        algorithm: &str,
        lifetime_seconds: u32,
    ) -> String {
        let said = self.ask(
            &json!({"account": account, "algorithm": algorithm, "lifetime": lifetime_seconds}),
        );
        said["token"]
            .as_str()
            .unwrap_or_else(|| panic!("no token: {said}"))
            .to_owned()
    }

    /// ID tokens as stock kubelogin asks for them: of a login, and renewed.
    pub(crate) fn tokens_of_kubelogin(&mut self, account: &str) -> [String; 2] {
        let said = self.ask(&json!({"kubelogin": account}));
        serde_json::from_value(said["tokens"].clone())
            .unwrap_or_else(|_| panic!("no tokens: {said}"))
    }

    /// What a person does at a page: logs in as `account`, and agrees. Returns the last page.
    pub(crate) fn visit(&mut self, url: &str, account: &str) -> String {
        let said = self.ask(&json!({"visit": url, "account": account}));
        said["text"]
            .as_str()
            .unwrap_or_else(|| panic!("no page: {said}"))
            .to_owned()
    }

    /// How long the next ID tokens last.
    pub(crate) fn set_lifetime(&mut self, seconds: u32) {
        self.ask(&json!({"lifetime": seconds}));
    }

    /// How far its clock is ahead of this machine's from now on.
    pub(crate) fn set_clock(&mut self, ahead_seconds: i32) {
        self.ask(&json!({"ahead": ahead_seconds}));
    }

    /// How many grants of this type there were.
    pub(crate) fn grants(&mut self, grant_type: &str) -> u64 {
        self.ask(&json!({"grants": grant_type}))["grants"]
            .as_u64()
            .unwrap()
    }

    fn ask(&mut self, wish: &Value) -> Value {
        self.process.ask(wish, PATIENCE)
    }
}
