//! Builds everything from a configuration, starts it and drains it: the only wiring.

mod health;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use rustix::process::{Resource, Rlimit, setrlimit};
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::approval::{self, Desk, Store};
use crate::audit::AuditLog;
use crate::audit::responses::Responses;
use crate::audit::responses::read::Shelf;
use crate::callers::Callers;
use crate::config::live::Live;
use crate::config::reload::{self, Reload, Reloader};
use crate::config::{Config, placeholder_key, policy_file};
use crate::control;
use crate::control::console::{Client, Rooms, Rulebook};
use crate::gateway::Gateway;
use crate::gateway::grant::{Holder, InForce};
use crate::gateway::learning::Learner;
use crate::gateway::record::Keeper;
use crate::gateway::route::Clusters;
use crate::gateway::write::budget::BodyBudget;
use crate::identity::{Authenticator, IssuerSettings, Refused, Revocations};
use crate::listener;
use crate::metrics::{Listener, Metrics};
use crate::policy::Policy;
use crate::recording::Recorder;
use crate::recording::index::{self, Catalog};
use crate::transform::text::known::KnownValues;
use crate::transform::{self, Placeholders};
use crate::upstream::Upstream;

/// A running gateway.
pub struct App {
    /// Where it listens for API clients.
    pub address: SocketAddr,
    /// Where health, readiness and metrics are served.
    pub control_address: SocketAddr,
    shutdown: CancellationToken,
    ending: CancellationToken,
    /// Connections, sessions and records: what drain waits for.
    answering: TaskTracker,
    /// What runs as long as the gateway does: key refresh, upstream connections, policy files.
    background: TaskTracker,
    drain_timeout: Duration,
    /// Sealed when the last request is over.
    audit: AuditLog,
    control: CancellationToken,
    /// Removed when the gateway has ended.
    _control_socket: Option<control::Socket>,
}

/// Starts a gateway from its configuration file. Cancelling `shutdown` stops it from accepting more;
/// [`App::drain`] does that and waits.
pub async fn start(config_file: &Path, shutdown: CancellationToken) -> anyhow::Result<App> {
    let config = load(config_file)?;
    dump_no_core();
    let (answering, background) = (TaskTracker::new(), TaskTracker::new());
    background.spawn_blocking(transform::text::prepare);
    let ending = CancellationToken::new();
    let control = CancellationToken::new();
    let (metrics, rendering) = Metrics::new();
    let callers = callers(&config).await?;
    let unusable = "dataDirectory: the database of approvals and blocks cannot be used";
    let desk = Desk::open(callers.store().clone(), metrics.clone())
        .await
        .context(unusable)?;
    let gateway = Arc::new(assemble(
        &config,
        (metrics, callers, desk),
        &answering,
        &background,
        &shutdown,
        &ending,
    )?);

    gateway.upstream.look(&background, &ending);
    let mut reports = reports(&config, &gateway, rendering)?;
    reports.shipping = shipping(&config, &gateway.keeper.metrics)?;
    let (control_address, control_socket) = control::start(
        &config.control,
        &config.data_directory,
        reports,
        control.clone(),
    )
    .with_context(|| {
        format!(
            "control.address: cannot listen on {}",
            config.control.address
        )
    })?;

    let drain_timeout = config.listener.drain_timeout;
    let (audit, metrics) = (gateway.keeper.audit.clone(), gateway.keeper.metrics.clone());
    let answer = move |arrival, peer| Arc::clone(&gateway).answer(arrival, peer);
    let stop = shutdown.clone();
    let address = listener::serve(config.listener, answer, &answering, stop, metrics).await?;
    Ok(App {
        address,
        control_address,
        shutdown,
        ending,
        answering,
        background,
        drain_timeout,
        audit,
        control,
        _control_socket: control_socket,
    })
}

/// What sends the audit log elsewhere.
fn shipping(config: &Config, metrics: &Metrics) -> anyhow::Result<Vec<control::Shipping>> {
    let (file, place) = (&config.audit.file, &config.data_directory);
    let sinks = config.audit_sinks.iter().map(|settings| {
        control::Shipping::open(settings, file, place, metrics.clone())
            .map_err(|why| anyhow::anyhow!("audit: the log cannot be sent: {why}"))
    });
    sinks.collect()
}

/// What the control plane reports on.
fn reports(
    config: &Config,
    gateway: &Arc<Gateway>,
    rendering: PrometheusHandle,
) -> anyhow::Result<control::Reports> {
    let (reporter, degraded) = (Arc::clone(gateway), Arc::clone(gateway));
    let (measured, metrics) = (Arc::clone(gateway), gateway.keeper.metrics.clone());
    let speaking = Arc::clone(gateway);
    let records = control::Records::new(gateway.keeper.audit.clone(), move |text| {
        speaking.without_any_known_value(text)
    });
    let approvals = Arc::new(control::Approvals {
        desk: gateway.holder.desk.clone(),
        audit: records.clone(),
        authenticator: Arc::clone(&gateway.authenticator),
        operators: config.control.operators.clone(),
        watchers: control::approvals::Watchers::default(),
        policy: Arc::clone(&gateway.holder.in_force.policy),
        at: config.control.url(),
    });
    let sessions = Arc::new(control::Sessions {
        recorder: Arc::clone(&gateway.recorder),
        catalog: Catalog::new(
            config.data_directory.join(index::FILE),
            config.recording.directory.clone(),
        ),
        audit: records.clone(),
        authenticator: Arc::clone(&gateway.authenticator),
        operators: config.control.operators.clone(),
        searches: control::Searches::default(),
    });
    let callers = Arc::new(control::Callers {
        callers: Arc::clone(&gateway.callers),
        audit: records.clone(),
        authenticator: Arc::clone(&gateway.authenticator),
        operators: config.control.operators.clone(),
    });
    let audits = Arc::new(control::Audits {
        trail: Arc::new(control::Trail::of(&config.audit.file)),
        shelf: Shelf::of(&config.recording.directory),
        audit: records.clone(),
        authenticator: Arc::clone(&gateway.authenticator),
        operators: config.control.operators.clone(),
    });
    Ok(control::Reports {
        private: config.control.is_private(),
        measure: Box::new(move || health::measure(&measured)),
        certificate: Box::new(move |until| metrics.certificate(Listener::Control, until)),
        metrics: rendering,
        not_ready: Box::new(move || health::not_ready(&reporter)),
        degraded: Box::new(move || health::degraded(&degraded)),
        console: console(config, gateway, (&approvals, &sessions, &callers, &audits))?,
        sessions: Some(sessions),
        callers: Some(callers),
        audits: Some(audits),
        approvals: Some(approvals),
        shipping: Vec::new(),
    })
}

/// The console, if there is to be one.
fn console(
    config: &Config,
    gateway: &Arc<Gateway>,
    (approvals, sessions, callers, audits): (
        &Arc<control::Approvals>,
        &Arc<control::Sessions>,
        &Arc<control::Callers>,
        &Arc<control::Audits>,
    ),
) -> anyhow::Result<Option<Arc<control::Console>>> {
    let Some(settings) = &config.control.console else {
        return Ok(None);
    };
    let issuers = &config.authentication.issuers;
    let named = |issuer: &&IssuerSettings| {
        settings
            .issuer
            .as_ref()
            .is_none_or(|url| *url == issuer.url)
    };
    let issuer = issuers.iter().find(named);
    let secret = settings.client_secret_file.as_ref().map(|file| {
        std::fs::read_to_string(file)
            .map(|text| SecretString::from(text.trim()))
            .with_context(|| format!("control.console.clientSecretFile: {}", file.display()))
    });
    let client = Client {
        issuer: issuer
            .context("control.console.issuer: no such issuer")?
            .clone(),
        client_id: settings.client_id.clone(),
        client_secret: secret.transpose()?,
        scopes: settings.scopes.clone(),
    };
    let rooms = Rooms {
        approvals: Arc::clone(approvals),
        sessions: Arc::clone(sessions),
        trail: Arc::clone(&audits.trail),
        callers: Arc::clone(callers),
        rulebook: Rulebook {
            policy: Arc::clone(&gateway.holder.in_force.policy),
            clusters: gateway.clusters.names.clone(),
            default_cluster: gateway.clusters.default.clone(),
        },
        audit: audits.audit.clone(),
        authenticator: Arc::clone(&gateway.authenticator),
        operators: config.control.operators.clone(),
    };
    let url = config.control.url();
    Ok(Some(Arc::new(control::Console::new(&url, client, rooms))))
}

/// Books for what is known of every cluster's Secrets, and who fills them.
fn learn(
    config: &Config,
    upstream: &Arc<Upstream>,
    policy: &Arc<Live<Policy>>,
    placeholders: &Arc<Placeholders>,
    (metrics, background, ending): (&Metrics, &TaskTracker, &CancellationToken),
) -> Arc<KnownValues> {
    let known = Arc::new(KnownValues::new(
        config.upstream.names(),
        placeholders,
        config.known_values,
    ));
    for (cluster, book) in known.books() {
        let learner = Learner {
            upstream: Arc::clone(upstream),
            policy: Arc::clone(policy),
            cluster: cluster.to_owned(),
            book: Arc::clone(book),
            watch: config.known_values.watch,
            metrics: metrics.clone(),
        };
        background.spawn(learner.run(ending.clone()));
    }
    known
}

/// Known values are in memory, and nowhere else: not in the core file of a crash either.
fn dump_no_core() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps cannot be turned off; one would hold the values of Secrets");
    }
}

fn load(config_file: &Path) -> anyhow::Result<Config> {
    let config = Config::load(config_file).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(
            "{}\nthe configuration cannot be used; `portcullis check {}` shows this list again",
            lines.join("\n"),
            config_file.display()
        )
    })?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

fn assemble(
    config: &Config,
    (metrics, callers, desk): (Metrics, Arc<Callers>, Desk),
    answering: &TaskTracker,
    background: &TaskTracker,
    shutdown: &CancellationToken,
    ending: &CancellationToken,
) -> anyhow::Result<Gateway> {
    let audit = AuditLog::open(&config.audit)
        .with_context(|| format!("audit.file: cannot open {}", config.audit.file.display()))?;
    let placeholders = Arc::new(Placeholders::new(&placeholder_key::open(
        &config.data_directory,
    )?));
    let upstream = Upstream::start(config.upstream.clone(), background, &metrics, ending)?;
    let policy = Live::new(Arc::clone(&config.policy));
    let revocations = Live::new(Arc::clone(&config.revocations));
    follow_files(
        config,
        &policy,
        &revocations,
        &metrics,
        background,
        shutdown,
    );
    let known = learn(
        config,
        &upstream,
        &policy,
        &placeholders,
        (&metrics, background, ending),
    );
    Ok(Gateway {
        authenticator: Authenticator::start(
            config.authentication.clone(),
            Refused {
                revocations: Arc::clone(&revocations),
                blocks: Arc::clone(callers.blocks()),
            },
            background,
            ending.clone(),
        )?,
        hosts: config.listener.hosts.clone(),
        clusters: Clusters {
            names: config.upstream.names().map(str::to_owned).collect(),
            default: config.default_cluster.clone(),
        },
        holder: Arc::new(Holder {
            in_force: InForce::new(policy, revocations, Arc::clone(callers.blocks())),
            desk,
            stream_grace: config.authentication.stream_grace,
            draining: shutdown.clone(),
            ending: ending.clone(),
        }),
        callers,
        upstream,
        placeholders,
        known,
        recorder: Arc::new(
            Recorder::start(
                config.recording.clone(),
                Some(config.data_directory.join(index::FILE)),
                metrics.clone(),
            )
            .context("the recorder cannot start")?,
        ),
        approvals_at: config.control.url(),
        budget: BodyBudget::default(),
        keeper: Arc::new(Keeper {
            audit,
            responses: Responses::start(config.responses.clone(), metrics.clone())
                .context("what keeps answers cannot start")?,
            metrics,
            stories: Arc::default(),
            tasks: answering.clone(),
        }),
    })
}

/// The state that survives restarts: first of all who is blocked.
async fn callers(config: &Config) -> anyhow::Result<Arc<Callers>> {
    let directory = &config.data_directory;
    std::fs::create_dir_all(directory)
        .with_context(|| format!("dataDirectory: cannot create {}", directory.display()))?;
    let unusable = "dataDirectory: the database of approvals and blocks cannot be used";
    let store = Store::open(&directory.join(approval::FILE)).context(unusable)?;
    let callers = Callers::open(store).await.context(unusable)?;
    let blocked = callers.blocks().current().len();
    if blocked > 0 {
        tracing::info!(
            blocked,
            "callers are blocked; `portcullis callers ls` lists them"
        );
    }
    Ok(callers)
}

/// Keeps policy and revocation list what their files say.
fn follow_files(
    config: &Config,
    policy: &Arc<Live<Policy>>,
    revocations: &Arc<Live<Revocations>>,
    metrics: &Metrics,
    background: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let reloader = Reloader::policy(Arc::clone(policy), config.policy_files.clone());
    let counted = metrics.clone();
    let in_force = Arc::clone(policy);
    let told = move |applied| {
        counted.policy_reloaded(applied);
        if applied && in_force.current().observes() {
            tracing::warn!("{}", policy_file::OBSERVES);
        }
    };
    background.spawn(follow(reloader, told, shutdown.clone()));
    if let Some(file) = &config.revocation_file {
        let issuers = config.authentication.issuer_urls();
        let reloader = Reloader::revocations(Arc::clone(revocations), file.clone(), issuers);
        let counted = metrics.clone();
        let told = move |applied| counted.revocations_reloaded(applied);
        background.spawn(follow(reloader, told, shutdown.clone()));
    }
}

async fn follow<T: Send + Sync + 'static>(
    reloader: Reloader<T>,
    told: impl Fn(bool) + Send + 'static,
    shutdown: CancellationToken,
) {
    let told = move |reload: &Reload| told(matches!(reload, Reload::Applied { .. }));
    if let Err(error) = reload::run(reloader, told, shutdown).await {
        tracing::error!(%error, "files are no longer watched; restart the gateway to apply changes");
    }
}

impl App {
    /// Drains: new connections are refused, watches and logs end cleanly, the rest has the drain
    /// timeout; then sessions are told and ended.
    pub async fn drain(self) {
        self.shutdown.cancel();
        self.answering.close();
        if tokio::time::timeout(self.drain_timeout, self.answering.wait())
            .await
            .is_err()
        {
            self.ending.cancel();
            if tokio::time::timeout(FAREWELL, self.answering.wait())
                .await
                .is_err()
            {
                tracing::warn!(tasks = self.answering.len(), "not everything ended in time");
            }
        }
        self.ending.cancel();
        self.control.cancel();
        let sealed = tokio::time::timeout(FAREWELL, self.audit.seal()).await;
        if !matches!(sealed, Ok(Ok(()))) {
            tracing::warn!("the audit log could not be sealed in time");
        }
        self.background.close();
        if tokio::time::timeout(FAREWELL, self.background.wait())
            .await
            .is_err()
        {
            tracing::debug!(
                tasks = self.background.len(),
                "background tasks were left behind"
            );
        }
    }
}

/// How long sessions have to say goodbye when the drain timeout is over.
const FAREWELL: Duration = Duration::from_secs(2);

/// Resolves on SIGTERM or Ctrl-C.
pub async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}
