//! Proxies that a machine may have, set up as well as we know: one worker, TLS 1.3 with AES-128-GCM and the
//! certificates verified on both sides, connections to the upstream kept, answers passed on as they come.

use std::net::SocketAddr;
use std::path::Path;

use super::{Process, Stage};
use crate::harness::scenario::Target;

/// What nginx needs for a filter in Lua, where Debian's `libnginx-mod-http-lua` puts it.
const LUA_MODULES: [&str; 2] = [
    "/usr/lib/nginx/modules/ndk_http_module.so",
    "/usr/lib/nginx/modules/ngx_http_lua_module.so",
];

/// Masks the `data` of Secrets as somebody would who has nginx and an hour: by a regular expression over whole lines, so
/// over a whole list, which is one. It is held until it is there, and a blank in the JSON is enough to get around it.
const LUA_FILTER: &str = r#"
      header_filter_by_lua_block { ngx.header.content_length = nil }
      body_filter_by_lua_block {
        local chunk, over = ngx.arg[1], ngx.arg[2]
        local held = ngx.ctx.held or {}
        local whole = over and #chunk or chunk:find("\n[^\n]*$") or 0
        if whole == 0 and not over then
          held[#held + 1] = chunk
          ngx.ctx.held, ngx.arg[1] = held, nil
          return
        end
        held[#held + 1] = chunk:sub(1, whole)
        ngx.ctx.held = { chunk:sub(whole + 1) }
        ngx.arg[1] = ngx.re.gsub(table.concat(held), [[\\?"data\\?":\{[^}]*\}]], function(data)
          return (ngx.re.gsub(data[0], [[(:\\?")[^"\\]*]], "${1}W21hc2tlZF0=", "jo"))
        end, "jo")
      }"#;

/// Starts a proxy; `None` when the machine has none.
pub(super) fn start(
    stage: &Stage,
    target: Target,
    listen: SocketAddr,
) -> anyhow::Result<Option<Process>> {
    let name = target.to_string();
    let masks = target == Target::NginxLua;
    let program = if masks { "nginx" } else { &name };
    let Some(program) = installed(program) else {
        return Ok(None);
    };
    if masks && !LUA_MODULES.iter().all(|module| Path::new(module).is_file()) {
        return Ok(None);
    }
    let folder = stage.folder.join(&name);
    std::fs::create_dir_all(&folder)?;
    let setup = Setup {
        listen,
        upstream: stage.upstream,
        shared: stage.folder.display().to_string(),
        own: folder.display().to_string(),
    };
    let (file, text) = match target {
        Target::Nginx | Target::NginxLua => ("nginx.conf", setup.nginx(masks)),
        Target::Haproxy => ("haproxy.cfg", setup.haproxy()),
        _ => ("envoy.json", setup.envoy()),
    };
    let file = folder.join(file);
    std::fs::write(&file, text)?;
    if target == Target::Haproxy {
        let read = |name: &str| std::fs::read_to_string(stage.folder.join(name));
        std::fs::write(
            folder.join("both.pem"),
            [read("tls.crt")?, read("tls.key")?].concat(),
        )?;
    }
    Process::start(program, &folder, &name, |command| {
        match target {
            Target::Nginx | Target::NginxLua => command
                .arg("-p")
                .arg(&folder)
                .arg("-e")
                .arg("stderr")
                .arg("-c")
                .arg(&file),
            Target::Haproxy => command.arg("-db").arg("-f").arg(&file),
            // Without hot restart it shares no memory by a fixed name, so several may run.
            _ => command
                .args(["--concurrency", "1", "--log-level", "warning"])
                .args(["--disable-hot-restart", "-c"])
                .arg(&file),
        };
    })
    .map(Some)
}

/// Where `tests/tools/install.sh proxies` puts what Debian has no package of.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/envoy");

/// Where a program is: on the path, where Debian keeps those of root, or in [`TOOLS`].
fn installed(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin", TOOLS].map(Into::into));
    folders
        .map(|folder: std::path::PathBuf| folder.join(name))
        .find(|file: &std::path::PathBuf| Path::is_file(file))
}

struct Setup {
    listen: SocketAddr,
    upstream: SocketAddr,
    /// The folder with the certificates.
    shared: String,
    own: String,
}

impl Setup {
    fn nginx(&self, masks: bool) -> String {
        let Self {
            listen,
            upstream,
            shared,
            own,
        } = self;
        let (modules, filter) = if masks {
            let load = |module| format!("load_module {module};\n");
            (LUA_MODULES.map(load).concat(), LUA_FILTER)
        } else {
            (String::new(), "")
        };
        format!(
            "{modules}worker_processes 1;
daemon off;
# One process: a worker would outlive its master, which is killed at the end.
master_process off;
pid {own}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
  access_log off;
  client_body_temp_path {own}/body; proxy_temp_path {own}/proxy; fastcgi_temp_path {own}/fastcgi;
  uwsgi_temp_path {own}/uwsgi; scgi_temp_path {own}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream api {{ server {upstream}; keepalive 256; keepalive_requests 10000000; }}
  server {{
    listen {listen} ssl http2 backlog=4096;
    ssl_certificate {shared}/tls.crt; ssl_certificate_key {shared}/tls.key;
    ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    keepalive_requests 10000000; http2_max_concurrent_streams 1000;
    location / {{
      proxy_pass https://api;
      proxy_http_version 1.1;
      proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;
      proxy_read_timeout 1h; proxy_send_timeout 1h;
      proxy_ssl_verify on; proxy_ssl_trusted_certificate {shared}/ca.crt; proxy_ssl_name localhost;
      proxy_ssl_protocols TLSv1.3; proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;{filter}
    }}
  }}
}}
"
        )
    }

    fn haproxy(&self) -> String {
        let Self {
            listen,
            upstream,
            shared,
            own,
        } = self;
        format!(
            "global
  nbthread 1
  maxconn 9000
  tune.bufsize 65536
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-server-options ssl-min-ver TLSv1.3
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
defaults
  mode http
  option http-no-delay
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend clients
  bind {listen} ssl crt {own}/both.pem alpn h2,http/1.1 backlog 4096
  default_backend api
backend api
  http-reuse always
  server one {upstream} ssl verify required ca-file {shared}/ca.crt verifyhost localhost alpn http/1.1
"
        )
    }

    /// JSON is what Envoy reads too. Ciphers of TLS 1.3 cannot be chosen in it, but both its peers offer AES-128-GCM alone.
    /// It writes no access log unless told to, and keeps connections to the upstream.
    fn envoy(&self) -> String {
        let Self {
            listen,
            upstream,
            shared,
            ..
        } = self;
        let file = |name: &str| serde_json::json!({"filename": format!("{shared}/{name}")});
        let address = |it: &SocketAddr| serde_json::json!({"socket_address": {"address": it.ip().to_string(), "port_value": it.port()}});
        let tls = serde_json::json!({
            "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3", "ecdh_curves": ["X25519"],
        });
        let manager = serde_json::json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "clients", "codec_type": "AUTO", "stream_idle_timeout": "0s", "generate_request_id": false,
            "http2_protocol_options": {"max_concurrent_streams": 1000},
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "http_filters": [{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "api", "timeout": "0s"}},
            ]}]},
        });
        let down = serde_json::json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"], "tls_params": tls,
                "tls_certificates": [{"certificate_chain": file("tls.crt"), "private_key": file("tls.key")}],
            },
        });
        let up = serde_json::json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "localhost",
            "common_tls_context": {"tls_params": tls, "validation_context": {
                "trusted_ca": file("ca.crt"),
                // Without a name any certificate of the CA would do.
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "localhost"}}],
            }},
        });
        let limits = serde_json::json!({"thresholds": [
            {"max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000},
        ]});
        // As nginx; without it, it is 1 MiB, which saves no CPU time and takes several times the memory.
        let buffer = 64 << 10;
        serde_json::json!({"static_resources": {
            "listeners": [{
                "address": address(listen), "tcp_backlog_size": 4096, "per_connection_buffer_limit_bytes": buffer,
                "filter_chains": [{
                    "filters": [{"name": "http", "typed_config": manager}],
                    "transport_socket": {"name": "tls", "typed_config": down},
                }],
            }],
            "clusters": [{
                "name": "api", "type": "STATIC", "connect_timeout": "5s", "circuit_breakers": limits,
                "per_connection_buffer_limit_bytes": buffer,
                "load_assignment": {"cluster_name": "api", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}]},
                "transport_socket": {"name": "tls", "typed_config": up},
            }],
        }})
        .to_string()
    }
}
