//! The demo: everything a newcomer needs to see the gateway work, started by one command.
//!
//! It keeps all it writes in one folder (`target/demo`): the CA, kubeconfigs, policies, `gateway.yaml`
//! and the gateway's data directory. Nothing listens beyond loopback, and a `KUBECONFIG` in the
//! environment is never read: a real cluster is used only when its kubeconfig is named.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use portcullis::app::{self, App};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{apiserver, issuer};

mod files;
mod words;

use files::Folder;

/// Start a demo of the gateway: a simulated Kubernetes API server (or a real one), a local OIDC issuer,
/// and Portcullis in front of them.
#[derive(Clone, Debug, Parser)]
#[command(name = "demo")]
pub struct Args {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    pub dir: PathBuf,
    /// Put the gateway in front of this cluster instead of the simulated one. Its user must be allowed
    /// to impersonate. Only this flag counts; KUBECONFIG is not read.
    #[arg(long, value_name = "FILE")]
    pub cluster_kubeconfig: Option<PathBuf>,
    /// Where the gateway listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    pub gateway_address: SocketAddr,
    /// Where the gateway serves the console, /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub control_address: SocketAddr,
    /// Where the simulated API server listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6443")]
    pub apiserver_address: SocketAddr,
    /// Where the OIDC issuer listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8444")]
    pub issuer_address: SocketAddr,
    /// How long the callers' tokens are valid.
    #[arg(long, value_name = "HOURS", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=24))]
    pub token_hours: u32,
    /// What to log, as for `portcullis serve`. Hints about the configuration are left out: it is the
    /// demo's own.
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "warn,portcullis::app=error,portcullis::config::reload=info",
        env = "PORTCULLIS_LOG"
    )]
    pub log: String,
}

/// Runs the demo until Ctrl-C or SIGTERM.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log).unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?
        .block_on(demonstrate(args))
}

async fn demonstrate(args: &Args) -> anyhow::Result<()> {
    let demo = Demo::start(args).await?;
    words::say(&demo.what_next());
    app::stop_signal().await?;
    words::say("stopping");
    tokio::select! {
        () = demo.stop() => {}
        second = app::stop_signal() => second?,
    }
    Ok(())
}

/// A running demo.
pub struct Demo {
    folder: Folder,
    gateway: App,
    issuer: issuer::Running,
    cluster: Cluster,
}

/// What stands behind the gateway.
enum Cluster {
    Simulated(apiserver::Running),
    Real,
}

impl Demo {
    /// Starts all three and returns when all answer.
    pub async fn start(args: &Args) -> anyhow::Result<Self> {
        let folder = Folder::make(&args.dir)?;
        let tls = folder
            .ca
            .server_config(&["localhost", "127.0.0.1"], &["http/1.1"])?;
        let issuer = issuer::Issuer::start(args.issuer_address, tls)
            .await
            .with_context(|| busy("the OIDC issuer", args.issuer_address, "--issuer-address"))?;
        issuer.open(files::door(args));
        let cluster = if let Some(kubeconfig) = &args.cluster_kubeconfig {
            folder.use_cluster(kubeconfig)?;
            Cluster::Real
        } else {
            let token = files::random_token()?;
            let running = simulated(args.apiserver_address, &folder, &token).await?;
            folder.write_admin(running.address(), &token)?;
            Cluster::Simulated(running)
        };
        folder.write_gateway(args, issuer.url())?;
        let gateway = app::start(&folder.path("gateway.yaml"), CancellationToken::new()).await?;
        for caller in files::CALLERS {
            let token = issuer.issue(caller.claims(args.token_hours))?;
            folder.write_kubeconfig(caller.file, caller.name, &token, gateway.address)?;
        }
        let demo = Self {
            folder,
            gateway,
            issuer,
            cluster,
        };
        demo.answers().await?;
        Ok(demo)
    }

    /// The address of the gateway.
    pub fn gateway_address(&self) -> SocketAddr {
        self.gateway.address
    }

    /// Stops all three, the gateway first, drained.
    pub async fn stop(self) {
        self.gateway.drain().await;
        if let Cluster::Simulated(running) = self.cluster {
            running.stop().await;
        }
        self.issuer.stop().await;
    }

    /// Waits until the gateway says it is ready: it has the issuer's keys and reaches the cluster.
    async fn answers(&self) -> anyhow::Result<()> {
        let mut last = String::new();
        for _ in 0..READY_TRIES {
            match words::ready(self.gateway.control_address).await {
                Ok(()) => return Ok(()),
                Err(why) => last = why.to_string(),
            }
            tokio::time::sleep(READY_EVERY).await;
        }
        anyhow::bail!("the gateway did not become ready: {last}")
    }

    fn what_next(&self) -> String {
        let real = matches!(self.cluster, Cluster::Real);
        words::what_next(
            &self.folder.dir,
            (self.gateway.address, self.gateway.control_address),
            self.issuer.url(),
            real,
        )
    }
}

const READY_TRIES: u32 = 100;
const READY_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

async fn simulated(
    address: SocketAddr,
    folder: &Folder,
    admin_token: &str,
) -> anyhow::Result<apiserver::Running> {
    let (certificate_pem, private_key_pem) = folder.ca.server(&["localhost", "127.0.0.1"])?;
    let settings = apiserver::Settings {
        address,
        tls: Some(apiserver::Tls {
            certificate_pem,
            private_key_pem,
        }),
        tokens: vec![apiserver::Token::new(
            admin_token,
            "admin",
            &["system:masters"],
        )],
        ..apiserver::Settings::default()
    };
    apiserver::ApiServer::start(settings)
        .await
        .with_context(|| busy("the simulated API server", address, "--apiserver-address"))
}

fn busy(who: &str, address: SocketAddr, flag: &str) -> String {
    format!(
        "{who} cannot listen on {address}; stop what listens there, or choose another with {flag}"
    )
}

/// Prints why the demo ended.
pub fn complain(error: &anyhow::Error) {
    words::complain(&format!("error: {error:#}"));
}

/// The path as a user would type it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
