use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn the_same_ca_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = Authority::load_or_create(dir.path()).unwrap();
    let second = Authority::load_or_create(dir.path()).unwrap();
    assert_eq!(first.ca_pem(), second.ca_pem());
    let mode = std::fs::metadata(dir.path().join("ca.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn certificates_on_disk_are_used_again_while_they_fit() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::load_or_create(dir.path()).unwrap();
    let names = vec!["localhost".to_owned()];
    let first = ca
        .server_on_disk("server", &names, &[LOOPBACK], DAY)
        .unwrap();
    let again = ca
        .server_on_disk("server", &names, &[LOOPBACK], DAY)
        .unwrap();
    assert_eq!(first.cert_pem, again.cert_pem);
    let other: IpAddr = "192.0.2.1".parse().unwrap();
    let more = ca
        .server_on_disk("server", &names, &[LOOPBACK, other], DAY)
        .unwrap();
    assert_ne!(first.cert_pem, more.cert_pem);
    // A certificate that has less than a third of the wanted lifetime left is replaced.
    let longer = ca
        .server_on_disk("server", &names, &[LOOPBACK, other], 30 * DAY)
        .unwrap();
    assert_ne!(more.cert_pem, longer.cert_pem);
}

#[test]
fn client_certificates_carry_user_and_groups() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::load_or_create(dir.path()).unwrap();
    let groups = vec!["system:masters".to_owned(), "ops".to_owned()];
    let pair = ca.issue_client("admin", &groups, DAY).unwrap();
    let der = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap();
    assert_eq!(peer_identity(&der).unwrap(), ("admin".to_owned(), groups));
}

#[test]
fn tls_configurations_are_accepted() {
    let dir = tempfile::tempdir().unwrap();
    drop(Authority::load_or_create(dir.path()).unwrap());
    // The reloaded CA must sign as well as the new one.
    let ca = Authority::load_or_create(dir.path()).unwrap();
    let server = ca
        .issue_server(&["localhost".to_owned()], &[LOOPBACK], DAY)
        .unwrap();
    ca.server_config(&server).unwrap();
    let client = ca.issue_client("admin", &[], DAY).unwrap();
    ca.client_config(Some(&client)).unwrap();
}

fn claims(exp_in: i64) -> Claims {
    let now = i64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
    .unwrap();
    Claims {
        iss: "https://kubernetes.default.svc".to_owned(),
        sub: "system:serviceaccount:default:default".to_owned(),
        aud: vec!["https://kubernetes.default.svc".to_owned()],
        exp: now + exp_in,
        iat: now,
        nbf: now,
        jti: None,
        kubernetes: KubernetesClaims {
            namespace: "default".to_owned(),
            serviceaccount: BoundObject {
                name: "default".to_owned(),
                uid: "u".to_owned(),
            },
            ..KubernetesClaims::default()
        },
    }
}

#[test]
fn tokens_verify_with_the_key_on_disk_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let keys = ServiceAccountKeys::load_or_create(dir.path()).unwrap();
    let token = keys.sign(&claims(600)).unwrap();
    let again = ServiceAccountKeys::load_or_create(dir.path()).unwrap();
    assert_eq!(
        again.verify(&token).unwrap().kubernetes.namespace,
        "default"
    );
    assert_eq!(again.jwks().unwrap()["keys"][0]["crv"], "P-256");
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = ServiceAccountKeys::load_or_create(elsewhere.path()).unwrap();
    stranger.verify(&token).unwrap_err();
    keys.verify(&keys.sign(&claims(-600)).unwrap()).unwrap_err();
    keys.verify("a.b.c").unwrap_err();
}
