//! What the captures do not show, or not from both sides: one test a feature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::apiserver::types::{self, proto};
use crate::apiserver::{Denial, Tls};
use crate::pki::Ca;

const JSON: &str = "content-type: application/json";
const MERGE: &str = "content-type: application/merge-patch+json";
const STRATEGIC: &str = "content-type: application/strategic-merge-patch+json";
const APPLY: &str = "content-type: application/apply-patch+yaml";
const PROTO: &str = "accept: application/vnd.kubernetes.protobuf,application/json";

#[tokio::test]
async fn the_seed_has_what_the_demo_tells() {
    let running = started(Settings::default()).await;
    let db = call(
        &running,
        "GET",
        "/api/v1/namespaces/default/secrets/db",
        &[],
        "",
    )
    .await
    .json();
    assert_eq!(
        db["data"]["password"],
        STANDARD.encode("correct-horse-battery")
    );
    assert!(db.get("stringData").is_none());
    let applied = call(
        &running,
        "GET",
        "/api/v1/namespaces/default/secrets/applied",
        &[],
        "",
    )
    .await
    .json();
    let annotation =
        applied.pointer("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration");
    assert!(
        annotation
            .and_then(Value::as_str)
            .expect("annotated")
            .contains("applied-token-from-stringdata")
    );
    let pods = call(
        &running,
        "GET",
        "/api/v1/namespaces/payments/pods?fieldSelector=status.phase%3DRunning",
        &[],
        "",
    )
    .await
    .json();
    assert_eq!(pods["items"].as_array().expect("a list").len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn it_speaks_tls_with_http2_and_http1() {
    let ca = Ca::new().expect("made");
    let (certificate_pem, private_key_pem) = ca.server(&["localhost"]).expect("made");
    let tls = Some(Tls {
        certificate_pem,
        private_key_pem,
    });
    let running = started(Settings {
        tls,
        ..Settings::default()
    })
    .await;
    for alpn in ["h2", "http/1.1"] {
        let config = ca.client_config(&[alpn]).expect("made");
        let stream = TcpStream::connect(running.address())
            .await
            .expect("connects");
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        let stream = tokio_rustls::TlsConnector::from(config)
            .connect(name, stream)
            .await
            .expect("trusted");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
    }
    running.stop().await;
    let plain = started(Settings::default()).await;
    let mut over_h2 = request("GET", "/readyz", &[], "");
    *over_h2.uri_mut() = format!("http://{}/readyz", plain.address())
        .parse()
        .expect("a URI");
    assert_eq!(whole(send_h2(&plain, over_h2).await).await.body, "ok");
}

#[tokio::test]
async fn impersonation_decides_who_asks_and_denials_are_forbidden() {
    let denials = vec![Denial {
        user: "ana".to_owned(),
        verb: "get".to_owned(),
        resource: "secrets".to_owned(),
        ..Denial::default()
    }];
    let running = started(Settings {
        denials,
        ..Settings::default()
    })
    .await;
    let ana = [
        "impersonate-user: ana",
        "impersonate-group: dev",
        "impersonate-extra-portcullis.dev%2frule: r1",
    ];
    let review = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
    let answer = call(
        &running,
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        &ana,
        review,
    )
    .await;
    assert_eq!(answer.status, 201);
    assert_eq!(
        answer.json()["status"]["userInfo"],
        json!({"username": "ana", "groups": ["dev", "system:authenticated"], "extra": {"portcullis.dev/rule": ["r1"]}})
    );
    let refused = call(
        &running,
        "GET",
        "/api/v1/namespaces/default/secrets/db",
        &ana,
        "",
    )
    .await;
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.json()["message"],
        "secrets \"db\" is forbidden: User \"ana\" cannot get resource \"secrets\" in API group \"\" in the namespace \"default\""
    );
    let anonymous = call(
        &running,
        "GET",
        "/api/v1/namespaces/default/secrets/db",
        &["authorization: "],
        "",
    )
    .await;
    assert_eq!(anonymous.status, 401);
    let seen = running.requests();
    assert_eq!(seen[0].user.as_ref().expect("known").name, "ana");
}

#[tokio::test]
async fn objects_are_created_updated_and_deleted_with_optimistic_locking() {
    let running = started(Settings::default()).await;
    let all = "/api/v1/namespaces/default/configmaps";
    let created = call(
        &running,
        "POST",
        all,
        &[JSON],
        r#"{"metadata":{"generateName":"c-"},"data":{"a":"1"}}"#,
    )
    .await;
    assert_eq!(created.status, 201);
    let mut object = created.json();
    let name = object["metadata"]["name"]
        .as_str()
        .expect("generated")
        .to_owned();
    assert!(name.starts_with("c-") && name.len() == 7);
    let path = format!("{all}/{name}");
    object["data"]["a"] = json!("2");
    let updated = call(&running, "PUT", &path, &[], &object.to_string()).await;
    assert_eq!(updated.status, 200, "a PUT without a content type is JSON");
    assert_eq!(
        call(&running, "PUT", &path, &[JSON], &object.to_string())
            .await
            .status,
        409
    );
    let dry = call(
        &running,
        "PATCH",
        &format!("{path}?dryRun=All"),
        &[MERGE],
        r#"{"data":{"a":"3"}}"#,
    )
    .await
    .json();
    assert_eq!(dry["data"]["a"], "3");
    assert_eq!(
        call(&running, "GET", &path, &[], "").await.json()["data"]["a"],
        "2"
    );
    let wrong = r#"{"preconditions":{"uid":"another"}}"#;
    assert_eq!(
        call(&running, "DELETE", &path, &[JSON], wrong).await.status,
        409
    );
    let deleted = call(&running, "DELETE", &path, &[], "").await.json();
    assert_eq!(
        (deleted["kind"].as_str(), deleted["status"].as_str()),
        (Some("Status"), Some("Success"))
    );
    assert_eq!(call(&running, "GET", &path, &[], "").await.status, 404);
    let elsewhere = call(
        &running,
        "POST",
        "/api/v1/namespaces/nowhere/configmaps",
        &[JSON],
        r#"{"metadata":{"name":"x"}}"#,
    )
    .await;
    assert_eq!(
        elsewhere.json()["message"],
        "namespaces \"nowhere\" not found"
    );
}

#[tokio::test]
async fn an_object_with_finalizers_waits_for_them() {
    let running = started(Settings::default()).await;
    let path = "/api/v1/namespaces/default/configmaps/held";
    let held = r#"{"metadata":{"name":"held","finalizers":["example.com/hold"]}}"#;
    assert_eq!(
        call(
            &running,
            "POST",
            "/api/v1/namespaces/default/configmaps",
            &[JSON],
            held
        )
        .await
        .status,
        201
    );
    assert_eq!(call(&running, "DELETE", path, &[], "").await.status, 200);
    assert!(
        call(&running, "GET", path, &[], "").await.json()["metadata"]["deletionTimestamp"]
            .is_string()
    );
    call(
        &running,
        "PATCH",
        path,
        &[MERGE],
        r#"{"metadata":{"finalizers":null}}"#,
    )
    .await;
    assert_eq!(call(&running, "GET", path, &[], "").await.status, 404);
}

#[tokio::test]
async fn server_side_apply_creates_conflicts_and_forces() {
    let running = started(Settings::default()).await;
    let path = "/api/v1/namespaces/default/configmaps/ssa?fieldManager=";
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ssa\ndata:\n  a: one\n";
    assert_eq!(
        call(&running, "PATCH", &format!("{path}ana"), &[APPLY], yaml)
            .await
            .status,
        201
    );
    let other = yaml.replace("one", "two");
    let refused = call(&running, "PATCH", &format!("{path}bob"), &[APPLY], &other).await;
    assert_eq!(refused.status, 409);
    assert_eq!(
        refused.json()["message"],
        "Apply failed with 1 conflict: conflict with \"ana\" using v1: .data.a"
    );
    let forced = call(
        &running,
        "PATCH",
        &format!("{path}bob&force=true"),
        &[APPLY],
        &other,
    )
    .await;
    assert_eq!(forced.json()["data"]["a"], "two");
}

#[tokio::test]
async fn a_deployment_lives_scales_and_takes_its_pods_with_it() {
    let running = started(Settings::default()).await;
    let path = "/apis/apps/v1/namespaces/default/deployments/web";
    let pods = || {
        call(
            &running,
            "GET",
            "/api/v1/namespaces/default/pods?labelSelector=app%3Dweb",
            &[],
            "",
        )
    };
    let count = |answer: Answer| answer.json()["items"].as_array().map(Vec::len);
    let scale = call(&running, "GET", &format!("{path}/scale"), &[], "")
        .await
        .json();
    assert_eq!(
        (scale["kind"].as_str(), scale["status"]["selector"].as_str()),
        (Some("Scale"), Some("app=web"))
    );
    let scaled = call(
        &running,
        "PATCH",
        &format!("{path}/scale"),
        &[MERGE],
        r#"{"spec":{"replicas":4}}"#,
    )
    .await;
    assert_eq!(scaled.json()["spec"]["replicas"], 4);
    assert_eq!(count(pods().await), Some(4));
    let image =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:2"}]}}}}"#;
    let patched = call(&running, "PATCH", path, &[STRATEGIC], image)
        .await
        .json();
    assert_eq!(patched["metadata"]["generation"], 3);
    let listed = pods().await.json();
    assert!(
        listed["items"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|pod| pod["spec"]["containers"][0]["image"] == "nginx:2")
    );
    call(&running, "DELETE", path, &[], "").await;
    assert_eq!(count(pods().await), Some(0));
}

#[tokio::test]
async fn protobuf_goes_both_ways() {
    let running = started(Settings::default()).await;
    // The body of capture kubectl-dryrun-server-1.36.
    let body = b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12<\n\x1a\n\x06kc-dry\x12\0\x1a\x04shop\"\0*\x002\x008\0B\0\x12\x1c\n\x08password\x12\x10S3cr3t-Pa55w0rd!\x1a\0\x1a\0\"\0";
    running
        .put(json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}}))
        .expect("stored");
    let mut create = request(
        "POST",
        "/api/v1/namespaces/shop/secrets?fieldManager=kubectl-create",
        &[PROTO, "content-type: application/vnd.kubernetes.protobuf"],
        "",
    );
    *create.body_mut() = Full::new(Bytes::from_static(body));
    let created = whole(send(&running, create).await).await;
    assert_eq!(
        (created.status.as_u16(), created.content_type()),
        (201, "application/vnd.kubernetes.protobuf")
    );
    let stored = call(
        &running,
        "GET",
        "/api/v1/namespaces/shop/secrets/kc-dry",
        &[],
        "",
    )
    .await
    .json();
    assert_eq!(
        stored["data"]["password"],
        STANDARD.encode("S3cr3t-Pa55w0rd!")
    );
    assert_eq!(
        stored["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:data": {".": {}, "f:password": {}}, "f:type": {}})
    );
    // Every seeded object survives the way through protobuf.
    for path in [
        "/apis/apps/v1/namespaces/default/deployments/web",
        "/api/v1/namespaces/default/pods/toolbox",
        "/api/v1/nodes/node-1",
        "/api/v1/namespaces/default/services/web",
    ] {
        let json = call(&running, "GET", path, &[], "").await.json();
        let bytes = call(&running, "GET", path, &[PROTO], "").await.body;
        let (_, kind, raw) = proto::open(&bytes).expect("protobuf");
        let decoded = proto::decode(types::message(&kind).expect("known"), raw).expect("decodes");
        let image = |value: &Value| {
            value
                .pointer("/spec/containers/0/image")
                .or_else(|| value.pointer("/spec/template/spec/containers/0/image"))
                .cloned()
        };
        let decoded = Value::Object(decoded);
        assert_eq!(image(&decoded), image(&json), "{path}");
        for part in [
            "/metadata/uid",
            "/metadata/labels",
            "/metadata/creationTimestamp",
            "/spec/replicas",
            "/spec/ports",
            "/status/capacity",
            "/status/podIP",
        ] {
            assert_eq!(decoded.pointer(part), json.pointer(part), "{path} {part}");
        }
    }
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_ask() {
    let running = started(Settings::default()).await;
    let filler = "x".repeat(200_000);
    running.put(json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "big", "namespace": "default"}, "data": {"x": filler}})).expect("stored");
    let path = "/api/v1/namespaces/default/configmaps/big";
    let encoding = |answer: &Answer| answer.headers.get("content-encoding").cloned();
    let zipped = call(
        &running,
        "GET",
        path,
        &["accept-encoding: gzip, deflate"],
        "",
    )
    .await;
    assert_eq!(encoding(&zipped).expect("encoded"), "gzip");
    assert!(zipped.body.len() < 10_000);
    for accept in ["accept-encoding: gzip;q=1.0", "accept-encoding: *"] {
        assert_eq!(
            encoding(&call(&running, "GET", path, &[accept], "").await),
            None
        );
    }
}

#[tokio::test]
async fn a_crd_brings_its_resource_with_table_columns() {
    let running = started(Settings::default()).await;
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "databases.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "databases", "kind": "Database"}, "versions": [{
            "name": "v1", "served": true, "storage": true,
            "additionalPrinterColumns": [{"name": "Engine", "type": "string", "jsonPath": ".spec.engine"}],
        }]},
    });
    call(
        &running,
        "POST",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        &[JSON],
        &crd.to_string(),
    )
    .await;
    let all = "/apis/example.com/v1/namespaces/default/databases";
    let one = r#"{"apiVersion":"example.com/v1","kind":"Database","metadata":{"name":"d"},"spec":{"password":"p","engine":"pg"}}"#;
    assert_eq!(call(&running, "POST", all, &[JSON], one).await.status, 201);
    let text =
        String::from_utf8(call(&running, "GET", all, &[], "").await.body.to_vec()).expect("text");
    assert!(text.starts_with(r#"{"apiVersion":"example.com/v1","items":[{"apiVersion":"example.com/v1","kind":"Database","metadata":{"#), "{text}");
    let table = call(
        &running,
        "GET",
        all,
        &["accept: application/json;as=Table;v=v1;g=meta.k8s.io"],
        "",
    )
    .await
    .json();
    assert_eq!(table["rows"][0]["cells"], json!(["d", "pg"]));
    assert_eq!(
        call(&running, "PATCH", &format!("{all}/d"), &[STRATEGIC], "{}")
            .await
            .status,
        415
    );
    let groups = call(&running, "GET", "/apis/example.com/v1", &[], "")
        .await
        .json();
    assert_eq!(groups["resources"][0]["kind"], "Database");
}

#[tokio::test]
async fn the_huge_list_is_made_as_it_is_read() {
    let running = started(Settings {
        huge_list_bytes: Some(64 * 1024 * 1024),
        ..Settings::default()
    })
    .await;
    let mut response = send(
        &running,
        request("GET", "/api/v1/namespaces/huge/secrets", &[], ""),
    )
    .await;
    let first = piece(response.body_mut()).await.expect("begins");
    assert!(first.starts_with(r#"{"kind":"SecretList","apiVersion":"v1""#));
    // The reader stopped here: the server can only have filled the buffers between.
    tokio::task::yield_now().await;
    assert!(
        running.bytes_sent() < 32 * 1024 * 1024,
        "{}",
        running.bytes_sent()
    );
    let mut length = first.len();
    while let Some(text) = piece(response.body_mut()).await {
        length += text.len();
    }
    assert!(length >= 64 * 1024 * 1024);
    assert_eq!(running.bytes_sent(), length as u64);
}

#[tokio::test]
async fn explain_and_old_kubectl_find_their_documents() {
    let running = started(Settings::default()).await;
    let index = call(&running, "GET", "/openapi/v3", &[], "").await.json();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .expect("listed")
        .to_owned();
    let document = call(&running, "GET", &url, &[], "").await.json();
    let containers =
        &document["components"]["schemas"]["io.k8s.api.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    let patch =
        &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert!(
        patch["parameters"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|parameter| parameter["name"] == "fieldValidation")
    );
    let accept = "accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let swagger = call(&running, "GET", "/openapi/v2", &[accept], "").await;
    assert_eq!(
        swagger.content_type(),
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    let etag = swagger
        .headers
        .get("etag")
        .expect("tagged")
        .to_str()
        .expect("text")
        .to_owned();
    let again = call(
        &running,
        "GET",
        "/openapi/v2",
        &[accept, &format!("if-none-match: {etag}")],
        "",
    )
    .await;
    assert_eq!(again.status, 304);
}
