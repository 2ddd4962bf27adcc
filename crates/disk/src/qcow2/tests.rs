//! Against `qemu-img` for what is valid, by hand and by chance for what is hostile.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::{Partial, SparseWriter};

fn qemu_img(arguments: &[&str]) {
    let output = Command::new("qemu-img")
        .args(arguments)
        .output()
        .expect("qemu-img is missing: run scripts/deps.sh test");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn read(image: &mut dyn crate::ReadAt, target: &Path) -> Result<Header, Qcow2Error> {
    let mut head = [0u8; Header::BYTES];
    let got = image.read_at(0, &mut head).unwrap();
    let header = Header::parse(&head[..got])?;
    let mut disk = SparseWriter::new(Partial::create(target)?, header.virtual_size)?;
    convert(header, image, &mut disk, &mut |_| {})?;
    disk.finish(header.virtual_size)?;
    Ok(header)
}

/// 40 MiB and a bit: data, text, zeros, and a last cluster that is not whole.
fn sample(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len((40 << 20) + 1536).unwrap();
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(3 << 20)
    .collect();
    file.write_all_at(&noise, 1 << 20).unwrap();
    file.write_all_at(
        "a line of text that compresses\n".repeat(90_000).as_bytes(),
        9 << 20,
    )
    .unwrap();
    file.write_all_at(b"the end", (40 << 20) + 1000).unwrap();
}

fn round_trip(options: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    sample(&path("raw"));
    let (raw, qcow2) = (
        path("raw").display().to_string(),
        path("qcow2").display().to_string(),
    );
    let mut arguments = vec!["convert", "-f", "raw", "-O", "qcow2"];
    arguments.extend_from_slice(options);
    arguments.extend_from_slice(&[raw.as_str(), qcow2.as_str()]);
    qemu_img(&arguments);
    read(&mut File::open(&qcow2).unwrap(), &path("disk.img")).unwrap();
    assert!(
        fs::read(&raw).unwrap() == fs::read(path("disk.img")).unwrap(),
        "{options:?} differs"
    );
    let allocated = path("disk.img").metadata().unwrap().blocks() * 512;
    assert!(
        allocated < 8 << 20,
        "{options:?}: {allocated} bytes allocated"
    );
}

#[test]
fn images_of_qemu_img_are_read_whole() {
    round_trip(&[]);
    round_trip(&["-c"]);
    round_trip(&["-c", "-o", "compression_type=zstd"]);
    round_trip(&["-o", "compat=0.10"]);
    round_trip(&["-o", "compat=0.10", "-c"]);
    round_trip(&["-o", "cluster_size=512"]);
    round_trip(&["-o", "cluster_size=2M", "-c"]);
    round_trip(&["-o", "preallocation=metadata"]);
}

#[test]
fn resized_images_and_internal_snapshots_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("a.qcow2").display().to_string();
    qemu_img(&["create", "-q", "-f", "qcow2", &image, "3G"]);
    qemu_img(&["snapshot", "-c", "one", &image]);
    qemu_img(&["snapshot", "-d", "one", &image]);
    qemu_img(&["resize", "-q", "--shrink", &image, "1000M"]);
    let header = read(
        &mut File::open(&image).unwrap(),
        &dir.path().join("disk.img"),
    )
    .unwrap();
    assert_eq!(header.virtual_size, 1000 << 20);
    assert_eq!(dir.path().join("disk.img").metadata().unwrap().blocks(), 0);
}

fn head(change: impl FnOnce(&mut Vec<u8>)) -> Result<Header, Qcow2Error> {
    let mut bytes = vec![0u8; 512];
    bytes[..4].copy_from_slice(b"QFI\xfb");
    let put32 = |bytes: &mut Vec<u8>, at: usize, value: u32| {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    };
    put32(&mut bytes, 4, 3);
    put32(&mut bytes, 20, 16);
    put32(&mut bytes, 28, 1 << 20); // virtual size
    put32(&mut bytes, 36, 1);
    put32(&mut bytes, 44, 0x30000);
    put32(&mut bytes, 100, 112);
    change(&mut bytes);
    Header::parse(&bytes)
}

#[test]
fn what_is_dangerous_is_refused_with_words() {
    assert!(head(|_| {}).is_ok());
    for (at, value, words) in [
        (0, 1u8, "signature"),
        (7, 4, "version other than 2 and 3"),
        (15, 1, "backing file"),
        (19, 9, "backing file"),
        (23, 22, "cluster_bits is 22"),
        (23, 8, "cluster_bits is 8"),
        (24, 1, "virtual size of 72057594038976512"),
        (35, 2, "is encrypted"),
        (36, 1, "an L1 table of 134217736"),
        (39, 0, "L1 table has 0 entries, 1 are needed"),
        (47, 1, "L1 table lies at byte 196609"),
        (58, 1, "refcount table of 16777216"),
        (60, 1, "snapshot count"),
        (79, 2, "marked corrupt"),
        (79, 4, "keeps its data in another file"),
        (79, 16, "extended L2"),
        (79, 32, "features this version does not know"),
        (72, 128, "features this version does not know"),
        (103, 4, "header_length is 4"),
    ] {
        let error = head(|bytes| bytes[at] = value).unwrap_err().to_string();
        assert!(error.contains(words), "byte {at} = {value}: {error}");
    }
    let error = head(|bytes| bytes.truncate(80)).unwrap_err();
    assert!(matches!(error, Qcow2Error::Truncated { .. }));
}

#[test]
fn a_truncated_image_is_an_error_not_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    sample(&path("raw"));
    let (raw, qcow2) = (
        path("raw").display().to_string(),
        path("qcow2").display().to_string(),
    );
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", &raw, &qcow2]);
    let whole = fs::read(&qcow2).unwrap();
    for keep in [100, 100_000, 300_000, 2 << 20, whole.len() - (1 << 20)] {
        let mut cut = &whole[..keep];
        let error = read(&mut cut, &path("disk.img")).unwrap_err();
        assert!(
            matches!(error, Qcow2Error::Truncated { .. }),
            "{keep}: {error}"
        );
        assert!(!path("disk.img").exists() && !path("disk.img.partial").exists());
    }
}

/// A small valid image, compressed and not.
fn small(compressed: bool) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("raw"), "some text\n".repeat(5_000)).unwrap();
    let mut arguments = vec![
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-o",
        "cluster_size=512",
    ];
    if compressed {
        arguments.push("-c");
    }
    let (raw, image) = (path("raw"), path("image"));
    arguments.extend_from_slice(&[&raw, &image]);
    qemu_img(&arguments);
    fs::read(&image).unwrap()
}

/// Reads an image that may be anything. It may fail; it may not panic, nor fill the disk.
fn survive(image: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let mut source = image;
    if let Ok(header) = Header::parse(&image[..image.len().min(Header::BYTES)])
        && header.virtual_size <= 1 << 30
    {
        let partial = Partial::create(&dir.path().join("disk.img")).unwrap();
        let mut disk = SparseWriter::new(partial, header.virtual_size).unwrap();
        let _ = convert(header, &mut source, &mut disk, &mut |_| {});
    }
}

#[test]
fn every_corruption_of_one_table_byte_is_survived() {
    for image in [small(false), small(true)] {
        for at in 0..image.len().min(6000) {
            if at % 7 < 2 {
                let mut broken = image.clone();
                broken[at] ^= 0x5a;
                survive(&broken);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..4096), bits in 9u8..14) {
        survive(&bytes);
        // The same with a header that passes, so that the tables are reached.
        if bytes.len() > 2048 {
            let valid = head(|header| bytes[..112].copy_from_slice(&header[..112]));
            prop_assert!(valid.is_ok());
            bytes[23] = bits;
            bytes[46..48].copy_from_slice(&[2, 0]);
            bytes[44..46].copy_from_slice(&[0, 0]);
            survive(&bytes);
        }
    }
}
