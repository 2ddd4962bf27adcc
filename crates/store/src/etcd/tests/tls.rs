//! TLS with certificates on both sides.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use super::{PATIENCE, directory, put, within};
use crate::etcd::server::{EtcdServer, ServerTls};
use crate::etcd::{EtcdStore, Options, Tls};
use crate::{OpenError, Store};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(directory: &Path, name: &str) -> (Ca, PathBuf) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let path = directory.join(format!("{name}.crt"));
    std::fs::write(&path, ca.pem()).unwrap();
    (ca, path)
}

/// A certificate for `127.0.0.1`, for both ends, with its key.
fn issue(directory: &Path, ca: &Ca, name: &str) -> (PathBuf, PathBuf) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    let (crt, pem) = (
        directory.join(format!("{name}.crt")),
        directory.join(format!("{name}.key")),
    );
    std::fs::write(&crt, certificate.pem()).unwrap();
    std::fs::write(&pem, key.serialize_pem()).unwrap();
    (crt, pem)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_show_certificates() {
    let directory = directory();
    let files = directory.path();
    let (ca, ca_file) = ca(files, "ca");
    let (_, other_ca) = self::ca(files, "other");
    let (certificate, key) = issue(files, &ca, "server");
    let client = issue(files, &ca, "client");
    let server = ServerTls {
        certificate,
        key,
        client_ca: ca_file.clone(),
    };
    let server = EtcdServer::start_tls(files, &server);
    let options = |ca_file: &Path, client: Option<(PathBuf, PathBuf)>, patience| Options {
        tls: Some(Tls {
            ca_file: ca_file.to_owned(),
            client,
        }),
        patience,
        ..Options::new(vec![server.url()])
    };
    let store = EtcdStore::open(options(&ca_file, Some(client.clone()), PATIENCE));
    let store = within(store).await.unwrap();
    let revision = put(&store, "/k", "v").await;
    assert_eq!(store.get("/k").await.unwrap().0.unwrap().modified, revision);

    let short = std::time::Duration::from_millis(100);
    for (options, why) in [
        (options(&ca_file, None, short), ""),
        (
            options(&other_ca, Some(client.clone()), short),
            "certificate",
        ),
        (
            options(&files.join("none"), Some(client), short),
            "cannot read",
        ),
    ] {
        match within(EtcdStore::open(options)).await {
            Err(OpenError::Unreachable { why: said, .. }) => assert!(said.contains(why), "{said}"),
            other => panic!("{other:?}"),
        }
    }
}
