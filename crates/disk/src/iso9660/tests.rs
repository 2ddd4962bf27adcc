//! Golden: what `isoinfo` and the kernel make of our images.

use std::process::Command;

use super::*;

fn seed() -> Image {
    Image::no_cloud(
        b"#cloud-config\nhostname: web\n",
        b"instance-id: i-1\n",
        Some(b"version: 2\n"),
    )
}

fn isoinfo(image: &Path, arguments: &[&str]) -> String {
    let output = Command::new("isoinfo")
        .arg("-i")
        .arg(image)
        .args(arguments)
        .output()
        .expect("isoinfo is missing: run scripts/deps.sh test");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn isoinfo_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed.iso");
    seed().write(&path).unwrap();
    let about = isoinfo(&path, &["-d"]);
    for line in [
        "CD-ROM is in ISO 9660 format",
        "Volume id: cidata",
        "Logical block size is: 2048",
        "Volume size is: 179",
        "Joliet with UCS level 3 found",
        "Rock Ridge signatures version 1 found",
    ] {
        assert!(about.contains(line), "{line} is missing:\n{about}");
    }
    let names = "/meta-data\n/network-config\n/user-data\n";
    assert_eq!(isoinfo(&path, &["-R", "-f"]), names);
    assert_eq!(isoinfo(&path, &["-J", "-f"]), names);
    assert_eq!(
        isoinfo(&path, &["-f"]),
        "/META_DAT.;1\n/NETWORK_.;1\n/USER_DAT.;1\n"
    );
    assert_eq!(
        isoinfo(&path, &["-R", "-x", "/user-data"]),
        "#cloud-config\nhostname: web\n"
    );
    assert_eq!(
        isoinfo(&path, &["-J", "-x", "/meta-data"]),
        "instance-id: i-1\n"
    );
    assert!(isoinfo(&path, &["-R", "-l"]).contains("-r--r--r--"));
}

#[test]
fn blkid_sees_the_label() {
    // What cloud-init asks for the seed's device.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed.iso");
    seed().write(&path).unwrap();
    let output = Command::new("blkid")
        .args(["-p", "-o", "export"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("LABEL=cidata\n") && text.contains("TYPE=iso9660\n"),
        "{text}"
    );
}

#[test]
fn equal_files_give_equal_bytes() {
    let one = Image::new("cidata")
        .file("a", "1")
        .file("b", "2")
        .to_bytes()
        .unwrap();
    let two = Image::new("cidata")
        .file("b", "2")
        .file("a", "1")
        .to_bytes()
        .unwrap();
    assert_eq!(one, two);
    assert_eq!(
        crate::digest::sha256(seed().to_bytes().unwrap().as_slice()).unwrap(),
        crate::digest::sha256(seed().to_bytes().unwrap().as_slice()).unwrap(),
    );
}

#[test]
fn long_equal_beginnings_and_empty_files_are_kept_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed.iso");
    let long = "a-name-of-sixty-four-characters-as-long-as-it-may-become-here.ok";
    Image::new("config-2")
        .file("user-data-1", "one")
        .file("user-data-2", "two")
        .file("empty", "")
        .file(long, vec![b'x'; 5000])
        .write(&path)
        .unwrap();
    assert_eq!(isoinfo(&path, &["-R", "-x", "/user-data-1"]), "one");
    assert_eq!(isoinfo(&path, &["-R", "-x", "/user-data-2"]), "two");
    assert_eq!(
        isoinfo(&path, &["-J", "-x", &format!("/{long}")]).len(),
        5000
    );
    assert!(isoinfo(&path, &["-f"]).contains("/USER_DA1.;1"));
}

#[test]
fn bad_seeds_are_refused() {
    let refused = |image: Image| image.to_bytes().unwrap_err().to_string();
    assert!(refused(Image::new("cidata").file("../x", "")).contains("'../x' is no name"));
    assert!(refused(Image::new("cidata").file("", "")).contains("'' is no name"));
    assert!(refused(Image::new("cidata").file("a", "").file("a", "")).contains("'a' twice"));
    assert!(refused(Image::new("a label")).contains("no volume label"));
    let many = (0..9).fold(Image::new("x"), |image, n| image.file(n.to_string(), ""));
    assert!(refused(many).contains("9 files"));
}
