//! The suite of all engines, and what is refused at the start.

use std::sync::{Arc, Mutex};

use crate::conformance::Open;
use crate::etcd::server::EtcdServer;
use crate::etcd::{EtcdStore, Options};
use crate::{OpenError, Store};

/// Opens stores in an etcd of its own, which is started at the first one.
fn engine() -> impl Open {
    let server = Mutex::new(None);
    move |directory: &std::path::Path, retention| {
        let mut server = server.lock().unwrap();
        let server = server.get_or_insert_with(|| EtcdServer::start(directory, &[]));
        let options = Options {
            retention,
            ..Options::new(vec![server.url()])
        };
        let open = async { EtcdStore::open(options).await };
        let runtime = tokio::runtime::Handle::current();
        let opened = tokio::task::block_in_place(|| runtime.block_on(open));
        opened.map(|store| Arc::new(store) as Arc<dyn Store>)
    }
}

crate::conformance_tests!(shared engine());

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let options = |urls: &[&str]| Options::new(urls.iter().map(|&u| u.to_owned()).collect());
    for (options, why) in [
        (options(&[]), "1 to 32"),
        (options(&["127.0.0.1:2379"]), "must begin with"),
        (options(&["https://127.0.0.1"]), "need the file of their CA"),
    ] {
        match EtcdStore::open(options).await {
            Err(OpenError::Options { what }) => assert!(what.contains(why), "{what}"),
            other => panic!("{other:?}"),
        }
    }
}
