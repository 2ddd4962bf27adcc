//! Imports from a real HTTP server on loopback, of images made by `qemu-img`.

// The server that `transfer` is tested against; it is not part of any crate's interface.
#[path = "../../transfer/src/tests/server.rs"]
#[allow(dead_code, reason = "the tests of `transfer` need more of it")]
mod server;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use async_compression::tokio::bufread::{GzipEncoder, XzEncoder, ZstdEncoder};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

use self::server::{Server, body, broken, file, sample};
use super::*;

/// A volume, and what an import into it said.
struct Volume {
    dir: TempDir,
    progress: Mutex<Vec<Progress>>,
}

impl Volume {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            progress: Mutex::default(),
        }
    }

    fn disk(&self) -> PathBuf {
        self.dir.path().join("disk.img")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    async fn import(&self, url: String, capacity: u64) -> Result<Imported, ImportError> {
        self.import_with(url, capacity, None).await
    }

    async fn import_with(
        &self,
        url: String,
        capacity: u64,
        checksum: Option<Checksum>,
    ) -> Result<Imported, ImportError> {
        let limits = Limits {
            attempts: 3,
            back_off: Duration::from_millis(5),
            stall_timeout: Duration::from_secs(5),
            ..Limits::default()
        };
        let source = Source {
            url,
            limits,
            ..Source::default()
        };
        let request = ImportRequest {
            source,
            target: self.disk(),
            capacity: Some(capacity),
            checksum,
        };
        import(&request, &|progress| {
            self.progress.lock().unwrap().push(progress);
        })
        .await
    }

    /// The import fails, says `words`, and leaves nothing.
    async fn refuses(&self, url: String, capacity: u64, words: &str) {
        let error = self.import(url, capacity).await.unwrap_err().message();
        assert!(error.contains(words), "{error}\ndoes not say\n{words}");
        assert_eq!(self.names(), Vec::<String>::new(), "{error}");
    }
}

const MIB: u64 = 1 << 20;

/// 24 MiB: noise, holes, and a last sector with content.
fn raw_image() -> Vec<u8> {
    let mut image = vec![0u8; 24 << 20];
    image[MIB as usize..][..3 << 20].copy_from_slice(&sample(3 << 20));
    image[10 << 20..][..6].copy_from_slice(b"middle");
    let end = image.len();
    image[end - 3..].copy_from_slice(b"end");
    image
}

fn qcow2_image(raw: &[u8], options: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("raw"), dir.path().join("qcow2"));
    fs::write(&from, raw).unwrap();
    let status = Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args(options)
        .args([&from, &to])
        .status()
        .expect("qemu-img is missing: run scripts/deps.sh test");
    assert!(status.success());
    fs::read(&to).unwrap()
}

async fn serve(content: Vec<u8>, ranges: bool) -> Server {
    Server::start(move |ask| file(&ask, &content, ranges, body)).await
}

fn check(disk: &Path, expected: &[u8], size: u64) {
    let content = fs::read(disk).unwrap();
    assert_eq!(content.len() as u64, size);
    assert!(
        content[..expected.len()] == *expected,
        "the content differs"
    );
    assert!(content[expected.len()..].iter().all(|byte| *byte == 0));
    let allocated = disk.metadata().unwrap().blocks() * 512;
    assert!(allocated < 5 * MIB, "{allocated} bytes allocated");
}

#[tokio::test]
async fn raw_images_stream_onto_the_disk() {
    let raw = raw_image();
    for ranges in [true, false] {
        let volume = Volume::new();
        let server = serve(raw.clone(), ranges).await;
        let done = volume.import(server.url("/a.img"), 64 * MIB).await.unwrap();
        check(&volume.disk(), &raw, 64 * MIB);
        assert_eq!(volume.names(), ["disk.img"]);
        assert_eq!((done.virtual_size, done.size), (24 * MIB, 64 * MIB));
        assert_eq!(done.bytes_read, 24 * MIB);
        assert_eq!((done.format.as_str(), done.method), ("raw", Method::Stream));
        assert_eq!(
            done.sha256.unwrap(),
            disk::digest::sha256(&raw[..]).unwrap()
        );
        let last = *volume.progress.lock().unwrap().last().unwrap();
        assert_eq!((last.percent, last.phase), (Some(100.0), Phase::Complete));
    }
}

#[tokio::test]
async fn qcow2_by_ranges_needs_one_request_and_no_scratch() {
    let raw = raw_image();
    for options in [&[][..], &["-c"], &["-c", "-o", "compression_type=zstd"]] {
        let volume = Volume::new();
        let server = serve(qcow2_image(&raw, options), true).await;
        let done = volume
            .import(server.url("/a.qcow2"), 24 * MIB)
            .await
            .unwrap();
        check(&volume.disk(), &raw, 24 * MIB);
        assert_eq!(
            (done.format.as_str(), done.method),
            ("qcow2", Method::Ranges)
        );
        assert_eq!(server.asked().len(), 1, "{options:?}");
    }
}

#[tokio::test]
async fn qcow2_without_ranges_goes_through_scratch() {
    let raw = raw_image();
    let image = qcow2_image(&raw, &[]);
    let volume = Volume::new();
    let server = serve(image.clone(), false).await;
    let done = volume
        .import(server.url("/a.qcow2"), 30 * MIB)
        .await
        .unwrap();
    check(&volume.disk(), &raw, 30 * MIB);
    assert_eq!(done.method, Method::Scratch);
    assert_eq!(
        done.sha256.unwrap(),
        disk::digest::sha256(&image[..]).unwrap()
    );
    assert_eq!(volume.names(), ["disk.img"]);
}

#[tokio::test]
async fn compressed_images_are_decompressed_on_the_way() {
    let raw = raw_image();
    let qcow2 = qcow2_image(&raw, &[]);
    let mut packed = Vec::new();
    for (image, name) in [(&raw, "raw"), (&qcow2, "qcow2")] {
        let mut out = Vec::new();
        GzipEncoder::new(&image[..])
            .read_to_end(&mut out)
            .await
            .unwrap();
        packed.push((out, "gzip", name));
    }
    let mut out = Vec::new();
    XzEncoder::new(&raw[..])
        .read_to_end(&mut out)
        .await
        .unwrap();
    packed.push((out, "xz", "raw"));
    let mut out = Vec::new();
    ZstdEncoder::new(&raw[..])
        .read_to_end(&mut out)
        .await
        .unwrap();
    packed.push((out, "zstd", "raw"));
    for (image, encoding, format) in packed {
        let volume = Volume::new();
        let server = serve(image.clone(), true).await;
        let done = volume.import(server.url("/a"), 24 * MIB).await.unwrap();
        check(&volume.disk(), &raw, 24 * MIB);
        assert_eq!(
            (done.encoding.as_str(), done.format.as_str()),
            (encoding, format)
        );
        assert_eq!(
            done.sha256.unwrap(),
            disk::digest::sha256(&image[..]).unwrap()
        );

        let cut = serve(image[..image.len() - 30].to_vec(), true).await;
        let words = format!("cannot be decompressed ({encoding}): it is damaged or truncated");
        Volume::new().refuses(cut.url("/a"), 24 * MIB, &words).await;

        // An image whose size is not known before must not fill the volume either.
        let words = "disk too small: image needs ";
        Volume::new()
            .refuses(server.url("/a"), 8 * MIB, words)
            .await;
    }
}

#[tokio::test]
async fn an_image_that_does_not_fit_is_refused_before_writing() {
    let raw = raw_image();
    let words = "disk too small: image needs 25165824 bytes, claim has 16777216; \
                 set spec.storage.resources.requests.storage to at least 24Mi";
    for image in [raw.clone(), qcow2_image(&raw, &["-c"])] {
        for ranges in [true, false] {
            let server = serve(image.clone(), ranges).await;
            Volume::new()
                .refuses(server.url("/a"), 16 * MIB, words)
                .await;
        }
    }
}

#[tokio::test]
async fn connections_that_break_do_not_matter_with_ranges() {
    let raw = raw_image();
    for image in [raw.clone(), qcow2_image(&raw, &[])] {
        let volume = Volume::new();
        let server =
            Server::start(move |ask| file(&ask, &image, true, |part| broken(&part, 2 << 20))).await;
        volume.import(server.url("/a"), 24 * MIB).await.unwrap();
        check(&volume.disk(), &raw, 24 * MIB);
        assert!(server.asked().len() > 1);
    }
}

#[tokio::test]
async fn without_ranges_an_import_begins_anew_a_few_times() {
    let raw = raw_image();
    let served = raw.clone();
    let server = Server::start(move |ask| match ask.number {
        0 => file(&ask, &served, false, |part| broken(&part, 2 << 20)),
        _ => file(&ask, &served, false, body),
    })
    .await;
    let volume = Volume::new();
    volume.import(server.url("/a"), 24 * MIB).await.unwrap();
    check(&volume.disk(), &raw, 24 * MIB);

    let always =
        Server::start(move |ask| file(&ask, &raw, false, |part| broken(&part, 2 << 20))).await;
    let words = "the transfer cannot be resumed because the server offers no range requests: ";
    Volume::new()
        .refuses(always.url("/a"), 24 * MIB, words)
        .await;
    assert_eq!(always.asked().len(), 3);
}

#[tokio::test]
async fn what_is_no_image_is_named() {
    let mut vmdk = b"KDMV".to_vec();
    vmdk.resize(70_000, 1);
    let mut backing = qcow2_image(&[0; 4096], &[]);
    backing[15] = 200;
    for (content, words) in [
        (
            vmdk,
            "/a is a disk image of format vmdk, which is not supported",
        ),
        (
            b"<!DOCTYPE html><title>Login</title>".to_vec(),
            "/a is a web page, not a disk image",
        ),
        (
            b"BZh91AY&SY".to_vec(),
            "compressed with bzip2, which is not supported",
        ),
        (Vec::new(), "/a is empty"),
        (
            backing,
            "has a backing file, which would name a file of this host",
        ),
    ] {
        let server = serve(content, true).await;
        Volume::new()
            .refuses(server.url("/a"), 64 * MIB, words)
            .await;
    }
    let server = Server::start(|_| {
        http::Response::builder()
            .status(404)
            .body(body(bytes::Bytes::new()))
            .unwrap()
    })
    .await;
    let words = "/gone.qcow2: 404 Not Found: there is no file at this address: check the URL";
    Volume::new()
        .refuses(server.url("/gone.qcow2"), MIB, words)
        .await;
}

#[tokio::test]
async fn a_digest_is_checked_before_the_disk_appears() {
    let image = qcow2_image(&raw_image(), &["-c"]);
    let server = serve(image.clone(), true).await;
    let right = disk::digest::sha256(&image[..]).unwrap();
    let volume = Volume::new();
    let wrong: Checksum = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let error = volume
        .import_with(server.url("/a"), 24 * MIB, Some(wrong))
        .await
        .unwrap_err();
    assert!(
        error
            .message()
            .contains(&format!("has the digest sha256:{right}")),
        "{}",
        error.message()
    );
    assert!(volume.names().is_empty());
    let right = format!("sha256:{right}").parse().unwrap();
    volume
        .import_with(server.url("/a"), 24 * MIB, Some(right))
        .await
        .unwrap();
    check(&volume.disk(), &raw_image(), 24 * MIB);
    assert!("md5:00".parse::<Checksum>().is_err());
}

#[tokio::test]
async fn an_abandoned_import_leaves_nothing() {
    let raw = raw_image();
    let server = Server::start(move |ask| {
        file(&ask, &raw, true, |part| {
            use futures_util::StreamExt;
            let first = hyper::body::Frame::data(part.slice(..4 << 20));
            let stream =
                futures_util::stream::iter([Ok(first)]).chain(futures_util::stream::pending());
            http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(stream))
        })
    })
    .await;
    let volume = Volume::new();
    {
        let import = volume.import(server.url("/a"), 64 * MIB);
        tokio::pin!(import);
        // Until the partial file exists.
        while volume.names().is_empty() {
            tokio::select! {
                _ = &mut import => unreachable!("the server never sends the rest"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }
    // Its writer notices on its own thread.
    tokio::time::timeout(Duration::from_secs(5), async {
        while !volume.names().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    arguments: Arguments,
}

async fn pod(arguments: &[&str]) -> std::process::ExitCode {
    let arguments = std::iter::once("importer").chain(arguments.iter().copied());
    main(
        <Cli as clap::Parser>::try_parse_from(arguments)
            .unwrap()
            .arguments,
    )
    .await
}

#[tokio::test]
async fn the_pod_leaves_its_result_or_its_error_as_termination_message() {
    let volume = Volume::new();
    let log = volume.dir.path().join("log");
    let (disk, log_path) = (
        volume.disk().display().to_string(),
        log.display().to_string(),
    );
    let server = serve(qcow2_image(&raw_image(), &["-c"]), true).await;
    let url = server.url("/tiny.qcow2");
    let common = ["--target", &disk, "--termination-log", &log_path];

    let mut arguments = vec![
        "--source",
        "http",
        "--endpoint",
        &url,
        "--image-size",
        "8Mi",
    ];
    arguments.extend(common);
    assert_eq!(pod(&arguments).await, std::process::ExitCode::FAILURE);
    assert_eq!(
        fs::read_to_string(&log).unwrap(),
        "disk too small: image needs 25165824 bytes, claim has 8388608; \
         set spec.storage.resources.requests.storage to at least 24Mi"
    );
    arguments[5] = "32Mi";
    assert_eq!(pod(&arguments).await, std::process::ExitCode::SUCCESS);
    check(&volume.disk(), &raw_image(), 32 * MIB);
    let result: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(result["result"]["virtualSize"], 24 * MIB);
    assert_eq!(result["result"]["method"], "ranges");

    fs::remove_file(&disk).unwrap();
    let mut arguments = vec!["--source", "none", "--image-size", "1G"];
    arguments.extend(common);
    assert_eq!(pod(&arguments).await, std::process::ExitCode::SUCCESS);
    assert_eq!(
        volume.disk().metadata().unwrap().len(),
        1_000_000_000 / 512 * 512
    );
    let mut arguments = vec!["--source", "http"];
    arguments.extend(common);
    assert_eq!(pod(&arguments).await, std::process::ExitCode::FAILURE);
    assert!(
        fs::read_to_string(&log)
            .unwrap()
            .starts_with("IMPORTER_ENDPOINT is not set")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_confined_importer_works_and_leaves_its_exit_code() {
    let (volume, pod) = (Volume::new(), tempfile::tempdir().unwrap());
    let at = |name: &str| pod.path().join(name).display().to_string();
    std::os::unix::fs::symlink(volume.dir.path(), at("cdi-data-vol")).unwrap();
    fs::create_dir(at("work")).unwrap();
    let server = serve(raw_image(), true).await;
    let url = server.url("/a");
    let (volumes, log, code) = (at(""), at("work/log"), at("work/code"));
    let arguments = [
        "importer",
        "--source",
        "http",
        "--endpoint",
        &url,
        "--image-size",
        "24Mi",
        "--volumes",
        &volumes,
        "--termination-log",
        &log,
        "--exit-code",
        &code,
    ];
    let arguments = <Cli as clap::Parser>::try_parse_from(arguments)
        .unwrap()
        .arguments;
    // Confinement holds for this thread and those it starts.
    let ended = std::thread::spawn(move || run(arguments));
    let ended = tokio::task::spawn_blocking(move || ended.join().unwrap())
        .await
        .unwrap();
    let message = fs::read_to_string(&log).unwrap();
    assert_eq!(ended, std::process::ExitCode::SUCCESS, "{message}");
    assert_eq!(fs::read_to_string(&code).unwrap(), "0");
    check(&volume.disk(), &raw_image(), 24 * MIB);
}

#[test]
fn blank_disks_are_made_and_grown_but_never_emptied() {
    let volume = Volume::new();
    assert_eq!(
        blank(&volume.disk(), 10 * MIB + 100).unwrap().size,
        10 * MIB
    );
    File::options()
        .write(true)
        .open(volume.disk())
        .unwrap()
        .write_all_at(b"data", 0)
        .unwrap();
    blank(&volume.disk(), 20 * MIB).unwrap();
    let content = fs::read(volume.disk()).unwrap();
    assert_eq!(
        (content.len() as u64, &content[..4]),
        (20 * MIB, &b"data"[..])
    );
    assert!(
        blank(&volume.disk(), MIB)
            .unwrap_err()
            .message()
            .contains("cannot be shrunk")
    );
}
