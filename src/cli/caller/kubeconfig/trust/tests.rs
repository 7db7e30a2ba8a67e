use loadtest::issuer::{Document, Issuer, Running};
use loadtest::pki::Ca;
use rustls::pki_types::PrivateKeyDer;

use super::*;

#[test]
fn fingerprints_are_read_as_openssl_prints_them() {
    let expected = Fingerprint([0xAB; 32]);
    let colons = ["AB"; 32].join(":");
    for text in [
        colons.clone(),
        format!("sha256 Fingerprint={colons}"),
        format!("SHA256:{}", "ab".repeat(32)),
        expected.to_string(),
    ] {
        assert_eq!(fingerprint(&text), Ok(expected), "{text}");
    }
    for text in [
        String::new(),
        "ab".repeat(31),
        "ab".repeat(33),
        "zz".repeat(32),
    ] {
        assert!(fingerprint(&text).is_err(), "{text}");
    }
}

#[tokio::test]
async fn an_authority_is_taken_only_by_its_fingerprint() {
    let ca = Ca::new().unwrap();
    let gateway = gateway(&ca, true).await;
    let der = CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap();
    let right = Fingerprint::of(&der);
    let unasked = authority(gateway.url(), None, None).await.unwrap_err();
    let unasked = unasked.to_string();
    assert!(
        unasked.contains(&format!("--trust-fingerprint={right}")),
        "{unasked}"
    );
    let wrong = authority(gateway.url(), None, Some(Fingerprint([7; 32]))).await;
    let wrong = wrong.unwrap_err().to_string();
    assert!(wrong.contains("stand in between"), "{wrong}");
    let taken = authority(gateway.url(), None, Some(right)).await.unwrap();
    let taken = CertificateDer::from_pem_slice(taken.unwrap().as_bytes()).unwrap();
    assert_eq!(taken, der);
    assert_eq!(gateway.fetches(Document::Discovery), 0, "nothing is asked");
}

#[tokio::test]
async fn a_certificate_that_vouches_for_nobody_is_not_taken() {
    let ca = Ca::new().unwrap();
    let gateway = gateway(&ca, false).await;
    let shown = certificates(gateway.url()).await.unwrap();
    assert_eq!(shown.len(), 1);
    let of_leaf = Some(Fingerprint::of(&shown[0]));
    let refused = authority(gateway.url(), None, of_leaf).await.unwrap_err();
    assert!(
        refused.to_string().contains("--certificate-authority"),
        "{refused}"
    );
}

/// Something that speaks TLS with a certificate of this authority, whose own it shows or not.
async fn gateway(ca: &Ca, shows_authority: bool) -> Running {
    let (mut pem, key) = ca.server(&["localhost"]).unwrap();
    if shows_authority {
        pem.push_str(&ca.pem());
    }
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Issuer::start("127.0.0.1:0".parse().unwrap(), Arc::new(config))
        .await
        .unwrap()
}
