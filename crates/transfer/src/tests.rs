//! Against a real HTTP server on loopback, which misbehaves as it is told.

mod server;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use tokio::io::AsyncReadExt;

use self::server::{Ask, Server, body, broken, dripping, file, sample, silent};
use super::*;

fn quick() -> Limits {
    Limits {
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_millis(400),
        stall_timeout: Duration::from_millis(300),
        stall_bytes: 1 << 10,
        attempts: 3,
        back_off: Duration::from_millis(5),
        back_off_max: Duration::from_millis(20),
        ..Limits::default()
    }
}

fn request(url: String) -> Request {
    Request {
        url,
        limits: quick(),
        ..Request::default()
    }
}

async fn open(url: String) -> Result<Download, TransferError> {
    Download::open(Arc::new(Endpoint::new(&request(url))?)).await
}

async fn get(url: String) -> Result<(Vec<u8>, String), TransferError> {
    let mut download = open(url).await?;
    let mut all = Vec::new();
    while let Some(bytes) = download.chunk().await? {
        all.extend_from_slice(&bytes);
    }
    Ok((all, download.digest().sha256()))
}

fn refused<T>(result: Result<T, TransferError>) -> String {
    error::chain(&result.err().expect("this must fail"))
}

#[tokio::test]
async fn a_file_arrives_whole_with_and_without_ranges() {
    let content = sample(3 << 20);
    for ranges in [true, false] {
        let served = content.clone();
        let server = Server::start(move |ask| file(&ask, &served, ranges, body)).await;
        let mut download = open(server.url("/disk.img")).await.unwrap();
        assert_eq!(download.about().total, Some(3 << 20));
        assert_eq!(download.about().ranges, ranges);
        let head = download.fill(5000).await.unwrap();
        assert_eq!(head, content[..head.len()]);
        download.unread(head);
        assert_eq!(download.position(), 0);
        let mut all = Vec::new();
        while let Some(bytes) = download.chunk().await.unwrap() {
            all.extend_from_slice(&bytes);
        }
        assert!(all == content);
        assert_eq!(server.asked().len(), 1);
        assert_eq!(
            download.endpoint().received().load(Ordering::Relaxed),
            3 << 20
        );
    }
}

#[tokio::test]
async fn a_broken_connection_is_resumed_where_it_broke() {
    let content = sample(1 << 20);
    let served = content.clone();
    // Every connection breaks after 300 kB, which is progress by these limits.
    let server =
        Server::start(move |ask| file(&ask, &served, true, |part| broken(&part, 300_000))).await;
    let mut limits = quick();
    limits.progress_bytes = 100_000;
    limits.attempts = 2;
    let request = Request {
        url: server.url("/a"),
        limits,
        ..Request::default()
    };
    let mut download = Download::open(Arc::new(Endpoint::new(&request).unwrap()))
        .await
        .unwrap();
    let mut all = Vec::new();
    while let Some(bytes) = download.chunk().await.unwrap() {
        all.extend_from_slice(&bytes);
    }
    assert!(all == content);
    let asked = server.asked();
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert_eq!(asked[1].range.as_deref(), Some("bytes=300000-1048575"));
    assert_eq!(asked[1].if_range.as_deref(), Some("\"v1\""));
}

#[tokio::test]
async fn a_truncated_file_is_an_error() {
    let content = sample(200_000);
    let served = content.clone();
    let server =
        Server::start(move |ask| file(&ask, &served, false, |part| broken(&part, 150_000))).await;
    let words = refused(get(server.url("/a")).await);
    assert!(words.contains("offers no range requests"), "{words}");
    assert!(words.contains("after 150000 of 200000 bytes"), "{words}");

    // With ranges, but a server that never sends the last byte.
    let server = Server::start(move |ask| {
        file(&ask, &content, true, |part| {
            let keep = part.len().saturating_sub(1);
            broken(&part, keep)
        })
    })
    .await;
    let words = refused(get(server.url("/a")).await);
    assert!(words.starts_with("gave up after 3 attempts: "), "{words}");
    assert!(words.contains("after 199999 of 200000 bytes"), "{words}");
}

#[tokio::test]
async fn another_version_is_never_mixed_in() {
    let content = sample(400_000);
    let server = Server::start(move |ask| {
        let mut answer = file(&ask, &content, true, |part| broken(&part, 100_000));
        if ask.range.as_deref() != Some("bytes=0-") {
            // If-Range does not match: the whole new file.
            answer = Response::new(body(Bytes::from_static(b"another version")));
            answer
                .headers_mut()
                .insert(header::ETAG, "\"v2\"".parse().unwrap());
        }
        answer
    })
    .await;
    let words = refused(get(server.url("/a")).await);
    assert!(
        words.contains("changed on the server during the transfer, after 100000 bytes"),
        "{words}"
    );
}

#[tokio::test]
async fn servers_that_send_less_than_asked_for_are_asked_again() {
    let content = sample(1 << 20);
    let served = content.clone();
    let server = Server::start(move |ask| {
        let (start, end) = ask.bounds(served.len());
        let end = end.min(start + 300_000);
        let mut ask = ask;
        ask.range = Some(format!("bytes={start}-{}", end - 1));
        file(&ask, &served, true, body)
    })
    .await;
    assert!(get(server.url("/a")).await.unwrap().0 == content);
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn answers_that_are_no_file_say_what_to_do() {
    for (status, words) in [
        (
            404,
            "404 Not Found: there is no file at this address: check the URL",
        ),
        (
            403,
            "403 Forbidden: the server does not allow it: set credentials",
        ),
        (500, "gave up after 3 attempts: "),
        (418, "this is no answer to a download"),
    ] {
        let server = Server::start(move |_| {
            let mut answer = Response::new(body(Bytes::from_static(b"no")));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            answer
        })
        .await;
        let url = server
            .url("/dir/a.qcow2")
            .replace("http://", "http://me:hunter2@")
            + "?token=hunter2";
        let error = refused(open(url).await);
        assert!(
            error.contains(words) && error.contains("/dir/a.qcow2"),
            "{error}"
        );
        assert!(
            !error.contains("hunter2") && !error.contains("me:"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_in_trouble_gets_another_chance() {
    let content = sample(10_000);
    let served = content.clone();
    let server = Server::start(move |ask| {
        let mut answer = file(&ask, &served, true, body);
        if ask.number < 2 {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    })
    .await;
    assert!(get(server.url("/a")).await.unwrap().0 == content);
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn redirects_are_followed_within_bounds_and_without_secrets() {
    let content = sample(10_000);
    let served = content.clone();
    let other = Server::start(move |ask| file(&ask, &served, true, body)).await;
    let target = other.url("/real");
    let server = Server::start(move |ask| {
        let to = match ask.path.as_str() {
            "/a" => "/b".to_owned(),
            "/b" => target.clone(),
            "/ftp" => "ftp://example.org/".to_owned(),
            path => path.to_owned(),
        };
        let mut answer = Response::new(body(Bytes::new()));
        *answer.status_mut() = StatusCode::FOUND;
        answer
            .headers_mut()
            .insert(header::LOCATION, to.parse().unwrap());
        answer
    })
    .await;
    let mut asked = request(server.url("/a"));
    asked.headers = vec![("X-Token".into(), "secret".into())];
    let mut download = Download::open(Arc::new(Endpoint::new(&asked).unwrap()))
        .await
        .unwrap();
    assert!(download.fill(usize::MAX).await.unwrap() == content);
    let tokens = |server: &Server| {
        server
            .asked()
            .iter()
            .map(|ask| ask.token.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        tokens(&server),
        [Some("secret".to_owned()), Some("secret".to_owned())]
    );
    assert_eq!(tokens(&other), [None]);

    let error = refused(open(server.url("/loop")).await);
    assert!(
        error.contains("redirects more than 10 times, at last to http://"),
        "{error}"
    );
    let error = refused(open(server.url("/ftp")).await);
    assert!(
        error.contains("redirects to 'ftp://example.org/': only http and https"),
        "{error}"
    );
}

#[tokio::test]
async fn silence_and_dripping_are_bounded() {
    let content = sample(100_000);
    let served = content.clone();
    let mute = Server::start(move |ask| file(&ask, &served, false, silent)).await;
    let drip = Server::start(move |ask| file(&ask, &content, false, dripping)).await;
    let begun = Instant::now();
    let error = refused(get(mute.url("/a")).await);
    assert!(
        error.contains("stalled after 0 of 100000 bytes: less than 1024 bytes"),
        "{error}"
    );
    let error = refused(get(drip.url("/a")).await);
    assert!(error.contains("stalled after "), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn no_server_and_no_file_are_told_apart() {
    let error = refused(open("http://127.0.0.1:1/a".into()).await);
    assert!(
        error.contains("gave up after 3 attempts: cannot reach http://127.0.0.1:1/a: "),
        "{error}"
    );
    assert!(error.contains("refused"), "{error}");
    let server = Server::start(|ask| file(&ask, &[], true, body)).await;
    assert!(refused(open(server.url("/a")).await).ends_with("/a is empty"));
    for (url, words) in [
        ("ftp://x/a", "only http and https are supported"),
        ("not a url", "'not a url' is not a usable URL"),
    ] {
        assert!(refused(open(url.into()).await).contains(words));
    }
    let mut bad = request("http://x/".into());
    bad.headers = vec![("a b".into(), "secret".into())];
    assert_eq!(
        refused(Endpoint::new(&bad)),
        "the extra header 'a b' is not a valid HTTP header"
    );
}

#[tokio::test]
async fn reads_by_position_agree_with_the_file() {
    let content = sample(8 << 20);
    let served = content.clone();
    let server = Server::start(move |ask| file(&ask, &served, true, body)).await;
    let mut download = open(server.url("/a")).await.unwrap();
    let head = download.fill(64 << 10).await.unwrap();
    assert!(download.about().by_position());
    let mut remote = Ranged::new(download, head).unwrap();
    let mut buffer = vec![0u8; 200_000];
    for offset in [
        0,
        100,
        60_000,
        7 << 20,
        3 << 20,
        100_000,
        (8 << 20) - 1000,
        9 << 20,
    ] {
        let got = remote.read_at(offset as u64, &mut buffer).await.unwrap();
        let expected = &content[offset.min(content.len())..(offset + 200_000).min(content.len())];
        assert!(buffer[..got] == *expected, "at {offset}");
    }
    // One request streams what was announced, gaps included.
    let before = server.asked().len();
    remote.will_read(2 << 20..6 << 20);
    let mut offset = 2 << 20;
    while offset + 200_000 < 6 << 20 {
        remote.read_at(offset as u64, &mut buffer).await.unwrap();
        assert!(buffer == content[offset..offset + 200_000]);
        offset += 300_000;
    }
    let asked = server.asked();
    assert_eq!(asked.len(), before + 1);
    assert_eq!(
        asked[before].range.as_deref(),
        Some("bytes=2097152-6291455")
    );
}

#[tokio::test]
async fn compressed_files_are_told_and_decoded() {
    use async_compression::tokio::bufread::{GzipEncoder, XzEncoder, ZstdEncoder};
    let content = sample(300_000);
    let half = content.len() / 2;
    for encoding in [
        Encoding::Gzip,
        Encoding::Xz,
        Encoding::Zstd,
        Encoding::Identity,
    ] {
        let mut packed = Vec::new();
        for part in [&content[..half], &content[half..]] {
            match encoding {
                Encoding::Gzip => GzipEncoder::new(part).read_to_end(&mut packed).await,
                Encoding::Xz => XzEncoder::new(part).read_to_end(&mut packed).await,
                Encoding::Zstd => ZstdEncoder::new(part).read_to_end(&mut packed).await,
                _ => (&mut &*part).read_to_end(&mut packed).await,
            }
            .unwrap();
        }
        assert_eq!(Encoding::of(&packed), encoding);
        let whole = packed.clone();
        let server = Server::start(move |ask| file(&ask, &whole, true, body)).await;
        let download = open(server.url("/a")).await.unwrap();
        let mut all = Vec::new();
        let mut reader = decode(encoding, download.into_reader(), 64 << 20);
        reader.read_to_end(&mut all).await.unwrap();
        assert!(all == content, "{encoding}");

        if encoding != Encoding::Identity {
            let cut = std::io::Cursor::new(packed[..packed.len() - 20].to_vec());
            let mut reader = decode(encoding, tokio::io::BufReader::new(cut), 64 << 20);
            let error = reader.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::UnexpectedEof,
                "{encoding}"
            );
        }
    }
    assert_eq!(Encoding::of(b"BZh91AY"), Encoding::Bzip2);
    assert!(!Encoding::Bzip2.is_supported());
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_given() {
    let content = sample(10_000);
    let served = content.clone();
    let (server, ca) = Server::start_tls(move |ask| file(&ask, &served, true, body)).await;
    let mut asked = request(server.url("/a"));
    asked.ca_pem = ca.into_bytes();
    let mut download = Download::open(Arc::new(Endpoint::new(&asked).unwrap()))
        .await
        .unwrap();
    assert!(download.fill(usize::MAX).await.unwrap() == content);

    let error = refused(open(server.url("/a")).await);
    assert!(
        error.contains("cannot reach https://localhost") && error.contains("certificate"),
        "{error}"
    );
    asked.ca_pem = b"no certificate".to_vec();
    let error = refused(Endpoint::new(&asked));
    assert!(
        error.contains("the CA bundle for https://localhost"),
        "{error}"
    );
}

#[test]
fn an_ask_is_what_the_client_sent() {
    let ask = Ask {
        range: Some("bytes=10-19".into()),
        ..Ask::default()
    };
    assert_eq!(ask.bounds(100), (10, 20));
    assert_eq!(Ask::default().bounds(100), (0, 100));
}
